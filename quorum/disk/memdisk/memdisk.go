// Package memdisk is a disk.FS in memory that fails as disks do. Tests crash it
// at any operation and look at what is left.
//
// It models: bytes that were not synced survive wholly, in part, or not at all;
// names that were not synced by SyncDir likewise; a failed sync loses the bytes
// and the next one reports success; a full disk takes part of a write. It does
// not model directories: a path is a name, and every directory exists.
package memdisk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"sync"
	"syscall"

	"perch/quorum/disk"
)

// ErrCrashed is returned by every operation from the crash on.
var ErrCrashed = errors.New("memdisk: crashed")

// Disk is one disk in one life of the machine. It may be used concurrently.
type Disk struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode // names as the last SyncDir left them
	pending []change          // of names, not durable yet
	locks   map[string]bool

	ops     int           // changing operations so far
	faults  map[int]error // by operation
	crashAt int           // 0: never
	limit   int64         // of all bytes; 0: none
	reads   error         // of every ReadAt
}

// change is one pending operation on names.
type change struct {
	dir string
	set map[string]*inode // nil: the name goes
}

type inode struct {
	data    []byte // as it is read now
	synced  []byte // as a crash leaves it at least
	pending []write
}

// write is one change of content that was not synced; data nil: a truncation
// to off.
type write struct {
	off  int64
	data []byte
}

// New is an empty disk.
func New() *Disk {
	return &Disk{
		names: map[string]*inode{}, durable: map[string]*inode{},
		locks: map[string]bool{}, faults: map[int]error{},
	}
}

// Ops is the number of operations so far that change something.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// CrashAt makes operation n, counted from 1, the one in which the machine
// stops: a write or a change of names may or may not have happened, a sync may
// have done its work or not; Crash tells.
func (d *Disk) CrashAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashAt = n
}

// FailAt makes operation n return err without doing its work.
func (d *Disk) FailAt(n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults[n] = err
}

// FailReads makes every ReadAt return err.
func (d *Disk) FailReads(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads = err
}

// Limit makes writes fail with ENOSPC once all files together hold n bytes.
func (d *Disk) Limit(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit = n
}

// begin counts an operation and says how it ends: done is false when it must
// not be carried out.
func (d *Disk) begin() (done bool, err error) {
	if d.crashAt > 0 && d.ops >= d.crashAt {
		return false, ErrCrashed
	}
	d.ops++
	if d.ops == d.crashAt {
		return true, ErrCrashed
	}
	if err := d.faults[d.ops]; err != nil {
		return false, err
	}
	return true, nil
}

func (d *Disk) dead() bool { return d.crashAt > 0 && d.ops >= d.crashAt }

// MkdirAll does nothing: every directory exists.
func (d *Disk) MkdirAll(string) error { return nil }

// ReadDir lists the files in dir.
func (d *Disk) ReadDir(dir string) ([]disk.Info, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead() {
		return nil, ErrCrashed
	}
	var infos []disk.Info
	for name, n := range d.names {
		if path.Dir(name) == path.Clean(dir) {
			infos = append(infos, disk.Info{Name: path.Base(name), Size: int64(len(n.data))})
		}
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].Name < infos[j].Name })
	return infos, nil
}

// Open opens or creates a file.
func (d *Disk) Open(name string, mode disk.Mode) (disk.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = path.Clean(name)
	if mode == disk.Create {
		return d.create(name)
	}
	if d.dead() {
		return nil, ErrCrashed
	}
	n := d.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{disk: d, node: n, writable: mode == disk.ReadWrite}, nil
}

func (d *Disk) create(name string) (disk.File, error) {
	do, err := d.begin()
	n := d.names[name]
	if do {
		if n == nil {
			n = &inode{}
			d.rename(change{dir: path.Dir(name), set: map[string]*inode{name: n}})
		} else {
			n.change(write{off: 0})
		}
	}
	if err != nil {
		return nil, err
	}
	return &file{disk: d, node: n, writable: true}, nil
}

// rename carries out a change of names, which stays pending.
func (d *Disk) rename(c change) {
	apply(d.names, c)
	d.pending = append(d.pending, c)
}

