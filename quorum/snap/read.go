package snap

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"perch/quorum"
	"perch/quorum/disk"
)

// Reader streams the content of one snapshot, checking it on the way. It
// belongs to one goroutine.
type Reader struct {
	store *Store // nil outside of one
	path  string
	base  int64 // where the snapshot begins in its file
	r     *blockReader
	file  io.Closer // nil: the caller's own
}

// Read reads a snapshot that stands within another file: size bytes of f, which
// begin at base of the file path. The names are for what errors tell.
func Read(f io.ReaderAt, base, size int64, path string) (*Reader, error) {
	r, err := readBlocks(io.NewSectionReader(f, base, size), size)
	if err != nil {
		return nil, damage(path, base+r.off, err)
	}
	return &Reader{path: path, base: base, r: r}, nil
}

// Open opens the snapshot at z for reading. The caller closes the Reader.
func (s *Store) Open(z quorum.Zxid) (*Reader, error) {
	f, err := s.open(z)
	if err != nil {
		return nil, err
	}
	r, err := newBlockReader(f)
	if err == nil && r.meta.Zxid != z {
		err = fmt.Errorf("%w: it holds the state at %v", errFormat, r.meta.Zxid)
	}
	if err != nil {
		_ = f.Close()
		s.doubt(z)
		return nil, damage(s.path(z), r.off, err)
	}
	return &Reader{store: s, path: s.path(z), r: r, file: f}, nil
}

func (s *Store) open(z quorum.Zxid) (disk.File, error) {
	f, err := s.opt.FS.Open(s.path(z), disk.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %v", ErrNotFound, z)
	}
	if err != nil {
		return nil, fmt.Errorf("snap: %w", err)
	}
	return f, nil
}

// doubt makes the next List check a snapshot anew.
func (s *Store) doubt(z quorum.Zxid) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, z)
}

// Meta is what the header says; Size and Hash are 0 until Read returned io.EOF.
func (r *Reader) Meta() quorum.SnapMeta { return r.r.meta }

// Read returns io.EOF after all content if everything was right, and a
// *DamageError otherwise: then what was read so far must not be used.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		if r.store != nil {
			r.store.doubt(r.r.meta.Zxid)
		}
		err = damage(r.path, r.base+r.r.off, err)
	}
	return n, err
}

// Close closes the file that Open opened.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// Pinned is a snapshot file that is being sent to others.
type Pinned struct {
	store *Store
	meta  quorum.SnapMeta
	file  disk.File
	once  sync.Once
}

// Pin keeps the snapshot at z from being purged until the result is closed. It
// reads the snapshot through if that was not done yet.
func (s *Store) Pin(z quorum.Zxid) (*Pinned, error) {
	// The pin comes first, so that no purge comes between it and the check.
	s.pin(z, 1)
	meta, err := s.verified(z)
	var f disk.File
	if err == nil {
		f, err = s.open(z)
	}
	if err != nil {
		s.pin(z, -1)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %v", ErrNotFound, z)
		}
		return nil, err
	}
	return &Pinned{store: s, meta: meta, file: f}, nil
}

func (s *Store) pin(z quorum.Zxid, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins[z] += by; s.pins[z] == 0 {
		delete(s.pins, z)
	}
}

// Meta describes the file.
func (p *Pinned) Meta() quorum.SnapMeta { return p.meta }

// ReadAt reads bytes of the file as they are; whoever receives them checks
// them against Meta. It may be called concurrently.
func (p *Pinned) ReadAt(b []byte, off int64) (int, error) { return p.file.ReadAt(b, off) }

// Close ends the pin. Further calls do nothing.
func (p *Pinned) Close() error {
	var err error
	p.once.Do(func() {
		p.store.pin(p.meta.Zxid, -1)
		err = p.file.Close()
	})
	return err
}
