package main

import "github.com/twmb/franz-go/pkg/kmsg"

// operationRequests are those of an operator: elections, reassignments, features.
func operationRequests(o *oracle) {
	for _, c := range []struct {
		name  string
		kind  int8
		topic string
		parts []int32
	}{{"preferred", 0, "seen", []int32{0}}, {"unclean", 1, "seen", []int32{0}}, {"an unknown kind", 9, "seen", []int32{0}}, {"an unknown topic", 0, "never-made", []int32{0}}, {"an unknown partition", 0, "seen", []int32{9}}, {"no partitions", 0, "seen", []int32{}}} {
		o.each(43, func(v int16) {
			if v == 0 && c.kind != 0 {
				return
			}
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrElectLeadersRequest()
				r.ElectionType, r.TimeoutMillis = c.kind, timeoutMs
				t := kmsg.NewElectLeadersRequestTopic()
				t.Topic, t.Partitions = c.topic, c.parts
				r.Topics = append(r.Topics, t)
				return r
			})
		})
	}
	for _, c := range []struct {
		name, topic string
		partition   int32
		replicas    []int32
		change      bool
	}{{"to where it is", "seen", 0, []int32{1}, true}, {"to an unknown broker", "seen", 0, []int32{7}, true}, {"to no broker", "seen", 0, []int32{}, true}, {"to one twice", "seen", 0, []int32{1, 1}, true}, {"to a negative one", "seen", 0, []int32{-1}, true},
		{"cancel what is not", "seen", 0, nil, true}, {"an unknown topic", "never-made", 0, []int32{1}, true}, {"an unknown partition", "seen", 9, []int32{1}, true}, {"another number of replicas", "seen", 0, []int32{1, 2}, false}} {
		o.each(45, func(v int16) {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrAlterPartitionAssignmentsRequest()
				r.TimeoutMillis, r.AllowReplicationFactorChange = timeoutMs, c.change
				t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
				t.Topic = c.topic
				p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
				p.Partition, p.Replicas = c.partition, c.replicas
				t.Partitions = append(t.Partitions, p)
				r.Topics = append(r.Topics, t)
				return r
			})
		})
	}
	for _, topic := range []string{"", "seen", "never-made"} {
		o.each(46, func(v int16) {
			o.ask("reassignments of "+topic, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrListPartitionReassignmentsRequest()
				r.TimeoutMillis = timeoutMs
				if topic != "" {
					t := kmsg.NewListPartitionReassignmentsRequestTopic()
					t.Topic, t.Partitions = topic, []int32{0, 9}
					r.Topics = append(r.Topics, t)
				}
				return r
			})
		})
	}
	features(o)
	o.each(64, func(v int16) {
		o.ask("an unknown broker", v, func(*side) kmsg.Request {
			r := kmsg.NewPtrUnregisterBrokerRequest()
			r.BrokerID = 99
			return r
		})
	})
	for _, cluster := range []*string{nil, str("A1b2C3d4E5f6G7h8I9j0Kw"), str("elsewhere")} {
		o.each(81, func(v int16) {
			o.ask("removes an unknown voter", v, func(*side) kmsg.Request {
				r := kmsg.NewPtrRemoveRaftVoterRequest()
				r.ClusterID, r.VoterID, r.VoterDirectoryID = cluster, 77, [16]byte{1}
				return r
			})
		})
	}
}

func features(o *oracle) {
	for _, c := range []struct {
		name, feature string
		level         int16
		kind          int8
		downgrade     bool
	}{{"an unknown feature", "no.such.feature", 1, 1, false}, {"a level too high", "metadata.version", 999, 1, false}, {"what it is", "group.version", 1, 1, false}, {"lower as an upgrade", "transaction.version", 1, 1, false},
		{"an unsafe downgrade", "metadata.version", 7, 2, true}, {"a negative level", "metadata.version", -1, 1, false}, {"off", "metadata.version", 0, 2, true}, {"an unknown kind", "group.version", 1, 9, false}, {"kraft.version", "kraft.version", 1, 1, false}} {
		o.each(57, func(v int16) {
			for _, only := range []bool{true, false} {
				if only && v == 0 {
					continue
				}
				o.ask(c.name, v, func(*side) kmsg.Request {
					r := kmsg.NewPtrUpdateFeaturesRequest()
					r.TimeoutMillis, r.ValidateOnly = timeoutMs, only
					f := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
					f.Feature, f.MaxVersionLevel, f.UpgradeType, f.AllowDowngrade = c.feature, c.level, c.kind, c.downgrade
					r.FeatureUpdates = append(r.FeatureUpdates, f)
					return r
				})
			}
		})
	}
}
