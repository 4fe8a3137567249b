package monitor

import "github.com/gregorhq/gregor/internal/metrics"

// perPartition makes a family with a value for each replica here.
func (x *exporter) perPartition(domain, typ, name, help, source string, f func(*partition) (int64, bool)) fam {
	return fam{metrics.Gauge, domain, typ, name, "topic partition", help, source, func(e *metrics.Emitter) {
		for i := range x.parts {
			if v, ok := f(&x.parts[i]); ok {
				e.Int(v, x.parts[i].topic, x.parts[i].number)
			}
		}
	}}
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (x *exporter) partitions() {
	x.section = "Partitions"
	state := func(name, help string, f func(*partition) int64) fam {
		return x.perPartition("cluster", "Partition", name, help, "metadata image", func(p *partition) (int64, bool) { return f(p), true })
	}
	logOf := func(name, help string, f func(*partition) int64) fam {
		return x.perPartition("log", "Log", name, help, "log.Log", func(p *partition) (int64, bool) {
			if p.Log == nil {
				return 0, false
			}
			return f(p), true
		})
	}
	x.add(
		state("UnderReplicated", "1 for a partition led here whose ISR is smaller than its replicas.", func(p *partition) int64 { return number(p.UnderReplicated) }),
		state("UnderMinIsr", "1 for a partition led here whose ISR is below min.insync.replicas.", func(p *partition) int64 { return number(p.UnderMinISR) }),
		state("AtMinIsr", "1 for a partition led here whose ISR is just min.insync.replicas.", func(p *partition) int64 { return number(p.AtMinISR) }),
		state("InSyncReplicasCount", "Size of the ISR; 0 where the partition is not led.", func(p *partition) int64 { return int64(p.ISR) }),
		state("ReplicasCount", "Number of replicas; 0 where the partition is not led.", func(p *partition) int64 { return int64(p.Replicas) }),
		state("LastStableOffsetLag", "Records between the last stable offset and the high watermark, those of open transactions.", func(p *partition) int64 {
			if p.Log == nil || !p.Leader {
				return 0
			}
			if u, ok := p.Log.Unstable(); ok {
				return max(p.hw-u, 0)
			}
			return 0
		}),
		logOf("Size", "Bytes of the segments.", func(p *partition) int64 { return p.Log.Size() }),
		logOf("NumLogSegments", "Segments.", func(p *partition) int64 { return int64(p.Log.NumSegments()) }),
		logOf("LogStartOffset", "First offset that can be read.", func(p *partition) int64 { return p.start }),
		logOf("LogEndOffset", "Offset that the next record gets.", func(p *partition) int64 { return p.end }),
	)
}
