// Command cut takes a transaction back to the moment at which its coordinator has
// decided and no marker is written.
//
//	cut DIR TRANSACTIONAL_ID PARTITIONS FOLDER...
//
// DIR is a data directory whose server ended right after the transaction. What an end
// between the two writes would leave is what lies before them, so cut removes the end of
// files: from the transaction's log (one of PARTITIONS) what follows the record with the
// decision, from the partitions in FOLDER their last batch. It refuses when anything
// else would go. Checkpoints that point behind the new ends are lowered and producer
// snapshots from behind them removed, as the server would not have written them.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/records"
)

// The states of a transaction in its log.
const (
	prepareCommit = 2
	prepareAbort  = 3
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cut:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 4 {
		return errors.New("usage: cut DIR TRANSACTIONAL_ID PARTITIONS FOLDER...")
	}
	dir, id := args[0], args[1]
	partitions, err := strconv.ParseInt(args[2], 10, 32)
	if err != nil || partitions < 1 {
		return fmt.Errorf("%q is no number of partitions", args[2])
	}
	state := fmt.Sprintf("__transaction_state-%d", coord.PartitionFor(id, int32(partitions)))
	log, producer, err := decision(filepath.Join(dir, state), id)
	if err != nil {
		return err
	}
	cuts := map[string]place{state: log}
	for _, folder := range args[3:] {
		if cuts[folder], err = marker(filepath.Join(dir, folder), producer); err != nil {
			return err
		}
	}
	for folder, p := range cuts {
		if err := p.cut(); err != nil {
			return err
		}
		fmt.Printf("= %s ends at offset %d\n", folder, p.offset)
	}
	for _, name := range []string{"recovery-point-offset-checkpoint", "replication-offset-checkpoint"} {
		if err := lower(filepath.Join(dir, name), cuts); err != nil {
			return err
		}
	}
	return nil
}

// place is a position in a segment, before which everything stays, and the offset
// there.
type place struct {
	file      string
	pos       int64
	offset    int64
	following []string // segments after it, which become empty
}

func (p place) cut() error {
	snapshots, err := filepath.Glob(filepath.Join(filepath.Dir(p.file), "*.snapshot"))
	if err != nil {
		return err
	}
	for _, name := range snapshots {
		offset, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(name), ".snapshot"), 10, 64)
		if err == nil && offset > p.offset {
			err = os.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	for _, f := range p.following {
		if err := os.Truncate(f, 0); err != nil {
			return err
		}
	}
	return os.Truncate(p.file, p.pos)
}

// decision finds the end of the last record that says that the transaction was decided.
// Only records of the same transaction may follow it.
func decision(folder, id string) (place, int64, error) {
	segments, err := filepath.Glob(filepath.Join(folder, "*.log"))
	if err != nil {
		return place{}, 0, err
	}
	slices.Sort(segments)
	var found place
	var producer int64
	for _, name := range segments {
		data, infos, err := read(name)
		if err != nil {
			return place{}, 0, err
		}
		if found.file != "" {
			found.following = append(found.following, name)
		}
		for i := range infos {
			key, value, err := last(data[infos[i].Pos:infos[i].End()])
			if err != nil {
				return place{}, 0, fmt.Errorf("%s: %w", name, err)
			}
			switch {
			case key != id && found.file != "":
				return place{}, 0, fmt.Errorf("%s: a record of %q follows the decision of %q", name, key, id)
			case key != id:
			case value.TransactionStatus == prepareCommit || value.TransactionStatus == prepareAbort:
				found = place{file: name, pos: int64(infos[i].End()), offset: infos[i].LastOffset + 1}
				producer = value.ProducerID
			default:
				if found.file != "" && value.TransactionStatus < prepareCommit {
					found = place{} // that transaction is over, another one began
				}
			}
		}
	}
	if found.file == "" {
		return place{}, 0, fmt.Errorf("%s: no decision of %q", folder, id)
	}
	return found, producer, nil
}

// last decodes the last record of a batch of the transactions' log.
func last(b []byte) (id string, value *records.TransactionLogValue, err error) {
	var it batch.Iter
	defer it.Close()
	if err := it.Reset(b, 0); err != nil {
		return "", nil, err
	}
	var r batch.Record
	for it.Next(&r) {
		k, v, err := records.TransactionLog.Decode(r.Key, r.Value)
		if err != nil {
			return "", nil, err
		}
		key, ok := k.(*records.TransactionLogKey)
		if !ok {
			return "", nil, fmt.Errorf("%T is no key of a transaction", k)
		}
		id, value = key.TransactionalID, &records.TransactionLogValue{}
		if v, ok := v.(*records.TransactionLogValue); ok {
			value = v
		}
	}
	return id, value, it.Err()
}

// marker finds the begin of the last batch, which is the producer's marker.
func marker(folder string, producer int64) (place, error) {
	segments, err := filepath.Glob(filepath.Join(folder, "*.log"))
	if err != nil || len(segments) == 0 {
		return place{}, errors.Join(fmt.Errorf("%s has no segment", folder), err)
	}
	slices.Sort(segments)
	name := segments[len(segments)-1]
	_, infos, err := read(name)
	if err != nil {
		return place{}, err
	}
	if len(infos) == 0 {
		return place{}, fmt.Errorf("%s is empty", name)
	}
	b := &infos[len(infos)-1]
	if !b.IsControl || b.ProducerID != producer {
		return place{}, fmt.Errorf("%s: the last batch is of producer %d (control: %v), not a marker of %d", name, b.ProducerID, b.IsControl, producer)
	}
	return place{file: name, pos: int64(b.Pos), offset: b.BaseOffset}, nil
}

func read(name string) ([]byte, []batch.Info, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, nil, err
	}
	infos, err := batch.Infos(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, infos, nil
}

// lower rewrites a checkpoint whose entries point behind the cuts.
func lower(name string, cuts map[string]place) error {
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		w := strings.Fields(line)
		if len(w) != 3 {
			continue
		}
		offset, err := strconv.ParseInt(w[2], 10, 64)
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", name, i+1, err)
		}
		if p, ok := cuts[w[0]+"-"+w[1]]; ok && offset > p.offset {
			lines[i] = fmt.Sprintf("%s %s %d", w[0], w[1], p.offset)
		}
	}
	changed := []byte(strings.Join(lines, "\n"))
	if bytes.Equal(changed, data) {
		return nil
	}
	return os.WriteFile(name, changed, 0o644)
}
