package metadata

import (
	"cmp"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Endpoint is one listener that a node advertises.
type Endpoint struct {
	Name             string
	Host             string
	Port             uint16
	SecurityProtocol int16
}

// FeatureRange is what a node supports of one feature.
type FeatureRange struct {
	Name     string
	Min, Max int16
}

// Contains says whether the level is supported.
func (r FeatureRange) Contains(level int16) bool { return level >= r.Min && level <= r.Max }

// Broker is the registration of one broker. It never changes.
type Broker struct {
	ID            int32
	Epoch         int64
	IncarnationID kafka.UUID
	Endpoints     []Endpoint     // in the order of registration
	Features      []FeatureRange // in the order of registration
	Rack          *string

	Fenced               bool
	InControlledShutdown bool
	IsMigratingZkBroker  bool

	Directories         []kafka.UUID // sorted
	CordonedDirectories []kafka.UUID // sorted; nil when not known
}

// Endpoint returns the listener of that name.
func (b *Broker) Endpoint(listener string) (Endpoint, bool) {
	return findEndpoint(b.Endpoints, listener)
}

// Feature returns what the broker supports of a feature.
func (b *Broker) Feature(name string) (FeatureRange, bool) { return findFeature(b.Features, name) }

// Active says whether the broker may lead and be in an ISR (KIP-841).
func (b *Broker) Active() bool { return !b.Fenced && !b.InControlledShutdown }

// HasOnlineDirectory says whether a replica in the directory is online. Of the
// reserved ids only the lost one is not; a broker that names no directories is
// taken to have every one (KIP-858).
func (b *Broker) HasOnlineDirectory(dir kafka.UUID) bool {
	switch dir {
	case DirUnassigned, DirMigrating:
		return true
	case DirLost:
		return false
	}
	return len(b.Directories) == 0 || slices.Contains(b.Directories, dir)
}

// HasUncordonedDirectory says whether new replicas may be placed on the broker
// (KIP-1066).
func (b *Broker) HasUncordonedDirectory() bool {
	if len(b.Directories) == 0 || b.CordonedDirectories == nil {
		return true
	}
	for _, d := range b.Directories {
		if !slices.Contains(b.CordonedDirectories, d) {
			return true
		}
	}
	return false
}

func (b *Broker) equal(o *Broker) bool {
	return b.ID == o.ID && b.Epoch == o.Epoch && b.IncarnationID == o.IncarnationID &&
		slices.Equal(b.Endpoints, o.Endpoints) && slices.Equal(b.Features, o.Features) &&
		equalString(b.Rack, o.Rack) && b.Fenced == o.Fenced &&
		b.InControlledShutdown == o.InControlledShutdown && b.IsMigratingZkBroker == o.IsMigratingZkBroker &&
		slices.Equal(b.Directories, o.Directories) &&
		(b.CordonedDirectories == nil) == (o.CordonedDirectories == nil) &&
		slices.Equal(b.CordonedDirectories, o.CordonedDirectories)
}

func equalString(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// Controller is the registration of one controller (KIP-919). It never changes.
type Controller struct {
	ID               int32
	IncarnationID    kafka.UUID
	ZkMigrationReady bool
	Endpoints        []Endpoint
	Features         []FeatureRange
}

// Endpoint returns the listener of that name.
func (c *Controller) Endpoint(listener string) (Endpoint, bool) {
	return findEndpoint(c.Endpoints, listener)
}

// Feature returns what the controller supports of a feature.
func (c *Controller) Feature(name string) (FeatureRange, bool) { return findFeature(c.Features, name) }

func (c *Controller) equal(o *Controller) bool {
	return c.ID == o.ID && c.IncarnationID == o.IncarnationID && c.ZkMigrationReady == o.ZkMigrationReady &&
		slices.Equal(c.Endpoints, o.Endpoints) && slices.Equal(c.Features, o.Features)
}

func findEndpoint(all []Endpoint, name string) (Endpoint, bool) {
	for _, e := range all {
		if e.Name == name {
			return e, true
		}
	}
	return Endpoint{}, false
}

func findFeature(all []FeatureRange, name string) (FeatureRange, bool) {
	for _, f := range all {
		if f.Name == name {
			return f, true
		}
	}
	return FeatureRange{}, false
}

// cluster holds the registered nodes, each list sorted by id.
type cluster struct {
	brokers     []*Broker
	controllers []*Controller
}

func compareBrokerID(b *Broker, id int32) int         { return cmp.Compare(b.ID, id) }
func compareControllerID(c *Controller, id int32) int { return cmp.Compare(c.ID, id) }

// Broker returns a broker's registration, or nil.
func (i *Image) Broker(id int32) *Broker {
	if at, ok := slices.BinarySearchFunc(i.cluster.brokers, id, compareBrokerID); ok {
		return i.cluster.brokers[at]
	}
	return nil
}

// Brokers returns the registrations of all brokers, fenced ones too, by id.
func (i *Image) Brokers() []*Broker { return i.cluster.brokers }

// Controller returns a controller's registration, or nil.
func (i *Image) Controller(id int32) *Controller {
	if at, ok := slices.BinarySearchFunc(i.cluster.controllers, id, compareControllerID); ok {
		return i.cluster.controllers[at]
	}
	return nil
}

// Controllers returns the registrations of all controllers by id.
func (i *Image) Controllers() []*Controller { return i.cluster.controllers }
