package controller

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Upgrade types of UpdateFeatures (KIP-584, KIP-778).
const (
	upgradeOnly     int8 = 1
	safeDowngrade   int8 = 2
	unsafeDowngrade int8 = 3
)

// updateFeatures decides UpdateFeatures. Either all updates are made or none.
func (d *decision) updateFeatures(req *kmsg.UpdateFeaturesRequest, resp *kmsg.UpdateFeaturesResponse) Result {
	levels := map[string]int16{}
	for _, f := range d.img.Features() {
		levels[f.Name] = f.Level
	}
	updates := lastUpdates(req.FeatureUpdates)
	for i := range updates {
		levels[updates[i].Feature] = updates[i].MaxVersionLevel
	}
	kraft := int16(0)
	for i := range updates {
		upgrade, err := d.updateFeature(&updates[i], upgradeType(req.Version, &updates[i]), levels)
		if err != nil {
			return Result{Reply: d.featureError(resp, err)}
		}
		kraft = max(kraft, upgrade)
	}
	if resp.Version <= 1 {
		noError := "NONE"
		for i := range req.FeatureUpdates {
			out := kmsg.NewUpdateFeaturesResponseResult()
			out.Feature, out.ErrorMessage = req.FeatureUpdates[i].Feature, &noError
			resp.Results = append(resp.Results, out)
		}
	}
	if req.ValidateOnly {
		return Result{Reply: resp}
	}
	for i := range updates {
		if u := &updates[i]; u.Feature == metadata.FeatureELR && u.MaxVersionLevel > 0 {
			d.records = append(d.elrSafety(), d.records...)
			if !d.elr {
				d.forgetOldELRs()
			}
		}
	}
	res := d.result(resp, true)
	res.UpgradeKRaftVersion = kraft
	return res
}

// lastUpdates keeps the last update of every feature, by name.
func lastUpdates(all []kmsg.UpdateFeaturesRequestFeatureUpdate) []kmsg.UpdateFeaturesRequestFeatureUpdate {
	var out []kmsg.UpdateFeaturesRequestFeatureUpdate
	for i := len(all) - 1; i >= 0; i-- {
		if !slices.ContainsFunc(out, func(u kmsg.UpdateFeaturesRequestFeatureUpdate) bool { return u.Feature == all[i].Feature }) {
			out = append(out, all[i])
		}
	}
	slices.SortFunc(out, func(a, b kmsg.UpdateFeaturesRequestFeatureUpdate) int { return strings.Compare(a.Feature, b.Feature) })
	return out
}

// upgradeType is the type of an update; version 0 has only a flag.
func upgradeType(version int16, u *kmsg.UpdateFeaturesRequestFeatureUpdate) int8 {
	switch {
	case version > 0:
		return u.UpgradeType
	case u.AllowDowngrade:
		return safeDowngrade
	}
	return upgradeOnly
}

func (d *decision) featureError(resp *kmsg.UpdateFeaturesResponse, err error) kmsg.Response {
	num, text := kafka.NumAndText(err)
	whole := "The update failed for all features since the following feature had an error: " + *text
	resp.ErrorCode, resp.ErrorMessage = num, &whole
	return resp
}

func invalidUpdate(u *kmsg.UpdateFeaturesRequestFeatureUpdate, why string) error {
	return kafka.InvalidUpdateVersion.Errorf("Invalid update version %d for feature %s. %s", u.MaxVersionLevel, u.Feature, why)
}

// updateFeature checks one update and adds its record. It returns the level to
// which the quorum must bring kraft.version, 0 for other features.
func (d *decision) updateFeature(u *kmsg.UpdateFeaturesRequestFeatureUpdate, how int8, levels map[string]int16) (int16, error) {
	if how < upgradeOnly || how > unsafeDowngrade {
		return 0, invalidUpdate(u, "The controller does not support the given upgrade type.")
	}
	current, level := d.img.Feature(u.Feature), u.MaxVersionLevel
	if u.Feature == metadata.FeatureKRaftVersion {
		current = d.in.KRaftVersion
	}
	if level < 0 {
		return 0, invalidUpdate(u, "A feature version cannot be less than 0.")
	}
	if why := d.notSupported(u.Feature, level); why != "" {
		return 0, invalidUpdate(u, why)
	}
	switch {
	case level < current && how == upgradeOnly:
		return 0, invalidUpdate(u, "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.")
	case level > current && how != upgradeOnly:
		return 0, invalidUpdate(u, "Can't downgrade to a newer version.")
	}
	switch u.Feature {
	case metadata.FeatureMetadataVersion:
		return 0, d.updateMetadataVersion(metadata.Version(level), how)
	case metadata.FeatureKRaftVersion:
		return d.updateKRaftVersion(u, level, current, how)
	}
	if err := metadata.ValidateFeatureLevel(u.Feature, level, levels); err != nil {
		return 0, invalidUpdate(u, err.Error())
	}
	d.add(featureRecord(u.Feature, level))
	return 0, nil
}

