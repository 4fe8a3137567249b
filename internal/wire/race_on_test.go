//go:build race

package wire

// allocated is how often the decoder allocates an array: with the race detector the
// compiler does not merge append with make.
const allocated = 2
