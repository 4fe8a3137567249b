package cli

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

func TestALineThatWasReadBeforeTheEndIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		in, keyboard := io.Pipe()
		defer keyboard.Close()
		go func() {
			if _, err := io.WriteString(keyboard, "one\ntwo\nhalf"); err != nil {
				t.Error(err)
			}
		}()
		var got []string
		err := eachLine(ctx, in, func() {}, func(line []byte) error {
			cancel()
			got = append(got, string(line))
			return nil
		})
		if err != nil || !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// endless is an input that always has another line.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "y\n"), nil }

func TestAnInputWithoutAnEndIsLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := eachLine(ctx, endless{}, func() {}, func([]byte) error {
		cancel()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAnInputIsReadToItsEnd(t *testing.T) {
	var got []string
	take := func(line []byte) error {
		got = append(got, string(line))
		return nil
	}
	waits := 0
	if err := eachLine(t.Context(), strings.NewReader("a\n\nb"), func() { waits++ }, take); err != nil || !slices.Equal(got, []string{"a", "", "b"}) || waits != 3 {
		t.Errorf("%q after %d waits, %v", got, waits, err)
	}
	broken := errors.New("broken")
	if err := eachLine(t.Context(), iotest.ErrReader(broken), func() {}, take); !errors.Is(err, broken) {
		t.Errorf("a read that fails: %v", err)
	}
	if err := eachLine(t.Context(), strings.NewReader("a\nb\n"), func() {}, func([]byte) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a use that fails: %v", err)
	}
}
