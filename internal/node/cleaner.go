package node

import (
	"encoding/binary"

	"github.com/gregorhq/gregor/internal/cleaner"
	"github.com/gregorhq/gregor/internal/log4j"
)

// newCleaner makes the cleaner, which waits for configsKnown.
func (n *Node) newCleaner() *cleaner.Cleaner {
	secret := randomBytes()
	return cleaner.New(cleaner.Options{
		Logs: n.logs.Logs, Clock: n.deps.Clock, Logger: log4j.Named(n.log, "kafka.log.LogCleaner", ""),
		Config:  cleaner.FromBroker(n.config.Load()),
		HashKey: [2]uint64{binary.BigEndian.Uint64(secret[:8]), binary.BigEndian.Uint64(secret[8:])},
	})
}

// configsKnown says whether the logs have their topics' own configurations. Until the
// first image is applied they have the broker's defaults, by which nothing may be
// deleted.
func (n *Node) configsKnown() bool {
	if n.lifecycle == nil {
		return true
	}
	select {
	case <-n.lifecycle.caughtUp:
		return true
	default:
		return false
	}
}
