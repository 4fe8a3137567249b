package wire

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestErrorCodesAreFoundAtEveryDepth takes a response with codes at its top and two
// levels down.
func TestErrorCodesAreFoundAtEveryDepth(t *testing.T) {
	r := kmsg.NewPtrOffsetFetchResponse()
	r.ErrorCode = 1
	r.Groups = []kmsg.OffsetFetchResponseGroup{{ErrorCode: 2, Topics: []kmsg.OffsetFetchResponseGroupTopic{
		{Partitions: []kmsg.OffsetFetchResponseGroupTopicPartition{{ErrorCode: 3}, {ErrorCode: 0}}}}}}
	var got []int16
	ErrorCodes(r, func(code int16) { got = append(got, code) })
	slices.Sort(got)
	if want := []int16{0, 1, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := testing.AllocsPerRun(100, func() {
		sum := 0
		ErrorCodes(r, func(code int16) { sum += int(code) })
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
