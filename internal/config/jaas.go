package config

import (
	"fmt"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// LoginModule is one entry of a JAAS configuration: a module's class with its
// options, for example the users of PLAIN. Options hold secrets.
type LoginModule struct {
	Class   string
	Control string // required, requisite, sufficient or optional
	Options map[string]Password
}

// ParseJAAS reads the value of sasl.jaas.config: one module, ended by a
// semicolon.
func ParseJAAS(value string) (LoginModule, error) {
	p := &jaasParser{text: value}
	m, err := p.module()
	if err == nil && p.next() != "" {
		err = fmt.Errorf("more than one login module")
	}
	if err != nil {
		return LoginModule{}, jaasError(err)
	}
	return m, nil
}

// ParseJAASFile reads a file as java.security.auth.login.config names it: the
// modules of each context, such as KafkaServer or internal.KafkaServer.
func ParseJAASFile(data []byte) (map[string][]LoginModule, error) {
	p := &jaasParser{text: string(data)}
	contexts := map[string][]LoginModule{}
	for {
		name := p.next()
		if name == "" && p.err == nil {
			return contexts, nil
		}
		if err := p.expect("{"); err != nil {
			return nil, jaasError(err)
		}
		for p.peek() != "}" {
			m, err := p.module()
			if err != nil {
				return nil, jaasError(err)
			}
			contexts[name] = append(contexts[name], m)
		}
		p.next()
		if err := p.expect(";"); err != nil {
			return nil, jaasError(err)
		}
	}
}

// JAASFileFromOpts finds -Djava.security.auth.login.config in the options that a
// JVM would get, as KAFKA_OPTS holds them; "" if it is not there.
func JAASFileFromOpts(opts string) string {
	const option = "-Djava.security.auth.login.config="
	file := ""
	for _, field := range strings.Fields(opts) {
		if path, ok := strings.CutPrefix(strings.Trim(field, `"'`), option); ok {
			file = strings.Trim(path, `"'`)
		}
	}
	return file
}

func jaasError(err error) error {
	return kafka.InvalidConfig.Errorf("JAAS configuration: %w", err)
}

// jaasParser cuts a text into words, quoted strings and the signs = ; { }.
// Messages never show words, which may be secrets.
type jaasParser struct {
	text   string
	pos    int
	quoted bool // the last token was in quotes
	err    error
}

// module reads class, control flag and options up to the semicolon.
func (p *jaasParser) module() (LoginModule, error) {
	m := LoginModule{Class: p.next(), Control: strings.ToLower(p.next()), Options: map[string]Password{}}
	if m.Class == "" || jaasSign(m.Class) {
		return m, p.fail("login module class name expected")
	}
	switch m.Control {
	case "required", "requisite", "sufficient", "optional":
	default:
		return m, p.fail("login module control flag expected after the class name")
	}
	for {
		key := p.next()
		if key == ";" && !p.quoted {
			return m, p.err
		}
		if key == "" || jaasSign(key) {
			return m, p.fail("option or ; expected")
		}
		if err := p.expect("="); err != nil {
			return m, err
		}
		value := p.next()
		if value == "" && !p.quoted || jaasSign(value) && !p.quoted {
			return m, p.fail("value expected after option " + key)
		}
		m.Options[key] = Password(value)
	}
}

func jaasSign(token string) bool { return len(token) == 1 && strings.Contains("=;{}", token) }

func (p *jaasParser) fail(what string) error {
	if p.err != nil {
		return p.err
	}
	return fmt.Errorf("%s at character %d", what, p.pos)
}

func (p *jaasParser) expect(sign string) error {
	if p.next() != sign || p.quoted {
		return p.fail(sign + " expected")
	}
	return nil
}

func (p *jaasParser) peek() string {
	saved := *p
	token := p.next()
	*p = saved
	return token
}

// next returns the next token, "" at the end; quoted tells an empty string apart.
func (p *jaasParser) next() string {
	p.quoted = false
	p.skip()
	if p.pos >= len(p.text) || p.err != nil {
		return ""
	}
	switch c := p.text[p.pos]; {
	case strings.IndexByte("=;{}", c) >= 0:
		p.pos++
		return string(c)
	case c == '"' || c == '\'':
		return p.quotedString(c)
	}
	start := p.pos
	for p.pos < len(p.text) && !strings.ContainsRune(" \t\r\n\f=;{}\"'", rune(p.text[p.pos])) {
		p.pos++
	}
	return p.text[start:p.pos]
}

func (p *jaasParser) quotedString(quote byte) string {
	var b strings.Builder
	p.quoted = true
	for p.pos++; p.pos < len(p.text); p.pos++ {
		switch c := p.text[p.pos]; {
		case c == quote:
			p.pos++
			return b.String()
		case c == '\\' && p.pos+1 < len(p.text):
			p.pos++
			b.WriteByte(p.text[p.pos])
		default:
			b.WriteByte(c)
		}
	}
	p.err = fmt.Errorf("a quoted string has no end")
	return ""
}

// skip passes white space and comments: // and # to the end of the line, /* */.
func (p *jaasParser) skip() {
	for p.pos < len(p.text) {
		rest := p.text[p.pos:]
		end := ""
		switch {
		case strings.IndexByte(" \t\r\n\f", rest[0]) >= 0:
			p.pos++
			continue
		case strings.HasPrefix(rest, "//"), rest[0] == '#':
			end = "\n"
		case strings.HasPrefix(rest, "/*"):
			end = "*/"
		default:
			return
		}
		i := strings.Index(rest, end)
		if i < 0 {
			p.pos = len(p.text)
			return
		}
		p.pos += i + len(end)
	}
}
