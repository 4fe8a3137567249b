package cli_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestNodesOfAClusterAreListed(t *testing.T) {
	f := startFake(t)
	f.broker()
	f.on(60, func(q kmsg.Request, r kmsg.Response) {
		resp := r.(*kmsg.DescribeClusterResponse)
		resp.ClusterID, resp.ControllerID = "abc", 2
		for id := int32(3); id > 0; id-- {
			b := kmsg.NewDescribeClusterResponseBroker()
			b.NodeID, b.Host, b.Port = id, f.host, f.port
			if id == 1 {
				b.Host, b.Rack = "longer.example.org", kmsg.StringPtr("r1")
			}
			if b.IsFenced = id == 3; !b.IsFenced || q.(*kmsg.DescribeClusterRequest).IncludeFencedBrokers {
				resp.Brokers = append(resp.Brokers, b)
			}
		}
	})
	var forgotten []int32
	f.on(64, func(q kmsg.Request, r kmsg.Response) {
		if id := q.(*kmsg.UnregisterBrokerRequest).BrokerID; id == 3 {
			forgotten = append(forgotten, id)
			return
		}
		resp := r.(*kmsg.UnregisterBrokerResponse)
		resp.ErrorCode, resp.ErrorMessage = 102, kmsg.StringPtr("Broker ID 9 is not currently registered")
	})
	pad := func(s string, n int) string { return s + strings.Repeat(" ", n-len(s)) }
	row := func(cells ...string) string {
		widths := []int{10, 18, 10, 2, 10, 15}
		for i, c := range cells {
			cells[i] = pad(c, max(len(c), widths[i]))
		}
		return strings.Join(cells, " ") + "\n"
	}
	_, port, _ := strings.Cut(f.addr, ":")
	head := row("ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE")
	two := row("1", "longer.example.org", port, "r1", "unfenced", "broker") + row("2", f.host, port, "null", "unfenced", "broker")
	for line, want := range map[string]string{
		"cluster-id -b " + f.addr:                                              "Cluster ID: abc\n",
		"cluster-id -b" + f.addr:                                               "Cluster ID: abc\n",
		"cluster-id --bootstrap-controller=" + f.addr:                          "Cluster ID: abc\n",
		"list-endpoints --bootstrap-server " + f.addr:                          head + two,
		"list-endpoints -b " + f.addr + " --include-fenced-brokers":            head + two + row("3", f.host, port, "null", "fenced", "broker"),
		"unregister -b " + f.addr + " -i 3":                                    "Broker 3 is no longer registered.\n",
		"cluster-id -b " + f.addr + " --config " + file(t, "c", "client.id=x"): "Option --config has been deprecated and will be removed in a future version. Use --command-config instead.\nCluster ID: abc\n",
	} {
		if got := must(t, "", "kafka-cluster "+line); got != want {
			t.Errorf("%s\n got %q\nwant %q", line, got, want)
		}
	}
	if len(forgotten) != 1 {
		t.Errorf("unregistered %v", forgotten)
	}
	if r := call(t, "", strings.Fields("kafka-cluster unregister --id 9 -b "+f.addr)...); r.firstErr() != "org.apache.kafka.common.errors.BrokerIdNotRegisteredException: Broker ID 9 is not currently registered" || r.code != 1 {
		t.Errorf("code %d, %q", r.code, r.err)
	}
	got := must(t, "", "kafka-cluster list-endpoints -C "+f.addr)
	if want := "ID         HOST               PORT       RACK ENDPOINT_TYPE  \n1          longer.example.org " + pad(port, 10) + " r1 controller     \n"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q\nwant %q...", got, want)
	}
}

func TestMistakesWithTheClusterToolAreNamed(t *testing.T) {
	for line, want := range map[string]string{
		"":                         "too few arguments",
		"nope":                     "invalid choice: 'nope' (choose from 'cluster-id', 'unregister', 'list-endpoints')",
		"cluster-id":               "one of the arguments --bootstrap-server/-b --bootstrap-controller/-C is required",
		"cluster-id -b":            "argument --bootstrap-server/-b: expected one argument",
		"cluster-id -b a:1 -C b:1": "argument --bootstrap-controller/-C: not allowed with argument --bootstrap-server/-b",
		"unregister -b a:1":        "argument --id/-i is required",
		"unregister -b a:1 --id x": `argument --id/-i: could not convert 'x' to Integer (For input string: "x")`,
		"cluster-id -b a:1 --foo":  "unrecognized arguments: '--foo'",
		"cluster-id -b a:1 -x":     "unrecognized arguments: '-x'",
	} {
		r := call(t, "", strings.Fields("kafka-cluster "+line)...)
		if _, got, _ := strings.Cut(r.err, "kafka-cluster: error: "); got != want+"\n" || r.code != 1 {
			t.Errorf("%s: code %d, %q", line, r.code, r.err)
		}
	}
	for line, want := range map[string]string{
		"list-endpoints -C a:1 --include-fenced-brokers":  "The option --include-fenced-brokers is only supported with --bootstrap-server option",
		"cluster-id -b a:1 --config x --command-config y": "--config and --command-config cannot be specified together.",
	} {
		if r := call(t, "", strings.Fields("kafka-cluster "+line)...); r.firstErr() != want || r.code != 1 {
			t.Errorf("%s: code %d, %q", line, r.code, r.err)
		}
	}
}
