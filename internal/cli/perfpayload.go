package cli

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

// setPayload decides what makes the value of record i. A value belongs to its
// record and is never written again.
func (p *producerRun) setPayload(v *opt.Values, size int) error {
	random := rand.New(rand.NewPCG(0, 0))
	switch {
	case v.Has("payload-file"):
		list, err := readPayloads(p.env, v.Get("payload-file"), v.Get("payload-delimiter"))
		if err != nil {
			return err
		}
		for _, value := range list {
			p.largest = max(p.largest, len(value))
		}
		p.payload = func(int64) []byte { return list[random.IntN(len(list))] }
	case v.Has("record-size"):
		p.largest = size
		p.payload = func(int64) []byte {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte('A' + random.Uint32N(26))
			}
			return b
		}
	default:
		p.largest = len(strconv.FormatInt(p.records, 10))
		p.payload = func(i int64) []byte { return strconv.AppendInt(nil, i, 10) }
	}
	return nil
}

func readPayloads(env *Env, path, delimiter string) ([][]byte, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(env.Out, "Reading payloads from: %s\n", full)
	text, err := os.ReadFile(path)
	if err != nil || len(text) == 0 {
		return nil, errors.New("File does not exist or empty file provided.")
	}
	if delimiter == `\n` {
		delimiter = "\n"
	}
	re, err := regexp.Compile(delimiter)
	if err != nil {
		return nil, fmt.Errorf("payload-delimiter: %w", err)
	}
	list := splitPayloads(text, re)
	fmt.Fprintf(env.Out, "Number of records read: %d\n", len(list))
	if len(list) == 0 {
		return nil, errors.New("The payload file holds nothing but delimiters.")
	}
	return list, nil
}

// splitPayloads cuts text at the delimiter, of which one may also stand before the
// first value and one after the last.
func splitPayloads(text []byte, delimiter *regexp.Regexp) (list [][]byte) {
	for {
		if at := delimiter.FindIndex(text); at != nil && at[0] == 0 {
			text = text[at[1]:]
		}
		if len(text) == 0 {
			return list
		}
		end := len(text)
		for _, at := range delimiter.FindAllIndex(text, 2) {
			if at[1] > 0 {
				end = at[0]
				break
			}
		}
		list = append(list, text[:end:end])
		text = text[end:]
	}
}
