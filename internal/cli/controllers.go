package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// quorum is a connection to controllers. Controllers serve no Metadata request, by
// which the client finds its way among brokers; so requests go to an address that
// DescribeCluster gave.
type quorum struct {
	opts  []kgo.Opt
	links map[int32]*kgo.Client // by node id
}

func (q *quorum) close() {
	for _, l := range q.links {
		l.Close()
	}
}

// clusterNodes is what DescribeCluster says: the brokers, or the controllers when
// they were asked.
type clusterNodes struct {
	clusterID  string
	controller int32
	nodes      []kmsg.DescribeClusterResponseBroker
}

func (n *clusterNodes) has(id int32) bool {
	return slices.ContainsFunc(n.nodes, func(b kmsg.DescribeClusterResponseBroker) bool { return b.NodeID == id })
}

// ids are the node ids in ascending order.
func (n *clusterNodes) ids() []int32 {
	ids := make([]int32, len(n.nodes))
	for i, b := range n.nodes {
		ids[i] = b.NodeID
	}
	slices.Sort(ids)
	return ids
}

// connectEither connects to brokers, or to controllers when that list is not empty.
func connectEither(servers, controllers string, properties map[string]string) (*cluster, error) {
	if controllers == "" {
		return connect(servers, properties)
	}
	c, err := connect(controllers, properties)
	if err != nil {
		return nil, err
	}
	opts, err := clientOptions(properties)
	if err != nil {
		c.Close()
		return nil, err
	}
	c.quorum = &quorum{opts: append(opts, kgo.RetryTimeout(requestTimeout)), links: map[int32]*kgo.Client{}}
	return c, nil
}

// askActive sends a request to the active controller.
func (c *cluster) askActive(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	n, err := c.describe(ctx)
	if err != nil {
		return nil, err
	}
	if !n.has(n.controller) {
		return nil, errors.New("the quorum has no active controller")
	}
	return c.askController(ctx, n, n.controller, req)
}

// askNode sends a request to one node.
func (c *cluster) askNode(ctx context.Context, id int32, req kmsg.Request) (kmsg.Response, error) {
	if c.quorum == nil {
		return c.Broker(int(id)).RetriableRequest(ctx, req)
	}
	n, err := c.describe(ctx)
	if err != nil {
		return nil, err
	}
	if !n.has(id) {
		return nil, fmt.Errorf("there is no controller %d", id)
	}
	return c.askController(ctx, n, id, req)
}

func (c *cluster) askController(ctx context.Context, n *clusterNodes, id int32, req kmsg.Request) (kmsg.Response, error) {
	link := c.quorum.links[id]
	if link == nil {
		i := slices.IndexFunc(n.nodes, func(b kmsg.DescribeClusterResponseBroker) bool { return b.NodeID == id })
		addr := net.JoinHostPort(n.nodes[i].Host, strconv.Itoa(int(n.nodes[i].Port)))
		var err error
		if link, err = kgo.NewClient(append(slices.Clone(c.quorum.opts), kgo.SeedBrokers(addr))...); err != nil {
			return nil, fmt.Errorf("connecting to controller %d at %s: %w", id, addr, err)
		}
		c.quorum.links[id] = link
	}
	return link.SeedBrokers()[0].RetriableRequest(ctx, req)
}

// describe asks who is in the cluster.
func (c *cluster) describe(ctx context.Context) (*clusterNodes, error) {
	req := kmsg.NewPtrDescribeClusterRequest()
	var resp *kmsg.DescribeClusterResponse
	var err error
	if c.quorum == nil {
		resp, err = req.RequestWith(ctx, c.Client)
	} else {
		req.EndpointType = 2
		for _, seed := range c.SeedBrokers() {
			if resp, err = req.RequestWith(ctx, retrying{seed}); err == nil {
				break
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if err := withMessage(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return nil, err
	}
	return &clusterNodes{clusterID: resp.ClusterID, controller: resp.ControllerID, nodes: resp.Brokers}, nil
}

// retrying sends requests to one node and tries again while that can help.
type retrying struct{ *kgo.Broker }

func (r retrying) Request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	return r.RetriableRequest(ctx, req)
}
