package batch

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// gzipWriters has one pool a level, from HuffmanOnly (-2) to 9.
var gzipWriters [12]sync.Pool

var gzipReaders sync.Pool

// sliceWriter appends to a slice.
type sliceWriter struct{ b []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

func compressGzip(dst, src []byte, level int) ([]byte, error) {
	if level == 0 || level < gzip.DefaultCompression || level > gzip.BestCompression {
		level = gzip.DefaultCompression
	}
	pool := &gzipWriters[level+2]
	w := &sliceWriter{b: dst}
	z, ok := pool.Get().(*gzip.Writer)
	if ok {
		z.Reset(w)
	} else {
		var err error
		if z, err = gzip.NewWriterLevel(w, level); err != nil {
			return dst, err
		}
	}
	if _, err := z.Write(src); err != nil {
		return dst, err
	}
	if err := z.Close(); err != nil {
		return dst, err
	}
	pool.Put(z)
	return w.b, nil
}

// gzipReader keeps what one decompression needs together, so that it is pooled
// as one.
type gzipReader struct {
	src bytes.Reader
	z   gzip.Reader
}

func decompressGzip(dst, src []byte) ([]byte, error) {
	r, ok := gzipReaders.Get().(*gzipReader)
	if !ok {
		r = new(gzipReader)
	}
	defer func() {
		r.src.Reset(nil)
		gzipReaders.Put(r)
	}()
	r.src.Reset(src)
	if err := r.z.Reset(&r.src); err != nil {
		return dst, err
	}
	return readAllInto(dst, &r.z)
}

// readAllInto appends what r yields to dst, up to its capacity.
func readAllInto(dst []byte, r io.Reader) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			// Only a read tells whether that was all.
			var one [1]byte
			n, err := r.Read(one[:])
			if n > 0 {
				return dst, errShort
			}
			if err == io.EOF {
				return dst, nil
			}
			if err != nil {
				return dst, err
			}
			continue
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}
