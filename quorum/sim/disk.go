package sim

import (
	"fmt"

	"perch/quorum"
)

// image is what a disk holds for good: the fold of its stable records.
type image struct {
	control quorum.Control
	hist    quorum.History
	entries []quorum.Entry // those after hist.Start, in order
	hint    quorum.Zxid
	out     quorum.Zxid // where the log ended when the store left the cluster
}

// apply replays one record. An error means that the core asked for a log that
// could not be replayed (assertion 14).
func (im *image) apply(r *quorum.Record) error {
	switch r.Type {
	case quorum.RecordControl:
		if r.Control.NeedsRebuild && !im.control.NeedsRebuild {
			im.out = im.hist.Last()
		}
		im.control = *r.Control.Clone()
	case quorum.RecordEntry:
		return im.appendEntry(&r.Entry)
	case quorum.RecordTruncate:
		if c, ok := im.hist.Chain(r.Zxid); !ok || c != r.Chain {
			return fmt.Errorf("truncation to %v, which the log does not hold with that chain hash", r.Zxid)
		}
		im.hist.Truncate(r.Zxid)
		im.entries = im.entries[:im.hist.Len()]
	case quorum.RecordInstall:
		im.hist = quorum.NewHistory(r.Zxid, r.Chain)
		im.entries = nil
	case quorum.RecordCommit:
		im.hint = max(im.hint, r.Zxid)
	default:
		return fmt.Errorf("record of unknown type %d", r.Type)
	}
	return nil
}

func (im *image) appendEntry(e *quorum.Entry) error {
	if got := quorum.ChainHash(im.hist.LastChain(), e); got != e.Chain {
		return fmt.Errorf("entry %v does not carry the chain hash of the log before it", e.Zxid)
	}
	if !im.hist.Append(e.Zxid, e.Chain) {
		return fmt.Errorf("entry %v does not follow %v", e.Zxid, im.hist.Last())
	}
	im.entries = append(im.entries, *e)
	return nil
}

// holds says whether the log holds z with that chain hash, in itself or below
// its start.
func (im *image) holds(z quorum.Zxid, chain uint64) bool {
	if z < im.hist.Start() {
		return true // the start comes from committed state, which contains z
	}
	c, ok := im.hist.Chain(z)
	return ok && c == chain
}

// after gives the entries behind z; false when the log does not reach back so
// far.
func (im *image) after(z quorum.Zxid) ([]quorum.Entry, bool) {
	if _, ok := im.hist.Chain(z); !ok {
		return nil, false
	}
	i := len(im.entries)
	for i > 0 && im.entries[i-1].Zxid > z {
		i--
	}
	return im.entries[i:], true
}

// forget drops what is at or before z.
func (im *image) forget(z quorum.Zxid) bool {
	rest, ok := im.after(z)
	if !ok || !im.hist.Forget(z) {
		return false
	}
	im.entries = append([]quorum.Entry(nil), rest...)
	return true
}

// snapFile is a snapshot on a disk: the state at one position.
type snapFile struct {
	meta  quorum.SnapMeta
	state appState
	bad   bool   // damaged since it was written
	named int64  // when it is renamed; from then to its end a crash may keep it
	held  []byte // the state of package lease; nil: none
}

// disk is a node's storage: what is stable, what was written and not fsynced,
// and snapshot files.
type disk struct {
	img     image
	exists  bool
	pending []quorum.Record // written, not stable, in order
	seqs    []uint64        // their numbers
	busy    bool            // an fsync is under way
	stuck   bool            // no fsync begins
	full    int64           // no write succeeds before that time
	rot     *rot            // damage that nobody has noticed
	group   quorum.Zxid     // end of the stable log when the fsync under way began
	marked  quorum.Zxid     // up to here a mark in the log vouches for it (RULES.md R7)
	quiet   int64           // when the last fsync ended
	snaps   []*snapFile     // durable, oldest first
	writing *snapFile       // own snapshot under way
}

func (d *disk) write(r quorum.Record, seq uint64) {
	d.pending = append(d.pending, r)
	d.seqs = append(d.seqs, seq)
}

// newest is the newest snapshot that the log vouches for: a pulled one whose
// RecordInstall was lost is not.
func (d *disk) newest() *snapFile {
	for i := len(d.snaps) - 1; i >= 0; i-- {
		m := d.snaps[i].meta
		if c, ok := d.img.hist.Chain(m.Zxid); ok && c == m.Chain {
			return d.snaps[i]
		}
	}
	return nil
}

func (d *disk) find(m quorum.SnapMeta) *snapFile {
	for _, s := range d.snaps {
		if s.meta == m {
			return s
		}
	}
	return nil
}

// vouched lists the places in snaps of those that the log vouches for, oldest
// first.
func (d *disk) vouched() (places []int) {
	for i, s := range d.snaps {
		if c, ok := d.img.hist.Chain(s.meta.Zxid); ok && c == s.meta.Chain {
			places = append(places, i)
		}
	}
	return places
}

// keep adds a durable snapshot, in order of position.
func (d *disk) keep(s *snapFile) {
	if d.find(s.meta) != nil {
		return
	}
	i := len(d.snaps)
	for i > 0 && d.snaps[i-1].meta.Zxid > s.meta.Zxid {
		i--
	}
	d.snaps = append(d.snaps[:i:i], append([]*snapFile{s}, d.snaps[i:]...)...)
}

// restored is what a starting node reads from the disk.
func (d *disk) restored() quorum.Restored {
	st := quorum.Restored{
		Control:    *d.img.control.Clone(),
		History:    d.img.hist.Clone(),
		CommitHint: d.img.hint,
	}
	from := d.img.hist.Start()
	if s := d.newest(); s != nil {
		st.Snapshot = s.meta
		from = s.meta.Zxid
	}
	tail, _ := d.img.after(from)
	st.Tail = append([]quorum.Entry(nil), tail...)
	return st
}
