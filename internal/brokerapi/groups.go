package brokerapi

import (
	"bytes"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// The group plane: handlers that pass a request to the group's coordinator, which is
// a shard of Groups when this broker leads the group's partition of
// __consumer_offsets. The shard answers, now or when the group moves on; no handler
// waits.

// groupTable adds the handlers of the group plane.
func (a *API) groupTable(add func(key, min, max int16, h func(*server.Request))) {
	add(8, 2, 10, a.offsetCommit)
	add(9, 1, 10, a.offsetFetch)
	add(10, 0, 6, a.findCoordinator)
	add(11, 0, 9, a.joinGroup)
	add(12, 0, 4, a.heartbeat)
	add(13, 0, 5, a.leaveGroup)
	add(14, 0, 5, a.syncGroup)
	add(15, 0, 6, a.describeGroups)
	add(16, 0, 5, a.listGroups)
	add(42, 0, 3, a.deleteGroups)
	add(47, 0, 0, a.offsetDelete)
	add(68, 0, 1, a.consumerGroupHeartbeat)
	add(69, 0, 1, a.consumerGroupDescribe)
}

// groupOp is an operation of the group mind for one request.
type groupOp[R kmsg.Request] func(m *group.Machine, nowMs int64, to coord.Token, c coord.Client, req R) coord.Outcome

// toGroup submits req to the coordinator of a group. What the machine keeps of req must
// not alias the request's body. fail makes the response of a code.
func toGroup[R kmsg.Request](a *API, r *server.Request, groupID string, req R, op groupOp[R], fail func(*kafka.Code) kmsg.Response) {
	client := clientOf(r)
	r.ReleaseBody()
	a.Groups.Do(groupID, func(m *group.Machine, nowMs int64, to coord.Token) coord.Outcome {
		return op(m, nowMs, to, client, req)
	}, func(resp kmsg.Response, err error) {
		if err != nil {
			resp = fail(coordinatorCode(err))
		}
		r.Reply(resp)
	})
}

// clientOf says who sent a request, as groups describe their members.
func clientOf(r *server.Request) coord.Client {
	c := coord.Client{Host: "/" + r.ClientHost}
	if id := r.Header.ClientID; id != nil {
		c.ID = *id
	}
	return c
}

// coordinatorCode is the code that a client of a coordinator understands.
func coordinatorCode(err error) *kafka.Code {
	switch code := kafka.CodeOf(err); code {
	case kafka.RequestTimedOut, kafka.NotEnoughReplicas, kafka.UnknownTopicOrPartition:
		return kafka.CoordinatorNotAvailable
	case kafka.NotLeaderOrFollower, kafka.KafkaStorageError:
		return kafka.NotCoordinator
	default:
		return code
	}
}

// gather collects the answers to the parts of one request, which come from any
// goroutine, and calls finish when it has all.
type gather struct {
	mu     sync.Mutex
	left   int // guarded by mu
	finish func()
}

// done runs store, and finish after the last of them.
func (g *gather) done(store func()) {
	g.mu.Lock()
	store()
	g.left--
	last := g.left == 0
	g.mu.Unlock()
	if last {
		g.finish()
	}
}

// perGroup submits one operation a group and calls finish when each has its answer,
// which store gets in any order but one at a time.
func perGroup(a *API, groups []string, op func(i int) func(*group.Machine, int64, coord.Token) coord.Outcome, store func(i int, resp kmsg.Response, err error), finish func()) {
	if len(groups) == 0 {
		finish()
		return
	}
	g := &gather{left: len(groups), finish: finish}
	for i, id := range groups {
		a.Groups.Do(id, op(i), func(resp kmsg.Response, err error) {
			g.done(func() { store(i, resp, err) })
		})
	}
}

// failed turns a function that sets a code into one that makes a response.
func failed[R kmsg.Response](resp R, set func(R, int16)) func(*kafka.Code) kmsg.Response {
	return func(c *kafka.Code) kmsg.Response {
		set(resp, c.Num())
		return resp
	}
}

func cloneBytes(b *[]byte) { *b = bytes.Clone(*b) }
