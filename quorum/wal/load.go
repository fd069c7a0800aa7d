package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"perch/gen/walpb"
	"perch/quorum"
	"perch/quorum/disk"
)

// load brings the log to the state that its files hold, in these steps:
//
//  1. read the superblock and the headers of all segments; a last segment in
//     which nothing was ever written is passed over;
//  2. check that they belong together: one node, one incarnation, no gap;
//  3. replay the records in order, checking crc, chain hash and contiguity;
//     only in the last segment, and only behind the last mark and the
//     watermark, may they end before they should;
//  4. only now write: cut the tail, write the group behind the last mark again,
//     seal the segment before the last, remove left-overs.
func (l *Log) load() (fresh bool, err error) {
	f, err := l.examine()
	if err != nil {
		return false, err
	}
	if len(f.heads) == 0 {
		return true, l.create()
	}
	return f.super == nil, l.settle(f)
}

// found is what the files of a log hold.
type found struct {
	super *super // nil: there is none
	heads []head // oldest first
	blank string // path of a last segment in which nothing was ever written
	tail  tail
}

// examine takes steps 1 to 3. It changes nothing on the disk.
func (l *Log) examine() (f found, err error) {
	if f.super, err = l.readSuper(); err != nil {
		return f, err
	}
	files, err := listSegments(l.opt.FS, l.opt.Dir)
	if err != nil {
		return f, err
	}
	f.heads, f.blank, err = l.readHeaders(files, f.super != nil)
	if foreign := l.checkOwner(f.super, f.heads); foreign != nil {
		return f, foreign
	}
	if err != nil {
		return f, err
	}
	if len(f.heads) == 0 {
		if f.super != nil {
			err = damaged(l.path(storeName), 0, remedySegment, "the store is there, but no segment of its log")
		}
		return f, err
	}
	if err := l.checkHeaders(f.heads, f.super); err != nil {
		return f, err
	}
	inc := f.heads[0].control.Boot.Incarnation
	if l.known, err = openWatermark(l.opt.FS, l.path(watermarkName), l.mode, inc); err != nil {
		return f, err
	}
	f.tail, err = l.replayAll(f.heads)
	return f, err
}

// head is a segment whose header was read.
type head struct {
	*segmentHeader
	seg  *segment
	size int64 // of the file
}

func (l *Log) path(name string) string { return disk.Join(l.opt.Dir, name) }

// super is the superblock.
type super struct {
	node quorum.NodeID
	inc  quorum.Incarnation
}

