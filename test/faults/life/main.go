//go:build linux

// Command life is one scripted life of a broker on a directory, for test/faults: it
// starts the broker inside the process, compares all that it has with the ledger, then
// writes, commits, compacts, deletes, and keeps the ledger. Whoever started it may
// break any system call on the way.
//
//	life -dir DIR -ledger FILE [-seed N] [-steps N] [-close] [-control 3] [-short topic/partition]
//
// It exits with 0 when its script ended, with 3 when the broker has not what the ledger
// says, with 4 when the broker did not start, and with 5 when it has what nobody wrote.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gregorhq/gregor/broker"
	"github.com/gregorhq/gregor/test/faults/inject"
	"github.com/gregorhq/gregor/test/faults/ledger"
)

// Exit codes.
const (
	exitWrong   = 3
	exitNoStart = 4
	exitFoul    = 5
)

// Limits of what a broken broker may take.
const (
	startLimit = 30 * time.Second
	closeLimit = 5 * time.Second
)

func main() {
	var (
		dir     = flag.String("dir", "", "directory that holds the data directories")
		book    = flag.String("ledger", "", "file of the ledger")
		seed    = flag.Uint64("seed", 1, "seed of the script")
		steps   = flag.Int("steps", 0, "steps of the script after the comparison; 0 ends the life there")
		tidy    = flag.Bool("close", false, "close the broker at the end; otherwise the process just ends")
		control = flag.Int("control", 0, "descriptor of the socket to the one who breaks system calls; 0 is nobody")
		early   = flag.Bool("early", false, "let calls be broken from the start on, not only after the comparison")
		short   = flag.String("short", "", "topic/partition whose end may be missing")
	)
	flag.Parse()
	code, err := run(options{*dir, *book, *seed, *steps, *tidy, *control, *early, *short})
	if err != nil {
		fmt.Fprintln(os.Stderr, "life:", err)
	}
	os.Exit(code)
}

type options struct {
	dir, book string
	seed      uint64
	steps     int
	tidy      bool
	control   int
	early     bool
	short     string
}

// properties make everything that a broker does by the clock happen within a life.
func properties(dir string) map[string]string {
	return map[string]string{
		"log.dirs":                                                    filepath.Join(dir, "a") + "," + filepath.Join(dir, "b"),
		"offsets.topic.num.partitions":                                "1",
		"transaction.state.log.num.partitions":                        "1",
		"log.roll.ms":                                                 "150",
		"internal.metadata.log.segment.bytes":                         "4000",
		"metadata.log.max.record.bytes.between.snapshots":             "3000",
		"metadata.max.retention.bytes":                                "12000",
		"log.cleaner.backoff.ms":                                      "20",
		"log.cleaner.min.cleanable.ratio":                             "0",
		"log.cleaner.dedupe.buffer.size":                              "2097152",
		"log.cleaner.io.buffer.size":                                  "16384",
		"log.retention.check.interval.ms":                             "30",
		"log.flush.offset.checkpoint.interval.ms":                     "30",
		"log.flush.start.offset.checkpoint.interval.ms":               "30",
		"replica.high.watermark.checkpoint.interval.ms":               "30",
		"log.segment.delete.delay.ms":                                 "20",
		"log.initial.task.delay.ms":                                   "1",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "100",
		"log.dir.failure.timeout.ms":                                  "1000",
		"broker.heartbeat.interval.ms":                                "50",
	}
}

func run(o options) (int, error) {
	l, out, err := openLedger(o.book)
	if err != nil {
		return 1, err
	}
	defer out.Close()
	var breaker *inject.Victim
	if o.control > 0 {
		if breaker, err = inject.Surrender(o.control); err != nil {
			return 1, err
		}
		if o.early {
			if err := breaker.Arm(); err != nil {
				return 1, err
			}
		}
	}
	lf := &life{ledger: l, out: out, rng: rand.New(rand.NewPCG(o.seed, 1)), began: time.Now()}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	b, err := broker.Open(broker.Config{Dir: filepath.Join(o.dir, "a"), InProcess: true, Properties: properties(o.dir), Logger: logger})
	if err != nil {
		return exitNoStart, err
	}
	if err := b.Start(ctx); err != nil {
		return exitNoStart, err
	}
	started := time.Now()
	if err := lf.connect(b); err != nil {
		return exitNoStart, err
	}
	v, err := lf.compare(ctx, o.short)
	if err != nil {
		return exitNoStart, fmt.Errorf("reading everything: %w", err)
	}
	if len(v.Foul) > 0 {
		return exitFoul, fmt.Errorf("the broker has what nobody wrote:\n%s", strings.Join(v.Foul, "\n"))
	}
	if len(v.Bad) > 0 {
		return exitWrong, fmt.Errorf("the broker differs from the ledger:\n%s", strings.Join(v.Bad, "\n"))
	}
	fmt.Printf("verified %d records in %d ms after %d ms\n", l.Acked(), time.Since(started).Milliseconds(), started.Sub(lf.began).Milliseconds())
	if breaker != nil && !o.early {
		if err := breaker.Arm(); err != nil {
			return 1, err
		}
	}
	lf.live(b, o.steps)
	if o.tidy {
		closed := make(chan error, 1)
		go func() { closed <- b.Close() }()
		select {
		case err := <-closed:
			fmt.Printf("closed: %v\n", err)
		case <-time.After(closeLimit):
			fmt.Println("closed: not in time")
		}
	}
	fmt.Printf("done: %d calls failed\n", lf.failures)
	return 0, nil
}

// openLedger reads the ledger and opens it for more. A line is one write of a file
// opened for appending: no kill tears it.
func openLedger(name string) (*ledger.Ledger, *os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, err
	}
	l, err := ledger.Read(f)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return l, f, nil
}
