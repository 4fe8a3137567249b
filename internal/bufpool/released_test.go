//go:build gregor_invariants

package bufpool

import (
	"testing"
)

// Only builds with invariants look for buffers that are used after their release.

func TestReleaseTooOften(t *testing.T) {
	for name, misuse := range map[string]func(*Buf){"Release": (*Buf).Release, "Retain": (*Buf).Retain} {
		b := Get(MaxPooled + 1) // one each: a misuse changes the count
		whole := b.B
		b.Release()
		if whole[0] != poison || whole[MaxPooled] != poison {
			t.Error("released memory keeps its content")
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of a released buffer did not panic", name)
				}
			}()
			misuse(b)
		}()
	}
}
