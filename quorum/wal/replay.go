package wal

import (
	"errors"
	"fmt"

	"perch/quorum"
)

// tail is how the last segment ends.
type tail struct {
	mark int64 // offset of the last mark; where the records begin if there is none
	size int64 // of the file
	torn bool  // something else than zeros stands behind the records
}

// replayAll takes over every record of the segments.
func (l *Log) replayAll(heads []head) (tail, error) {
	for i, h := range heads {
		if err := l.startSegment(i == 0, h); err != nil {
			return tail{}, err
		}
		if i == len(heads)-1 {
			return l.replayLast(h)
		}
		if err := l.replayWhole(h, heads[i+1]); err != nil {
			return tail{}, err
		}
	}
	return tail{}, nil
}

// startSegment takes over the header: the first one makes the state, the others
// must agree with it.
func (l *Log) startSegment(first bool, h head) error {
	s := &l.state
	if first {
		*s = state{history: quorum.NewHistory(h.last, h.lastChain)}
	}
	if h.last != s.history.Last() || h.lastChain != s.history.LastChain() {
		return damaged(h.seg.path, 0, RemedyRebuild, "the segment continues %v, chain hash %016x, but the one before it ends at %v, %016x",
			h.last, h.lastChain, s.history.Last(), s.history.LastChain())
	}
	s.control = h.control
	s.commit = max(s.commit, h.commit)
	return nil
}

// replayWhole replays a segment that has a successor: it was durable up to
// where the successor's header says.
func (l *Log) replayWhole(h, next head) error {
	sc := newScanner(h.seg.file.file, h.seg.salt, h.seg.data, next.previousEnd, scanWindow)
	for sc.off < next.previousEnd {
		f, err := sc.next()
		if errors.Is(err, errNoRecord) {
			return damaged(h.seg.path, sc.off, RemedyRebuild, "no valid record, though the log is known to be durable up to offset %d here", next.previousEnd)
		}
		if err != nil {
			return fmt.Errorf("wal: reading %s at offset %d: %w", h.seg.path, sc.off, err)
		}
		if f.kind == typeSeal {
			return damaged(h.seg.path, f.off, RemedyRebuild, "the segment is sealed before its end at %d", next.previousEnd)
		}
		if err := l.replayFrame(h.seg, &f); err != nil {
			return err
		}
	}
	h.seg.end, h.seg.replayed = next.previousEnd, true
	return nil
}

// replayLast replays the segment that may end in a torn group.
func (l *Log) replayLast(h head) (tail, error) {
	t := tail{mark: h.seg.data, size: h.size}
	sc := newScanner(h.seg.file.file, h.seg.salt, h.seg.data, h.size, scanWindow)
	for {
		f, err := sc.next()
		if errors.Is(err, errNoRecord) {
			break
		}
		if err != nil {
			return t, fmt.Errorf("wal: reading %s at offset %d: %w", h.seg.path, sc.off, err)
		}
		if f.kind == typeSeal {
			next, _ := f.number()
			return t, damaged(l.path(segmentName(next)), 0, remedySegment, "the segment is missing or empty; %s says that it exists", h.seg.path)
		}
		if err := l.replayFrame(h.seg, &f); err != nil {
			return t, err
		}
		if f.kind == typeMark {
			t.mark = f.off
		}
	}
	h.seg.end, h.seg.replayed = sc.off, true
	return t, l.judgeTail(h, &t)
}

// judgeTail decides what the bytes behind the last valid record are. A mark
// behind them vouches for them, so they were whole once (RULES.md R7). Without
// one they belong to the group that was being written, or to the last group of
// all, and may go.
func (l *Log) judgeTail(h head, t *tail) error {
	if err := l.known.check(h, l.opt.Dir); err != nil {
		return err
	}
	f := h.seg.file.file
	mark, err := findMark(f, h.seg.salt, h.seg.end, h.size)
	if err == nil && mark >= 0 {
		return damaged(h.seg.path, h.seg.end, RemedyRebuild, "no valid record, though a mark at offset %d vouches for everything before it", mark)
	}
	if err == nil {
		var zero bool
		zero, err = zeroFrom(f, h.seg.end, h.size)
		t.torn = !zero
	}
	if err != nil {
		return fmt.Errorf("wal: reading %s: %w", h.seg.path, err)
	}
	return nil
}

// replayFrame takes over one record. What is wrong here has a valid crc, so it
// is never a torn write.
func (l *Log) replayFrame(seg *segment, f *frame) error {
	if f.kind == typeMark {
		h := &l.state.history
		if at, ok := f.number(); !ok || at != uint64(f.off) || f.zxid != h.Last() || f.chain != h.LastChain() {
			return damaged(seg.path, f.off, RemedyRebuild, "a mark says that the log ends at %v, chain hash %016x, but it ends at %v, %016x",
				f.zxid, f.chain, h.Last(), h.LastChain())
		}
		return nil
	}
	r, err := f.record()
	if err == nil {
		err = l.state.replay(&r)
	}
	if err != nil {
		return damaged(seg.path, f.off, RemedyRebuild, "%v", err)
	}
	l.index.note(&r, seg, f.off)
	seg.records++
	return nil
}
