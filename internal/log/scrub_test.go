package log

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// readAll returns the bytes of batches from offset on, as a replica would send them.
func readAll(t testing.TB, l *Log, offset int64, maxBytes int) []byte {
	t.Helper()
	d, err := l.Read(offset, maxBytes, l.LogEndOffset(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Release()
	var out []byte
	for _, sp := range d.Spans {
		if sp.B != nil {
			out = append(out, sp.B...)
			continue
		}
		b := make([]byte, sp.Len)
		if err := readFull(sp.File, b, sp.Off); err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

// flip changes one byte of a file behind the log's back.
func flip(t testing.TB, fs vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fs.OpenFile(name, openExisting, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if err := readFull(f, b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x41
	if err := writeFull(f, b, at); err != nil {
		t.Fatal(err)
	}
}

// scrubRig is a log of closed segments and an equal one elsewhere.
func scrubRig(t *testing.T) (r *rig, l, replica *Log, want []record, out *bytes.Buffer) {
	mk := func() (*rig, *Log, []record) {
		r := newRig(t, vfs.NewMem())
		r.cfg.SegmentBytes, r.cfg.IndexIntervalBytes, r.tail = 900, 150, -1
		out = &bytes.Buffer{}
		r.logger = slog.New(slog.NewTextHandler(out, nil))
		l := r.open().create()
		want := r.fill(l, 24)
		l.UpdateHighWatermark(l.LogEndOffset())
		return r, l, want
	}
	_, replica, _ = mk()
	r, l, want = mk()
	if len(l.SegmentSizes()) < 3 {
		t.Fatalf("%d segments", len(l.SegmentSizes()))
	}
	return r, l, replica, want, out
}

// quick is a rate at which no pause is worth a sleep.
const quick = 1 << 62

// TestScrubFindsAndMendsEveryByte flips each byte of a closed segment in turn: it is
// found with file and position, replaced by the replica's, and everything is as it was,
// a restart included. In the first bytes of a batch, which its checksum does not cover,
// a changed leader epoch alone goes unnoticed.
func TestScrubFindsAndMendsEveryByte(t *testing.T) {
	r, l, replica, want, out := scrubRig(t)
	seg := l.SegmentSizes()[1]
	name := l.path(seg.BaseOffset, suffixLog)
	clean, err := vfs.ReadFile(r.fs, name)
	if err != nil {
		t.Fatal(err)
	}
	mend := func(_ context.Context, l *Log, d Damage) error {
		_, err := l.Mend(d, func(offset int64) ([]byte, error) { return readAll(t, replica, offset, 300), nil })
		return err
	}
	s := r.m.NewScrubber(quick, mend)
	unseen := 0
	for at := range seg.Size {
		out.Reset()
		flip(t, r.fs, name, at)
		found := s.Stats().Found
		s.round(context.Background(), false)
		if s.Stats().Found == found {
			unseen++
			flip(t, r.fs, name, at)
			continue
		}
		if !strings.Contains(out.String(), name) || !strings.Contains(out.String(), "position=") {
			t.Fatalf("byte %d: reported as\n%s", at, out)
		}
		if b, err := vfs.ReadFile(r.fs, name); err != nil || !bytes.Equal(b, clean) {
			t.Fatalf("byte %d: not as before, %v\n%s", at, err, out)
		}
	}
	st := s.Stats()
	if st.Mended != st.Found || len(st.Damaged) != 0 || st.Rounds != seg.Size {
		t.Fatalf("%+v", st)
	}
	// Four bytes of a leader epoch, and those of a base offset that leave a gap.
	if batches := int64(12); int64(unseen) > 12*batches {
		t.Fatalf("%d of %d bytes went unseen", unseen, seg.Size)
	}
	equalRecords(t, records(t, l, 0, l.LogEndOffset(), 1000), want)
	r.reopen()
	equalRecords(t, records(t, r.log(), 0, int64(len(want)), 1000), want)
}

// TestReaderReportsDamage: what a reader stumbles over is looked at without waiting for
// the next round, also in the active segment, and is CORRUPT_MESSAGE until it is mended.
func TestReaderReportsDamage(t *testing.T) {
	r, l, replica, want, _ := scrubRig(t)
	act := l.view.Load().active()
	if act.size() == 0 {
		t.Fatal("the active segment is empty")
	}
	name := l.path(act.base, suffixLog)
	flip(t, r.fs, name, 9) // the length of its first batch
	// What the log remembers of its batches would lead past the damage.
	act.forget()
	s := r.m.NewScrubber(0, func(_ context.Context, l *Log, d Damage) error {
		_, err := l.Mend(d, func(offset int64) ([]byte, error) { return readAll(t, replica, offset, 300), nil })
		return err
	})
	if _, err := l.Read(act.base+1, 1000, l.LogEndOffset(), true); !errors.Is(err, kafka.CorruptMessage) {
		t.Fatalf("read: %v", err)
	}
	s.look(context.Background(), nil)
	if st := s.Stats(); st.Found != 1 || st.Mended != 1 {
		t.Fatalf("%+v", st)
	}
	equalRecords(t, records(t, l, 0, int64(len(want)), 1000), want)
}

// TestDamageWithoutAReplicaStaysKnown: it is reported once, the rest is served, and the
// log is tried again when its time has come.
func TestDamageWithoutAReplicaStaysKnown(t *testing.T) {
	r, l, _, want, out := scrubRig(t)
	seg := l.SegmentSizes()[0]
	flip(t, r.fs, l.path(seg.BaseOffset, suffixLog), seg.Size-1)
	s := r.m.NewScrubber(quick, nil)
	for range 3 {
		s.round(context.Background(), false)
	}
	st := s.Stats()
	if st.Found != 1 || st.Mended != 0 || len(st.Damaged) != 1 || st.Damaged[0].Base != seg.BaseOffset {
		t.Fatalf("%+v", st)
	}
	if n := strings.Count(out.String(), "damaged bytes in a closed segment"); n != 1 {
		t.Fatalf("said %d times:\n%s", n, out)
	}
	equalRecords(t, records(t, l, seg.NextOffset, int64(len(want)), 1000), want[seg.NextOffset:])
}

// TestMendRefusesWhatIsNotTheSame: another replica that differs in batches which are
// whole here, that lacks some, or that is damaged itself, changes nothing.
func TestMendRefusesWhatIsNotTheSame(t *testing.T) {
	r, l, replica, _, _ := scrubRig(t)
	seg := l.SegmentSizes()[1]
	name := l.path(seg.BaseOffset, suffixLog)
	flip(t, r.fs, name, seg.Size-1)
	damaged, err := vfs.ReadFile(r.fs, name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.verify(seg.BaseOffset, func(int) error { return nil })
	if err != nil || d == nil {
		t.Fatalf("%v, %v", d, err)
	}
	good := func(offset int64) []byte { return readAll(t, replica, offset, 1) }
	for what, fetch := range map[string]func(int64) ([]byte, error){
		"nothing there": func(int64) ([]byte, error) { return nil, nil },
		"an error":      func(int64) ([]byte, error) { return nil, kafka.OffsetOutOfRange },
		"damaged too": func(o int64) ([]byte, error) {
			b := good(o)
			b[len(b)-1] ^= 1
			return b, nil
		},
		"another batch": func(o int64) ([]byte, error) {
			b := build(t, 5, "somebody else's")
			b[7] = byte(o)
			return b, nil
		},
	} {
		if _, err := l.Mend(*d, fetch); err == nil {
			t.Errorf("%s: mended", what)
		}
		if b, err := vfs.ReadFile(r.fs, name); err != nil || !bytes.Equal(b, damaged) {
			t.Errorf("%s: the segment has changed, %v", what, err)
		}
		entries, err := r.fs.ReadDir(path.Dir(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.Contains(e.Name(), suffixCleaned) {
				t.Errorf("%s: %s is left", what, e.Name())
			}
		}
	}
	cfg := r.cfg
	cfg.CleanupCompact = true
	l.Reconfigure(cfg)
	if _, err := l.Mend(*d, func(o int64) ([]byte, error) { return good(o), nil }); err == nil {
		t.Error("a compacted log was mended")
	}
}
