// Package timeline holds persistent maps: a change makes a new map that shares almost everything with the old one, and
// the old one stays as it was. A state built of them is kept, compared and thrown away at any point of its history for
// the price of a pointer.
//
// Map is a hash trie. Its hash is fixed, so the order of iteration depends only on the keys (and, for keys whose whole
// hash is equal, on the order of insertion), never on the process. It is not a sorted order: use SortedKeys where the
// order can be seen outside.
//
// A Map is immutable and may be shared by any number of goroutines. A Builder belongs to one goroutine.
package timeline
