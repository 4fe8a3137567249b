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
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
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
	id   int32
	env  []string // beside our own
	log  *os.File // its name; the process writes it
	done chan struct{}
}

// startLimit bounds every start: ten thousand partitions take a JVM its time.
const startLimit = 3 * time.Minute

// where tells the bench where the programs and the places for data are.
type where struct {
	gregorBin string
	floorBin  string
	kafkaLibs string // folder of Apache Kafka's jars
	dataDir   string // a tmpfs for rows bound by CPU
	diskDir   string // a folder of a real file system for rows bound by the disk
	nextPort  int
}

// port finds a free port. They are counted up from one given, below those that the
// kernel hands to clients: a killed server's port must stay free for its restart.
func (w *where) port() (int, error) {
	for range 1900 {
		p := w.nextPort
		w.nextPort++
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err == nil {
			return p, l.Close()
		}
	}
	return 0, errors.New("no free port among 1,900")
}

// jvmFlags are those that Apache Kafka's start script gives.
var jvmFlags = []string{"-Xms1G", "-Xmx1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
	"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true"}

const clusterID = "5L6g3nShT-eMCtK--X86sw"

// prepare makes and formats a single combined node.
func (w *where) prepare(ctx context.Context, kind string, extra map[string]string) (*server, error) {
	c, err := w.prepareCluster(ctx, kind, setup{nodes: 1, extra: extra})
	if err != nil {
		return nil, err
	}
	return c.nodes[0], nil
}

func (s *server) propsFile() string { return filepath.Join(s.dir, "server.properties") }

func (w *where) format(ctx context.Context, s *server) error {
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
func (w *where) start(ctx context.Context, s *server) error {
	if err := w.launch(s); err != nil {
		return err
	}
	if s.kind == floor {
		return s.waitPort(ctx)
	}
	return s.waitReady(ctx, 1)
}

// launch runs the process. What it logs is added to what it logged before.
func (w *where) launch(s *server) error {
	var err error
	if s.log, err = os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return err
	}
	defer s.log.Close()
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
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	done := make(chan struct{})
	s.done = done
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", s.kind, err)
	}
	cmd := s.cmd
	go func() { cmd.Wait(); close(done) }()
	return nil
}

func (s *server) waitPort(ctx context.Context) error {
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			return c.Close()
		}
		if err := s.alive(); err != nil {
			return err
		}
	}
	return s.failed(fmt.Sprintf("did not open its port within %v", startLimit))
}

// waitReady asks for the cluster's metadata until it lists so many brokers.
func (s *server) waitReady(ctx context.Context, brokers int) error {
	if err := s.waitPort(ctx); err != nil {
		return err
	}
	var last error
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		n := 0
		if n, last = s.brokers(); last == nil && n >= brokers {
			return nil
		}
		if last == nil {
			last = fmt.Errorf("it knows %d of %d brokers", n, brokers)
		}
		if err := errors.Join(ctx.Err(), s.alive()); err != nil {
			return err
		}
	}
	return s.failed(fmt.Sprintf("was not ready within %v, %v", startLimit, last))
}

// brokers is how many brokers the node tells clients of.
func (s *server) brokers() (int, error) {
	p, err := dialPeer(s.addr, "bench")
	if err != nil {
		return 0, err
	}
	defer p.close()
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(9)
	req.Topics = []kmsg.MetadataRequestTopic{}
	kresp, err := p.do(req, 5*time.Second)
	if err != nil {
		return 0, err
	}
	return len(kresp.(*kmsg.MetadataResponse).Brokers), nil
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

// end sends a signal and waits until the process is gone.
func (s *server) end(sig os.Signal, limit time.Duration) error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	s.cmd.Process.Signal(sig)
	select {
	case <-s.done:
		return nil
	case <-time.After(limit):
		s.cmd.Process.Kill()
		<-s.done
		return s.failed(fmt.Sprintf("did not end within %v of %v", limit, sig))
	}
}

// stop ends the process and removes its directory. One that is slow to stop is killed.
func (s *server) stop() error {
	s.end(syscall.SIGTERM, 20*time.Second)
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
