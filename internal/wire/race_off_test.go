//go:build !race

package wire

// allocated is how often the decoder allocates an array.
const allocated = 1
