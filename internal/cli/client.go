package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
)

// defaultBootstrap is where gregor's own commands look when they are told nothing.
const defaultBootstrap = "localhost:9092"

// requestTimeout bounds how long a command tries before it reports that a cluster
// does not answer; it is default.api.timeout.ms of Kafka's admin client.
const requestTimeout = 60 * time.Second

// cluster is a command's connection to a cluster. Close it.
type cluster struct {
	*kgo.Client
	Admin *kadm.Client
	Seeds []string
	// quorum is set when Seeds are controllers.
	quorum *quorum
	// patience is how long a command waits for a node to come up.
	patience time.Duration
}

// Close ends the connections.
func (c *cluster) Close() {
	c.Client.Close()
	if c.quorum != nil {
		c.quorum.close()
	}
}

// connect makes a client for a comma-separated list of host:port. properties are
// those of a command-config file, or nil. Nothing is sent until the first request.
func connect(bootstrap string, properties map[string]string, more ...kgo.Opt) (*cluster, error) {
	seeds, err := parseBootstrap(bootstrap)
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(seeds...),
		kgo.ClientID(orDefault(properties["client.id"], "gregor-cli")),
		kgo.RetryTimeout(requestTimeout),
		kgo.MetadataMinAge(100 * time.Millisecond), // a topic made just now is found at once
	}
	fromProps, err := clientOptions(properties)
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(append(opts, fromProps...), more...)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", bootstrap, err)
	}
	c := &cluster{Client: cl, Admin: kadm.NewClient(cl), Seeds: seeds, patience: requestTimeout}
	if ms, err := strconv.Atoi(strings.TrimSpace(properties["default.api.timeout.ms"])); err == nil {
		c.patience = time.Duration(ms) * time.Millisecond
	}
	return c, nil
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// parseBootstrap checks a list of host:port before anything is dialled.
func parseBootstrap(list string) ([]string, error) {
	var seeds []string
	for _, s := range strings.Split(list, ",") {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		_, port, err := net.SplitHostPort(s)
		if err != nil {
			return nil, fmt.Errorf("invalid url in bootstrap.servers: %s (give host:port)", s)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("invalid port in bootstrap.servers: %s", s)
		}
		seeds = append(seeds, s)
	}
	if len(seeds) == 0 {
		return nil, errors.New("no resolvable bootstrap urls given in bootstrap.servers")
	}
	return seeds, nil
}

// clientOptions turns the keys of a client's property file into options. Keys that
// only the Java client has are passed over, as that client does with unknown ones.
func clientOptions(properties map[string]string) ([]kgo.Opt, error) {
	var opts []kgo.Opt
	if p := strings.ToUpper(properties["security.protocol"]); p != "" && p != "PLAINTEXT" {
		return nil, fmt.Errorf("security.protocol=%s: commands connect by PLAINTEXT only", p)
	}
	ms := func(key string, set func(time.Duration) kgo.Opt) error {
		v, ok := properties[key]
		if !ok {
			return nil
		}
		n, err := strconv.Atoi(strings.TrimSpace(v))
		if err != nil || n < 0 {
			return fmt.Errorf("Invalid value %s for configuration %s: must be a number of milliseconds, not negative", v, key)
		}
		opts = append(opts, set(time.Duration(n)*time.Millisecond))
		return nil
	}
	err := errors.Join(
		ms("default.api.timeout.ms", func(d time.Duration) kgo.Opt { return kgo.RetryTimeout(d) }),
		ms("metadata.max.age.ms", func(d time.Duration) kgo.Opt { return kgo.MetadataMaxAge(max(d, 10*time.Millisecond)) }),
	)
	return opts, err
}

// readProperties reads a Java property file.
func readProperties(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the property file: %w", err)
	}
	props, err := config.ParseProperties(text)
	if err != nil {
		return nil, fmt.Errorf("reading the property file %s: %w", path, err)
	}
	return props.Map(), nil
}

// within bounds one exchange with the cluster.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, requestTimeout)
}

// supports says whether the broker that answers first serves an API key.
func (c *cluster) supports(ctx context.Context, key int16) bool {
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, c.Client)
	if err != nil {
		return false
	}
	for _, k := range resp.ApiKeys {
		if k.ApiKey == key {
			return true
		}
	}
	return false
}
