package cli

import (
	"context"
	"errors"
	"net"
	"strings"
	"unicode"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/wire"
)

// Request sends a request to whichever node serves it: the active controller when
// the command is connected to controllers.
func (c *cluster) Request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if c.quorum != nil {
		if api := wire.Lookup(req.Key()); api != nil && !api.Controller {
			return nil, unserved(req)
		}
		return c.askActive(ctx, req)
	}
	resp, err := c.Client.Request(ctx, req)
	if err == nil || ctx.Err() != nil || errors.As(err, new(*kerr.Error)) || errors.As(err, new(net.Error)) {
		return resp, err
	}
	// The client does not say by a value of its own that brokers lack a request.
	if !c.supports(ctx, req.Key()) {
		return nil, unserved(req)
	}
	return nil, err
}

func unserved(req kmsg.Request) error {
	return messageOr(kerr.UnsupportedVersion, "The node does not support "+requestName(req.Key()))
}

// requestName is a request's name as Kafka's messages have it: DESCRIBE_CONFIGS.
func requestName(key int16) string {
	var b strings.Builder
	for i, r := range wire.Name(key) {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}
