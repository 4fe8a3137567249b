package monitor

import (
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/brokerapi"
	"github.com/gregorhq/gregor/internal/cleaner"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/publish"
	"github.com/gregorhq/gregor/internal/quorum/raft"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/txn"
)

// Sources are what metrics are read from. What a node does not have is nil, and its
// metrics are left out.
type Sources struct {
	NodeID    int32
	ClusterID string
	Clock     clock.Clock
	// Began is when the node was made and its counters were 0.
	Began time.Time

	Server   *server.Server
	Logs     *log.Manager
	Image    func() *metadata.Image
	Quorum   interface{ Stats() raft.Stats }
	Raft     *rpc.Traffic
	Snapshot func() publish.SnapshotStats
	// Of a broker.
	Replicas     *replica.Manager
	Cleaner      *cleaner.Cleaner
	Scrub        func() log.ScrubStats
	Groups       *rsm.Coordinator[*group.Machine]
	Transactions *rsm.Coordinator[*txn.Machine]
	Sessions     func() brokerapi.SessionStats
	// BrokerState is the state in Kafka's numbers.
	BrokerState func() int64
	// Of a controller.
	Controller *rsm.Controller
	Elections  *Elections

	// JVMAliases adds the names that the JMX exporter has for a JVM.
	JVMAliases bool
}

// exporter adds families to a registry and holds what a scrape reads for them.
type exporter struct {
	Sources
	r       *metrics.Registry
	section string
	scrape
}

// New returns a registry with every family that there is. Families whose source is nil
// emit nothing.
func New(s Sources) *metrics.Registry {
	x := &exporter{Sources: s, r: metrics.NewRegistry(s.Began)}
	x.init()
	x.r.Before(x.read)
	for _, add := range []func(){
		x.requests, x.sockets, x.topics, x.replication, x.partitions, x.logs, x.controller, x.raft,
		x.groups, x.exporterNames, x.process, x.runtime,
	} {
		add()
	}
	if s.JVMAliases {
		x.jvm()
	}
	return x.r
}

// fam is one row of a table of families that have a bean.
type fam struct {
	kind   metrics.Kind
	domain string // without "kafka."
	typ    string
	name   string
	labels string // separated by spaces
	help   string
	source string
	emit   func(*metrics.Emitter)
}

// add adds families of beans with a name.
func (x *exporter) add(families ...fam) {
	for _, f := range families {
		x.r.Add(metrics.Desc{
			Section: x.section, Name: beanName(f), Kind: f.kind, Labels: strings.Fields(f.labels), Help: f.help, Source: f.source,
			Bean: metrics.Bean{Domain: "kafka." + f.domain, Type: f.typ, Name: f.name},
		}, f.emit)
	}
}

// attributes adds families of beans of Kafka's newer library, whose attributes have
// names of their own. Names that end in -total or -count of events are counters.
func (x *exporter) attributes(families ...fam) {
	for _, f := range families {
		d := metrics.Desc{
			Section: x.section, Kind: f.kind, Labels: strings.Fields(f.labels), Help: f.help, Source: f.source,
			Name: strings.ToLower("kafka_" + f.domain + "_" + underscored(f.typ) + "_" + underscored(f.name)),
			Bean: metrics.Bean{Domain: "kafka." + f.domain, Type: f.typ, Attribute: f.name},
		}
		if plain := strings.ReplaceAll(f.typ, "-", ""); strings.HasPrefix(f.typ, "raft") || f.typ == "broker-metadata-metrics" {
			d.Also, d.Name = []string{d.Name}, "kafka_"+f.domain+"_"+plain+"_"+underscored(f.name)
		}
		x.r.Add(d, f.emit)
	}
}

// plain adds families that have no bean.
func (x *exporter) plain(families ...fam) {
	for _, f := range families {
		x.r.Add(metrics.Desc{Section: x.section, Name: f.name, Kind: f.kind, Labels: strings.Fields(f.labels), Help: f.help, Source: f.source}, f.emit)
	}
}

func underscored(s string) string { return strings.ReplaceAll(s, "-", "_") }

// beanName is the name that the JMX exporter's rules for Kafka make of a bean.
func beanName(f fam) string {
	name := strings.ToLower("kafka_" + f.domain + "_" + f.typ + "_" + underscored(f.name))
	name = strings.ReplaceAll(name, ".", "_")
	switch f.kind {
	case metrics.Meter:
		return strings.TrimSuffix(name, "persec") + "_total"
	case metrics.Percent:
		return strings.TrimSuffix(name, "percent") + "_percent"
	}
	return name
}
