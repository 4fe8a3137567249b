package controller

import (
	"errors"
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestEveryRequestIsDispatched sends an empty request of every key: those that the
// controller handles get a response of their kind, the others an error.
func TestEveryRequestIsDispatched(t *testing.T) {
	w := newWorld(t)
	w.run("boot")
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		req.SetVersion(req.MaxVersion())
		res, err := w.m.Handle(w.input(), req)
		if !Handles(key) {
			if !errors.Is(err, kafka.UnsupportedVersion) {
				t.Errorf("key %d: %v", key, err)
			}
			continue
		}
		if err != nil || reflect.TypeOf(res.Reply) != reflect.TypeOf(req.ResponseKind()) || res.Reply.GetVersion() != req.GetVersion() {
			t.Errorf("key %d: reply %T version %d, %v", key, res.Reply, res.Reply.GetVersion(), err)
		}
	}
}

// TestNothingIsNotNull: Apache Kafka's answers have an empty text or list, or the word
// NONE, where other responses have null.
func TestNothingIsNotNull(t *testing.T) {
	w := newWorld(t)
	w.run("boot")
	handle := func(req kmsg.Request) kmsg.Response {
		req.SetVersion(1)
		if req.Key() == 19 {
			req.SetVersion(7)
		}
		res, err := w.m.Handle(w.input(), req)
		if err != nil {
			t.Fatal(err)
		}
		return res.Reply
	}
	if r := handle(w.createRequest(args{words: []string{"a/b"}})).(*kmsg.CreateTopicsResponse).Topics[0]; r.ErrorCode == 0 || r.Configs == nil {
		t.Errorf("a refused topic: %+v", r)
	}
	move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	move.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "t"}}
	if r := handle(move).(*kmsg.AlterPartitionAssignmentsResponse); r.ErrorMessage != nil {
		t.Errorf("a reassignment: %+v", r)
	}
	if r := handle(kmsg.NewPtrAlterPartitionAssignmentsRequest()).(*kmsg.AlterPartitionAssignmentsResponse); r.ErrorMessage == nil || *r.ErrorMessage != "" {
		t.Errorf("no reassignments: %+v", r)
	}
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.ElectionType, elect.Topics = 9, []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{0, 1}}}
	if r := handle(elect).(*kmsg.ElectLeadersResponse); len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 2 || r.Topics[0].Partitions[1].ErrorCode != r.ErrorCode || r.ErrorCode == 0 {
		t.Errorf("an unknown election: %+v", r)
	}
	update := kmsg.NewPtrUpdateFeaturesRequest()
	update.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: metadata.FeatureMetadataVersion, MaxVersionLevel: w.log.Image().Feature(metadata.FeatureMetadataVersion), UpgradeType: upgradeOnly}}
	r := handle(update).(*kmsg.UpdateFeaturesResponse)
	if len(r.Results) != 1 || r.Results[0].ErrorMessage == nil || *r.Results[0].ErrorMessage != "NONE" {
		t.Errorf("an update that changes nothing: %+v", r)
	}
}

// TestNothingBeforeTheBootstrap asks a controller whose log is empty: every request
// that it knows is refused in full, with a code that makes clients come again.
func TestNothingBeforeTheBootstrap(t *testing.T) {
	w := newWorld(t)
	w.run("boot")
	name := "t"
	requests := []kmsg.Request{
		w.createRequest(args{words: []string{name}}), w.deleteRequest(args{words: []string{name}}),
		w.growRequest(args{words: []string{name}}), w.configRequest("alter", args{words: []string{"topic:t"}}),
		w.configRequest("incremental", args{words: []string{"topic:t"}}),
		&kmsg.DeleteTopicsRequest{TopicNames: []string{name}},
	}
	for key := range int16(kmsg.MaxKey + 1) {
		switch kmsg.Key(key) {
		case kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.CreatePartitions, kmsg.AlterConfigs, kmsg.IncrementalAlterConfigs:
		default:
			if Handles(key) {
				requests = append(requests, kmsg.RequestForKey(key))
			}
		}
	}
	in := Input{Image: metadata.Empty(), NowMs: 1}
	for _, req := range requests {
		res, err := w.m.Handle(in, req)
		if err != nil {
			t.Fatal(err)
		}
		text := print(reflect.ValueOf(res.Reply).Elem())
		if !strings.Contains(text, "NOT_CONTROLLER") || len(res.Records) > 0 {
			t.Errorf("%T: %s, %d records", req, text, len(res.Records))
		}
	}
	if res := w.m.Tick(in); len(res.Records) > 0 {
		t.Error("a tick before the bootstrap writes records")
	}
}

