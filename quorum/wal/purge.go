package wal

import (
	"errors"
	"fmt"
	"io/fs"

	"perch/quorum"
)

// Purge deletes the segments that hold no entry after upTo, and returns where
// the log begins now. A segment goes only when a later one, with the control
// state in its header, is durable (RULES.md R2); if the active segment is done
// with, the next one is started first. The caller has a durable snapshot at or
// after upTo.
//
// Segments go oldest first, each durably before the next, so that a crash
// leaves no gap. When deleting fails the rest is tried again by the next Purge;
// the log itself goes on.
func (l *Log) Purge(upTo quorum.Zxid) (start quorum.Zxid, err error) {
	l.purge.Lock()
	defer l.purge.Unlock()
	if start, err = l.forget(upTo); err != nil {
		return 0, err
	}
	for len(l.doomed) > 0 {
		seg := l.doomed[0]
		if err := l.opt.FS.Remove(seg.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return start, fmt.Errorf("wal: purging: %w", err)
		}
		if err := l.opt.FS.SyncDir(l.opt.Dir); err != nil {
			return start, l.fail(err)
		}
		l.doomed = l.doomed[1:]
	}
	return start, nil
}

// forget takes the segments that may go out of the log. The entries in them are
// the oldest of the log, because entries rise with their place.
func (l *Log) forget(upTo quorum.Zxid) (start quorum.Zxid, err error) {
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.failure(); err != nil {
		return 0, err
	}
	seg := l.active()
	if l.state.history.Last() <= upTo && seg.end > seg.data {
		if err := l.roll(); err != nil {
			return 0, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.segs)-1 {
		if last, ok := l.index.lastIn(l.segs[n].seq); ok && last > upTo {
			break
		}
		n++
	}
	l.drop(n)
	return l.state.history.Start(), nil
}

// drop takes the n oldest segments out of what readers see.
func (l *Log) drop(n int) {
	if n == 0 {
		return
	}
	seq := l.segs[n-1].seq
	if last, ok := l.index.lastIn(seq); ok {
		l.state.history.Forget(last)
	}
	l.index.forget(seq)
	for _, seg := range l.segs[:n] {
		seg.file.release()
	}
	l.doomed = append(l.doomed, l.segs[:n]...)
	l.segs = append([]*segment(nil), l.segs[n:]...)
}
