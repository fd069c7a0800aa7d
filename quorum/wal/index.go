package wal

import (
	"sort"

	"perch/quorum"
)

// extentBytes is how far apart in a file the index points are.
const extentBytes = 16 << 10

// segment is one file of the log.
type segment struct {
	seq  uint64
	path string
	file *handle
	salt salt
	data int64 // where the records begin
	end  int64 // where they end
	// When the log was opened: what was replayed, without marks and seals, and
	// whether that was all.
	records  int
	replayed bool
}

// extent is a stretch of one file whose entries first to last are in the log:
// reading from off, the first entry met is first, and up to last no entry is
// met that was cut off later.
type extent struct {
	first, last quorum.Zxid
	seg         *segment
	off         int64
}

// index finds the entries of the log on disk. Invariant: extents rise by zxid
// and by place, and together hold exactly the entries of the log's History.
type index struct {
	extents []extent
	broken  bool // the next entry must not extend the last extent
}

func (x *index) add(z quorum.Zxid, seg *segment, off int64) {
	if n := len(x.extents); n > 0 && !x.broken {
		if e := &x.extents[n-1]; e.seg == seg && off-e.off < extentBytes {
			e.last = z
			return
		}
	}
	x.broken = false
	x.extents = append(x.extents, extent{first: z, last: z, seg: seg, off: off})
}

// note follows one record that was written at off.
func (x *index) note(r *quorum.Record, seg *segment, off int64) {
	switch r.Type {
	case quorum.RecordEntry:
		x.add(r.Entry.Zxid, seg, off)
	case quorum.RecordTruncate:
		x.truncate(r.Zxid)
	case quorum.RecordInstall:
		x.extents, x.broken = nil, true
	}
}

func (x *index) truncate(z quorum.Zxid) {
	n := sort.Search(len(x.extents), func(i int) bool { return x.extents[i].first > z })
	x.extents, x.broken = x.extents[:n], true
	if n > 0 && x.extents[n-1].last > z {
		x.extents[n-1].last = z
	}
}

// from returns up to limit extents, the first of which holds z.
func (x *index) from(z quorum.Zxid, limit int) []extent {
	i := sort.Search(len(x.extents), func(i int) bool { return x.extents[i].last >= z })
	return append([]extent(nil), x.extents[i:min(len(x.extents), i+limit)]...)
}

// lastIn is the last entry of the log in segments up to seq; false when none is.
func (x *index) lastIn(seq uint64) (quorum.Zxid, bool) {
	i := sort.Search(len(x.extents), func(i int) bool { return x.extents[i].seg.seq > seq })
	if i == 0 {
		return 0, false
	}
	return x.extents[i-1].last, true
}

// forget drops the entries in segments up to seq.
func (x *index) forget(seq uint64) {
	i := sort.Search(len(x.extents), func(i int) bool { return x.extents[i].seg.seq > seq })
	x.extents = append([]extent(nil), x.extents[i:]...)
}