func (d *decision) updateKRaftVersion(u *kmsg.UpdateFeaturesRequestFeatureUpdate, level, current int16, how int8) (int16, error) {
	switch {
	case how != upgradeOnly && level != current:
		return 0, invalidUpdate(u, "Can't downgrade the version of this feature.")
	case how != upgradeOnly || level == current:
		return 0, nil
	}
	// The level lives in the quorum's control records; this record gives the reply
	// an offset to wait for.
	d.add(records.NewNoOpRecord())
	return level, nil
}

func (d *decision) updateMetadataVersion(to metadata.Version, how int8) error {
	if to < d.version && metadata.ChangedBetween(to, d.version) {
		why := "Refusing to perform the requested downgrade because it might delete metadata information."
		if how == unsafeDowngrade {
			why = "Unsafe metadata downgrade is not supported in this version."
		}
		return kafka.InvalidUpdateVersion.Errorf("Unsupported metadata.version downgrade from %d to %d. %s", int16(d.version), int16(to), why)
	}
	d.add(featureRecord(metadata.FeatureMetadataVersion, int16(to)))
	return nil
}

func featureRecord(name string, level int16) *records.FeatureLevelRecord {
	r := records.NewFeatureLevelRecord()
	r.Name, r.FeatureLevel = name, level
	return r
}

// notSupported says which node does not support a level, "" when all do.
func (d *decision) notSupported(name string, level int16) string {
	local := metadata.SupportedFeature(name)
	if why := outsideRange("Local controller "+strconv.Itoa(int(d.cfg.NodeID)), local, level); why != "" {
		return why
	}
	for _, b := range d.img.Brokers() {
		r, _ := b.Feature(name)
		if why := outsideRange("Broker "+strconv.Itoa(int(b.ID)), r, level); why != "" {
			return why
		}
	}
	if !d.version.ControllerRegistrationSupported() {
		return ""
	}
	for _, c := range d.img.Controllers() {
		if c.ID == d.cfg.NodeID {
			continue
		}
		r, _ := c.Feature(name)
		if why := outsideRange("Controller "+strconv.Itoa(int(c.ID)), r, level); why != "" {
			return why
		}
	}
	for _, id := range d.cfg.QuorumNodes {
		if id != d.cfg.NodeID && d.img.Controller(id) == nil {
			return "controller " + strconv.Itoa(int(id)) + " has not registered, and may not support this feature"
		}
	}
	return ""
}

// outsideRange words why a node does not support a level. Level 0 means that the
// feature is off, which every node supports.
func outsideRange(who string, r metadata.FeatureRange, level int16) string {
	switch {
	case r.Contains(level):
		return ""
	case r.Max == 0:
		return who + " does not support this feature."
	case r.Min == r.Max:
		return who + " only supports versions " + strconv.Itoa(int(r.Min))
	}
	return who + " only supports versions " + strconv.Itoa(int(r.Min)) + "-" + strconv.Itoa(int(r.Max))
}

// elrSafety returns the records that make eligible leader replicas safe to turn
// on: min.insync.replicas must be one value for the whole cluster.
func (d *decision) elrSafety() []records.Message {
	var out []records.Message
	if _, ok := d.img.Config(clusterDefault)[configMinISR]; !ok {
		value := strconv.Itoa(d.cfg.Static.MinInsyncReplicas)
		out = append(out, configRecord(clusterDefault, configMinISR, &value))
	}
	for _, r := range d.img.ConfigResources() {
		if r.Type != metadata.ResourceBroker || r.Name == "" {
			continue
		}
		if _, ok := d.img.Config(r)[configMinISR]; ok {
			out = append(out, configRecord(r, configMinISR, nil))
		}
	}
	return out
}
