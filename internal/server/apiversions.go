package server

import (
	"sort"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/wire"
)

// Keys with a rule of their own.
const (
	produce     = 0
	apiVersions = 18
)

// APIVersions returns what the listener serves, for the ApiVersions response, sorted
// by key. Private keys and unstable versions are not in it. Produce is announced from
// version 0 on broker listeners, because old librdkafka takes a broker without it for
// one that cannot be produced to (KAFKA-18659).
func (l *Listener) APIVersions() []kmsg.ApiVersionsResponseApiKey {
	keys := make([]kmsg.ApiVersionsResponseApiKey, 0, len(l.Table))
	for key, e := range l.Table {
		if key < 0 || key >= wire.NumKeys {
			continue
		}
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = key, e.Min, e.Max
		if api := wire.Lookup(key); api.LatestVersionUnstable {
			k.MaxVersion = min(e.Max, api.LatestStable())
		}
		if key == produce && !l.Controller {
			k.MinVersion = 0
		}
		if k.MinVersion <= k.MaxVersion {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i].ApiKey < keys[j].ApiKey })
	return keys
}

// replyUnsupportedVersion answers an ApiVersions request of a version that is not
// served: version 0, the error, and the versions of ApiVersions itself so that the
// client can ask again (KIP-511).
func replyUnsupportedVersion(r *Request, e Entry) {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kafka.UnsupportedVersion.Num()
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = apiVersions, e.Min, e.Max
	resp.ApiKeys = append(resp.ApiKeys, k)
	resp.SetVersion(0)
	r.encode(resp, 0)
	r.complete()
}
