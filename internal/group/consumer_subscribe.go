package group

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
)

// subscribe writes what the member says of itself, resolves expressions, and moves the
// group to its next epoch when what the group subscribes to has changed.
func (b *beat) subscribe() error {
	g := b.g
	b.epoch = g.epoch
	if !b.updated.sameMetadata(b.member) {
		b.out.Records = append(b.out.Records, b.updated.metadataRecord(g.id))
	}
	names := !slices.Equal(b.updated.topics, b.member.topics)
	if g.members[b.updated.id] == nil {
		note(&b.out, "[GroupId %s] Member %s joins the consumer group using the %s protocol.", g.id, b.updated.id, protocolOf(b.updated))
	} else if names {
		note(&b.out, "[GroupId %s] Member %s updated its subscribed topics to: [%s].", g.id, b.updated.id, strings.Join(b.updated.topics, ", "))
	}
	regexes, err := b.resolveRegexes()
	if err != nil {
		return err
	}
	b.changed = names || b.updated.regex != b.member.regex
	bump := names || regexes
	img := b.m.image()
	if !bump && b.now < g.refreshMs && g.epoch >= g.refreshEpoch && g.seen == img.Offset {
		return nil
	}
	hash := b.m.hashOf(b.topicNames())
	if bump || hash != g.hash {
		b.epoch++
		b.m.counts.ConsumerRebalances++
		note(&b.out, "[GroupId %s] Bumped group epoch to %d.", g.id, b.epoch)
		b.out.Records = append(b.out.Records, epochRecord(g.id, b.epoch, hash))
	}
	g.refreshMs, g.refreshEpoch, g.seen = b.now+metadataRefreshIntervalMs, b.epoch, img.Offset
	if g.hasTopicsRecord {
		b.out.Records = append(b.out.Records, coord.Record{Key: subscriptionKey(g.id)})
	}
	return nil
}

func protocolOf(c *consumerMember) string {
	if c.classic != nil {
		return "classic"
	}
	return "consumer"
}

// regexCount is how many members subscribe to an expression, with this request.
func (b *beat) regexCount(regex string) int {
	n := b.g.regexCounts[regex]
	if b.oldRegex() == regex {
		n--
	}
	if b.updated.regex == regex {
		n++
	}
	return n
}

// oldRegex is the expression that the group counts for the member, "" for a new one.
func (b *beat) oldRegex() string {
	if old := b.counted(); old != nil {
		return old.regex
	}
	return ""
}

// counted is the member whose subscription the group counts and this request changes:
// the member itself, or the static member that it replaces.
func (b *beat) counted() *consumerMember {
	if old := b.g.members[b.updated.id]; old != nil {
		return old
	}
	return b.g.staticMember(b.updated.instanceID)
}

// resolveRegexes brings the group's expressions up to date and says whether the topics of
// the group have changed by it. An expression is resolved when a member brings it, and
// again when topics have come or gone, or from time to time.
func (b *beat) resolveRegexes() (bool, error) {
	g := b.g
	b.resolved = g.resolved
	changed := b.updated.regex != b.oldRegex()
	if !changed && len(g.regexCounts) == 0 {
		return false, nil
	}
	if old := b.oldRegex(); changed && old != "" && b.regexCount(old) <= 0 && g.resolved[old] != nil {
		b.out.Records = append(b.out.Records, coord.Record{Key: regexKey(g.id, old)})
		b.resolved = maps.Clone(b.resolved)
		delete(b.resolved, old)
	}
	if changed && b.updated.regex != "" {
		if _, err := compileRegex(b.updated.regex); err != nil {
			return false, err
		}
	}
	last := int64(0)
	for _, r := range b.resolved {
		if r.ms <= b.now { // what lies ahead was written by another clock, or before it was set back
			last = max(last, r.ms)
		}
	}
	img := b.m.image()
	due := g.regexSeen != img.Offset && b.now > last+regexMinRefreshIntervalMs || b.now > last+b.m.cfg.ConsumerRegexRefreshMs
	all := maps.Clone(g.regexCounts)
	if b.updated.regex != "" {
		all[b.updated.regex]++
	}
	bump := changed
	for _, regex := range slices.Sorted(maps.Keys(all)) {
		old := b.resolved[regex]
		if b.regexCount(regex) <= 0 || old != nil && !due {
			continue
		}
		now := &resolvedRegex{topics: resolve(regex, img), version: img.Offset, ms: b.now}
		same := old != nil && slices.Equal(old.topics, now.topics)
		if same && old.ms <= b.now && b.now <= old.ms+b.m.cfg.ConsumerRegexRefreshMs {
			continue // nothing worth a record
		}
		bump = bump || !same
		b.resolved = maps.Clone(b.resolved)
		b.resolved[regex] = now
		b.out.Records = append(b.out.Records, coord.Record{Key: regexKey(g.id, regex), Value: records.EncodeCoordinatorValue(
			&records.ConsumerGroupRegularExpressionValue{Topics: now.topics, MetadataVersion: now.version, Timestamp: now.ms})})
	}
	if due {
		b.late = append(b.late, func() { g.regexSeen = img.Offset })
	}
	return bump, nil
}

// compileRegex compiles an expression so that it has to match a whole name.
func compileRegex(regex string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(regex); err != nil {
		return nil, kafka.InvalidRegularExpression.Errorf("SubscribedTopicRegex `%s` is not a valid regular expression: %v.", regex, err)
	}
	return regexp.Compile(`\A(?:` + regex + `)\z`)
}

// resolve returns the topics that an expression stands for; none when it is not valid.
func resolve(regex string, img *metadata.Image) []string {
	re, err := compileRegex(regex)
	if err != nil {
		return nil
	}
	var all []string
	for t := range img.Topics() {
		if re.MatchString(t.Name) {
			all = append(all, t.Name)
		}
	}
	slices.Sort(all)
	return all
}

// topicNames are the names that the group subscribes to, with this request.
func (b *beat) topicNames() map[string]int {
	counts := maps.Clone(b.g.topicCounts)
	if old := b.counted(); old != nil {
		for _, t := range old.topics {
			addCount(counts, t, -1)
		}
	}
	for _, t := range b.updated.topics {
		counts[t]++
	}
	for regex, r := range b.resolved {
		if b.regexCount(regex) > 0 {
			for _, t := range r.topics {
				counts[t]++
			}
		}
	}
	return counts
}
