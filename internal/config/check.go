package config

import (
	"math"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// check is what a parsed value must satisfy. text is the rule in Kafka's
// notation; run returns an InvalidConfig error in Kafka's words. A check that
// must not see null says so itself.
type check struct {
	text string
	run  func(key string, v any) error
}

// invalidValue is the error for a value that its key does not allow.
func invalidValue(key string, v any, reason string) error {
	if reason != "" {
		reason = ": " + reason
	}
	return kafka.InvalidConfig.Errorf("Invalid value %s for configuration %s%s", display(v), key, reason)
}

var anyValue = check{run: func(string, any) error { return nil }}

func number(v any) float64 {
	switch n := v.(type) {
	case int64:
		return float64(n)
	case float64:
		return n
	}
	return math.NaN()
}

func atLeast(min float64) check { return inRange(min, math.Inf(1)) }

func between(min, max float64) check { return inRange(min, max) }

func inRange(min, max float64) check {
	text := "[" + rangeText(min) + ",...]"
	if !math.IsInf(max, 1) {
		text = "[" + rangeText(min) + ",...," + rangeText(max) + "]"
	}
	return check{text, func(key string, v any) error {
		if v == nil {
			return invalidValue(key, nil, "Value must be non-null")
		}
		if n := number(v); n < min {
			return invalidValue(key, v, "Value must be at least "+rangeText(min))
		} else if n > max {
			return invalidValue(key, v, "Value must be no more than "+rangeText(max))
		}
		return nil
	}}
}

// rangeText prints a bound without a fraction that is not there.
func rangeText(f float64) string {
	if f == math.Trunc(f) {
		return formatLong(int64(f))
	}
	return formatDouble(f)
}

// hostPort allows an address, or an empty string for none.
var hostPort = check{"host:port or empty", func(key string, v any) error {
	s, ok := v.(string)
	if ok && s == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(s)
	if n, perr := strconv.Atoi(port); !ok || err != nil || perr != nil || n < 0 || n > 65535 {
		return invalidValue(key, v, "Value must be an address as host:port")
	}
	return nil
}}

// gzipLevel allows the levels of gzip and -1 for its default.
var gzipLevel = check{"[1,...,9] or -1", func(key string, v any) error {
	if n, ok := v.(int64); !ok || (n < 1 || n > 9) && n != -1 {
		return invalidValue(key, v, "Value must be between 1 and 9 or equal to -1")
	}
	return nil
}}

func oneOf(allowed ...string) check {
	return check{"[" + strings.Join(allowed, ", ") + "]", func(key string, v any) error {
		if s, ok := v.(string); !ok || !slices.Contains(allowed, s) {
			return invalidValue(key, v, "String must be one of: "+strings.Join(allowed, ", "))
		}
		return nil
	}}
}

func oneOfFold(allowed ...string) check {
	list := strings.Join(allowed, ", ")
	return check{"(case insensitive) [" + list + "]", func(key string, v any) error {
		if s, ok := v.(string); !ok || !slices.Contains(allowed, strings.ToUpper(s)) {
			return invalidValue(key, v, "String must be one of (case insensitive): "+list)
		}
		return nil
	}}
}

// listFlag says what else a list may be.
type listFlag int

const (
	mayBeEmpty listFlag = 1 << iota
	mayBeNull
)

// distinct allows lists without duplicates and empty elements, of the given
// elements if there are any.
func distinct(f listFlag, allowed ...string) check {
	text := ""
	if len(allowed) > 0 {
		text = "[" + strings.Join(allowed, ", ") + "]"
	}
	return check{text, func(key string, v any) error {
		if v == nil {
			if f&mayBeNull != 0 {
				return nil
			}
			return kafka.InvalidConfig.Errorf("Configuration '%s' values must not be null.", key)
		}
		list := v.([]string)
		if f&mayBeEmpty == 0 && len(list) == 0 {
			valid := text
			if valid == "" {
				valid = "any non-empty value"
			}
			return kafka.InvalidConfig.Errorf("Configuration '%s' must not be empty. Valid values include: %s", key, valid)
		}
		for i, s := range list {
			if slices.Contains(list[:i], s) {
				return kafka.InvalidConfig.Errorf("Configuration '%s' values must not be duplicated.", key)
			}
		}
		for _, s := range list {
			if s == "" {
				return kafka.InvalidConfig.Errorf("Configuration '%s' values must not be empty.", key)
			}
			if len(allowed) > 0 && !slices.Contains(allowed, s) {
				return invalidValue(key, s, "String must be one of: "+strings.Join(allowed, ", "))
			}
		}
		return nil
	}}
}

var notNull = check{"non-null string", func(key string, v any) error {
	if v == nil {
		return invalidValue(key, nil, "entry must be non null")
	}
	return nil
}}

var notEmpty = check{"non-empty string", func(key string, v any) error {
	if s, ok := v.(string); ok && s == "" {
		return invalidValue(key, s, "String must be non-empty")
	}
	return nil
}}

var throttledReplica = regexp.MustCompile(`^([0-9]+:[0-9]+)?$`)

// throttledReplicas allows * or a list of partition:broker pairs.
var throttledReplicas = check{"[partitionId]:[brokerId],[partitionId]:[brokerId],...", func(key string, v any) error {
	list, _ := v.([]string)
	if strings.Join(list, "") == "*" {
		return nil
	}
	for _, s := range list {
		if !throttledReplica.MatchString(s) {
			return invalidValue(key, v, key+" must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...")
		}
	}
	return nil
}}

var isoDuration = regexp.MustCompile(`(?i)^by_duration:P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d{0,9})?S)?)?$`)

// offsetReset allows the ways in which a share group may begin a partition.
var offsetReset = check{"[latest, earliest, by_duration:PnDTnHnMn.nS]", func(key string, v any) error {
	s, _ := v.(string)
	switch strings.ToLower(s) {
	case "latest", "earliest":
		return nil
	}
	if isoDuration.MatchString(s) && strings.ContainsAny(s[len("by_duration:P"):], "0123456789") && !strings.HasSuffix(strings.ToUpper(s), "T") {
		return nil
	}
	return invalidValue(key, v, "Invalid value `"+s+"` for configuration "+key+". The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS.>'.")
}}

// voterList and serverList allow what ParseVoters and ParseServers read.
var (
	voterList = check{"non-empty list", func(key string, v any) error {
		_, err := ParseVoters(v.([]string))
		return err
	}}
	serverList = check{"non-empty list", func(key string, v any) error {
		_, err := parseServers(v.([]string), key)
		return err
	}}
)
