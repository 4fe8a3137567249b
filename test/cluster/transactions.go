package cluster

import (
	"fmt"
	"slices"
)

// sentRecord is one record of a transaction. Its value is unique in the run.
type sentRecord struct {
	tp     string
	value  string
	offset int64 // of the acknowledgement, -1 without one
}

// sentTxn is a transaction as its producer knows it: done means committed, refused
// aborted. An acknowledged record without transaction is one of its own.
type sentTxn struct {
	producer string
	records  []sentRecord // in the order in which they were sent
	outcome  outcome
}

// readRecord is what a read_committed reader was given.
type readRecord struct {
	offset int64
	value  string
}

// reading is all that one reader was given, in its order, a partition.
type reading map[string][]readRecord

// checkTransactions holds what readers saw against what was sent. The last reading is
// the one of everything, after all transactions have ended; the others were made during
// the run and must be beginnings of it. The transactions of one producer are in the
// order in which they were made.
func checkTransactions(txns []sentTxn, readings []reading) []string {
	var out []string
	final := readings[len(readings)-1]
	for i, r := range readings {
		for _, tp := range sortedKeys(r) {
			out = append(out, checkReading(tp, r[tp], final[tp], i)...)
		}
	}
	at := map[string]readRecord{} // value -> where the final reading has it
	where := map[string]string{}
	for _, tp := range sortedKeys(final) {
		for _, r := range final[tp] {
			at[r.value], where[r.value] = r, tp
		}
	}
	read := map[string]bool{} // by any reader
	for _, r := range readings {
		for _, records := range r {
			for _, rec := range records {
				read[rec.value] = true
			}
		}
	}
	lastOf := map[string]readRecord{} // producer and partition -> its record read last
	for n := range txns {
		out = append(out, checkTransaction(&txns[n], at, where, read, lastOf)...)
	}
	for _, value := range sortedKeys(read) {
		out = append(out, fmt.Sprintf("%q was read, nobody sent it", value))
	}
	return out
}

// checkReading holds one partition of one reading against itself and the final one.
func checkReading(tp string, got, final []readRecord, reader int) (bad []string) {
	seen := map[string]int64{}
	for i, r := range got {
		if i > 0 && r.offset <= got[i-1].offset {
			bad = append(bad, fmt.Sprintf("%s: reader %d was given offset %d after %d", tp, reader, r.offset, got[i-1].offset))
		}
		if before, twice := seen[r.value]; twice {
			bad = append(bad, fmt.Sprintf("%s: reader %d was given %q at offset %d and at %d", tp, reader, r.value, before, r.offset))
		}
		seen[r.value] = r.offset
	}
	if len(got) > len(final) || !slices.Equal(got, final[:len(got)]) {
		i := 0
		for i < len(got) && i < len(final) && got[i] == final[i] {
			i++
		}
		bad = append(bad, fmt.Sprintf("%s: reader %d read %v, in the end there is %v", tp, reader, got[i:min(i+3, len(got))], final[i:min(i+3, len(final))]))
	}
	return bad
}

// checkTransaction takes the values of one transaction out of read: what remains there
// in the end nobody sent.
func checkTransaction(x *sentTxn, at map[string]readRecord, where map[string]string, read map[string]bool, lastOf map[string]readRecord) (bad []string) {
	there := 0
	for _, s := range x.records {
		if read[s.value] && x.outcome == refused {
			bad = append(bad, fmt.Sprintf("%s: aborted %q was read", x.producer, s.value))
		}
		delete(read, s.value)
		r, ok := at[s.value]
		if !ok {
			continue
		}
		there++
		if where[s.value] != s.tp || s.offset >= 0 && s.offset != r.offset {
			bad = append(bad, fmt.Sprintf("%s: %q was acknowledged at %s offset %d and is at %s offset %d", x.producer, s.value, s.tp, s.offset, where[s.value], r.offset))
			continue
		}
		k := x.producer + " " + s.tp
		if before, ok := lastOf[k]; ok && r.offset <= before.offset {
			bad = append(bad, fmt.Sprintf("%s: %q, sent after %q, is before it in %s", x.producer, s.value, before.value, s.tp))
		}
		lastOf[k] = r
	}
	switch {
	case there == len(x.records):
	case x.outcome == done:
		bad = append(bad, fmt.Sprintf("%s: of %d records of a committed transaction %d are there (first %q)", x.producer, len(x.records), there, x.records[0].value))
	case there > 0:
		bad = append(bad, fmt.Sprintf("%s: of %d records of one transaction %d were read (first %q)", x.producer, len(x.records), there, x.records[0].value))
	}
	return bad
}

// checkCopied says in what the copies differ from the originals, a partition: a
// consume-transform-produce loop makes exactly one of each, in order.
func checkCopied(originals, copies reading) []string {
	var out []string
	for _, tp := range sortedKeys(originals) {
		want, got := originals[tp], copies[tp]
		for i := 0; i < max(len(want), len(got)); i++ {
			switch {
			case i >= len(got):
				out = append(out, fmt.Sprintf("%s: %d records, of which %d have a copy", tp, len(want), len(got)))
			case i >= len(want):
				out = append(out, fmt.Sprintf("%s: %d records and %d copies", tp, len(want), len(got)))
			case want[i].value != got[i].value:
				out = append(out, fmt.Sprintf("%s: copy %d is %q, expected %q", tp, i, got[i].value, want[i].value))
			default:
				continue
			}
			break
		}
	}
	return out
}
