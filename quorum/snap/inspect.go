package snap

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"perch/quorum"
	"perch/quorum/disk"
)

// Inspected is one file of a directory of snapshots.
type Inspected struct {
	File  string // path
	Size  int64
	Meta  quorum.SnapMeta // when Err is nil; Hash and all
	Aside bool            // found damaged by an earlier start and renamed; not read
	Err   error           // *DamageError, or that it could not be read
}

// Inspect reads every snapshot in dir, oldest first, and changes nothing; the
// Store of a running node may be open. check gets the content of each, and what
// it says is wrong with it is damage, too; nil: only the file is judged. What a
// node deletes meanwhile is left out.
func Inspect(dir string, check func(m quorum.SnapMeta, content io.Reader) error) ([]Inspected, error) {
	return inspect(disk.OS{}, dir, check)
}

func inspect(fsys disk.FS, dir string, check func(quorum.SnapMeta, io.Reader) error) ([]Inspected, error) {
	s := &Store{opt: Options{Dir: dir, FS: fsys}}
	infos, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("snap: %w", err)
	}
	var all []Inspected
	for _, info := range infos {
		one := Inspected{File: disk.Join(dir, info.Name), Size: info.Size}
		z, ok := parseName(info.Name)
		switch {
		case ok:
			one.Meta, one.Err = s.inspect(z, check)
		case strings.Contains(info.Name, ext+asideExt):
			one.Aside = true
		default:
			continue // being written, or left over from that
		}
		all = append(all, one)
	}
	return slices.DeleteFunc(all, func(one Inspected) bool { return errors.Is(one.Err, fs.ErrNotExist) }), nil
}

func (s *Store) inspect(z quorum.Zxid, check func(quorum.SnapMeta, io.Reader) error) (quorum.SnapMeta, error) {
	f, err := s.opt.FS.Open(s.path(z), disk.ReadOnly)
	if err != nil {
		return quorum.SnapMeta{}, fmt.Errorf("snap: %w", err)
	}
	defer f.Close()
	// First the file, so that check never sees a byte that was not written.
	meta, err := verify(f, s.path(z), z)
	if err != nil || check == nil {
		return meta, err
	}
	r, err := newBlockReader(f)
	if err == nil {
		err = check(meta, struct{ io.Reader }{r})
	}
	if err != nil {
		return meta, damage(s.path(z), r.off, err)
	}
	return meta, nil
}
