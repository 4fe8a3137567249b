package log4j

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Keys of attributes that do not stand among the others.
const (
	// LoggerKey is the name in parentheses at the end of a line.
	LoggerKey = "logger"
	// ContextKey is what stands in brackets before the message.
	ContextKey = "logContext"
)

// DefaultLogger is the name at the end of lines that have none of their own.
const DefaultLogger = "kafka.server.KafkaServer"

// Named returns a logger with a name and, if it is not empty, a context.
func Named(l *slog.Logger, logger, context string) *slog.Logger {
	l = l.With(LoggerKey, logger)
	if context != "" {
		l = l.With(ContextKey, context)
	}
	return l
}

// Handler prints records. Derived handlers share the writer and its mutex.
type Handler struct {
	out    *output
	level  slog.Leveler
	logger string
	ctx    string
	prefix string // of groups
	attrs  string // formatted, each with a leading space
}

// output is the shared end of all derived handlers.
type output struct {
	mu sync.Mutex
	w  io.Writer
}

// NewHandler returns a handler that writes records at or above level to w.
func NewHandler(w io.Writer, level slog.Leveler) *Handler {
	return &Handler{out: &output{w: w}, level: level, logger: DefaultLogger}
}

// Enabled says whether a level is printed.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// WithAttrs returns a handler with more attributes.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	var b strings.Builder
	b.WriteString(h.attrs)
	for _, a := range attrs {
		next.add(&b, h.prefix, a)
	}
	next.attrs = b.String()
	return &next
}

// WithGroup returns a handler whose further attributes have name before their keys.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.prefix += name + "."
	return &next
}

// Handle prints one line.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	line := *h
	var attrs strings.Builder
	attrs.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		line.add(&attrs, h.prefix, a)
		return true
	})
	b := make([]byte, 0, 256)
	b = append(b, '[')
	b = r.Time.AppendFormat(b, "2006-01-02 15:04:05,000")
	b = append(b, "] "...)
	b = append(b, levelName(r.Level)...)
	b = append(b, ' ')
	if line.ctx != "" {
		b = append(b, '[')
		b = append(b, line.ctx...)
		b = append(b, "] "...)
	}
	b = appendOneLine(b, r.Message)
	b = append(b, attrs.String()...)
	b = append(b, " ("...)
	b = append(b, line.logger...)
	b = append(b, ")\n"...)
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(b)
	return err
}

// add formats one attribute; the two special ones set fields instead.
func (h *Handler) add(b *strings.Builder, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if prefix == "" && a.Key == LoggerKey {
		h.logger = v.String()
		return
	}
	if prefix == "" && a.Key == ContextKey {
		h.ctx = v.String()
		return
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, g := range v.Group() {
			h.add(b, prefix, g)
		}
		return
	}
	if a.Key == "" {
		return
	}
	b.WriteByte(' ')
	b.WriteString(prefix)
	b.WriteString(a.Key)
	b.WriteByte('=')
	text := v.String()
	if needsQuotes(text) {
		text = strconv.Quote(text)
	}
	b.WriteString(text)
}

// needsQuotes says whether a value would not read as one word.
func needsQuotes(s string) bool {
	if s == "" {
		return true
	}
	for _, r := range s {
		if r <= ' ' || r == '"' || r == '=' || r == utf8.RuneError || r == 0x7f {
			return true
		}
	}
	return false
}

// appendOneLine keeps a message from looking like several lines.
func appendOneLine(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		default:
			b = append(b, c)
		}
	}
	return b
}

// LevelOf is the lowest level that a logger lets through, by log4j's name.
func LevelOf(l *slog.Logger) string {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if l.Enabled(context.Background(), level) {
			return levelName(level)
		}
	}
	return "OFF"
}

func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "TRACE"
	case l < slog.LevelInfo:
		return "DEBUG"
	case l < slog.LevelWarn:
		return "INFO"
	case l < slog.LevelError:
		return "WARN"
	}
	return "ERROR"
}
