package controller

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// disks is what brokers 1 to 3 have on their disks: which directories they are configured
// with, in which of them each replica is, and whether it has its records.
type disks struct {
	w       *world
	rng     *rand.Rand
	dirs    map[int32][]string // configured
	failed  map[int32]string   // offline in this run of the broker, "" for none
	place   map[string]string  // by replica, the name of its directory
	empty   map[string]bool    // by replica: it has lost its records and not got them again
	dropped int
	runs    int
}

func replicaName(topic string, id int32) string { return fmt.Sprintf("%s/%d", topic, id) }

// TestEmptyReplicasDoNotLead takes directories from brokers at random, failed or not, between
// clean stops and crashes. Of several replicas none may lead that has lost its records, unless
// the election says that it is unclean, and none such may be counted on.
func TestEmptyReplicasDoNotLead(t *testing.T) {
	for _, boot := range []string{"boot mv=4.3 min.insync.replicas:2", "boot mv=3.9 min.insync.replicas:2"} {
		for seed := range int64(40) {
			d := &disks{w: newWorld(t), rng: rand.New(rand.NewSource(seed)), dirs: map[int32][]string{}, failed: map[int32]string{}, place: map[string]string{}, empty: map[string]bool{}}
			lines := []string{boot}
			run := func(line string) {
				lines = append(lines, line)
				d.w.run(line)
			}
			d.w.run(boot)
			for id := int32(1); id <= 3; id++ {
				d.dirs[id] = []string{fmt.Sprint("a", id), fmt.Sprint("b", id)}
				run(fmt.Sprintf("register %d dirs=%s", id, strings.Join(d.dirs[id], ",")))
				run(fmt.Sprintf("heartbeat %d", id))
			}
			for i := range 4 {
				run(fmt.Sprintf("create t%d assign=%d,%d", i, 1+i%3, 1+(i+1)%3))
			}
			for range 300 {
				before := d.w.log.Image()
				d.step(run)
				if err := d.check(before); err != nil {
					t.Fatalf("%s, seed %d: %v, after\n%s", boot, seed, err, strings.Join(lines[max(0, len(lines)-25):], "\n"))
				}
			}
			if d.dropped == 0 {
				t.Errorf("%s, seed %d: no replica was emptied", boot, seed)
			}
		}
	}
}

// step is something that happens to a broker.
func (d *disks) step(run func(string)) {
	id := 1 + d.rng.Int31n(3)
	switch d.rng.Intn(8) {
	case 0:
		d.restart(id, run)
	case 1:
		if d.failed[id] == "" && len(d.dirs[id]) > 1 {
			d.failed[id] = d.dirs[id][d.rng.Intn(len(d.dirs[id]))]
		}
		run(fmt.Sprintf("heartbeat %d offline=%s", id, d.failed[id]))
		for i := range 4 {
			// Without eligible leader replicas a broker that ends before it has got through with
			// this is not told from one that never had the directory.
			topic := fmt.Sprint("t", i)
			if p := d.w.log.Image().Partition(topic, 0); d.failed[id] != "" && p.HasReplica(id) && !d.w.log.Image().ELREnabled() {
				run(fmt.Sprintf("assign %d %s 0 dir=%s", id, topic, d.dirOf(topic, id)))
			}
		}
	case 2, 3:
		topic := fmt.Sprint("t", d.rng.Intn(4))
		if p := d.w.log.Image().Partition(topic, 0); p.HasReplica(id) {
			run(fmt.Sprintf("assign %d %s 0 dir=%s", id, topic, d.dirOf(topic, id)))
		}
	case 4, 5:
		topic := fmt.Sprint("t", d.rng.Intn(4))
		p := d.w.log.Image().Partition(topic, 0)
		if isr := d.caughtUp(p); p.HasLeader() && len(isr) > 0 {
			run(fmt.Sprintf("isr %d %s 0 isr=%s", p.Leader, topic, strings.Join(isr, ",")))
		}
	default:
		run(fmt.Sprintf("heartbeat %d", id))
	}
}

