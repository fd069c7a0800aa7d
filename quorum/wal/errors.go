package wal

import (
	"errors"
	"fmt"

	"perch/quorum"
	"perch/quorum/disk"
)

// DamageError says which file of the log does not hold what was made durable
// in it, where, and what to do. No file was changed.
type DamageError = disk.DamageError

var (
	// ErrRecord is wrapped by what Append returns for a record that must not
	// follow the ones before it. Nothing was written, the log goes on.
	ErrRecord = errors.New("wal: refused")
	// ErrNotFound is wrapped by what Read returns for a position that is not in
	// the log: purged, cut off, or never there.
	ErrNotFound = errors.New("wal: position not in the log")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("wal: closed")
	// ErrForeign is wrapped by what Open returns for the directory of another
	// node.
	ErrForeign = errors.New("wal: directory of another node")
)

func foreign(dir string, have, want quorum.NodeID) error {
	return fmt.Errorf("%w: %s belongs to node %d, this is node %d; remedy: give this node a --data directory of its own, a copy of another's is of no use to it; or, if this is node %d, start it with --id %d",
		ErrForeign, dir, have, want, have, have)
}

// RemedyRebuild is what to do about a store that has lost what cannot be got
// back from itself.
const RemedyRebuild = "change nothing in the directory by hand. With other healthy members: stop this one, move its whole data directory aside, " +
	"and start it again, so that it is rebuilt from them. As the only member: restore a copy of the file, or an archive"

const (
	remedyStore   = "put the right file back; or delete it, if this directory was always this node's: the segments say the same, and it is written anew"
	remedyPlace   = "put the file that belongs here in its place; otherwise: " + RemedyRebuild
	remedySegment = "put the file back if it was moved away; otherwise: " + RemedyRebuild
)

func damaged(path string, off int64, remedy, reason string, args ...any) error {
	return &DamageError{File: path, Offset: off, Reason: fmt.Sprintf(reason, args...), Remedy: remedy}
}

// misplaced is about a file of another store in the place of one of this.
func misplaced(path, remedy, reason string, args ...any) error {
	return &DamageError{File: path, Reason: fmt.Sprintf(reason, args...), Remedy: remedy, Misplaced: true}
}
