// Package snap keeps the snapshots of a node: one file each, named by the zxid
// of the state that it holds.
//
// It guarantees:
//   - A snapshot exists whole and durable, or not at all: it is written under a
//     temporary name, synced, renamed, and its directory is synced. A write that
//     failed is not tried again; it leaves the other snapshots as they are.
//   - What is handed out was checked: List and Newest read every byte of a file
//     before they name it for the first time; a Reader ends in io.EOF only after
//     all checksums were right.
//   - A damaged file is reported and renamed aside, never deleted and never
//     taken for a good one.
//   - A pinned snapshot is not purged.
//
// It does not know what is in a snapshot, nor whether the log reaches back to
// it: the caller compares zxid and chain hash with its log, and purges the log
// only up to the oldest snapshot that it keeps. It takes no lock: the caller
// holds the one of the log that the snapshots belong to.
package snap

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"perch/quorum"
	"perch/quorum/disk"
)

// DamageError says which snapshot file is damaged, where, and what was done.
type DamageError = disk.DamageError

var (
	// ErrNotFound is wrapped by what is returned for a snapshot that is not
	// there, or is there no more.
	ErrNotFound = errors.New("snap: no such snapshot")
	// ErrMismatch is wrapped by what a Receiver returns for bytes that are not
	// the snapshot that was announced.
	ErrMismatch = errors.New("snap: received bytes are not the snapshot announced")
)

const (
	ext       = ".snap"
	asideExt  = ".damaged"
	syncBytes = 8 << 20
)

// Options say where snapshots are kept and how they are written.
type Options struct {
	Dir       string                    // of the snapshots alone; made with mode 0700 if it is missing
	FS        disk.FS                   // nil: the real one
	SyncBytes int                       // bytes written between two syncs; 0: 8 MiB
	Pace      func(n int) error         // called after n bytes were written, about every 1 MiB: may wait, and ends the writing with an error; nil: no brake
	Report    func(damage *DamageError) // called once for each damaged file; nil: not called
}

// Store is an open directory of snapshots. Its methods may be called
// concurrently.
type Store struct {
	opt Options

	check sync.Mutex // held while files are verified; taken before mu

	mu    sync.Mutex
	known map[quorum.Zxid]quorum.SnapMeta // verified, or written here
	pins  map[quorum.Zxid]int
	temps int   // names temporary files
	err   error // a directory could not be synced: nothing is done any more
}

// Open opens the snapshots in opt.Dir and removes what an interrupted Create or
// Receive left there. It reads no snapshot.
func Open(opt Options) (*Store, error) {
	if opt.Dir == "" {
		return nil, errors.New("snap: Options need Dir")
	}
	if opt.FS == nil {
		opt.FS = disk.OS{}
	}
	if opt.SyncBytes <= 0 {
		opt.SyncBytes = syncBytes
	}
	s := &Store{opt: opt, known: map[quorum.Zxid]quorum.SnapMeta{}, pins: map[quorum.Zxid]int{}}
	err := opt.FS.MkdirAll(opt.Dir)
	if err == nil {
		err = disk.RemoveTemp(opt.FS, opt.Dir)
	}
	if err == nil {
		// A crash may have come between a rename and its sync: from here on
		// every name that is seen is durable.
		err = opt.FS.SyncDir(opt.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("snap: %w", err)
	}
	return s, nil
}

func fileName(z quorum.Zxid) string { return fmt.Sprintf("%016x%s", uint64(z), ext) }

// parseName is the inverse of fileName; false for other files.
func parseName(name string) (quorum.Zxid, bool) {
	hex, ok := strings.CutSuffix(name, ext)
	if !ok {
		return 0, false
	}
	z, err := strconv.ParseUint(hex, 16, 64)
	return quorum.Zxid(z), err == nil && fileName(quorum.Zxid(z)) == name
}

func (s *Store) path(z quorum.Zxid) string { return disk.Join(s.opt.Dir, fileName(z)) }

// Create writes the state at of.Zxid; chain hash, digest and configuration of
// it are those of of, the rest is filled in. fill writes the content. It replaces
// a snapshot of the same zxid.
func (s *Store) Create(of quorum.SnapMeta, fill func(w io.Writer) error) (quorum.SnapMeta, error) {
	meta, zxid := quorum.SnapMeta{Zxid: of.Zxid, Chain: of.Chain, Digest: of.Digest, Config: of.Config}, of.Zxid
	err := s.install(&meta, func(out *pacedFile) error {
		w, err := newBlockWriter(out, &meta)
		if err != nil {
			return err
		}
		if err := fill(w); err != nil {
			return err
		}
		meta.Size, meta.Hash, err = w.finish()
		return err
	})
	if err != nil {
		return quorum.SnapMeta{}, fmt.Errorf("snap: writing %v: %w", zxid, err)
	}
	return meta, nil
}

// install writes a file with fill and makes it the snapshot meta.
func (s *Store) install(meta *quorum.SnapMeta, fill func(out *pacedFile) error) error {
	temp, err := s.tempName(meta.Zxid)
	if err != nil {
		return err
	}
	f, err := s.opt.FS.Open(disk.Join(s.opt.Dir, temp), disk.Create)
	if err != nil {
		return err
	}
	if err := fill(s.paced(f)); err != nil {
		s.drop(f, temp)
		return err
	}
	return s.publish(f, temp, *meta)
}

func (s *Store) paced(f disk.File) *pacedFile {
	return &pacedFile{file: f, limit: s.opt.SyncBytes, pace: s.opt.Pace}
}

// tempName is a name that nobody else writes to.
func (s *Store) tempName(z quorum.Zxid) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return "", s.err
	}
	s.temps++
	return fmt.Sprintf("%s.%d%s", fileName(z), s.temps, disk.TempSuffix), nil
}