// caughtUp is the leader and some of those that it may take into the ISR, which then have
// what it has.
func (d *disks) caughtUp(p *metadata.Partition) (isr []string) {
	for _, r := range p.Replicas {
		b := d.w.log.Image().Broker(r)
		if r == p.Leader || b.Active() && b.HasOnlineDirectory(p.Directory(r)) && d.rng.Intn(3) > 0 {
			isr = append(isr, fmt.Sprint(r))
		}
	}
	return isr
}

// dirOf is where a replica is; one that is new is put somewhere.
func (d *disks) dirOf(topic string, id int32) string {
	name := replicaName(topic, id)
	if d.place[name] == "" {
		online := slices.DeleteFunc(slices.Clone(d.dirs[id]), func(dir string) bool { return dir == d.failed[id] })
		d.place[name] = online[d.rng.Intn(len(online))]
	}
	return d.place[name]
}

// restart stops a broker, cleanly or not, and starts it with other directories. As the
// broker's markers do, a clean stop says nothing while the metadata does not have all its
// replicas where they are, and a failed directory that comes back has none.
func (d *disks) restart(id int32, run func(string)) {
	told := true
	for i := range 4 {
		topic := fmt.Sprint("t", i)
		if p := d.w.log.Image().Partition(topic, 0); p.HasReplica(id) {
			told = told && p.Directory(id) == kafka.UUID(uuid(d.dirOf(topic, id)))
		}
	}
	clean := d.rng.Intn(3) > 0
	if clean {
		run(fmt.Sprintf("heartbeat %d fence shutdown", id))
	} else {
		run(fmt.Sprintf("heartbeat %d fence", id))
		run("advance ms=9001")
		run("tick")
	}
	d.runs++
	if d.rng.Intn(2) == 0 { // another disk in the place of one
		at := d.rng.Intn(len(d.dirs[id]))
		if d.failed[id] != "" {
			at = slices.Index(d.dirs[id], d.failed[id])
		}
		d.dirs[id] = slices.Delete(slices.Clone(d.dirs[id]), at, at+1)
	}
	if len(d.dirs[id]) == 1 {
		// A new directory has no marker. That the others have theirs is made to count here, as
		// the controller must not depend on the one.
		d.dirs[id] = append(d.dirs[id], fmt.Sprintf("n%d", d.runs))
	}
	line := fmt.Sprintf("register %d incarnation=r%d dirs=%s", id, d.runs, strings.Join(d.dirs[id], ","))
	if clean && told && !slices.Contains(d.dirs[id], d.failed[id]) {
		line += " clean"
	}
	d.failed[id] = ""
	run(line)
	for i := range 4 {
		name := replicaName(fmt.Sprint("t", i), id)
		if dir := d.place[name]; dir != "" && !slices.Contains(d.dirs[id], dir) {
			d.place[name], d.empty[name] = d.dirs[id][d.rng.Intn(len(d.dirs[id]))], true
			d.dropped++
		}
	}
}

// check looks at the leaders that the step elected, and notes who has its records again.
func (d *disks) check(before *metadata.Image) error {
	img := d.w.log.Image()
	for i := range 4 {
		topic := fmt.Sprint("t", i)
		old, p := before.Partition(topic, 0), img.Partition(topic, 0)
		if p.HasLeader() && p.Leader != old.Leader && d.empty[replicaName(topic, p.Leader)] && p.LeaderRecoveryState != metadata.LeaderRecovering {
			return fmt.Errorf("%s is led by %d, which is empty: %+v -> %+v", topic, p.Leader, *old, *p)
		}
		for _, r := range p.ISR {
			if !old.InISR(r) && p.HasLeader() {
				delete(d.empty, replicaName(topic, r)) // its leader says so
			}
		}
		if img.ELREnabled() {
			for _, r := range slices.Concat(p.ISR, p.ELR) {
				if d.empty[replicaName(topic, r)] {
					return fmt.Errorf("%s counts on %d, which is empty: %+v", topic, r, *p)
				}
			}
		}
	}
	return nil
}
