package wire

//go:generate go run ./gen

// kind is how a field is encoded.
type kind uint8

const (
	fixed             kind = iota // size bytes
	str                           // length >= 0, then the bytes
	nullableStr                   // length -1 means null
	byteSlice                     // like str with a 32-bit length; -1 reads as empty
	nullableByteSlice             // any negative length means null
	array                         // count, then count times sub; a negative count means null or empty
	nullableStruct                // one byte, -1 means null, then sub
	inlineStruct                  // sub
	tags                          // the tagged-field section; sub holds the known tags
	tag                           // a known tag: size is its number, sub its one field
)

// ptrSize is the memory behind a *string beside its bytes.
const ptrSize = 16

// field is one field of a body.
type field struct {
	kind     kind
	min, max int16 // the versions that have it
	// size is the encoded size of a fixed field, the decoded size of one element of
	// an array or of a nullable struct, the number of a tag, or the extra memory of a
	// string that is decoded into a pointer.
	size uint32
	sub  []field
}
