package metadata

import (
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// TestTransactions plays batches and says after each which topics are visible, at
// which end offset, and whether a transaction is open. A batch is a string: a
// lower-case letter creates that topic; B, E and A begin, end and abort.
func TestTransactions(t *testing.T) {
	type step struct {
		batch   string
		visible string
		end     kafka.Offset
		open    bool
	}
	cases := map[string][]step{
		"plain":              {{"a", "a", 1, false}, {"bc", "abc", 3, false}},
		"over batches":       {{"aB", "a", 1, true}, {"b", "a", 1, true}, {"cE", "abc", 5, false}},
		"within a batch":     {{"aBbEc", "abc", 5, false}},
		"aborted":            {{"Ba", "", 0, true}, {"b", "", 0, true}, {"A", "", 4, false}, {"a", "a", 5, false}},
		"abort then begin":   {{"Ba", "", 0, true}, {"ABbE", "b", 6, false}},
		"two transactions":   {{"BaEBbE", "ab", 6, false}},
		"before and after":   {{"aBb", "a", 1, true}, {"AcBdE", "acd", 8, false}},
		"empty transaction":  {{"BE", "", 2, false}},
		"second one is open": {{"BaEBb", "a", 3, true}},
	}
	for name, steps := range cases {
		l := NewLog(Empty())
		offset := kafka.Offset(0)
		for _, s := range steps {
			b := letters(offset, s.batch)
			old := l.Image()
			c, err := l.Append(b)
			if err != nil {
				t.Fatalf("%s: %q: %v", name, s.batch, err)
			}
			offset = b.LastOffset + 1
			img := l.Image()
			if got := topicNames(img); got != s.visible {
				t.Errorf("%s: after %q topics %q, want %q", name, s.batch, got, s.visible)
			}
			if img.EndOffset() != s.end {
				t.Errorf("%s: after %q end offset %d, want %d", name, s.batch, img.EndOffset(), s.end)
			}
			if _, open := l.InTransaction(); open != s.open {
				t.Errorf("%s: after %q open %v", name, s.batch, open)
			}
			if (c == nil) != (img == old) || c != nil && (c.Old != old || c.New != img) {
				t.Errorf("%s: after %q the change does not lead from the old image to the new", name, s.batch)
			}
		}
	}
}

func letters(offset kafka.Offset, text string) Batch {
	var msgs []records.Message
	for i := range text {
		switch text[i] {
		case 'B':
			msgs = append(msgs, records.NewBeginTransactionRecord())
		case 'E':
			msgs = append(msgs, records.NewEndTransactionRecord())
		case 'A':
			msgs = append(msgs, records.NewAbortTransactionRecord())
		default:
			msgs = append(msgs, topicRecord(text[i:i+1], text[i]))
		}
	}
	return batchOf(offset, msgs...)
}

func topicNames(i *Image) string {
	s := ""
	for _, t := range i.SortedTopics() {
		s += t.Name
	}
	return s
}

func TestLogRefuses(t *testing.T) {
	for _, text := range []string{"E", "A", "BB", "BaBE", "aa", "BaaE"} {
		if _, err := NewLog(Empty()).Append(letters(0, text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestControlBatches only move the offset.
func TestControlBatches(t *testing.T) {
	l := NewLog(Empty())
	c, err := l.Append(Batch{BaseOffset: 0, LastOffset: 0, Epoch: 3})
	if err != nil || c == nil || !c.Delta.Empty() || c.New.EndOffset() != 1 || c.New.Epoch != 3 {
		t.Errorf("%+v, %v", c, err)
	}
}
