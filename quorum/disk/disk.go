// Package disk is the seam between the durable stores of a node (package wal,
// package snap) and the file system. Tests put package memdisk behind it, which
// forgets what was not synced, tears writes and fails on demand.
//
// It guarantees what is said at each method and nothing more. In particular it
// hides no write behind a cache of its own, and repeats nothing that failed:
// whether a failed sync may be tried again is for the caller to decide, and
// both stores decide that it may not.
package disk

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// TempSuffix ends the names of files that are being written. Whoever opens a
// store removes what such names are left over from an earlier life.
const TempSuffix = ".tmp"

// ErrLocked is returned by FS.Lock when another process, or another store of
// this process, holds the directory.
var ErrLocked = errors.New("the directory is in use by another process")

// FS is a file system as far as the stores need one. All methods may be called
// concurrently. A name that does not exist gives an error that matches
// fs.ErrNotExist.
type FS interface {
	// MkdirAll makes dir and its missing parents with mode 0700, durably.
	MkdirAll(dir string) error
	// ReadDir lists the regular files in dir, sorted by name.
	ReadDir(dir string) ([]Info, error)
	// Open opens a file; only Create makes one, with mode 0600.
	Open(name string, mode Mode) (File, error)
	// Rename replaces the file at to by the one at from, atomically. It is
	// durable only after SyncDir.
	Rename(from, to string) error
	// Remove deletes a file; durable only after SyncDir.
	Remove(name string) error
	// SyncDir makes every name in dir durable as it is now.
	SyncDir(dir string) error
	// Lock takes dir exclusively until the result is closed, or fails at once
	// with ErrLocked. The lock ends with the process.
	Lock(dir string) (io.Closer, error)
}

// Info is one line of a directory.
type Info struct {
	Name string // without the directory
	Size int64  // bytes
}

// Mode says what a file is opened for.
type Mode uint8

const (
	ReadOnly  Mode = 1
	ReadWrite Mode = 2
	// Create makes an empty file for reading and writing, in the place of an
	// older one if there is any.
	Create Mode = 3
)

// File is an open file. ReadAt may run concurrently with everything else; the
// other methods belong to one goroutine at a time.
type File interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes the bytes and the length of the file durable, not its name.
	Sync() error
	Close() error
}

// Install makes the file name appear whole or not at all: fill writes it under
// a temporary name, then it is synced, renamed, and dir is synced. The file is
// left open for the caller, under its final name, which is the one that errors
// will tell. After an error it is not known whether the name exists.
func Install(fsys FS, dir, name string, fill func(File) error) (File, error) {
	path := Join(dir, name)
	f, err := fsys.Open(path+TempSuffix, Create)
	if err != nil {
		return nil, err
	}
	if err = fill(f); err == nil {
		err = Publish(fsys, f, dir, name+TempSuffix, name)
	}
	_ = f.Close() // after an error of no interest, and otherwise everything is on disk
	if err != nil {
		return nil, err
	}
	return fsys.Open(path, ReadWrite)
}

// Publish makes what was written to f, which is open under the name temp in
// dir, durable under its final name, in the place of an older file.
func Publish(fsys FS, f File, dir, temp, name string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := fsys.Rename(Join(dir, temp), Join(dir, name)); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// RemoveTemp deletes the files in dir that an interrupted Install left behind.
func RemoveTemp(fsys FS, dir string) error {
	infos, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if !strings.HasSuffix(info.Name, TempSuffix) {
			continue
		}
		if err := fsys.Remove(Join(dir, info.Name)); err != nil {
			return err
		}
	}
	return nil
}

// Join puts a file name behind its directory.
func Join(dir, name string) string { return strings.TrimSuffix(dir, "/") + "/" + name }

// DamageError says that a file does not hold what was once made durable in it.
// Nothing was changed on the disk because of it.
type DamageError struct {
	File   string // path of the file
	Offset int64  // byte at which reading went wrong
	Reason string // what is wrong there
	Remedy string // what a person can do about it

	Misplaced bool // the file is whole, and belongs to another store
}

// Error names the file, the offset, the reason and the remedy.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged at offset %d: %s; remedy: %s", e.File, e.Offset, e.Reason, e.Remedy)
}
