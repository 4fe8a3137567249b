package controller

import (
	"math"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// producerIDBlock is how many producer ids a broker gets at a time.
const producerIDBlock = 1000

// allocateProducerIDs decides AllocateProducerIds.
func (d *decision) allocateProducerIDs(req *kmsg.AllocateProducerIDsRequest, resp *kmsg.AllocateProducerIDsResponse) Result {
	if err := d.checkEpoch(req.BrokerID, req.BrokerEpoch); err != nil {
		return Result{Reply: fail(req, resp, err)}
	}
	first := d.img.NextProducerID()
	if first > math.MaxInt64-producerIDBlock {
		return Result{Reply: fail(req, resp, kafka.UnknownServerError.Errorf("Exhausted all producerIds as the next block's end producerId has exceeded the int64 type limit"))}
	}
	r := records.NewProducerIdsRecord()
	r.BrokerID, r.BrokerEpoch, r.NextProducerID = req.BrokerID, req.BrokerEpoch, first+producerIDBlock
	d.add(r)
	resp.ProducerIDStart, resp.ProducerIDLen = first, producerIDBlock
	return d.result(resp, false)
}
