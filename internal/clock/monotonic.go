package clock

import (
	"time"
	"unsafe"
)

// rawTime is the layout of the two words of a time.Time with a monotonic reading.
type rawTime struct {
	wall uint64 // hasMonotonic, 33 bits of seconds since 1885, 30 bits of nanoseconds
	ext  int64  // the monotonic reading
}

const (
	hasMonotonic = 1 << 63
	// unixFrom1885 are the seconds from 1885 to 1970.
	unixFrom1885 = (85*365 + 20) * 86400
)

// WithMonotonic returns wall with a monotonic reading, for the clocks of tests: package time makes such times only from
// the machine's clock, where the two cannot be told apart. The time is made as package time lays it out;
// TestWithMonotonic holds it to that. wall must be of the years 1885 to 2157.
func WithMonotonic(wall time.Time, reading time.Duration) time.Time {
	t := wall.Round(0)
	raw := (*rawTime)(unsafe.Pointer(&t))
	raw.wall = hasMonotonic | uint64(wall.Unix()+unixFrom1885)<<30 | uint64(wall.Nanosecond())
	raw.ext = int64(reading)
	return t
}
