package log4j

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

func TestLayout(t *testing.T) {
	at := time.Date(2026, 11, 21, 10, 0, 0, 123_000_000, time.UTC)
	for _, c := range []struct {
		name string
		with func(*slog.Logger) *slog.Logger
		lvl  slog.Level
		msg  string
		args []any
		want string
	}{
		{"the line that containers wait for", func(l *slog.Logger) *slog.Logger {
			return Named(l, "kafka.server.BrokerLifecycleManager", "BrokerLifecycleManager id=1")
		}, slog.LevelInfo, "The broker has been unfenced. Transitioning from RECOVERY to RUNNING.", nil,
			"[2026-11-21 10:00:00,123] INFO [BrokerLifecycleManager id=1] The broker has been unfenced. Transitioning from RECOVERY to RUNNING. (kafka.server.BrokerLifecycleManager)\n"},
		{"attributes", func(l *slog.Logger) *slog.Logger { return l.With("a", 1).WithGroup("g").With("b", "x y") },
			slog.LevelError, "broke\nhere", []any{"error", errors.New("no"), "empty", ""},
			"[2026-11-21 10:00:00,123] ERROR broke\\nhere a=1 g.b=\"x y\" g.error=no g.empty=\"\" (kafka.server.KafkaServer)\n"},
		{"below the level", func(l *slog.Logger) *slog.Logger { return l }, slog.LevelDebug, "x", nil, ""},
	} {
		var out bytes.Buffer
		l := c.with(slog.New(NewHandler(&out, slog.LevelInfo)))
		if l.Enabled(context.Background(), c.lvl) {
			r := slog.NewRecord(at, c.lvl, c.msg, 0)
			r.Add(c.args...)
			if err := l.Handler().Handle(context.Background(), r); err != nil {
				t.Fatal(err)
			}
		}
		if out.String() != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, out.String(), c.want)
		}
	}
}
