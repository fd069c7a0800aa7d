package wal

import (
	"fmt"

	"perch/quorum"
	"perch/quorum/disk"
)

// writeGroup writes a mark and recs behind it, syncs, and takes recs over. The
// caller holds write and has verified recs.
func (l *Log) writeGroup(recs []quorum.Record) error {
	if err := l.rollIfFull(recs); err != nil {
		return err
	}
	seg := l.active()
	if err := l.encodeGroup(seg, recs); err != nil {
		return err
	}
	end := seg.end + int64(len(l.buf))
	l.zeroAhead(end)
	f := seg.file.file
	if _, err := f.WriteAt(l.buf, seg.end); err != nil {
		return l.fail(err)
	}
	if err := f.Sync(); err != nil {
		return l.fail(err)
	}
	if len(recs) > 0 { // a mark alone is nothing to be missed
		if err := l.known.note(seg.seq, end); err != nil {
			return l.fail(err)
		}
	}
	l.unmarked = len(recs) > 0
	l.mu.Lock()
	defer l.mu.Unlock()
	seg.end = end
	for i := range recs {
		l.state.apply(&recs[i])
		l.index.note(&recs[i], seg, l.offs[i])
	}
	return nil
}

// encodeGroup leaves the bytes of a group in buf, and where its records will
// stand in offs.
func (l *Log) encodeGroup(seg *segment, recs []quorum.Record) error {
	h := &l.state.history
	l.buf = appendNumber(l.buf[:0], typeMark, h.Last(), h.LastChain(), uint64(seg.end), seg.salt, seg.end)
	l.offs = l.offs[:0]
	for i := range recs {
		off := seg.end + int64(len(l.buf))
		var err error
		if l.buf, err = appendRecord(l.buf, &recs[i], seg.salt, off); err != nil {
			return fmt.Errorf("%w: %w", ErrRecord, err)
		}
		l.offs = append(l.offs, off)
	}
	return nil
}

// zeroAhead appends zeros to buf when the file must grow, so that it grows in
// large steps: a sync that changes no length and meets only blocks that hold
// data already needs no journal commit. Measured on ext4, p50 for groups of
// 400 bytes and 5 kB: 110 and 130 µs into zeroed blocks, 110 and 245 µs into
// blocks from fallocate, which are converted one by one, 180 and 190 µs at the
// end of the file. Zeroing in the same write came to 115 and 155 µs for steps of
// 256 KiB; larger steps gave longer worst cases. It needs no second writer and
// no file made ready beforehand.
func (l *Log) zeroAhead(end int64) {
	if end <= l.alloc {
		return
	}
	step := l.opt.AllocBytes
	alloc := (end + step - 1) / step * step
	l.buf = append(l.buf, make([]byte, alloc-end)...)
	l.alloc = alloc
}

func (l *Log) rollIfFull(recs []quorum.Record) error {
	seg := l.active()
	size := seg.end + markSize
	for i := range recs {
		size += frameSize(recs[i].Entry.Size())
	}
	if size <= l.opt.SegmentBytes || seg.end == seg.data {
		return nil
	}
	return l.roll()
}

// roll starts the next segment. Its header is durable under its name before
// the old one gets its seal, and the seal is durable before the new one gets a
// record: so a last segment without a valid header holds nothing, unless the
// one before it is sealed, and then it is missed.
func (l *Log) roll() error {
	old := l.active()
	seg, err := l.createSegment(&segmentHeader{
		seq:         old.seq + 1,
		control:     l.state.control,
		last:        l.state.history.Last(),
		lastChain:   l.state.history.LastChain(),
		commit:      l.state.commit,
		previousEnd: old.end,
	})
	if err != nil {
		return l.fail(err)
	}
	if err := writeSeal(old, seg.seq, &l.state.history); err != nil {
		seg.file.release()
		return l.fail(err)
	}
	l.unmarked = false
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs = append(l.segs, seg)
	return nil
}

// createSegment makes a segment with header h durable. The zeros behind the
// header come with it.
func (l *Log) createSegment(h *segmentHeader) (*segment, error) {
	b, err := h.encode()
	if err != nil {
		return nil, err
	}
	data := int64(len(b))
	l.alloc = (data + l.opt.AllocBytes - 1) / l.opt.AllocBytes * l.opt.AllocBytes
	b = append(b, make([]byte, l.alloc-data)...)
	name := segmentName(h.seq)
	f, err := disk.Install(l.opt.FS, l.opt.Dir, name, func(f disk.File) error {
		_, err := f.WriteAt(b, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &segment{
		seq: h.seq, path: disk.Join(l.opt.Dir, name), file: newHandle(f),
		salt: makeSalt(h.control.Boot.Incarnation, h.seq), data: data, end: data,
	}, nil
}

// writeSeal notes at the end of seg that segment next exists.
func writeSeal(seg *segment, next uint64, h *quorum.History) error {
	b := appendNumber(nil, typeSeal, h.Last(), h.LastChain(), next, seg.salt, seg.end)
	if _, err := seg.file.file.WriteAt(b, seg.end); err != nil {
		return err
	}
	return seg.file.file.Sync()
}