// drop gives up a temporary file. What cannot be removed now is removed by the
// next Open.
func (s *Store) drop(f disk.File, temp string) {
	_ = f.Close()
	_ = s.opt.FS.Remove(disk.Join(s.opt.Dir, temp))
}

// publish gives a finished file its name, durably.
func (s *Store) publish(f disk.File, temp string, meta quorum.SnapMeta) error {
	if err := f.Sync(); err != nil {
		s.drop(f, temp)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, meta.Zxid)
	if err := s.opt.FS.Rename(disk.Join(s.opt.Dir, temp), s.path(meta.Zxid)); err != nil {
		s.drop(f, temp)
		return err
	}
	_ = f.Close() // everything is on disk
	if err := s.syncDir(); err != nil {
		return err
	}
	s.known[meta.Zxid] = meta
	return nil
}

// syncDir makes names durable; the caller holds mu. When that fails, names on
// this disk cannot be trusted any more, and the store does nothing further: a
// later sync may succeed without having made this one good.
func (s *Store) syncDir() error {
	if err := s.opt.FS.SyncDir(s.opt.Dir); err != nil {
		s.err = fmt.Errorf("the store stopped: %w", err)
		return s.err
	}
	return nil
}

// List returns the good snapshots, newest first. A file that it has not named
// before is read through and checked; a damaged one is reported, renamed aside
// and left out.
func (s *Store) List() ([]quorum.SnapMeta, error) { return s.list(-1) }

// Newest is the newest good snapshot; false when there is none. Unlike List it
// leaves the older ones unread.
func (s *Store) Newest() (quorum.SnapMeta, bool, error) {
	metas, err := s.list(1)
	if err != nil || len(metas) == 0 {
		return quorum.SnapMeta{}, false, err
	}
	return metas[0], true, nil
}

// list returns up to limit good snapshots, all of them if it is negative.
func (s *Store) list(limit int) ([]quorum.SnapMeta, error) {
	s.check.Lock()
	defer s.check.Unlock()
	if err := s.failure(); err != nil {
		return nil, fmt.Errorf("snap: %w", err)
	}
	zxids, err := s.names()
	if err != nil {
		return nil, err
	}
	var metas []quorum.SnapMeta
	for _, z := range zxids {
		if len(metas) == limit {
			break
		}
		meta, err := s.verified(z)
		var damage *DamageError
		switch {
		case errors.Is(err, fs.ErrNotExist): // discarded meanwhile
		case errors.As(err, &damage):
			if err := s.setAside(z, damage); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		default:
			metas = append(metas, meta)
		}
	}
	return metas, nil
}

