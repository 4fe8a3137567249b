package brokerapi

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// sessionReq is fetchReq within a session.
func sessionReq(topic string, id, epoch int32, offset int64, partitions ...int32) *kmsg.FetchRequest {
	req := fetchReq(topic, offset, partitions...)
	if len(partitions) == 0 {
		req.Topics = nil
	}
	req.SessionID, req.SessionEpoch, req.MaxWaitMillis = id, epoch, 0
	return req
}

func TestSessionLeavesOutWhatTheClientKnows(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 3, []int32{1})
	c := k.client()
	c.mustProduce("t", 1, "a")
	full := c.do(sessionReq("t", 0, 0, 0, 0, 1, 2)).(*kmsg.FetchResponse)
	if full.SessionID == 0 || len(full.Topics[0].Partitions) != 3 {
		t.Fatalf("%+v", full)
	}
	id := full.SessionID
	next := c.do(sessionReq("t", id, 1, 1, 1)).(*kmsg.FetchResponse)
	if next.SessionID != id || len(next.Topics) != 0 {
		t.Fatalf("nothing is new, answered %+v", next)
	}
	c.mustProduce("t", 2, "b")
	next = c.do(sessionReq("t", id, 2, 0)).(*kmsg.FetchResponse)
	if len(next.Topics) != 1 || len(next.Topics[0].Partitions) != 1 || next.Topics[0].Partitions[0].Partition != 2 {
		t.Fatalf("one partition is new, answered %+v", next)
	}
	for _, tc := range []struct {
		id, epoch int32
		want      *kafka.Code
	}{{id, 2, kafka.InvalidFetchSessionEpoch}, {id, 9, kafka.InvalidFetchSessionEpoch}, {id + 1, 3, kafka.FetchSessionIDNotFound}, {-5, 3, kafka.FetchSessionIDNotFound}} {
		r := c.do(sessionReq("t", tc.id, tc.epoch, 0)).(*kmsg.FetchResponse)
		wantCode(t, fmt.Sprint(tc.id, tc.epoch), r.ErrorCode, tc.want)
	}
	// A full fetch ends the session that it names.
	c.do(sessionReq("t", id, -1, 0, 0))
	r := c.do(sessionReq("t", id, 3, 0)).(*kmsg.FetchResponse)
	wantCode(t, "after the end", r.ErrorCode, kafka.FetchSessionIDNotFound)
	if s := k.api.SessionStats(); s.Sessions != 0 || s.Partitions != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestSessionsOfTopicIDs(t *testing.T) {
	k := newKit(t, nil)
	id := k.topic1("t")
	c := k.client()
	req := sessionReq("t", 0, 0, 0, 0)
	req.Version, req.Topics[0].TopicID = 13, id
	resp := c.do(req).(*kmsg.FetchResponse)
	// By name within a session of ids.
	old := sessionReq("t", resp.SessionID, 1, 0)
	wantCode(t, "names", c.do(old).(*kmsg.FetchResponse).ErrorCode, kafka.FetchSessionTopicIDError)
	next := func(epoch int32) kmsg.FetchResponseTopicPartition {
		req := sessionReq("", resp.SessionID, epoch, 0)
		req.Version = 13
		return fetched(t, c.do(req))
	}
	k.deleteTopic(id)
	wantCode(t, "deleted", next(1).ErrorCode, kafka.UnknownTopicOrPartition)
	k.topic1("t")
	wantCode(t, "recreated", next(2).ErrorCode, kafka.InconsistentTopicID)
}

