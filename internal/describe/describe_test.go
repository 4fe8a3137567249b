package describe

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// TestAnswersAreBounded is trap N2: a resource that is named again and again, and one that
// does not exist, is many rows for a few bytes.
func TestAnswersAreBounded(t *testing.T) {
	n := Node{ID: 1, Image: metadata.Empty(), Config: config.Default(nil), LogLevel: "INFO"}
	for _, kind := range []kmsg.ConfigResourceType{kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeGroupConfig} {
		req := kmsg.NewPtrDescribeConfigsRequest()
		for i := range 200 {
			res := kmsg.NewDescribeConfigsRequestResource()
			res.ResourceType, res.ResourceName = kind, "1"
			if kind == kmsg.ConfigResourceTypeGroupConfig {
				res.ResourceName = fmt.Sprint("g", i)
			}
			req.Resources = append(req.Resources, res)
		}
		whole := len(n.Configs(req).Resources[0].Configs)
		if whole == 0 {
			t.Fatalf("type %d has no rows", kind)
		}
		rows, refused := 0, 0
		for i, r := range n.configs(req, 3*whole).Resources {
			rows += len(r.Configs)
			if r.ErrorCode != 0 {
				refused++
			}
			if (i < 3) != (r.ErrorCode == 0) || i >= 3 && r.ErrorCode != kafka.InvalidRequest.Num() {
				t.Fatalf("type %d, resource %d: error %d", kind, i, r.ErrorCode)
			}
		}
		if rows != 3*whole || refused != 197 {
			t.Errorf("type %d: %d rows, %d refused", kind, rows, refused)
		}
	}
}
