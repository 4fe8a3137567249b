package controller

import (
	"slices"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// noPreviousEpoch is told apart from -1, with which a broker says that it does not
// know the epoch of its incarnation before.
const noPreviousEpoch int64 = -2

// registerBroker decides BrokerRegistration. The registration's epoch is an offset
// of the metadata log, so every incarnation has a higher one.
func (d *decision) registerBroker(req *kmsg.BrokerRegistrationRequest, resp *kmsg.BrokerRegistrationResponse) Result {
	if err := d.checkRegistration(req); err != nil {
		return Result{Reply: fail(req, resp, err)}
	}
	existing := d.img.Broker(req.BrokerID)
	r := d.registration(req)
	if existing != nil && existing.IncarnationID == kafka.UUID(req.IncarnationID) {
		r.Fenced, r.InControlledShutdown = existing.Fenced, existing.InControlledShutdown
		r.BrokerEpoch = existing.Epoch
	} else {
		d.dropIncarnation(existing, req)
		r.BrokerEpoch = d.in.NextOffset
		if existing != nil {
			// The next offset is above every offset in the image, this only guards it.
			r.BrokerEpoch = max(r.BrokerEpoch, existing.Epoch+1)
		}
		delete(d.sessions.byID, req.BrokerID)
	}
	// The registration comes last: if the records before it are all that gets
	// written, the broker asks again and the rest is done then.
	d.add(r)
	b := &metadata.Broker{ID: r.BrokerID, Epoch: r.BrokerEpoch}
	d.sessions.of(b).registeredAt = d.in.NextOffset + kafka.Offset(len(d.records)) - 1
	resp.BrokerEpoch = r.BrokerEpoch
	return d.result(resp, false)
}

// dropIncarnation cleans up after the incarnation before: whatever it led or was
// in sync with, it is not now. After a stop that was not clean it is not eligible either.
//
// After one that was clean every directory that the broker has now is whole, so that one
// which it does not name was taken from it, and replicas there will begin without their
// records: for them the stop was not clean. Apache Kafka keeps those eligible. A replica that
// may have been there is marked as lost, so that it does not lead before the broker has said
// where it is.
func (d *decision) dropIncarnation(existing *metadata.Broker, req *kmsg.BrokerRegistrationRequest) {
	id := req.BrokerID
	stored := noPreviousEpoch
	if existing != nil {
		stored = existing.Epoch
	}
	clean := req.Version >= 3 && req.PreviousBrokerEpoch == stored
	b := brokerChange{remove: id, add: metadata.NoLeader, unclean: metadata.NoLeader}
	if !clean && d.elr {
		b.remove, b.unclean = metadata.NoLeader, id
	}
	lost := func(p *metadata.Partition) bool { return d.losesDirectory(p, existing, req) }
	b.also = func(c *change) {
		if !lost(c.old) {
			return
		}
		c.moved, c.movedTo = id, c.old.Directory(id)
		if unknownDirectory(c.movedTo) {
			c.movedTo = metadata.DirLost
		}
		if clean {
			c.emptied, c.uncleanShutdown = true, id
		}
	}
	d.changePartitions(b, func(p *metadata.Partition) bool {
		counted := p.InELR(id) || slices.Contains(p.LastKnownELR, id)
		return p.InISR(id) || b.unclean == id && p.InELR(id) || counted && lost(p)
	})
}

func (d *decision) checkRegistration(req *kmsg.BrokerRegistrationRequest) error {
	if req.ClusterID != d.cfg.ClusterID {
		return kafka.InconsistentClusterID.Errorf("Expected cluster ID %s, but got cluster ID %s", d.cfg.ClusterID, req.ClusterID)
	}
	incarnation := kafka.UUID(req.IncarnationID)
	if b := d.img.Broker(req.BrokerID); b != nil && b.IncarnationID != incarnation && d.sessions.valid(b, d.in.NowMs) && !d.isLocal(req) {
		return kafka.DuplicateBrokerRegistration.Errorf("Another broker is registered with that broker id. If the broker was recently restarted this should self-resolve once the heartbeat manager expires the broker's session.")
	}
	if req.BrokerID < 0 {
		return kafka.InvalidRegistration.Errorf("Broker id %d is negative", req.BrokerID)
	}
	if req.IsMigratingZkBroker {
		return kafka.BrokerIDNotRegistered.Errorf("Controller does not support registering ZK brokers.")
	}
	if d.version.DirectoryAssignmentSupported() {
		if err := d.checkDirectories(req); err != nil {
			return err
		}
	}
	for i := range req.Listeners {
		l := &req.Listeners[i]
		if config.ProtocolByID(l.SecurityProtocol) == "" {
			return kafka.InvalidRegistration.Errorf("Unknown security protocol %d in listener %s", l.SecurityProtocol, l.Name)
		}
	}
	return d.checkBrokerFeatures(req)
}

// isLocal says whether the request comes from the broker in this process.
func (d *decision) isLocal(req *kmsg.BrokerRegistrationRequest) bool {
	return req.BrokerID == d.cfg.NodeID && !d.cfg.LocalIncarnation.IsZero() &&
		kafka.UUID(req.IncarnationID) == d.cfg.LocalIncarnation
}

func (d *decision) checkDirectories(req *kmsg.BrokerRegistrationRequest) error {
	if len(req.LogDirs) == 0 {
		return kafka.InvalidRegistration.Errorf("No directories specified in request")
	}
	for i, raw := range req.LogDirs {
		dir := kafka.UUID(raw)
		if metadata.ReservedDirectory(dir) {
			return kafka.InvalidRegistration.Errorf("Reserved directory ID in request")
		}
		if slices.Contains(req.LogDirs[:i], raw) {
			return kafka.InvalidRegistration.Errorf("Duplicate directory ID in request")
		}
		for _, b := range d.img.Brokers() {
			if b.ID != req.BrokerID && slices.Contains(b.Directories, dir) {
				return kafka.InvalidRegistration.Errorf("Broker %d is already registered with directory %s", b.ID, dir)
			}
		}
	}
	return nil
}

// checkBrokerFeatures fails unless the broker supports every finalised level.
func (d *decision) checkBrokerFeatures(req *kmsg.BrokerRegistrationRequest) error {
	supported := map[string]metadata.FeatureRange{}
	for i := range req.Features {
		f := &req.Features[i]
		r := metadata.FeatureRange{Name: f.Name, Min: f.MinSupportedVersion, Max: f.MaxSupportedVersion}
		supported[f.Name] = r
		if level := d.img.Feature(f.Name); !r.Contains(level) && f.Name != metadata.FeatureKRaftVersion {
			return unsupportedFeature(r, level)
		}
	}
	if _, ok := supported[metadata.FeatureMetadataVersion]; !ok {
		return kafka.InvalidRegistration.Errorf("Request features do not contain '%s'", metadata.FeatureMetadataVersion)
	}
	for _, f := range d.img.Features() {
		if r, ok := supported[f.Name]; !ok && !r.Contains(f.Level) {
			r.Name = f.Name
			return unsupportedFeature(r, f.Level)
		}
	}
	if r, ok := supported[metadata.FeatureKRaftVersion]; (ok || d.in.KRaftVersion > 0) && !r.Contains(d.in.KRaftVersion) {
		r.Name = metadata.FeatureKRaftVersion
		return unsupportedFeature(r, d.in.KRaftVersion)
	}
	return nil
}

func unsupportedFeature(r metadata.FeatureRange, level int16) error {
	return kafka.UnsupportedVersion.Errorf("Unable to register because the broker does not support finalized version %d of %s. The broker wants a version between %d and %d, inclusive.", level, r.Name, r.Min, r.Max)
}

// registration is the record of the request, fenced and without its epoch.
func (d *decision) registration(req *kmsg.BrokerRegistrationRequest) *records.RegisterBrokerRecord {
	r := records.NewRegisterBrokerRecord()
	r.Version = d.version.RegisterBrokerRecordVersion()
	r.BrokerID, r.IncarnationID, r.Rack = req.BrokerID, req.IncarnationID, req.Rack
	for i := range req.Listeners {
		l := &req.Listeners[i]
		r.EndPoints = append(r.EndPoints, records.BrokerEndpoint{Name: l.Name, Host: l.Host, Port: l.Port, SecurityProtocol: l.SecurityProtocol})
	}
	for i := range req.Features {
		f := &req.Features[i]
		r.Features = append(r.Features, records.BrokerFeature{Name: f.Name, MinSupportedVersion: f.MinSupportedVersion, MaxSupportedVersion: f.MaxSupportedVersion})
	}
	if d.version.DirectoryAssignmentSupported() {
		for _, dir := range req.LogDirs {
			r.LogDirs = append(r.LogDirs, dir)
		}
	}
	return r
}

// unregisterBroker decides UnregisterBroker.
func (d *decision) unregisterBroker(req *kmsg.UnregisterBrokerRequest, resp *kmsg.UnregisterBrokerResponse) Result {
	b := d.img.Broker(req.BrokerID)
	if b == nil {
		return Result{Reply: fail(req, resp, kafka.BrokerIDNotRegistered.Errorf("Broker ID %d is not currently registered", req.BrokerID))}
	}
	d.changePartitions(brokerChange{remove: b.ID, add: metadata.NoLeader, unclean: metadata.NoLeader},
		func(p *metadata.Partition) bool { return p.InISR(b.ID) || p.InELR(b.ID) })
	if len(d.records) >= maxRecordsPerOp {
		return Result{Reply: fail(req, resp, tooLarge())}
	}
	r := records.NewUnregisterBrokerRecord()
	r.BrokerID, r.BrokerEpoch = b.ID, b.Epoch
	d.add(r)
	delete(d.sessions.byID, b.ID)
	return d.result(resp, false)
}
