package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gregorhq/gregor/internal/metrics"
)

// sum adds up the samples of a family that have the labels, given as name and value.
func (l *look) sum(name string, labels ...string) (total float64) {
	for _, s := range l.data[name] {
		if has(&s, labels) {
			total += s.Value
		}
	}
	return total
}

func has(s *metrics.Sample, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		if s.Labels[labels[i]] != labels[i+1] {
			return false
		}
	}
	return true
}

// rate is by how much a sum grew a second. A node that was started anew counts from 0.
func rate(old, now *look, name string, labels ...string) float64 {
	d := now.at.Sub(old.at).Seconds()
	if old.err != nil || now.err != nil || d <= 0 {
		return 0
	}
	grown := now.sum(name, labels...) - old.sum(name, labels...)
	if grown < 0 {
		grown = now.sum(name, labels...)
	}
	return grown / d
}

const (
	bytesIn     = "kafka_server_brokertopicmetrics_bytesin_total"
	bytesOut    = "kafka_server_brokertopicmetrics_bytesout_total"
	messagesIn  = "kafka_server_brokertopicmetrics_messagesin_total"
	apiRequests = "kafka_network_requestmetrics_requests_total"
	apiTimes    = "kafka_network_requestmetrics_totaltimems"
)

// draw writes the tables.
func (t *topView) draw(out io.Writer, old, now []look) {
	fmt.Fprintf(out, "gregor top   %s   %d nodes, rates over %s\n\n", now[0].at.Format(time.DateTime), len(now), t.interval)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "node\tstate\tcpu\tmemory\tconns\tmsg/s\tin/s\tout/s\tproduce/s\tp99 ms\tfetch/s\tleaders\tunder-repl\toffline\t")
	for i := range now {
		t.drawNode(w, t.nodes[i], &old[i], &now[i])
	}
	_ = w.Flush() // out is memory
	t.drawTopics(out, old, now)
	t.drawGroups(out, now)
}

var brokerStateNames = map[float64]string{0: "not running", 1: "starting", 2: "recovery", 3: "running", 6: "draining", 7: "stopping"}

// state is what a node is, with a star for the active controller.
func (l *look) state() string {
	name := "controller"
	if s := l.data["kafka_server_kafkaserver_brokerstate"]; len(s) > 0 {
		name = brokerStateNames[s[0].Value]
	}
	if l.sum("kafka_controller_kafkacontroller_activecontrollercount") > 0 {
		name += "*"
	}
	return name
}

func (t *topView) drawNode(w io.Writer, addr string, old, now *look) {
	if now.err != nil {
		fmt.Fprintf(w, "%s\t%s\t\t\t\t\t\t\t\t\t\t\t\t\t\n", addr, "no answer")
		return
	}
	id := addr
	if s := now.data["gregor_node_info"]; len(s) > 0 {
		id = s[0].Labels["node_id"]
	}
	p99 := 0.
	for _, s := range now.data[apiTimes] {
		if has(&s, []string{"request", "Produce", "quantile", "0.99"}) {
			p99 = s.Value
		}
	}
	fmt.Fprintf(w, "%s\t%s\t%.0f%%\t%s\t%.0f\t%s\t%s\t%s\t%s\t%.2f\t%s\t%.0f\t%.0f\t%.0f\t\n",
		id, now.state(), 100*rate(old, now, "process_cpu_seconds_total"), size(now.sum("process_resident_memory_bytes")),
		now.sum("kafka_server_socket_server_metrics_connection_count"),
		count(rate(old, now, messagesIn, "topic", "")), size(rate(old, now, bytesIn, "topic", "")), size(rate(old, now, bytesOut, "topic", "")),
		count(rate(old, now, apiRequests, "request", "Produce")), p99, count(rate(old, now, apiRequests, "request", "Fetch")),
		now.sum("kafka_server_replicamanager_leadercount"), now.sum("kafka_server_replicamanager_underreplicatedpartitions"),
		now.sum("kafka_server_replicamanager_offlinereplicacount"))
}

// drawTopics shows the topics with the most traffic.
func (t *topView) drawTopics(out io.Writer, old, now []look) {
	type traffic struct{ msgs, in, out float64 }
	topics := map[string]*traffic{}
	for i := range now {
		for _, s := range now[i].data[bytesIn] {
			name := s.Labels["topic"]
			if name == "" {
				continue
			}
			if topics[name] == nil {
				topics[name] = &traffic{}
			}
			c := topics[name]
			c.msgs += rate(&old[i], &now[i], messagesIn, "topic", name)
			c.in += rate(&old[i], &now[i], bytesIn, "topic", name)
			c.out += rate(&old[i], &now[i], bytesOut, "topic", name)
		}
	}
	names := slices.SortedFunc(maps.Keys(topics), func(a, b string) int {
		return cmp.Or(cmp.Compare(topics[b].in+topics[b].out, topics[a].in+topics[a].out), cmp.Compare(a, b))
	})
	if len(names) == 0 || t.rows == 0 {
		return
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "topic\tmsg/s\tin/s\tout/s")
	for _, n := range names[:min(len(names), t.rows)] {
		c := topics[n]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable(n), count(c.msgs), size(c.in), size(c.out))
	}
	t.more(w, len(names), "topics")
	_ = w.Flush() // out is memory
}

// drawGroups shows the groups that are furthest behind.
func (t *topView) drawGroups(out io.Writer, now []look) {
	type behind struct {
		group, topic string
		lag          float64
	}
	var all []behind
	members := map[string]float64{}
	for i := range now {
		for _, s := range now[i].data["kafka_consumergroup_lag_sum"] {
			all = append(all, behind{s.Labels["consumergroup"], s.Labels["topic"], s.Value})
		}
		for _, s := range now[i].data["kafka_consumergroup_members"] {
			members[s.Labels["consumergroup"]] += s.Value
		}
	}
	if len(all) == 0 || t.rows == 0 {
		return
	}
	slices.SortFunc(all, func(a, b behind) int {
		return cmp.Or(cmp.Compare(b.lag, a.lag), cmp.Compare(a.group, b.group), cmp.Compare(a.topic, b.topic))
	})
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "group\tmembers\ttopic\tlag")
	for _, g := range all[:min(len(all), t.rows)] {
		fmt.Fprintf(w, "%s\t%.0f\t%s\t%s\n", printable(g.group), members[g.group], printable(g.topic), count(g.lag))
	}
	t.more(w, len(all), "groups and topics")
	_ = w.Flush() // out is memory
}

func (t *topView) more(w io.Writer, n int, what string) {
	if n > t.rows {
		fmt.Fprintf(w, "and %d more %s\n", n-t.rows, what)
	}
}

// printable keeps names from moving the cursor: a group may have any.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// count writes a number in three or four digits.
func count(n float64) string {
	switch {
	case n >= 9.9995e8:
		return fmt.Sprintf("%.2fG", n/1e9)
	case n >= 9.9995e5:
		return fmt.Sprintf("%.2fM", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.1fk", n/1e3)
	case n > 0 && n < 10:
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.0f", n)
}

// size writes bytes.
func size(n float64) string {
	const unit = 1024
	for i, u := range []string{"B", "KB", "MB", "GB"} {
		if n < unit || u == "GB" {
			if i == 0 {
				return fmt.Sprintf("%.0f B", n)
			}
			return fmt.Sprintf("%.1f %s", n, u)
		}
		n /= unit
	}
	return ""
}