func apply(names map[string]*inode, c change) {
	for name, n := range c.set {
		if n == nil {
			delete(names, name)
		} else {
			names[name] = n
		}
	}
}

// Rename renames a file.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, to = path.Clean(from), path.Clean(to)
	do, err := d.begin()
	n := d.names[from]
	if n == nil && err == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	if do && n != nil {
		d.rename(change{dir: path.Dir(to), set: map[string]*inode{from: nil, to: n}})
	}
	return err
}

// Remove removes a file.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = path.Clean(name)
	do, err := d.begin()
	if d.names[name] == nil && err == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if do && d.names[name] != nil {
		d.rename(change{dir: path.Dir(name), set: map[string]*inode{name: nil}})
	}
	return err
}

// SyncDir makes the names in dir durable. When it fails they may never be.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.begin(); err != nil {
		return err // the crash decides what is durable
	}
	var kept []change
	for _, c := range d.pending {
		if c.dir == path.Clean(dir) {
			apply(d.durable, c)
		} else {
			kept = append(kept, c)
		}
	}
	d.pending = kept
	return nil
}

// Lock takes dir.
func (d *Disk) Lock(dir string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locks[dir] {
		return nil, fmt.Errorf("%s: %w", dir, disk.ErrLocked)
	}
	d.locks[dir] = true
	return &lock{d, dir}, nil
}

type lock struct {
	disk *Disk
	dir  string
}

func (l *lock) Close() error {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	delete(l.disk.locks, l.dir)
	return nil
}

func (n *inode) change(w write) {
	n.data = w.apply(n.data)
	n.pending = append(n.pending, w)
}

// apply returns b with the change made; b itself may be changed.
func (w *write) apply(b []byte) []byte {
	if w.data == nil {
		if w.off <= int64(len(b)) {
			return b[:w.off:w.off]
		}
		return append(b, make([]byte, w.off-int64(len(b)))...)
	}
	if end := w.off + int64(len(w.data)); end > int64(len(b)) {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[w.off:], w.data)
	return b
}

type file struct {
	disk     *Disk
	node     *inode
	writable bool
	closed   bool
}

func (f *file) usable() error {
	if f.closed {
		return fs.ErrClosed
	}
	if f.disk.dead() {
		return ErrCrashed
	}
	return nil
}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return int64(len(f.node.data)), f.usable()
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.usable(); err != nil {
		return 0, err
	}
	if f.disk.reads != nil {
		return 0, f.disk.reads
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.mayChange(); err != nil {
		return 0, err
	}
	do, err := f.disk.begin()
	if !do {
		return 0, err
	}
	n := len(b)
	if f.disk.limit > 0 {
		grow := off + int64(n) - int64(len(f.node.data))
		if over := f.disk.used() + max(grow, 0) - f.disk.limit; over > 0 {
			n = max(0, n-int(over))
			err = &fs.PathError{Op: "write", Err: syscall.ENOSPC}
		}
	}
	f.node.change(write{off: off, data: append([]byte{}, b[:n]...)})
	return n, err
}

func (f *file) mayChange() error {
	if err := f.usable(); err != nil {
		return err
	}
	if !f.writable {
		return fs.ErrPermission
	}
	return nil
}

func (d *Disk) used() (n int64) {
	for _, node := range d.names {
		n += int64(len(node.data))
	}
	return n
}

func (f *file) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.mayChange(); err != nil {
		return err
	}
	do, err := f.disk.begin()
	if do {
		f.node.change(write{off: size})
	}
	return err
}

// Sync makes content durable. When it fails the bytes stay readable and are
// never written: a later Sync has nothing to do and succeeds, as on Linux.
func (f *file) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.usable(); err != nil {
		return err
	}
	_, err := f.disk.begin()
	switch {
	case errors.Is(err, ErrCrashed): // the crash decides
	case err != nil:
		f.node.pending = nil
	default:
		for _, w := range f.node.pending { // not all of data: see the case above
			f.node.synced = w.apply(f.node.synced)
		}
		f.node.pending = nil
	}
	return err
}

func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.closed = true
	return nil
}