func TestActivateRefuses(t *testing.T) {
	w := newWorld(t)
	w.run("boot mv=3.5")
	m := New(w.cfg, rand.New(rand.NewSource(1)))
	if _, err := m.Activate(Input{Image: metadata.Empty()}, true); err == nil {
		t.Error("an open transaction at a metadata.version without transactions")
	}
	cfg := w.cfg
	cfg.Bootstrap = cfg.Bootstrap[:0:0]
	if _, err := New(cfg, rand.New(rand.NewSource(1))).Activate(Input{Image: metadata.Empty()}, false); err != nil {
		return
	}
	t.Error("bootstrap records without metadata.version were taken")
}

func TestPolicies(t *testing.T) {
	w := newWorld(t)
	w.run("boot mv=3.9")
	var seen []string
	w.cfg.CreateTopicPolicy = func(r TopicPolicyRequest) error {
		seen = append(seen, fmt.Sprint(r.Topic, r.NumPartitions != nil, r.Assignment, r.Configs))
		if strings.HasPrefix(r.Topic, "bad") {
			return errors.New("no such names")
		}
		if strings.HasPrefix(r.Topic, "odd") {
			return kafka.InvalidConfig.Errorf("odd")
		}
		return nil
	}
	w.cfg.AlterConfigPolicy = func(r metadata.ConfigResource, c map[string]*string) error {
		seen = append(seen, fmt.Sprint(r.Name, len(c)))
		if r.Name == "frozen" {
			return errors.New("frozen")
		}
		return nil
	}
	w.activate(false)
	for _, line := range []string{"register 1", "heartbeat 1"} {
		w.run(line)
	}
	cases := []struct{ line, want string }{
		{"create bad1", `POLICY_VIOLATION ErrorMessage:"no such names"`},
		{"create odd1", `INVALID_CONFIG ErrorMessage:"odd"`},
		{"create good1 configs=flush.ms:1", `TopicID`},
		{"create good2 assign=1/1", `TopicID`},
		{"create frozen", `TopicID`},
		{"incremental topic:frozen set:flush.ms=1", `POLICY_VIOLATION ErrorMessage:"frozen"`},
		{"alter topic:good1 set:flush.ms=2 set:retention.ms=1", `ResourceName:"good1"`},
	}
	for _, c := range cases {
		if got := w.run(c.line); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.line, got)
		}
	}
	want := "bad1true map[] map[]|odd1true map[] map[]|good11|good1true map[] map[flush.ms:1]|good2false map[0:[1] 1:[1]] map[]|frozentrue map[] map[]|frozen1|good12"
	if got := strings.Join(seen, "|"); got != want {
		t.Errorf("the policies saw\n%s\nwant\n%s", got, want)
	}
}

// TestPlacementIsEven places many partitions and counts leaders and replicas.
func TestPlacementIsEven(t *testing.T) {
	w := newWorld(t)
	w.run("boot mv=3.9")
	for i := 1; i <= 6; i++ {
		w.run(fmt.Sprintf("register %d rack=r%d", i, i%3))
		w.run(fmt.Sprintf("heartbeat %d", i))
	}
	w.run("create t partitions=600 rf=3")
	leaders, replicas := map[int32]int{}, map[int32]int{}
	for _, p := range w.log.Image().Topic("t").Partitions() {
		leaders[p.Leader]++
		racks := map[string]bool{}
		for _, id := range p.Replicas {
			replicas[id]++
			racks[*w.log.Image().Broker(id).Rack] = true
		}
		if len(racks) != 3 {
			t.Fatalf("replicas %v are on %d racks", p.Replicas, len(racks))
		}
	}
	for id := int32(1); id <= 6; id++ {
		if leaders[id] < 80 || leaders[id] > 120 || replicas[id] < 270 || replicas[id] > 330 {
			t.Errorf("broker %d leads %d and holds %d", id, leaders[id], replicas[id])
		}
	}
}

// TestNewTopicsTellOfTheDefaultsOfNow: the configs in the answer follow the cluster's
// and the broker's dynamic values, one decision after another.
func TestNewTopicsTellOfTheDefaultsOfNow(t *testing.T) {
	w := newWorld(t)
	for _, line := range []string{"boot mv=3.9", "register 1", "heartbeat 1"} {
		w.run(line)
	}
	for i, step := range []struct{ change, want string }{
		{"", "604800000"},
		{"incremental broker: set:log.retention.ms=5", "5"},
		{"incremental broker: set:log.retention.ms=6", "6"},
		{"incremental broker:1 set:log.retention.ms=7", "7"},
		{"incremental broker:1 delete:log.retention.ms", "6"},
		{"incremental broker: delete:log.retention.ms", "604800000"},
	} {
		if step.change != "" {
			w.run(step.change)
		}
		res, err := w.m.Handle(w.input(), w.createRequest(parseArgs([]string{fmt.Sprint("t", i)})))
		if err != nil {
			t.Fatal(err)
		}
		got := "nothing"
		for _, c := range res.Reply.(*kmsg.CreateTopicsResponse).Topics[0].Configs {
			if c.Name == "retention.ms" {
				got = *c.Value
			}
		}
		if got != step.want {
			t.Errorf("after %q: retention.ms %s, want %s", step.change, got, step.want)
		}
	}
}