// readSuper returns the superblock; nil when there is none.
func (l *Log) readSuper() (*super, error) {
	path := l.path(storeName)
	f, err := l.opt.FS.Open(path, disk.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	defer f.Close()
	var pb walpb.Store
	_, err = readBlock(f, storeMagic, &pb)
	s := super{node: quorum.NodeID(pb.GetNode())}
	if errors.Is(err, errBlank) || errors.Is(err, errHeader) || (err == nil && len(pb.GetIncarnation()) != len(s.inc)) {
		return nil, damaged(path, 0, remedyStore, "the superblock cannot be read")
	}
	if err != nil {
		return nil, fmt.Errorf("wal: reading %s: %w", path, err)
	}
	copy(s.inc[:], pb.GetIncarnation())
	return &s, nil
}

// checkOwner refuses the directory of another node. A superblock that stands
// alone against the segments is in the wrong place itself.
func (l *Log) checkOwner(s *super, heads []head) error {
	if l.opt.Node == 0 {
		return nil
	}
	mine := len(heads) > 0 && heads[0].control.Node == l.opt.Node
	switch {
	case s != nil && s.node != l.opt.Node && mine:
		return misplaced(l.path(storeName), remedyStore, "the superblock belongs to node %d, the segments to node %d", s.node, l.opt.Node)
	case s != nil && s.node != l.opt.Node:
		return foreign(l.opt.Dir, s.node, l.opt.Node)
	case s == nil && len(heads) > 0 && !mine:
		return foreign(l.opt.Dir, heads[0].control.Node, l.opt.Node)
	}
	return nil
}

func (l *Log) writeStore() error {
	b, err := encodeBlock(storeMagic, &walpb.Store{
		Node: uint32(l.opt.Node), Incarnation: l.state.control.Boot.Incarnation[:],
	})
	if err != nil {
		return err
	}
	f, err := disk.Install(l.opt.FS, l.opt.Dir, storeName, func(f disk.File) error {
		_, err := f.WriteAt(b, 0)
		return err
	})
	if err != nil {
		return err
	}
	return f.Close()
}

// create makes an empty store. The superblock comes last: while it is missing
// nobody has seen this incarnation, and a segment without a header means
// nothing.
func (l *Log) create() error {
	c := quorum.Control{Node: l.opt.Node}
	if _, err := io.ReadFull(l.opt.Rand, c.Boot.Incarnation[:]); err != nil {
		return fmt.Errorf("wal: no random bits: %w", err)
	}
	l.state = state{control: c}
	seg, err := l.createSegment(&segmentHeader{seq: 1, control: c})
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	l.segs = []*segment{seg}
	l.known = &watermark{inc: c.Boot.Incarnation}
	if err := l.known.prepare(l.opt.FS, l.opt.Dir); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	if err := l.writeStore(); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	return nil
}

type file struct {
	seq  uint64
	path string
	size int64
}

// listSegments returns the segments in dir, oldest first: names sort that way.
func listSegments(fsys disk.FS, dir string) ([]file, error) {
	infos, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	var files []file
	for _, info := range infos {
		if seq, ok := parseSegmentName(info.Name); ok {
			files = append(files, file{seq: seq, path: disk.Join(dir, info.Name), size: info.Size})
		}
	}
	return files, nil
}

// readHeaders opens the segments; blank is the path of a last one in which
// nothing was ever written.
func (l *Log) readHeaders(files []file, stored bool) (heads []head, blank string, err error) {
	for i, f := range files {
		open, err := l.opt.FS.Open(f.path, l.mode)
		if err != nil {
			return nil, "", fmt.Errorf("wal: %w", err)
		}
		h, data, err := readSegmentHeader(open)
		if err != nil {
			_ = open.Close()
			last := i == len(files)-1
			switch {
			case errors.Is(err, errBlank) && last && (i > 0 || !stored):
				return heads, f.path, nil
			case errors.Is(err, errBlank), errors.Is(err, errHeader):
				return nil, "", damaged(f.path, 0, RemedyRebuild, "the header cannot be read: %v", err)
			}
			return nil, "", fmt.Errorf("wal: reading %s: %w", f.path, err)
		}
		seg := &segment{
			seq: f.seq, path: f.path, file: newHandle(open),
			salt: makeSalt(h.control.Boot.Incarnation, f.seq), data: data, end: data,
		}
		l.segs = append(l.segs, seg) // from here on shut closes it
		heads = append(heads, head{segmentHeader: h, seg: seg, size: f.size})
	}
	return heads, "", nil
}

// checkHeaders compares the headers with the superblock, or with the first of
// them if there is none, and with each other.
func (l *Log) checkHeaders(heads []head, s *super) error {
	node, inc := heads[0].control.Node, heads[0].control.Boot.Incarnation
	rest := "the first segment"
	if s != nil {
		if len(heads) > 1 && inc != s.inc && allOf(heads, inc) {
			return misplaced(l.path(storeName), remedyPlace, "the superblock belongs to incarnation %x, the segments to %x", s.inc, inc)
		}
		node, inc, rest = s.node, s.inc, l.path(storeName)
	}
	for i, h := range heads {
		path := h.seg.path
		switch {
		case h.control.Node != node:
			return misplaced(path, remedyPlace, "the segment belongs to node %d, %s to node %d", h.control.Node, rest, node)
		case h.control.Boot.Incarnation != inc:
			return misplaced(path, remedyPlace, "the segment belongs to incarnation %x of this node, %s to %x", h.control.Boot.Incarnation, rest, inc)
		case h.segmentHeader.seq != h.seg.seq:
			return misplaced(path, remedyPlace, "the file holds segment %d", h.segmentHeader.seq)
		case i > 0 && h.seg.seq != heads[i-1].seg.seq+1:
			return damaged(l.path(segmentName(heads[i-1].seg.seq+1)), 0, remedySegment, "the segment is missing; the next one found is %s", path)
		case i > 0 && (h.previousEnd < heads[i-1].seg.data || h.previousEnd > heads[i-1].size):
			return damaged(heads[i-1].seg.path, heads[i-1].size, RemedyRebuild,
				"the file has %d bytes, the next segment says that records end at %d", heads[i-1].size, h.previousEnd)
		}
	}
	return nil
}

// allOf says whether all segments are of one incarnation.
func allOf(heads []head, inc quorum.Incarnation) bool {
	for _, h := range heads {
		if h.control.Boot.Incarnation != inc {
			return false
		}
	}
	return true
}

// settle writes what recovery decided. Until here nothing was changed. Each
// step may be interrupted and repeated by the next start.
func (l *Log) settle(f found) error {
	steps := []func() error{
		func() error { return l.settleTail(f.tail) },
		func() error { return l.settleSeal(f.heads) },
		func() error { return disk.RemoveTemp(l.opt.FS, l.opt.Dir) },
		func() error {
			if f.blank == "" {
				return nil
			}
			return l.opt.FS.Remove(f.blank)
		},
		func() error { return l.opt.FS.SyncDir(l.opt.Dir) },
		func() error { return l.known.prepare(l.opt.FS, l.opt.Dir) },
		func() error {
			if f.super != nil {
				return nil
			}
			return l.writeStore()
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("wal: preparing the log: %w", err)
		}
	}
	return nil
}

// settleTail cuts what is torn, durably, so that stale bytes never come to life
// behind new ones, and writes what stands behind the last mark once more: if
// the process before this one stopped because a sync had failed, these bytes
// may be in the page cache only, and clean.
func (l *Log) settleTail(t tail) error {
	seg := l.active()
	f := seg.file.file
	l.alloc = t.size
	if t.torn {
		if err := f.Truncate(seg.end); err != nil {
			return err
		}
		l.alloc = seg.end
	}
	b := make([]byte, seg.end-t.mark)
	if err := readFull(f, b, t.mark); err != nil {
		return err
	}
	if len(b) > 0 {
		if _, err := f.WriteAt(b, t.mark); err != nil {
			return err
		}
	}
	l.unmarked = len(b) > markSize
	return f.Sync()
}

// settleSeal repeats the seal of the segment before the last: a crash may have
// come between the new header and the seal.
func (l *Log) settleSeal(heads []head) error {
	if len(heads) < 2 {
		return nil
	}
	h, next := heads[len(heads)-2], heads[len(heads)-1]
	sc := newScanner(h.seg.file.file, h.seg.salt, h.seg.end, h.size, markSize)
	if f, err := sc.next(); err == nil && f.kind == typeSeal {
		return nil
	}
	at := quorum.NewHistory(next.last, next.lastChain)
	return writeSeal(h.seg, next.seg.seq, &at)
}
