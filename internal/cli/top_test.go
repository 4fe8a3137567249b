package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/metrics"
)

// serveScrapes answers each connection with the next of the texts, the last one for
// ever.
func serveScrapes(t *testing.T, texts ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(c)
			for {
				line, err := in.ReadString('\n')
				if err != nil || strings.TrimSpace(line) == "" {
					break
				}
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"+texts[min(i, len(texts)-1)])
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

func scrapeText(n int) string {
	return fmt.Sprintf(`gregor_node_info{node_id="4",cluster_id="c"} 1
kafka_server_kafkaserver_brokerstate 3
kafka_controller_kafkacontroller_activecontrollercount 1
kafka_server_replicamanager_leadercount 12
kafka_server_brokertopicmetrics_messagesin_total %d
kafka_server_brokertopicmetrics_messagesin_total{topic="orders"} %d
kafka_server_brokertopicmetrics_bytesin_total %d
kafka_server_brokertopicmetrics_bytesin_total{topic="orders"} %d
kafka_server_brokertopicmetrics_bytesin_total{topic="quiet"} 7
kafka_network_requestmetrics_totaltimems{request="Produce",quantile="0.99"} 1.25
kafka_consumergroup_lag_sum{consumergroup="a\nb",topic="orders"} 12345
kafka_consumergroup_members{consumergroup="a\nb"} 2
`, n, n, 100*n, 100*n)
}

// TestTopShowsRatesAndLag: rates come from two looks, a node that does not answer has a
// row, names cannot move the cursor.
func TestTopShowsRatesAndLag(t *testing.T) {
	var out, errs bytes.Buffer
	env := &Env{Args: []string{serveScrapes(t, scrapeText(1000), scrapeText(2000)), "127.0.0.1:1", "--once", "--interval", "0.1"}, Out: &out, Err: &errs}
	if code := top(context.Background(), env); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	for _, want := range []string{"running*", "no answer", "1.25", "12.3k", "a?b", "orders", "quiet"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("escapes where there is no terminal")
	}
	lines := strings.Split(out.String(), "\n")
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 0 && f[0] == "orders" && f[1] == "0" {
			t.Errorf("no rate: %s", l)
		}
	}
}

func unixSeconds(s float64) time.Time { return time.Unix(0, int64(s*1e9)) }

func TestTopRatesAndUnits(t *testing.T) {
	parse := func(text string) map[string][]metrics.Sample {
		m, err := metrics.Parse(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	at := func(s float64) look { return look{at: unixSeconds(s)} }
	old, now := at(10), at(12)
	old.data, now.data = parse("x 100\n"), parse("x 300\n")
	if r := rate(&old, &now, "x"); r != 100 {
		t.Errorf("rate %v", r)
	}
	if r := rate(&now, &look{at: unixSeconds(14), data: parse("x 20\n")}, "x"); r != 10 {
		t.Errorf("rate after a restart %v", r)
	}
	for n, want := range map[float64]string{0: "0", 3.25: "3.2", 999: "999", 12345: "12.3k", 5e6: "5.00M", 2e9: "2.00G"} {
		if got := count(n); got != want {
			t.Errorf("count(%v) is %s, want %s", n, got, want)
		}
	}
	for n, want := range map[float64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KB", 3 << 30: "3.0 GB", 5 << 40: "5120.0 GB"} {
		if got := size(n); got != want {
			t.Errorf("size(%v) is %s, want %s", n, got, want)
		}
	}
}

func TestTopRefusesWhatItCannotDo(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--interval", "0"}, 2, "--interval"},
		{[]string{"--rows", "x"}, 2, "--rows"},
		{[]string{"nowhere"}, 2, "host:port"},
		{[]string{"127.0.0.1:1", "--once"}, 1, "refused"},
		{[]string{"--help"}, 0, ""},
	} {
		var out, errs bytes.Buffer
		if code := top(context.Background(), &Env{Args: c.args, Out: &out, Err: &errs}); code != c.code || !strings.Contains(errs.String(), c.says) {
			t.Errorf("%v: exit code %d, %s", c.args, code, errs.String())
		}
	}
}
