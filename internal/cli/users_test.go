package cli_test

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha512"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// quotaKeeper makes a fake broker keep quotas and credentials. fakeNode.mu guards it.
type quotaKeeper struct {
	entries     []kmsg.DescribeClientQuotasResponseEntry
	asked       []string // the filters that came, as type/match/name
	upserted    []kmsg.AlterUserSCRAMCredentialsRequestUpsertion
	deletedCred []string
}

func keepQuotas(f *fakeNode) *quotaKeeper {
	k := &quotaKeeper{}
	f.broker()
	f.on(48, func(q kmsg.Request, r kmsg.Response) {
		req := q.(*kmsg.DescribeClientQuotasRequest)
		for _, c := range req.Components {
			name := ""
			if c.Match != nil {
				name = *c.Match
			}
			k.asked = append(k.asked, c.EntityType+"/"+c.MatchType.String()+"/"+name)
		}
		r.(*kmsg.DescribeClientQuotasResponse).Entries = k.entries
	})
	f.on(49, func(q kmsg.Request, _ kmsg.Response) {
		for _, e := range q.(*kmsg.AlterClientQuotasRequest).Entries {
			entry := kmsg.NewDescribeClientQuotasResponseEntry()
			for _, part := range e.Entity {
				entry.Entity = append(entry.Entity, kmsg.DescribeClientQuotasResponseEntryEntity{Type: part.Type, Name: part.Name})
			}
			for _, op := range e.Ops {
				if !op.Remove {
					entry.Values = append(entry.Values, kmsg.DescribeClientQuotasResponseEntryValue{Key: op.Key, Value: op.Value})
				}
			}
			k.entries = []kmsg.DescribeClientQuotasResponseEntry{entry}
		}
	})
	f.on(50, func(q kmsg.Request, r kmsg.Response) {
		resp := r.(*kmsg.DescribeUserSCRAMCredentialsResponse)
		for _, u := range q.(*kmsg.DescribeUserSCRAMCredentialsRequest).Users {
			result := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
			result.User, result.ErrorCode = u.Name, 91
			for _, up := range k.upserted {
				if up.Name == u.Name {
					result.ErrorCode = 0
					result.CredentialInfos = append(result.CredentialInfos, kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo{Mechanism: up.Mechanism, Iterations: up.Iterations})
				}
			}
			resp.Results = append(resp.Results, result)
		}
	})
	f.on(51, func(q kmsg.Request, _ kmsg.Response) {
		req := q.(*kmsg.AlterUserSCRAMCredentialsRequest)
		k.upserted = append(k.upserted, req.Upsertions...)
		for _, d := range req.Deletions {
			k.deletedCred = append(k.deletedCred, d.Name)
		}
	})
	return k
}

func TestQuotasAreAlteredAndDescribed(t *testing.T) {
	f := startFake(t)
	k := keepQuotas(f)
	tool := "kafka-configs --bootstrap-server " + f.addr
	script(t, tool, []step{
		{line: "--alter --user u1 --add-config producer_byte_rate=1024,request_percentage=12.5", out: "Completed updating config for user u1.\n"},
		{line: "--describe --user u1", out: "Quota configs for user-principal 'u1' are producer_byte_rate=1024.0, request_percentage=12.5\n"},
		{line: "--alter --user u1 --delete-config consumer_byte_rate", err: "Invalid config(s): consumer_byte_rate", code: 1},
		{line: "--alter --user u1 --add-config producer_byte_rate=abc", err: "Cannot parse quota configuration value for producer_byte_rate: abc", code: 1},
		{line: "--alter --entity-type clients --entity-default --add-config producer_byte_rate=1e10", out: "Completed updating default config for clients in the cluster.\n"},
		{line: "--describe --entity-type clients", out: "Quota configs for the default client-id are producer_byte_rate=1.0E10\n"},
		{line: "--alter --entity-type users --entity-default --entity-type clients --entity-name c1 --add-config consumer_byte_rate=1", out: "Completed updating default config for users in the cluster.\n"},
		{line: "--describe --user-defaults --client c1", out: "Quota configs for the default user-principal, client-id 'c1' are consumer_byte_rate=1.0\n"},
		{line: "--alter --ip 10.0.0.1 --add-config connection_creation_rate=5", out: "Completed updating config for ip 10.0.0.1.\n"},
		{line: "--describe --entity-type ips", out: "Quota configs for ip '10.0.0.1' are connection_creation_rate=5.0\n"},
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, want := range []string{"user/EXACT/u1", "client-id/DEFAULT/", "client-id/ANY/", "client-id/EXACT/c1", "ip/ANY/"} {
		if !slices.Contains(k.asked, want) {
			t.Errorf("never asked for %s, but for %v", want, k.asked)
		}
	}
}

func TestCredentialsAreSalted(t *testing.T) {
	f := startFake(t)
	k := keepQuotas(f)
	tool := "kafka-configs --bootstrap-server " + f.addr
	script(t, tool, []step{
		{line: "--alter --user u1 --add-config SCRAM-SHA-512=[iterations=8192,password=pa=ss]", out: "Completed updating config for user u1.\n"},
		{line: "--describe --user u1", out: "SCRAM credential configs for user-principal 'u1' are SCRAM-SHA-512=iterations=8192\n"},
		{line: "--describe --user u2"},
		{line: "--alter --user u1 --delete-config SCRAM-SHA-512", out: "Completed updating config for user u1.\n"},
	})
	f.mu.Lock()
	upserted, deleted := k.upserted, k.deletedCred
	f.mu.Unlock()
	if len(upserted) != 1 || len(deleted) != 1 {
		t.Fatalf("%d upserted, deleted %v", len(upserted), deleted)
	}
	up := upserted[0]
	want, err := pbkdf2.Key(sha512.New, "pa=ss", up.Salt, 8192, 64)
	if err != nil || len(up.Salt) < 16 || !bytes.Equal(up.SaltedPassword, want) || up.Mechanism != 2 {
		t.Errorf("%+v", up)
	}
	r := call(t, "", strings.Fields(tool+" --alter --user u1 --add-config SCRAM-SHA-256=[iterations=16385,password=x]")...)
	if r.code != 1 || !strings.HasSuffix(r.err, "UnacceptableCredentialException: Too many iterations\n") {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}

func TestABrokerWithoutARequestIsNamedAsSuch(t *testing.T) {
	f := startFake(t)
	f.broker()
	r := call(t, "", strings.Fields("kafka-configs --bootstrap-server "+f.addr+" --describe --user u1")...)
	if r.code != 1 || !strings.HasSuffix(r.err, "org.apache.kafka.common.errors.UnsupportedVersionException: The node does not support DESCRIBE_CLIENT_QUOTAS\n") {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}
