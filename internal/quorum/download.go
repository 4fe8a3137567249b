package quorum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// DefaultSnapshotMaxBytes is the default of controller.quorum.fetch.snapshot.max.bytes.
const DefaultSnapshotMaxBytes = 1 << 20

// Download names a snapshot to fetch from the leader (KIP-630).
type Download struct {
	FS          vfs.FS
	Dir         string
	Snapshot    storage.SnapshotID
	LeaderEpoch kafka.LeaderEpoch
	ClusterID   string
	Replica     Replica
	MaxBytes    int // of one request; 0 takes the default
	// Do sends a request to the leader.
	Do func(context.Context, kmsg.Request) (kmsg.Response, error)
}

// DownloadSnapshot fetches a snapshot and puts it in place durably, after it was read
// to its end: a file that is not whole is never used.
func DownloadSnapshot(ctx context.Context, d Download) (err error) {
	part := filepath.Join(d.Dir, d.Snapshot.String()+"-fetch.checkpoint.part")
	f, err := d.FS.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("creating %s: %w", part, err)
	}
	defer func() {
		if err != nil {
			if rerr := d.FS.Remove(part); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				err = fmt.Errorf("%w (and removing it: %w)", err, rerr)
			}
		}
	}()
	err = d.copyTo(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("fetching snapshot %s: %w", d.Snapshot, err)
	}
	if err := d.verify(part); err != nil {
		return fmt.Errorf("snapshot %s as it came: %w", d.Snapshot, err)
	}
	if err := d.FS.Rename(part, filepath.Join(d.Dir, d.Snapshot.FileName())); err != nil {
		return fmt.Errorf("putting snapshot %s in place: %w", d.Snapshot, err)
	}
	if err := d.FS.SyncDir(d.Dir); err != nil {
		return fmt.Errorf("putting snapshot %s in place: %w", d.Snapshot, err)
	}
	return nil
}

// copyTo asks for one part after the other.
func (d *Download) copyTo(ctx context.Context, f vfs.File) error {
	for at, size := int64(0), int64(-1); at != size; {
		p, err := d.ask(ctx, at)
		if err != nil {
			return err
		}
		switch {
		case len(p.Bytes) == 0:
			return kafka.CorruptMessage.Errorf("the leader sent nothing at position %d of %d", at, p.Size)
		case size >= 0 && p.Size != size, p.Position != at, p.Size < at+int64(len(p.Bytes)):
			return kafka.CorruptMessage.Errorf("the leader sent %d bytes at position %d of %d, asked for position %d of %d", len(p.Bytes), p.Position, p.Size, at, size)
		}
		if _, err := f.WriteAt(p.Bytes, at); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
		at, size = at+int64(len(p.Bytes)), p.Size
	}
	return nil
}

// ask fetches one part.
func (d *Download) ask(ctx context.Context, at int64) (*kmsg.FetchSnapshotResponseTopicPartition, error) {
	req := kmsg.NewPtrFetchSnapshotRequest()
	req.ClusterID, req.ReplicaID = &d.ClusterID, int32(d.Replica.ID)
	req.MaxBytes = int32(d.MaxBytes)
	if req.MaxBytes <= 0 {
		req.MaxBytes = DefaultSnapshotMaxBytes
	}
	rp := kmsg.NewFetchSnapshotRequestTopicPartition()
	rp.CurrentLeaderEpoch, rp.Position = d.LeaderEpoch, at
	rp.SnapshotID.EndOffset, rp.SnapshotID.Epoch = d.Snapshot.EndOffset, d.Snapshot.Epoch
	rp.ReplicaDirectoryID = d.Replica.DirectoryID
	req.Topics = []kmsg.FetchSnapshotRequestTopic{{Topic: kafka.MetadataTopic, Partitions: []kmsg.FetchSnapshotRequestTopicPartition{rp}}}
	got, err := d.Do(ctx, req)
	if err != nil {
		return nil, err
	}
	resp, ok := got.(*kmsg.FetchSnapshotResponse)
	if !ok {
		return nil, kafka.UnknownServerError.Errorf("the leader answered FetchSnapshot with %T", got)
	}
	if resp.ErrorCode != 0 {
		return nil, kafka.CodeForNum(resp.ErrorCode).Errorf("the leader refused")
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, kafka.InvalidRequest.Errorf("the leader's answer has no partition")
	}
	p := &resp.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		return nil, kafka.CodeForNum(p.ErrorCode).Errorf("the leader refused position %d", at)
	}
	return p, nil
}

// verify reads the file to its footer; every checksum is compared on the way.
func (d *Download) verify(name string) error {
	r, err := storage.OpenCheckpointFile(d.FS, name)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = r.Next()
	}
	if cerr := r.Close(); cerr != nil {
		return cerr
	}
	if isEOF(err) {
		return nil
	}
	return err
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }
