package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kinds of servers, in the order of the table.
const (
	gregor = "gregor"
	floor  = "floor"
	kafka  = "kafka"
)

// server is one process under measure.
type server struct {
	kind string
	addr string
	dir  string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
}

// where tells the bench where the programs are.
type where struct {
	gregorBin string
	floorBin  string
	kafkaLibs string // folder of Apache Kafka's jars
	dataDir   string // a tmpfs or disk folder for log directories
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// jvmFlags are those that Apache Kafka's start script gives.
var jvmFlags = []string{"-Xms1G", "-Xmx1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
	"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true"}

const clusterID = "5L6g3nShT-eMCtK--X86sw"

// prepare makes the directory and the properties of a single combined node, and
// formats it. The same file serves both implementations.
func (w where) prepare(ctx context.Context, kind string, extra map[string]string) (*server, error) {
	dir, err := os.MkdirTemp(w.dataDir, "bench-"+kind+"-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{kind: kind, dir: dir, addr: fmt.Sprintf("127.0.0.1:%d", port)}
	if kind == floor {
		return s, nil
	}
	ctrl, err := freePort()
	if err != nil {
		return nil, err
	}
	props := map[string]string{
		"process.roles": "broker,controller", "node.id": "1",
		"listeners":                        fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d", s.addr, ctrl),
		"advertised.listeners":             "PLAINTEXT://" + s.addr,
		"controller.listener.names":        "CONTROLLER",
		"controller.quorum.voters":         fmt.Sprintf("1@127.0.0.1:%d", ctrl),
		"listener.security.protocol.map":   "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                         filepath.Join(dir, "data"),
		"offsets.topic.replication.factor": "1", "transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1",
		"log.segment.delete.delay.ms": "0", "group.initial.rebalance.delay.ms": "0",
	}
	for k, v := range extra {
		props[k] = v
	}
	var text strings.Builder
	for k, v := range props {
		fmt.Fprintf(&text, "%s=%s\n", k, v)
	}
	if err := os.WriteFile(s.propsFile(), []byte(text.String()), 0o644); err != nil {
		return nil, err
	}
	return s, w.format(ctx, s)
}

func (s *server) propsFile() string { return filepath.Join(s.dir, "server.properties") }

func (w where) format(ctx context.Context, s *server) error {
	var cmd *exec.Cmd
	if s.kind == kafka {
		cmd = exec.CommandContext(ctx, "java", "-cp", w.kafkaLibs+"/*", "kafka.tools.StorageTool", "format", "-t", clusterID, "-c", s.propsFile())
	} else {
		cmd = exec.CommandContext(ctx, w.gregorBin, "kafka-storage", "format", "-t", clusterID, "-c", s.propsFile())
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("formatting for %s: %w: %s", s.kind, err, out)
	}
	return nil
}

// start runs the process and waits until it answers requests.
func (w where) start(ctx context.Context, s *server) error {
	var err error
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return err
	}
	switch s.kind {
	case floor:
		s.cmd = exec.Command(w.floorBin, "-listen", s.addr, "-dir", s.dir)
	case kafka:
		args := append([]string{}, jvmFlags...)
		args = append(args, "-Dlog4j2.level=WARN", "-cp", w.kafkaLibs+"/*", "kafka.Kafka", s.propsFile())
		s.cmd = exec.Command("java", args...)
	default:
		s.cmd = exec.Command(w.gregorBin, "kafka-server-start", s.propsFile())
	}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.done = make(chan struct{})
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", s.kind, err)
	}
	go func() { s.cmd.Wait(); close(s.done) }()
	if s.kind == floor {
		return s.waitPort(ctx)
	}
	return s.waitReady(ctx)
}

func (s *server) waitPort(ctx context.Context) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			return c.Close()
		}
		if err := s.alive(); err != nil {
			return err
		}
	}
	return s.failed("did not open its port within 30 s")
}

// waitReady asks for the cluster's metadata until the broker lists itself.
func (s *server) waitReady(ctx context.Context) error {
	if err := s.waitPort(ctx); err != nil {
		return err
	}
	adm, err := s.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		c, cancel := context.WithTimeout(ctx, 2*time.Second)
		m, err := adm.BrokerMetadata(c)
		cancel()
		if err == nil && len(m.Brokers) > 0 {
			return nil
		}
		if err := s.alive(); err != nil {
			return err
		}
	}
	return s.failed("was not ready within 60 s")
}

func (s *server) alive() error {
	select {
	case <-s.done:
		return s.failed("ended")
	default:
		return nil
	}
}

func (s *server) failed(what string) error {
	tail, _ := os.ReadFile(s.log.Name())
	if len(tail) > 2000 {
		tail = tail[len(tail)-2000:]
	}
	return fmt.Errorf("%s %s; the end of its log:\n%s", s.kind, what, tail)
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// stop ends the process and removes its directory.
func (s *server) stop() error {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.done:
		case <-time.After(20 * time.Second):
			s.cmd.Process.Kill()
			<-s.done
		}
		s.log.Close()
	}
	return os.RemoveAll(s.dir)
}

func (s *server) admin() (*kadm.Client, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.RequestRetries(20), kgo.RetryTimeout(20*time.Second))
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(cl), nil
}

// newTopic makes an empty topic; the floor needs none made but forgets what it had.
func (s *server) newTopic(ctx context.Context, name string, partitions int, configs map[string]string) error {
	if s.kind == floor {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			return err
		}
		defer c.Close()
		// A zero length asks the floor to forget everything; it answers with a zero.
		if _, err := c.Write(make([]byte, 4)); err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, 4))
		return err
	}
	adm, err := s.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	cfg := map[string]*string{}
	for k, v := range configs {
		cfg[k] = &v
	}
	r, err := adm.CreateTopic(ctx, int32(partitions), 1, cfg, name)
	if err = errors.Join(err, r.Err); err != nil {
		return fmt.Errorf("creating %s on %s: %w", name, s.kind, err)
	}
	// A leader that is announced may not lead yet: ask the partitions themselves.
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		d, err := adm.ListEndOffsets(ctx, name)
		if err == nil && d.Error() == nil && len(d[name]) == partitions {
			return nil
		}
	}
	return fmt.Errorf("%s on %s has no leaders after 20 s", name, s.kind)
}

func (s *server) dropTopic(ctx context.Context, name string) error {
	if s.kind == floor {
		return nil
	}
	adm, err := s.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	_, err = adm.DeleteTopics(ctx, name)
	return err
}
