//go:build linux

package main

import (
	"flag"
	"fmt"
	"io"
	"time"
)

// options are what the command line says.
type options struct {
	bin       string
	dir       string
	hours     float64
	killEvery time.Duration
	moveEvery time.Duration
	measure   time.Duration
	rate      float64
	maxRate   float64
	maxDisk   int64 // MiB
	keep      bool
}

func (o *options) length() time.Duration { return time.Duration(o.hours * float64(time.Hour)) }

func parseOptions(args []string, out io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&o.bin, "bin", "bin/gregor", "the binary")
	f.StringVar(&o.dir, "dir", "", "where the data directories are made; the system's place for temporary files without it")
	f.Float64Var(&o.hours, "hours", 2, "length of the steady load")
	f.DurationVar(&o.killEvery, "kill-every", 5*time.Minute, "from one kill -9 to the next, 0 for none")
	f.DurationVar(&o.moveEvery, "move-every", 2*time.Minute, "how long the second member of the group stays each time")
	f.DurationVar(&o.measure, "measure", 20*time.Second, "how long the maximum is measured")
	f.Float64Var(&o.rate, "rate", 0, "events a second, instead of half of the measured maximum")
	f.Float64Var(&o.maxRate, "max-rate", 0, "most events a second, 0 for no limit")
	f.Int64Var(&o.maxDisk, "max-disk", 4096, "MiB that all data directories together may have")
	f.BoolVar(&o.keep, "keep", false, "keep the data directories and logs of a run that found nothing, too")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("what is %q?", f.Arg(0))
	case o.hours <= 0 || o.hours > 24*7:
		return nil, fmt.Errorf("-hours %v is not between 0 and %d", o.hours, 24*7)
	case o.killEvery != 0 && o.killEvery < 30*time.Second:
		return nil, fmt.Errorf("-kill-every %v leaves no time to be in sync again", o.killEvery)
	case o.moveEvery < 10*time.Second || o.measure < time.Second:
		return nil, fmt.Errorf("-move-every is at least 10s, -measure 1s")
	}
	return o, nil
}
