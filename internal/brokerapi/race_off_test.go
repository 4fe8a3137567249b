//go:build !race

package brokerapi

// raceEnabled says that the race detector is compiled in.
const raceEnabled = false
