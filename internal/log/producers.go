package log

import (
	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/producer"
)

// ActiveProducers lists the producers that have state, ordered by id.
func (l *Log) ActiveProducers() ([]producer.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	return l.producers.Entries(), nil
}

// BeginVerification is called before the transaction coordinator is asked whether
// the transaction of a batch has this partition (KIP-890). NoGuard means that no
// question is needed.
func (l *Log) BeginVerification(i *batch.Info, supportsEpochBump bool, nowMs int64) (producer.Guard, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return producer.NoGuard, err
	}
	return l.producers.BeginVerification(i, supportsEpochBump, nowMs, producer.Guard(l.env.guards.Add(1))), nil
}

// HasOngoingTransaction says whether the producer has a transaction open here.
func (l *Log) HasOngoingTransaction(producerID int64, epoch int16) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.usable() == nil && l.producers.HasOngoingTransaction(producerID, epoch)
}

// ClearVerifications forgets questions under way; a replica that stops being
// leader calls it.
func (l *Log) ClearVerifications() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.producers != nil {
		l.producers.ClearVerifications()
	}
}

// HasLateTransaction says whether a transaction is open for longer than it may be.
// A log that was not used since it was opened is not looked into.
func (l *Log) HasLateTransaction(nowMs int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.producers != nil && l.producers.HasLateTransaction(nowMs)
}

// expireProducers forgets producers that were idle for too long.
func (l *Log) expireProducers(nowMs int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.producers != nil {
		l.producers.Expire(nowMs)
	}
}

// ReconfigureProducers replaces what the configuration says about producers, for all
// logs at once.
func (m *Manager) ReconfigureProducers(expirationMs int64, verifyTransactions bool) {
	cfg := *m.env.producerConfig.Load()
	if cfg.ExpirationMs == expirationMs && cfg.VerifyTransactions == verifyTransactions {
		return
	}
	cfg.ExpirationMs, cfg.VerifyTransactions = expirationMs, verifyTransactions
	m.env.producerConfig.Store(&cfg) // logs that are opened from now on have it
	for _, l := range m.Logs() {
		l.mu.Lock()
		if l.producers != nil {
			l.producers.Reconfigure(cfg)
		}
		l.mu.Unlock()
	}
}
