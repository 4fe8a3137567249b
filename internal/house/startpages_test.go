package house

import (
	"slices"
	"testing"
)

const smapsExample = `00400000-01020000 r-xp 00000000 fe:00 10002628                           /srv/a b/gregor
Size:              12416 kB
Rss:                7936 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
01020000-01d22000 r--p 00c20000 fe:00 10002628                           /srv/a b/gregor
Anonymous:             0 kB
01d22000-01d23000 r--p 00c20000 fe:00 10002628                           /srv/a b/gregor
Anonymous:             4 kB
01d23000-01dae000 rw-p 01922000 fe:00 10002628                           /srv/a b/gregor
Anonymous:             0 kB
7f5e25820000-7f5e25a00000 r--p 00000000 00:00 0 
Anonymous:             0 kB
7f5e25b20000-7f5e25c00000 r--p 00000000 fe:00 77                         /srv/gregor
Anonymous:             0 kB
7f5e25d20000-7f5e25e00000 r--p 00000000 fe:00 10002628                   /srv/a b/gregor
Rss:                  12 kB
`

// Of the executable only what nobody wrote and nobody can write is given back.
func TestExecutablePages(t *testing.T) {
	want := []pageRange{{0x400000, 0x1020000}, {0x1020000, 0x1d22000}}
	if got := executablePages([]byte(smapsExample), "/srv/a b/gregor"); !slices.Equal(got, want) {
		t.Errorf("pages of the executable: %x, want %x", got, want)
	}
	for _, other := range []string{"/srv/other", "/gregor", ""} {
		if got := executablePages([]byte(smapsExample), other); len(got) != 0 {
			t.Errorf("pages of %q: %x", other, got)
		}
	}
	for n := range len(smapsExample) {
		for _, r := range executablePages([]byte(smapsExample[:n]), "/srv/a b/gregor") {
			if !slices.Contains(want, r) {
				t.Fatalf("cut off after %d bytes: %x", n, r)
			}
		}
	}
}