func (s *Store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// names lists the zxids that have a file, newest first.
func (s *Store) names() ([]quorum.Zxid, error) {
	infos, err := s.opt.FS.ReadDir(s.opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("snap: %w", err)
	}
	var zxids []quorum.Zxid
	for _, info := range infos {
		if z, ok := parseName(info.Name); ok {
			zxids = append(zxids, z)
		}
	}
	sort.Slice(zxids, func(i, j int) bool { return zxids[i] > zxids[j] })
	return zxids, nil
}

// verified returns what is known of a snapshot, reading it through if need be.
func (s *Store) verified(z quorum.Zxid) (quorum.SnapMeta, error) {
	s.mu.Lock()
	meta, ok := s.known[z]
	s.mu.Unlock()
	if ok {
		return meta, nil
	}
	f, err := s.opt.FS.Open(s.path(z), disk.ReadOnly)
	if err != nil {
		return meta, fmt.Errorf("snap: %w", err)
	}
	defer f.Close()
	if meta, err = verify(f, s.path(z), z); err != nil {
		return meta, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[z] = meta
	return meta, nil
}

// verify reads a whole file.
func verify(f disk.File, path string, z quorum.Zxid) (quorum.SnapMeta, error) {
	r, err := newBlockReader(f)
	if err == nil && r.meta.Zxid != z {
		err = fmt.Errorf("%w: it holds the state at %v", errFormat, r.meta.Zxid)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, struct{ io.Reader }{r})
	}
	if err != nil {
		return quorum.SnapMeta{}, damage(path, r.off, err)
	}
	return r.meta, nil
}

func damage(path string, off int64, err error) error {
	return &DamageError{
		File: path, Offset: off, Reason: err.Error(),
		Remedy: "none needed if an older snapshot and the log behind it are whole; otherwise the node is rebuilt from the other members",
	}
}

// setAside renames a damaged file, so that it is neither used nor lost.
func (s *Store) setAside(z quorum.Zxid, damage *DamageError) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.known[z]; ok {
		return nil // replaced by a good one meanwhile
	}
	to, err := s.freeName(s.path(z) + asideExt)
	if err == nil {
		err = s.opt.FS.Rename(s.path(z), to)
	}
	if err == nil {
		err = s.syncDir()
	}
	if err != nil {
		return fmt.Errorf("snap: setting aside a damaged file: %w", err)
	}
	damage.Reason += "; the file was renamed to " + to
	if s.opt.Report != nil {
		s.opt.Report(damage)
	}
	return nil
}

// freeName is path, or path with the first number behind it that no file has.
func (s *Store) freeName(path string) (string, error) {
	for i, name := 1, path; ; i++ {
		f, err := s.opt.FS.Open(name, disk.ReadOnly)
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		if err != nil {
			return "", err
		}
		_ = f.Close()
		name = fmt.Sprintf("%s.%d", path, i)
	}
}

// Discard deletes a snapshot, pinned or not; who has it open keeps reading. It
// is no error when there is none.
func (s *Store) Discard(z quorum.Zxid) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remove([]quorum.Zxid{z})
}

// remove deletes files; the caller holds mu.
func (s *Store) remove(zxids []quorum.Zxid) error {
	for _, z := range zxids {
		delete(s.known, z)
		if err := s.opt.FS.Remove(s.path(z)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("snap: %w", err)
		}
	}
	if err := s.syncDir(); err != nil {
		return fmt.Errorf("snap: %w", err)
	}
	return nil
}

// Purge deletes all but the keep newest good snapshots (at least one), those
// that are pinned, and those named in also; it returns what is left, newest
// first. A caller that pulls snapshots names the one that its state stands on:
// one that was pulled and then not wanted may be newer.
func (s *Store) Purge(keep int, also ...quorum.Zxid) ([]quorum.SnapMeta, error) {
	metas, err := s.List()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []quorum.SnapMeta
	var gone []quorum.Zxid
	for i, m := range metas {
		if i < max(keep, 1) || s.pins[m.Zxid] > 0 || slices.Contains(also, m.Zxid) {
			left = append(left, m)
		} else {
			gone = append(gone, m.Zxid)
		}
	}
	if len(gone) == 0 {
		return left, nil
	}
	return left, s.remove(gone)
}
