package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// SnapshotReader iterates over one checkpoint. One goroutine uses it.
type SnapshotReader struct {
	ID     SnapshotID
	Header SnapshotHeader

	name   string
	file   vfs.File
	size   int64
	pos    int64
	buf    []byte
	footer bool
}

// OpenSnapshot opens the checkpoint id in dir and reads its first batch.
func OpenSnapshot(fsys vfs.FS, dir string, id SnapshotID) (*SnapshotReader, error) {
	r, err := openReader(fsys, filepath.Join(dir, id.FileName()))
	if err != nil {
		return nil, err
	}
	r.ID = id
	return r, nil
}

// OpenCheckpointFile opens a checkpoint of any name, for example
// bootstrap.checkpoint.
func OpenCheckpointFile(fsys vfs.FS, name string) (*SnapshotReader, error) {
	return openReader(fsys, name)
}

func openReader(fsys vfs.FS, name string) (*SnapshotReader, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening a checkpoint: %w", err)
	}
	r := &SnapshotReader{name: name, file: f}
	if r.size, err = f.Size(); err == nil {
		err = r.readHeader()
	}
	if err != nil {
		_ = f.Close() // only read from
		return nil, err
	}
	return r, nil
}

// readHeader reads the first batch, which must be the snapshot header.
func (r *SnapshotReader) readHeader() error {
	b, err := r.nextBatch()
	if err == io.EOF {
		return r.corrupt(errors.New("it is empty"))
	}
	if err != nil {
		return err
	}
	if len(b.Control) == 0 {
		return r.corrupt(errors.New("it does not begin with a snapshot header"))
	}
	h, ok := b.Control[0].(*records.SnapshotHeaderRecord)
	if !ok {
		return r.corrupt(fmt.Errorf("it begins with a %s, not with a snapshot header", b.Control[0].SchemaName()))
	}
	r.Header.LastContainedLogTimeMs = h.LastContainedLogTimestamp
	r.control(b.Control[1:])
	return nil
}

// control takes over what control records behind the header say.
func (r *SnapshotReader) control(recs []records.Message) {
	for _, m := range recs {
		switch m := m.(type) {
		case *records.KRaftVersionRecord:
			r.Header.KRaftVersion = m.KRaftVersion
		case *records.VotersRecord:
			r.Header.Voters = VotersFromRecord(m)
		case *records.SnapshotFooterRecord:
			r.footer = true
		}
	}
}

// Next returns the records of the next batch that has any, and io.EOF behind the
// footer. A checkpoint without a footer is an error.
func (r *SnapshotReader) Next() ([]records.Message, error) {
	for {
		b, err := r.nextBatch()
		if err == io.EOF && !r.footer {
			return nil, r.corrupt(errors.New("it has no footer"))
		}
		if err != nil {
			return nil, err
		}
		if r.footer {
			return nil, r.corrupt(errors.New("there are batches behind the footer"))
		}
		r.control(b.Control)
		if len(b.Records) > 0 {
			return b.Records, nil
		}
	}
}

// nextBatch reads, checks and decodes the batch at pos.
func (r *SnapshotReader) nextBatch() (Batch, error) {
	if r.pos == r.size {
		return Batch{}, io.EOF
	}
	left := r.size - r.pos
	if left < batch.HeaderSize {
		return Batch{}, r.corrupt(fmt.Errorf("%d bytes are left, too few for a batch", left))
	}
	var head [batch.LogOverhead]byte
	if err := r.readAt(head[:]); err != nil {
		return Batch{}, err
	}
	n := int64(int32(binary.BigEndian.Uint32(head[8:]))) + batch.LogOverhead
	if n < batch.HeaderSize || n > left {
		return Batch{}, r.corrupt(fmt.Errorf("a batch claims %d bytes of the %d that are left", n, left))
	}
	if int64(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	r.buf = r.buf[:n]
	if err := r.readAt(r.buf); err != nil {
		return Batch{}, err
	}
	infos, err := batch.Infos(r.buf)
	if err != nil {
		return Batch{}, r.corrupt(err)
	}
	if len(infos) != 1 {
		return Batch{}, r.corrupt(fmt.Errorf("%d batches where one was expected", len(infos)))
	}
	b, err := DecodeBatch(r.buf, infos[0])
	if err != nil {
		return Batch{}, r.corrupt(err)
	}
	r.pos += n
	return b, nil
}

func (r *SnapshotReader) readAt(p []byte) error {
	if _, err := r.file.ReadAt(p, r.pos); err != nil {
		return fmt.Errorf("reading checkpoint %s at %d: %w", r.name, r.pos, err)
	}
	return nil
}

func (r *SnapshotReader) corrupt(err error) error {
	return kafka.CorruptMessage.Errorf("checkpoint %s at position %d: %w", r.name, r.pos, err)
}

// Close releases the file.
func (r *SnapshotReader) Close() error { return r.file.Close() }

// ReadAll returns every record that Next would.
func (r *SnapshotReader) ReadAll() ([]records.Message, error) {
	var all []records.Message
	for {
		recs, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, recs...)
	}
}
