package metadata

import (
	"fmt"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// clusterDelta holds the nodes that changed; nil stands for unregistered.
type clusterDelta struct {
	brokers     map[int32]*Broker
	controllers map[int32]*Controller
}

func (c *clusterDelta) setBroker(id int32, b *Broker) {
	if c.brokers == nil {
		c.brokers = map[int32]*Broker{}
	}
	c.brokers[id] = b
}

func (c *clusterDelta) setController(id int32, n *Controller) {
	if c.controllers == nil {
		c.controllers = map[int32]*Controller{}
	}
	c.controllers[id] = n
}

func brokerFromRecord(r *records.RegisterBrokerRecord) *Broker {
	b := &Broker{
		ID: r.BrokerID, Epoch: r.BrokerEpoch, IncarnationID: r.IncarnationID, Rack: r.Rack,
		Fenced: r.Fenced, InControlledShutdown: r.InControlledShutdown, IsMigratingZkBroker: r.IsMigratingZkBroker,
		Directories: sortedDirs(r.LogDirs), CordonedDirectories: sortedDirs(r.CordonedLogDirs),
	}
	for _, e := range r.EndPoints {
		b.Endpoints = append(b.Endpoints, Endpoint{e.Name, e.Host, e.Port, e.SecurityProtocol})
	}
	for _, f := range r.Features {
		b.Features = append(b.Features, FeatureRange{f.Name, f.MinSupportedVersion, f.MaxSupportedVersion})
	}
	return b
}

// sortedDirs copies and sorts; nil stays nil.
func sortedDirs(dirs []kafka.UUID) []kafka.UUID {
	dirs = slices.Clone(dirs)
	slices.SortFunc(dirs, compareUUID)
	return dirs
}

func (b *Broker) record(v Version) *records.RegisterBrokerRecord {
	r := records.NewRegisterBrokerRecord()
	r.Version = v.RegisterBrokerRecordVersion()
	r.BrokerID, r.BrokerEpoch, r.IncarnationID, r.Rack = b.ID, b.Epoch, b.IncarnationID, b.Rack
	r.Fenced, r.InControlledShutdown, r.IsMigratingZkBroker = b.Fenced, b.InControlledShutdown, b.IsMigratingZkBroker
	r.LogDirs, r.CordonedLogDirs = b.Directories, b.CordonedDirectories
	for _, e := range b.Endpoints {
		r.EndPoints = append(r.EndPoints, records.BrokerEndpoint{Name: e.Name, Host: e.Host, Port: e.Port, SecurityProtocol: e.SecurityProtocol})
	}
	for _, f := range b.Features {
		r.Features = append(r.Features, records.BrokerFeature{Name: f.Name, MinSupportedVersion: f.Min, MaxSupportedVersion: f.Max})
	}
	return r
}

func controllerFromRecord(r *records.RegisterControllerRecord) *Controller {
	c := &Controller{ID: r.ControllerID, IncarnationID: r.IncarnationID, ZkMigrationReady: r.ZkMigrationReady}
	for _, e := range r.EndPoints {
		c.Endpoints = append(c.Endpoints, Endpoint{e.Name, e.Host, e.Port, e.SecurityProtocol})
	}
	for _, f := range r.Features {
		c.Features = append(c.Features, FeatureRange{f.Name, f.MinSupportedVersion, f.MaxSupportedVersion})
	}
	return c
}

func (c *Controller) record() *records.RegisterControllerRecord {
	r := records.NewRegisterControllerRecord()
	r.ControllerID, r.IncarnationID, r.ZkMigrationReady = c.ID, c.IncarnationID, c.ZkMigrationReady
	for _, e := range c.Endpoints {
		r.EndPoints = append(r.EndPoints, records.ControllerEndpoint{Name: e.Name, Host: e.Host, Port: e.Port, SecurityProtocol: e.SecurityProtocol})
	}
	for _, f := range c.Features {
		r.Features = append(r.Features, records.ControllerFeature{Name: f.Name, MinSupportedVersion: f.Min, MaxSupportedVersion: f.Max})
	}
	return r
}

// changeBroker applies change to a copy of the registration with that epoch.
func (d *Delta) changeBroker(id int32, epoch int64, change func(*Broker)) error {
	b, ok := d.cluster.brokers[id]
	if !ok {
		b = d.from.Broker(id)
	}
	if b == nil {
		return fmt.Errorf("change of broker %d: it is not registered", id)
	}
	if b.Epoch != epoch {
		return fmt.Errorf("change of broker %d: the record's epoch is %d, the broker's is %d", id, epoch, b.Epoch)
	}
	n := *b
	change(&n)
	if !n.equal(b) {
		d.cluster.setBroker(id, &n)
	}
	return nil
}

func (d *Delta) replayBrokerChange(r *records.BrokerRegistrationChangeRecord) error {
	if r.Fenced < -1 || r.Fenced > 1 {
		return fmt.Errorf("change of broker %d: unknown value %d of fenced", r.BrokerID, r.Fenced)
	}
	if r.InControlledShutdown < 0 || r.InControlledShutdown > 1 {
		return fmt.Errorf("change of broker %d: unknown value %d of inControlledShutdown", r.BrokerID, r.InControlledShutdown)
	}
	return d.changeBroker(r.BrokerID, r.BrokerEpoch, func(b *Broker) {
		switch r.Fenced {
		case 1:
			b.Fenced = true
		case -1:
			b.Fenced = false
		}
		if r.InControlledShutdown == 1 {
			b.InControlledShutdown = true
		}
		if len(r.LogDirs) > 0 {
			b.Directories = sortedDirs(r.LogDirs)
		}
		if r.CordonedLogDirs != nil {
			b.CordonedDirectories = sortedDirs(r.CordonedLogDirs)
		}
	})
}

func (d *Delta) applyCluster() cluster {
	c := d.from.cluster
	if len(d.cluster.brokers) > 0 {
		c.brokers = slices.Clone(c.brokers)
		for _, id := range sortedKeys(d.cluster.brokers) {
			c.brokers = replaceSorted(c.brokers, id, d.cluster.brokers[id], compareBrokerID)
		}
	}
	if len(d.cluster.controllers) > 0 {
		c.controllers = slices.Clone(c.controllers)
		for _, id := range sortedKeys(d.cluster.controllers) {
			c.controllers = replaceSorted(c.controllers, id, d.cluster.controllers[id], compareControllerID)
		}
	}
	if d.from != d.base {
		d.cluster.compareTo(d.base.cluster)
	}
	return c
}

// replaceSorted puts n at its place in list, or removes what is there when n is
// nil.
func replaceSorted[N any](list []*N, id int32, n *N, compare func(*N, int32) int) []*N {
	at, found := slices.BinarySearchFunc(list, id, compare)
	switch {
	case found && n == nil:
		return slices.Delete(list, at, at+1)
	case found:
		list[at] = n
	case n != nil:
		return slices.Insert(list, at, n)
	}
	return list
}

// compareTo leaves only the differences to base, after a snapshot.
func (c *clusterDelta) compareTo(base cluster) {
	for _, old := range base.brokers {
		if b, ok := c.brokers[old.ID]; !ok {
			c.setBroker(old.ID, nil)
		} else if b != nil && b.equal(old) {
			delete(c.brokers, old.ID)
		}
	}
	for _, old := range base.controllers {
		if n, ok := c.controllers[old.ID]; !ok {
			c.setController(old.ID, nil)
		} else if n != nil && n.equal(old) {
			delete(c.controllers, old.ID)
		}
	}
}
