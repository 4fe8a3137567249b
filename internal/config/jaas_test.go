package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseJAAS(t *testing.T) {
	m, err := ParseJAAS(`org.apache.kafka.common.security.plain.PlainLoginModule required
		username="admin" password="a\"b;c" user_admin='x y' refresh=true empty="";`)
	if err != nil || m.Class != "org.apache.kafka.common.security.plain.PlainLoginModule" || m.Control != "required" || len(m.Options) != 5 ||
		m.Options["password"].Value() != `a"b;c` || m.Options["user_admin"].Value() != "x y" || m.Options["refresh"].Value() != "true" {
		t.Fatalf("%+v %v", m.Options["password"].Value(), err)
	}
	if s := fmt.Sprint(m); strings.Contains(s, "x y") {
		t.Error("a secret is printed")
	}
	for _, bad := range []string{"", ";", "a required", "a sometimes;", "a required b;", "a required b=;", "a required b=c; d required;",
		`a required b="hush`, "a required =c;", "{ required;"} {
		if _, err := ParseJAAS(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		} else if strings.Contains(err.Error(), "hush") {
			t.Error(err)
		}
	}
}

func TestParseJAASFile(t *testing.T) {
	contexts, err := ParseJAASFile([]byte(`
// brokers
KafkaServer {
   a.B required
   user="1"; /* and */
   c.D optional;
};
# clients
internal.KafkaServer { e.F required; };
Client { };
`))
	if err != nil || len(contexts) != 2 || len(contexts["KafkaServer"]) != 2 || contexts["KafkaServer"][1].Class != "c.D" || contexts["internal.KafkaServer"][0].Class != "e.F" {
		t.Fatalf("%v %v", contexts, err)
	}
	for _, bad := range []string{"A", "A {", "A { b required; }", "A { b required; } B", "{ };;", `"x`} {
		if _, err := ParseJAASFile([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestJAASFileFromOpts(t *testing.T) {
	for opts, want := range map[string]string{
		"-Xmx1g -Djava.security.auth.login.config=/etc/jaas.conf -Da=b": "/etc/jaas.conf",
		`"-Djava.security.auth.login.config=/x"`:                        "/x",
		"-Xmx1g":                                                        "",
	} {
		if got := JAASFileFromOpts(opts); got != want {
			t.Errorf("%s: %q", opts, got)
		}
	}
}

func TestResolve(t *testing.T) {
	props := map[string]string{
		"config.providers": "file, env", "config.providers.file.class": "FileConfigProvider", "config.providers.file.param.allowed.paths": "/etc",
		"ssl.key.password": "${file:/etc/s.properties:pw}", "a": "x${env:HOME}y${env:HOME}", "b": "${other:z}", "c": "${plain}",
	}
	provide := func(class string, params map[string]string, path, key string) (string, error) {
		if key == "missing" {
			return "", errors.New("no such key")
		}
		return "<" + class + "|" + params["allowed.paths"] + "|" + path + "|" + key + ">", nil
	}
	got, err := Resolve(props, provide)
	if err != nil || got["ssl.key.password"] != "<FileConfigProvider|/etc|/etc/s.properties|pw>" || got["a"] != "x<|||HOME>y<|||HOME>" ||
		got["b"] != "${other:z}" || got["c"] != "${plain}" || got["config.providers"] != "file, env" {
		t.Errorf("%v %v", got, err)
	}
	props["a"] = "${env:missing}"
	if _, err := Resolve(props, provide); err == nil || !strings.Contains(err.Error(), "configuration a: resolving ${env:missing}: no such key") {
		t.Error(err)
	}
}

func FuzzJAAS(f *testing.F) {
	f.Add(`A { b required c="d\"" e='f'; }; /* x */ // y`)
	f.Add(`m required k=v;`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = ParseJAAS(s)
		_, _ = ParseJAASFile([]byte(s))
	})
}
