package rsm

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/vfs"
)

// complaints counts what a shard says of loads that failed.
type complaints struct {
	slog.Handler
	mu   sync.Mutex
	n    int
	last string
}

func (c *complaints) Handle(_ context.Context, r slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Level == slog.LevelError && strings.HasPrefix(r.Message, "could not load") {
		c.n++
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "error" {
				c.last = a.Value.String()
			}
			return true
		})
	}
	return nil
}

func (c *complaints) Enabled(context.Context, slog.Level) bool { return true }

func (c *complaints) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// newReloadKit is a kit in a bubble. Its log has two segments with two records each, from
// which the machine composes a value, so that it shows what was replayed twice.
func newReloadKit(t *testing.T, change func(*CoordinatorConfig[*toy])) (*toyKit, *complaints) {
	said := &complaints{Handler: slog.DiscardHandler}
	k := newToyKit(t, two, func(c *CoordinatorConfig[*toy]) {
		c.Logger = slog.New(said)
		if change != nil {
			change(c)
		}
	})
	k.active()
	for i, value := range []string{"a", "b", "c", "d"} {
		k.do(set("count", value))
		k.sync()
		if i == 1 {
			if err := k.part().Log().Roll(); err != nil {
				t.Fatal(err)
			}
		}
	}
	k.follow(4)
	k.sync()
	return k, said
}

// pass lets time go by, a second at a time.
func (k *toyKit) pass(d time.Duration) {
	for ; d > 0; d -= time.Second {
		k.clock.Advance(min(d, time.Second))
		synctest.Wait()
	}
}

// TestLoadThatFailedIsTriedAgain: no descriptor is left when the log is to be read. The
// shard goes on to say that it loads, and serves as soon as there are some again.
func TestLoadThatFailedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, said := newReloadKit(t, nil)
		n := k.events.len()
		k.fault.Add(vfs.Rule{Op: vfs.OpOpen, Times: -1, Err: syscall.EMFILE})
		k.fault.Add(vfs.Rule{Op: vfs.OpCreate, Times: -1, Err: syscall.EMFILE})
		// It fails, and with it go the files that were only kept open.
		if err := k.part().Log().Roll(); !errors.Is(err, syscall.EMFILE) {
			t.Fatal(err)
		}
		k.lead(1, true)
		synctest.Wait()
		k.want(k.do(get("count", true)), "", kafka.CoordinatorLoadInProgress)
		k.pass(time.Minute)
		k.want(k.do(get("count", true)), "", kafka.CoordinatorLoadInProgress)
		if c := said.count(); c < 2 || c > 6 || !strings.Contains(said.last, syscall.EMFILE.Error()) {
			t.Errorf("complained %d times in a minute, at last %s", c, said.last)
		}
		if s := k.c.Stats(); s.Loading != 1 {
			t.Errorf("%+v", s)
		}
		k.fault.Clear()
		k.pass(maxPassingWait)
		k.want(k.do(get("count", false)), "abcd", nil)
		if got := k.events.since(n); got != "resigned, loaded 1" {
			t.Errorf("events: %s", got)
		}
	})
}

// TestHalfLoadedMachineLeavesNothing: the second segment cannot be read, when the first
// has been replayed. What is served in the end has replayed each record once.
func TestHalfLoadedMachineLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _ := newReloadKit(t, nil)
		k.events.poison.Store(3)
		k.lead(1, true)
		synctest.Wait()
		k.want(k.do(get("count", true)), "", kafka.CoordinatorLoadInProgress)
		k.pass(time.Minute)
		k.events.poison.Store(0)
		k.pass(maxLastingWait)
		k.want(k.do(get("count", false)), "abcd", nil)
		// The log is read up to its end, and not only up to where the last try came.
		k.do(set("count", "e"))
		k.sync()
		k.follow(5)
		k.want(k.do(get("count", true)), "abcde", nil)
	})
}