// TestPartitionsTakeTurns: with a limit that one partition fills, each gets its turn.
func TestPartitionsTakeTurns(t *testing.T) {
	k := newKit(t, nil)
	k.topic("t", 3, []int32{1})
	c := k.client()
	for p := range int32(3) {
		for range 4 {
			c.mustProduce("t", p, strings.Repeat("x", 200))
		}
	}
	req := sessionReq("t", 0, 0, 0, 0, 1, 2)
	req.MaxBytes = 1
	resp := c.do(req).(*kmsg.FetchResponse)
	var order []int32
	offsets := map[int32]int64{}
	for epoch := int32(1); epoch <= 6; epoch++ {
		next := sessionReq("t", resp.SessionID, epoch, 0)
		next.MaxBytes = 1
		for p, off := range offsets {
			r := sessionReq("t", 0, 0, off, p)
			next.Topics = append(next.Topics, r.Topics...)
		}
		for _, p := range fetched1(c.do(next)) {
			if len(p.RecordBatches) > 0 {
				order = append(order, p.Partition)
				offsets[p.Partition]++
			}
		}
	}
	slices.Sort(order)
	if fmt.Sprint(order) != "[0 0 1 1 2 2]" {
		t.Fatalf("served %v", order)
	}
}

// fetched1 lists all partitions of an answer.
func fetched1(resp kmsg.Response) (out []kmsg.FetchResponseTopicPartition) {
	for _, t := range resp.(*kmsg.FetchResponse).Topics {
		out = append(out, t.Partitions...)
	}
	return out
}

// TestSessionClientSeesEverything is trap N8: a client that only looks at what the
// broker sends within its session, adds and forgets partitions, and now and then loses
// its session, ends with the same records as the log and the right high watermarks.
func TestSessionClientSeesEverything(t *testing.T) {
	for seed := uint64(0); seed < 5; seed++ {
		rng := rand.New(rand.NewPCG(seed, 5))
		k := newKit(t, map[string]string{"max.incremental.fetch.session.cache.slots": "16"})
		const parts = 6
		k.topic("t", parts, []int32{1})
		c, producer := k.client(), k.client()
		var want, got [parts][]string
		var offset, hw [parts]int64
		follows := map[int32]bool{}
		sent := map[int32]int64{} // what the session knows
		id, epoch := int32(0), int32(0)
		round := func(finish bool) {
			req := sessionReq("t", id, epoch, 0)
			if rng.IntN(15) == 0 && !finish {
				req.SessionEpoch += 5
			}
			ft := kmsg.NewFetchRequestForgottenTopic()
			ft.Topic = "t"
			for p := range int32(parts) {
				was, now := follows[p], finish || rng.IntN(4) > 0
				if epoch == 0 {
					was = false
				}
				switch {
				case now && (!was || sent[p] != offset[p]):
					req.Topics = append(req.Topics, sessionReq("t", 0, 0, offset[p], p).Topics...)
					sent[p] = offset[p]
				case !now && was:
					ft.Partitions = append(ft.Partitions, p)
				}
				follows[p] = now
			}
			if epoch > 0 && len(ft.Partitions) > 0 {
				req.ForgottenTopics = append(req.ForgottenTopics, ft)
			}
			resp := c.do(req).(*kmsg.FetchResponse)
			if resp.ErrorCode != 0 {
				id, epoch = 0, 0
				clear(follows)
				return
			}
			for _, p := range fetched1(resp) {
				if p.ErrorCode != 0 || !follows[p.Partition] {
					t.Fatalf("seed %d: %+v, follows %v", seed, p, follows)
				}
				v := values(t, p.RecordBatches, offset[p.Partition])
				got[p.Partition] = append(got[p.Partition], v...)
				offset[p.Partition] += int64(len(v))
				hw[p.Partition] = p.HighWatermark
			}
			id, epoch = resp.SessionID, epoch+1
			if id == 0 {
				epoch = 0
			}
		}
		for i := range 120 {
			for range rng.IntN(3) {
				p := rng.Int32N(parts)
				v := fmt.Sprint(i, p)
				producer.mustProduce("t", p, v)
				want[p] = append(want[p], v)
			}
			round(false)
		}
		for range 4 {
			round(true)
		}
		for p := range parts {
			if !slices.Equal(got[p], want[p]) || hw[p] != int64(len(want[p])) {
				t.Fatalf("seed %d partition %d: got %v (high watermark %d), want %v", seed, p, got[p], hw[p], want[p])
			}
		}
		k.stop()
	}
}
