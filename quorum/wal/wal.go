// Package wal is a node's durable log: control state, entries, truncations,
// installed snapshots and commit hints in one file order, so that the order in
// which things became durable is the order of the bytes (ZAB.md 3).
//
// It guarantees:
//   - What Append acknowledged is found by every later Open, or Open fails with
//     a *DamageError that names file, offset and remedy, and changes nothing.
//   - A crash at any moment never makes Open fail. What it finds then is the
//     acknowledged records and a prefix of the group that was being written.
//   - After a failed write or sync the Log does nothing more: every call returns
//     that first error. Nothing that failed is tried again.
//   - Control state is never lost by a purge: every segment begins with all of
//     it (RULES.md R2).
//   - One process at a time: the directory is locked.
//
// It does not guarantee that damage to the last group of all is seen after a
// power cut: bytes behind the last mark look the same torn and flipped, so they
// are cut (RULES.md R7). Mark, called when the log goes idle, and Close leave
// nothing in that state, and after the end of a process alone the watermark
// knows of every group. It finds damage, not malice: whoever can write the files
// can forge them. A log whose oldest segments are gone looks like one that was
// purged: the caller, who has the snapshots, finds that out from
// Recovered.History. It does not watch the free space of the disk.
package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"perch/quorum"
	"perch/quorum/disk"
)

// Options say where a log is and how it is laid out.
type Options struct {
	Dir          string        // of the log alone; made with mode 0700 if it is missing
	Node         quorum.NodeID // whose log this is
	FS           disk.FS       // nil: the real one
	SegmentBytes int64         // a segment is followed by the next at about this size; 0: 64 MiB
	AllocBytes   int64         // files grow in steps of this size; 0: 256 KiB, at most SegmentBytes
	Rand         io.Reader     // source of incarnation and nonces; nil: crypto/rand
}

func (o *Options) fill() error {
	if o.Dir == "" || o.Node == 0 {
		return errors.New("wal: Options need Dir and Node")
	}
	if o.FS == nil {
		o.FS = disk.OS{}
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.AllocBytes <= 0 {
		o.AllocBytes = min(256<<10, o.SegmentBytes)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return nil
}

// Log is an open log. Append, Mark and Close may be called from several
// goroutines and take turns; Read and Size run beside them.
type Log struct {
	opt  Options
	mode disk.Mode // of the files
	lock io.Closer

	// write is held by whoever writes. Locks are taken in the order purge,
	// write, mu.
	write    sync.Mutex
	alloc    int64 // the active file holds written bytes or zeros up to here
	unmarked bool  // records stand behind the last mark
	known    *watermark
	buf      []byte
	offs     []int64

	// mu guards what readers see. Only the holder of write changes state and
	// the active segment, and may therefore read them without mu.
	mu    sync.Mutex
	state state
	index index
	segs  []*segment // oldest first; the last one is active
	err   error      // why nothing is done any more

	purge  sync.Mutex
	doomed []*segment // forgotten, but not deleted yet; oldest first
}

// Recovered is what Open found.
type Recovered struct {
	Control    quorum.Control // with Boot raised for this start
	History    quorum.History // the caller's own copy
	CommitHint quorum.Zxid    // highest RecordCommit; 0 when unknown
	Fresh      bool           // the store was made by this Open

	log *Log
}

// Entries reads all entries after the position after, which must be in the
// log. Call it before the first Append.
func (r *Recovered) Entries(after quorum.Zxid) ([]quorum.Entry, error) {
	var all []quorum.Entry
	for {
		some, err := r.log.Read(after, 4<<20)
		if err != nil {
			return nil, err
		}
		if len(some) == 0 {
			return all, nil
		}
		all = append(all, some...)
		after = some[len(some)-1].Zxid
	}
}

// Open opens the log in opt.Dir, or makes an empty one there, and raises the
// boot counter, durably. It returns a *DamageError when the files do not hold
// what they must, ErrForeign for the directory of another node, and
// disk.ErrLocked when another process has it open.
func Open(opt Options) (*Log, *Recovered, error) {
	if err := opt.fill(); err != nil {
		return nil, nil, err
	}
	if err := opt.FS.MkdirAll(opt.Dir); err != nil {
		return nil, nil, fmt.Errorf("wal: %w", err)
	}
	lock, err := opt.FS.Lock(opt.Dir)
	if err != nil {
		return nil, nil, fmt.Errorf("wal: %w", err)
	}
	l := &Log{opt: opt, mode: disk.ReadWrite, lock: lock}
	fresh, err := l.load()
	if err == nil {
		err = l.raiseBoot()
	}
	if err != nil {
		l.shut()
		return nil, nil, err
	}
	return l, &Recovered{
		Control:    *l.state.control.Clone(),
		History:    l.state.history.Clone(),
		CommitHint: l.state.commit,
		Fresh:      fresh,
		log:        l,
	}, nil
}

// raiseBoot makes this start of a process a new one.
func (l *Log) raiseBoot() error {
	nonce, err := l.nonce()
	if err != nil {
		return err
	}
	c := l.state.control.Clone()
	c.Boot.Counter++
	c.Boot.Nonce = nonce
	return l.Append([]quorum.Record{{Type: quorum.RecordControl, Control: c}})
}

// nonce draws 64 random bits; 0 is left to those who have none.
func (l *Log) nonce() (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(l.opt.Rand, b[:]); err != nil {
		return 0, fmt.Errorf("wal: no random bits: %w", err)
	}
	return max(1, binary.LittleEndian.Uint64(b[:])), nil
}

// Append makes recs durable, all of them with one write and one sync, and only
// then returns nil. It returns ErrRecord, and writes nothing, when one of them
// must not follow what is there. After any other error it is not known how many
// of them are durable, and the log does nothing more.
func (l *Log) Append(recs []quorum.Record) error {
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.failure(); err != nil || len(recs) == 0 {
		return err
	}
	if err := l.state.verify(recs); err != nil {
		return err
	}
	return l.writeGroup(recs)
}

// Mark vouches, durably, for everything that was appended: from then on damage
// to it is seen (RULES.md R7). It does nothing when that was done already.
func (l *Log) Mark() error {
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.failure(); err != nil || !l.unmarked {
		return err
	}
	if err := l.writeGroup(nil); err != nil {
		return err
	}
	seg := l.active()
	// Not the mark itself: without it nothing is lost.
	if err := l.known.raise(seg.seq, seg.end-markSize); err != nil {
		return l.fail(err)
	}
	return nil
}

// Close marks what is unmarked and gives the directory free. It returns the
// error that the log had failed with, if it had.
func (l *Log) Close() error {
	l.purge.Lock() // a purge under way must not go on when the lock is free
	defer l.purge.Unlock()
	err := l.Mark()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	l.write.Lock()
	defer l.write.Unlock()
	l.mu.Lock()
	l.err = ErrClosed
	l.mu.Unlock()
	l.shut()
	return err
}

// shut lets go of files and lock. Whoever still reads keeps its file.
func (l *Log) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segs {
		s.file.release()
	}
	l.known.close()
	if l.lock != nil {
		_ = l.lock.Close()
	}
}

// Size is the number of bytes that the log takes on disk, give or take what is
// allocated ahead.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, s := range l.segs {
		n += s.end
	}
	return n
}

func (l *Log) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// fail stops the log for good: the kernel may have dropped the bytes that it
// could not write and will report success the next time.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("wal: the log stopped: %w", err)
	}
	return l.err
}

func (l *Log) active() *segment { return l.segs[len(l.segs)-1] }
