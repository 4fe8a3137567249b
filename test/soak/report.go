//go:build linux

package main

import (
	"fmt"
	"io"
	"time"
)

// table prints the verdicts, and adds those that are not flat to what was found when the
// run was long enough to be judged.
func printVerdicts(out io.Writer, all []verdict, took time.Duration, bad *findings) (rows, notFlat int) {
	fmt.Fprintf(out, "\n%-24s %-20s %10s %10s %10s %8s\n", "series", "rule", "2nd quart.", "last", "limit", "samples")
	for _, v := range all {
		word := "flat"
		switch {
		case !v.enough:
			word = "too few"
			if v.needed && took >= judged {
				bad.add("%s (%s) has only %d windows in the last quarter that have counterparts in the second: run it again on a machine with fewer guests", v.series, v.rule, v.samples)
			}
		case took < judged:
			word = "not judged"
		case !v.flat():
			word = "NOT FLAT"
			notFlat++
			bad.add("%s (%s) is not flat: the median is %.1f in the second quarter and %.1f in the last, the limit is %.1f", v.series, v.rule, v.before, v.after, v.limit)
		}
		if v.enough && took >= judged {
			rows++
		}
		fmt.Fprintf(out, "%-24s %-20s %10.1f %10.1f %10.1f %8d  %s\n", v.series, v.rule, v.before, v.after, v.limit, v.samples, word)
	}
	if took < judged {
		fmt.Fprintf(out, "The run took %v, less than %v: these series are not judged.\n", took.Round(time.Second), judged)
	}
	return rows, notFlat
}

// summary is the last line.
func (s *soak) summary(took time.Duration, rows, notFlat int) string {
	acked, read, repeated := s.events.counts()
	yes, no, unsure := s.pairs.counts()
	kills, sync, led := s.killer.counts()
	var copied uint64
	for _, c := range s.copies.checks {
		copied += c.next
	}
	flat := fmt.Sprintf("%d of %d series flat", rows-notFlat, rows)
	if took < judged {
		flat = "too short to judge what is flat"
	}
	r := s.recorder
	w := &r.windows
	return fmt.Sprintf("soak: %d failures in %v at %.0f events/s of %.0f (maximum %s): %d events acknowledged (%.1f GiB), %d read (%d by the member that moves) and %d again over %d moves; "+
		"%d versions of %d keys; %d transactions committed, %d aborted, %d of unknown outcome; %d copies; %d kills, in sync at most %.1f s after the restart, preferred leaders %.1f s later; "+
		"p50 %.1f ms, p99 %.1f ms, with kills p99 %.0f ms, in %d windows with %.0f %% of the CPU stolen or more p50 %.1f ms and p99 %.0f ms, no acknowledgement for at most %.1f s; disk at most %.0f MiB; %d samples of nodes missing; %s",
		s.bad.count(), took.Round(time.Second), float64(r.steadyEnd-r.steady)/took.Seconds(), s.rate, s.maximumText(), acked, float64(s.events.bytes.Load())/(1<<30), read, s.events.moved.Load(), repeated, s.moves.Load(),
		s.table.check.written, tableKeys, yes, no, unsure, copied, kills, sync.Seconds(), led.Seconds(),
		ms(w.times.quantile(0.5)), ms(w.times.quantile(0.99)), ms(w.disturbed.quantile(0.99)),
		w.robberies, robbery, ms(w.robbed.quantile(0.5)), ms(w.robbed.quantile(0.99)), time.Duration(s.events.longest.Load()).Seconds(), highest(r.disk), r.silent, flat)
}

func (s *soak) maximumText() string {
	if s.maximum == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%.0f", s.maximum)
}

func highest(s []sample) (out float64) {
	for _, x := range s {
		out = max(out, x.value)
	}
	return out
}
