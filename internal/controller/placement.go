package controller

import (
	"math/rand"

	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/placement"
)

// newPlacer takes the brokers that may get new replicas: all but those that are
// shutting down or have every directory cordoned.
func newPlacer(img *metadata.Image, rng *rand.Rand) *placement.Placer {
	var brokers []placement.Broker
	for _, b := range img.Brokers() {
		if !b.InControlledShutdown && b.HasUncordonedDirectory() {
			brokers = append(brokers, placement.Broker{ID: b.ID, Rack: b.Rack, Fenced: b.Fenced})
		}
	}
	return placement.New(brokers, rng)
}
