package cli

import (
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

// This file holds what the three tools that measure share.

// perfNumber reads an option whose argument is a whole number of the given bits.
func perfNumber(v *opt.Values, name string, bits int) (int64, error) {
	n, err := strconv.ParseInt(v.Get(name), 10, bits)
	if err != nil {
		return 0, opt.Usagef("Cannot parse argument '%s' of option %s", v.Get(name), name)
	}
	return n, nil
}

// javaFixed prints v with the given number of decimals as Java does, which rounds
// halves of the decimal number up and has its own words for what is no number.
func javaFixed(v float64, decimals int) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	text := strconv.FormatFloat(v, 'f', -1, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) <= decimals {
		fraction += strings.Repeat("0", decimals-len(fraction))
		if decimals == 0 {
			return whole
		}
		return whole + "." + fraction
	}
	digits := []byte(whole + fraction[:decimals])
	if fraction[decimals] >= '5' {
		digits = roundUp(digits)
	}
	cut := len(digits) - decimals
	if decimals == 0 {
		return string(digits)
	}
	return string(digits[:cut]) + "." + string(digits[cut:])
}

// roundUp adds one to the last digit of a number that may have a sign.
func roundUp(digits []byte) []byte {
	for i := len(digits) - 1; i >= 0 && digits[i] != '-'; i-- {
		if digits[i] < '9' {
			digits[i]++
			return digits
		}
		digits[i] = '0'
	}
	at := 0
	if digits[0] == '-' {
		at = 1
	}
	return slices.Insert(digits, at, '1')
}

// javaDouble prints v as Java's string concatenation does.
func javaDouble(v float64) string {
	if a := math.Abs(v); v == 0 || a >= 1e-3 && a < 1e7 {
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, ok := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
	if !ok {
		return javaFixed(v, 0)
	}
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	power := strings.TrimLeft(exponent, "+-0")
	if exponent[0] == '-' {
		power = "-" + power
	}
	return mantissa + "E" + power
}

const bytesPerMB = 1024.0 * 1024.0

// clientMetrics counts what a client does, for --print-metrics. The client calls it
// from its own goroutines.
type clientMetrics struct {
	mu                          sync.Mutex
	connections, disconnections float64
	requests, responses         float64
	sent, received              float64
	latencyMs, maxLatencyMs     float64
	batches                     float64
	plain, compressed           float64
}

func (m *clientMetrics) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.connections++
	}
}

func (m *clientMetrics) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disconnections++
}

func (m *clientMetrics) OnBrokerE2E(_ kgo.BrokerMetadata, _ int16, e kgo.BrokerE2E) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent += float64(e.BytesWritten)
	m.received += float64(e.BytesRead)
	if e.WriteErr == nil {
		m.requests++
	}
	if e.Err() == nil {
		m.responses++
		ms := float64(e.DurationE2E()) / float64(time.Millisecond)
		m.latencyMs += ms
		m.maxLatencyMs = max(m.maxLatencyMs, ms)
	}
}

func (m *clientMetrics) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, b kgo.ProduceBatchMetrics) {
	m.batch(b.UncompressedBytes, b.CompressedBytes)
}

func (m *clientMetrics) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, b kgo.FetchBatchMetrics) {
	m.batch(b.UncompressedBytes, b.CompressedBytes)
}

func (m *clientMetrics) batch(plain, compressed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batches++
	m.plain += float64(plain)
	m.compressed += float64(compressed)
}

// common are the counters that producers and consumers have in one of their groups.
func (m *clientMetrics) common(group string) map[string]float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return map[string]float64{
		group + ":connection-creation-total": m.connections,
		group + ":connection-close-total":    m.disconnections,
		group + ":request-total":             m.requests,
		group + ":response-total":            m.responses,
		group + ":outgoing-byte-total":       m.sent,
		group + ":incoming-byte-total":       m.received,
		group + ":request-latency-avg":       m.latencyMs / m.responses,
		group + ":request-latency-max":       m.maxLatencyMs,
	}
}

func (m *clientMetrics) producer(sent, failed int64) map[string]float64 {
	all := m.common("producer-metrics")
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.Copy(all, map[string]float64{
		"producer-metrics:record-send-total":    float64(sent),
		"producer-metrics:record-error-total":   float64(failed),
		"producer-metrics:batch-size-avg":       m.compressed / m.batches,
		"producer-metrics:compression-rate-avg": m.compressed / m.plain,
	})
	return all
}

func (m *clientMetrics) consumer(records, bytes int64) map[string]float64 {
	all := m.common("consumer-metrics")
	maps.Copy(all, map[string]float64{
		"consumer-fetch-manager-metrics:records-consumed-total": float64(records),
		"consumer-fetch-manager-metrics:bytes-consumed-total":   float64(bytes),
	})
	return all
}

// printMetrics prints metrics under Kafka's names in Kafka's table.
func printMetrics(w io.Writer, clientID string, metrics map[string]float64) {
	rows := map[string]float64{}
	width := 0
	for name, value := range metrics {
		full := fmt.Sprintf("%s:{client-id=%s}", name, clientID)
		rows[full] = value
		width = max(width, len(full))
	}
	fmt.Fprintf(w, "\n%-*s   %s\n", width, "Metric Name", "Value")
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(w, "%-*s : %s\n", width, name, javaFixed(rows[name], 3))
	}
}
