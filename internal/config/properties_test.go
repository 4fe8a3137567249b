package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseProperties(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"separators", "a=1\nb:2\nc 3\nd\t=\t4\ne : 5\nf", "a=1|b=2|c=3|d=4|e=5|f="},
		{"only one separator", "a==1\nb=:2\nc = = 3", "a==1|b=:2|c== 3"},
		{"comments", "# x\n  ! y\na=1 # stays\n#b=2\\\nc=3", "a=1 # stays|c=3"},
		{"continuation", "list=a,\\\n   b,\\\r\n\tc\nnext=1", "list=a,b,c|next=1"},
		{"even backslashes do not continue", "a=x\\\\\nb=1", `a=x\|b=1`},
		{"blank line ends a continuation", "a=x\\\n\nb=1", "a=x|b=1"},
		{"comment sign in a continuation", "a=x\\\n#y", "a=x#y"},
		{"escapes", `a\ b\=c\:d=\t|\u00e9\u20ac\q`, "a b=c:d=\t|é\u20acq"},
		{"surrogate pair", `a=\ud83d\ude00`, "a=😀"},
		{"trailing space stays", "a=1  \n", "a=1  "},
		{"cr alone", "a=1\rb=2", "a=1|b=2"},
		{"last value counts", "a=1\nb=2\na=3", "a=3|b=2"},
		{"latin-1", "a=\xe9", "a=é"},
		{"trailing backslash at the end", "a=1\\", "a=1"},
		{"empty", "\n \n\t\n", ""},
	}
	for _, c := range cases {
		props, err := ParseProperties([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, p := range props {
			got = append(got, p.Key+"="+p.Value)
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%s: %q, want %q", c.name, s, c.want)
		}
	}
	if _, err := ParseProperties([]byte(`a=\u12g4`)); err == nil {
		t.Error("a malformed escape was accepted")
	}
}

func TestOverride(t *testing.T) {
	p := Properties{{"a", "1"}, {"b", "2"}}
	p, err := p.Override("a = x=y ")
	if err != nil || !reflect.DeepEqual(p, Properties{{"a", "x=y"}, {"b", "2"}}) {
		t.Fatal(p, err)
	}
	if _, err := p.Override("novalue"); err == nil {
		t.Fatal("an override without = was accepted")
	}
}

func TestFromEnv(t *testing.T) {
	env := []string{
		"PATH=/bin", "KAFKA_NODE_ID=1", "KAFKA_LISTENER_NAME_SASL__SSL_PLAIN_SASL_JAAS_CONFIG=x",
		"KAFKA_A___B=dash", "KAFKA_HEAP_OPTS=-Xmx1g", "KAFKA_JMX_PORT=9999", "KAFKA_OPTS=-Dx", "KAFKA_VERSION=4", "KAFKA_=", "NOEQUALS",
	}
	props, warnings := FromEnv(env, EnvApache)
	want := Properties{{"a-b", "dash"}, {"listener.name.sasl_ssl.plain.sasl.jaas.config", "x"}, {"node.id", "1"}}
	if !reflect.DeepEqual(props, want) {
		t.Errorf("apache: %v", props)
	}
	if len(warnings) != 1 || !strings.HasSuffix(warnings[0].Text, "KAFKA_HEAP_OPTS, KAFKA_JMX_PORT") {
		t.Errorf("warnings %v", warnings)
	}
	if k := EnvKey("KAFKA_LISTENER_NAME_SASL___SSL_X__Y", EnvConfluent); k != "listener.name.sasl_ssl.x-y" {
		t.Errorf("confluent: %s", k)
	}
}

func FuzzParseProperties(f *testing.F) {
	for _, s := range []string{"a=1\nb : 2\\\n c", `k\u0041=\ud83d\ude00`, "#x\n!y\r\nz", "\\", "=", "a\\=b c\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		props, err := ParseProperties(data)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, p := range props {
			if seen[p.Key] {
				t.Fatalf("key %q twice", p.Key)
			}
			seen[p.Key] = true
		}
	})
}
