package sim

import (
	"log/slog"
	"math"
	"math/rand"
	"strconv"
	"time"
)

// Plan is what one run does. Draw makes it from a seed.
type Plan struct {
	Options
	Seed       int64
	Partitions int32
	// SegmentBytes is the size of the topic's segments, 0 for the default.
	SegmentBytes int
	// Storm is how long faults happen. Gap and Outage are the longest pause between two
	// faults and the longest time that a fault lasts; both are drawn evenly by order of
	// magnitude, so that most are much shorter.
	Storm, Gap, Outage time.Duration
	// Weights are how often each fault is drawn; those without one do not happen.
	Weights map[string]int
	// Aimed is the chance in percent that a fault hits a leader rather than any node.
	Aimed int
	// Consumer is the protocol of the group: classic or consumer (KIP-848).
	Consumer bool
}

// The faults that a seed may draw, and the most that each is worth beside the others.
var allFaults = []struct {
	name string
	max  int
}{
	{faultKill, 6}, {faultPower, 4}, {faultWipe, 2}, {faultStop, 2}, {faultIsolate, 4}, {faultSplit, 4}, {faultOneWay, 3},
	{faultMute, 3}, {faultSlow, 3}, {faultClock, 1}, {faultReassign, 3}, {faultElect, 2}, {faultVoters, 2}, {faultDouble, 4}, {faultHandOver, 4}, {faultRelapse, 4},
}

// Draw makes the plan of a seed. Each seed has faults of its own, at a rate of its own: a
// run in which everything happens at once shows less than one in which two things do
// (swarm testing).
func Draw(seed int64, nodes int, logger *slog.Logger) Plan {
	rng := rand.New(rand.NewSource(seed))
	p := Plan{Seed: seed, Partitions: 2 + rng.Int31n(2), Storm: 5 * time.Second, Weights: map[string]int{}, Aimed: rng.Intn(101)}
	p.Gap = []time.Duration{200 * time.Millisecond, 600 * time.Millisecond, 2 * time.Second}[rng.Intn(3)]
	p.Outage = []time.Duration{500 * time.Millisecond, 2 * time.Second, 5 * time.Second}[rng.Intn(3)]
	if rng.Intn(2) == 0 {
		p.SegmentBytes = 1 << (10 + rng.Intn(5))
	}
	p.Consumer = rng.Intn(2) == 0
	for len(p.Weights) == 0 {
		for _, f := range allFaults {
			if rng.Intn(2) == 0 {
				p.Weights[f.name] = 1 + rng.Intn(f.max)
			}
		}
	}
	p.Options = Options{Combined: nodes, Logger: logger}
	if nodes > 1 {
		switch n := rng.Intn(10); {
		case n < 4:
			p.Brokers = 1
		case n < 5:
			p.Combined, p.Brokers, p.Controllers = 0, nodes, nodes
		}
		p.Dynamic = p.Weights[faultVoters] > 0
	}
	p.Properties = properties(nodes, rng)
	return p
}

// properties are what the nodes are configured with: the timeouts are a fraction of
// the defaults, so that as much happens in as much less time.
func properties(nodes int, rng *rand.Rand) map[string]string {
	replicas, minISR := strconv.Itoa(min(3, nodes)), strconv.Itoa(min(2, nodes))
	props := map[string]string{
		"min.insync.replicas": minISR, "default.replication.factor": replicas,
		"offsets.topic.num.partitions": "1", "offsets.topic.replication.factor": replicas,
		"transaction.state.log.num.partitions": "1", "transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr": minISR, "log.index.interval.bytes": "256",
		"broker.heartbeat.interval.ms": "400", "broker.session.timeout.ms": "2000", "replica.lag.time.max.ms": "2000",
		"replica.high.watermark.checkpoint.interval.ms": "1000", "leader.imbalance.check.interval.seconds": "2",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
		"group.initial.rebalance.delay.ms":                            "0", "group.min.session.timeout.ms": "1000",
		"group.consumer.min.session.timeout.ms": "1000", "group.consumer.session.timeout.ms": "3000",
		"group.consumer.min.heartbeat.interval.ms": "300", "group.consumer.heartbeat.interval.ms": "1000",
		"controller.quorum.auto.join.enable": "false",
	}
	if rng.Intn(4) == 0 {
		props["metadata.log.max.record.bytes.between.snapshots"] = "4096"
	}
	if nodes > 1 && rng.Intn(2) == 0 {
		// Followers fall out of the in-sync set long before their leader can be fenced.
		props["replica.lag.time.max.ms"] = "800"
	}
	return props
}

// magnitude draws from 1 ms to limit, every order of magnitude as often as every other.
func magnitude(rng *rand.Rand, limit time.Duration) time.Duration {
	ms := float64(limit) / float64(time.Millisecond)
	return time.Duration(math.Exp(rng.Float64()*math.Log(ms)) * float64(time.Millisecond))
}