// TestReadErrorOfRecordsTakesTheDirectoryOffline: the bytes of the records are read apart
// from their headers, which come first. A disk that fails there fails as a whole, and the
// shard ends with the partition.
func TestReadErrorOfRecordsTakesTheDirectoryOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, said := newReloadKit(t, func(c *CoordinatorConfig[*toy]) { c.LoadBufferSize = 1 << 20 })
		k.fault.Add(vfs.Rule{Op: vfs.OpRead, Path: "*.log", Nth: 2, Err: syscall.EIO})
		k.lead(1, true)
		synctest.Wait()
		if said.count() != 1 || !strings.Contains(said.last, "reading records in log directory /data: reading") {
			t.Fatalf("complained %d times, at last %q", said.count(), said.last)
		}
		if _, err := k.part().Log().Read(0, 1, 4, true); !errors.Is(err, kafka.KafkaStorageError) {
			t.Errorf("the directory is online: %v", err)
		}
		k.m.DirFailed("/data")
		k.pass(maxPassingWait)
		k.want(k.do(get("count", false)), "", kafka.NotCoordinator)
	})
}

// TestDamageIsTriedSlowly: a log that stays damaged is not read in a loop, and what is
// wrong with it is said ever more rarely, but again and again.
func TestDamageIsTriedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, said := newReloadKit(t, nil)
		k.events.poison.Store(1)
		made := k.events.made.Load()
		k.lead(1, true)
		k.pass(time.Hour)
		tries := k.events.made.Load() - made
		if tries < 60 || tries > 75 {
			t.Errorf("%d tries in an hour", tries)
		}
		if n := said.count(); n < 7 || n > 9 {
			t.Errorf("complained %d times in an hour", n)
		}
		k.pass(9 * time.Hour)
		if n := said.count(); n < 14 || n > 16 {
			t.Errorf("complained %d times in ten hours", n)
		}
		k.want(k.do(get("count", true)), "", kafka.CoordinatorLoadInProgress)
	})
}

// TestEndWhileALoadIsToBeTriedAgain: nobody waits for the next try.
func TestEndWhileALoadIsToBeTriedAgain(t *testing.T) {
	for name, end := range map[string]func(*toyKit){
		"resigned": func(k *toyKit) { k.lead(2, true) },
		"closed":   func(k *toyKit) { k.c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, _ := newReloadKit(t, nil)
				k.events.poison.Store(1)
				k.lead(1, true)
				k.pass(time.Minute)
				n := k.events.len()
				end(k)
				synctest.Wait()
				k.want(k.do(get("count", true)), "", kafka.NotCoordinator)
				if got := k.events.since(n); got != "resigned" {
					t.Errorf("events: %s", got)
				}
			})
		})
	}
}

// TestImagesDoNotPileUpBehindALoad: a load that goes on failing must not keep every image
// of that time. The machine gets the newest, once.
func TestImagesDoNotPileUpBehindALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k *toyKit
		k, _ = newReloadKit(t, func(c *CoordinatorConfig[*toy]) {
			c.Image = func(m *toy, delta *metadata.Delta, img *metadata.Image, _ int64) coord.Outcome {
				m.events.add("image %d %v", img.Offset, delta == nil)
				return coord.Outcome{}
			}
		})
		k.events.poison.Store(1)
		k.lead(1, true)
		synctest.Wait()
		for range 50 {
			k.apply(true)
			synctest.Wait()
		}
		if s := k.c.Stats(); s.Queued != 0 {
			t.Errorf("%d operations wait", s.Queued)
		}
		k.c.Each(func(m *toy, _ int64, _ coord.Token) coord.Outcome {
			m.events.add("told")
			return coord.Outcome{}
		})
		synctest.Wait()
		n := k.events.len()
		k.events.poison.Store(0)
		k.pass(time.Second)
		if got := k.events.since(n); !strings.HasPrefix(got, "loaded 1, image ") || !strings.HasSuffix(got, " true, told") || strings.Count(got, "image") != 1 {
			t.Errorf("events: %s", got)
		}
	})
}
