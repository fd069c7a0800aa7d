package wal

import (
	"bytes"
	"errors"
	"fmt"

	"perch/quorum"
)

// readWindow is how much Read asks of the file at once.
const readWindow = 64 << 10

// Read returns entries after the position after, in order and without a gap,
// as many as fit into maxBytes (counted as Entry.Size), but at least one if
// there is one. It runs beside Append and sees what was durable when it began.
// It returns ErrNotFound when after is not in the log, and *DamageError when
// what is on disk is not what was written.
func (l *Log) Read(after quorum.Zxid, maxBytes int) ([]quorum.Entry, error) {
	chain, exts, err := l.locate(after, maxBytes)
	if err != nil {
		return nil, err
	}
	r := reader{last: after, chain: chain, left: maxBytes}
	defer r.leave()
	for i := range exts {
		more, err := r.extent(&exts[i])
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	return r.entries, nil
}

// Count is the number of entries after one position and up to another, of those
// that are in the log.
func (l *Log) Count(after, upTo quorum.Zxid) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.history.Count(after, upTo)
}

// locate finds where the entries after a position stand.
func (l *Log) locate(after quorum.Zxid, maxBytes int) (chain uint64, exts []extent, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, nil, l.err
	}
	chain, ok := l.state.history.Chain(after)
	if !ok {
		return 0, nil, fmt.Errorf("%w: %v; it holds (%v, %v]", ErrNotFound, after, l.state.history.Start(), l.state.history.Last())
	}
	next, ok := l.state.history.Next(after)
	if !ok {
		return chain, nil, nil
	}
	return chain, l.index.from(next, maxBytes/extentBytes+2), nil
}

// reader gathers entries over several extents.
type reader struct {
	seg     *segment // that is being read; its file is held
	sc      *scanner
	last    quorum.Zxid // end of what was gathered
	chain   uint64      // chain hash there
	left    int         // bytes that may still be gathered
	entries []quorum.Entry
}

// enter moves to where e begins. Extents rise, so what was read ahead is used.
func (r *reader) enter(e *extent) error {
	if r.seg == e.seg {
		r.sc.off = e.off
		return nil
	}
	r.leave()
	f, ok := e.seg.file.acquire()
	if !ok {
		return fmt.Errorf("%w: %v was purged", ErrNotFound, e.first)
	}
	r.seg = e.seg
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("wal: reading %s: %w", e.seg.path, err)
	}
	r.sc = newScanner(f, e.seg.salt, e.off, size, readWindow)
	return nil
}

func (r *reader) leave() {
	if r.seg != nil {
		r.seg.file.leave()
		r.seg = nil
	}
}

// extent adds the entries of one extent behind last; false when the reader is
// full.
func (r *reader) extent(e *extent) (more bool, err error) {
	if err := r.enter(e); err != nil {
		return false, err
	}
	for at := quorum.Zxid(0); at != e.last; {
		fr, err := r.sc.next()
		if errors.Is(err, errNoRecord) {
			return false, damaged(e.seg.path, r.sc.off, RemedyRebuild, "no valid record where an entry up to %v was written", e.last)
		}
		if err != nil {
			return false, fmt.Errorf("wal: reading %s at offset %d: %w", e.seg.path, r.sc.off, err)
		}
		if fr.kind != quorum.RecordEntry {
			continue
		}
		at = fr.zxid
		if at <= r.last {
			continue
		}
		if more, err := r.entry(e, &fr); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

func (r *reader) entry(e *extent, fr *frame) (more bool, err error) {
	rec, err := fr.record()
	if err != nil {
		return false, damaged(e.seg.path, fr.off, RemedyRebuild, "%v", err)
	}
	entry := rec.Entry
	if entry.Chain != quorum.ChainHash(r.chain, &entry) {
		return false, damaged(e.seg.path, fr.off, RemedyRebuild, "entry %v does not continue %v: its chain hash differs", entry.Zxid, r.last)
	}
	if len(r.entries) > 0 && entry.Size() > r.left {
		return false, nil
	}
	entry.Data = bytes.Clone(entry.Data) // the frame's memory is used again
	r.entries = append(r.entries, entry)
	r.last, r.chain = entry.Zxid, entry.Chain
	r.left -= entry.Size()
	return true, nil
}
