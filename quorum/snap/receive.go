package snap

import (
	"fmt"

	"github.com/cespare/xxhash/v2"

	"perch/quorum"
	"perch/quorum/disk"
)

// Receiver takes a snapshot that is pulled from another node. It belongs to one
// goroutine, and ends with Commit or Abort.
type Receiver struct {
	store *Store
	meta  quorum.SnapMeta
	temp  string
	file  disk.File
	out   *pacedFile
	hash  xxhash.Digest
	ended bool
}

// Receive begins to take the snapshot meta.
func (s *Store) Receive(meta quorum.SnapMeta) (*Receiver, error) {
	if meta.Size < headBytes+trailBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrMismatch, meta.Size)
	}
	temp, err := s.tempName(meta.Zxid)
	if err != nil {
		return nil, fmt.Errorf("snap: %w", err)
	}
	f, err := s.opt.FS.Open(disk.Join(s.opt.Dir, temp), disk.Create)
	if err != nil {
		return nil, fmt.Errorf("snap: %w", err)
	}
	r := &Receiver{store: s, meta: meta, temp: temp, file: f, out: s.paced(f)}
	r.hash.Reset()
	return r, nil
}

// Offset is the number of bytes received: what to ask for next.
func (r *Receiver) Offset() int64 { return r.out.off }

// WriteAt takes the bytes at off, which must be Offset: chunks come in order,
// and a chunk that comes again is refused.
func (r *Receiver) WriteAt(b []byte, off int64) (int, error) {
	if r.ended || off != r.out.off || off+int64(len(b)) > r.meta.Size {
		return 0, fmt.Errorf("%w: %d bytes at %d; expected are bytes at %d of %d", ErrMismatch, len(b), off, r.out.off, r.meta.Size)
	}
	_, _ = r.hash.Write(b)
	if err := r.out.write(b); err != nil {
		return 0, fmt.Errorf("snap: receiving: %w", err)
	}
	return len(b), nil
}

// Write takes the next bytes.
func (r *Receiver) Write(b []byte) (int, error) { return r.WriteAt(b, r.out.off) }

// Commit checks the file against what was announced, reads it back, and makes
// it a snapshot, durably. After an error nothing is left of it.
func (r *Receiver) Commit() error {
	if r.ended {
		return fmt.Errorf("%w: already ended", ErrMismatch)
	}
	if err := r.verify(); err != nil {
		r.Abort()
		return err
	}
	r.ended = true
	if err := r.store.publish(r.file, r.temp, r.meta); err != nil {
		return fmt.Errorf("snap: receiving: %w", err)
	}
	return nil
}

func (r *Receiver) verify() error {
	if r.out.off != r.meta.Size {
		return fmt.Errorf("%w: %d of %d bytes came", ErrMismatch, r.out.off, r.meta.Size)
	}
	if sum := r.hash.Sum64(); sum != r.meta.Hash {
		return fmt.Errorf("%w: hash %016x, announced %016x", ErrMismatch, sum, r.meta.Hash)
	}
	got, err := verify(r.file, disk.Join(r.store.opt.Dir, r.temp), r.meta.Zxid)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	if got != r.meta {
		return fmt.Errorf("%w: the file is %+v, announced %+v", ErrMismatch, got, r.meta)
	}
	return nil
}

// Abort gives up; it may follow Commit, and then does nothing.
func (r *Receiver) Abort() {
	if r.ended {
		return
	}
	r.ended = true
	r.store.drop(r.file, r.temp)
}
