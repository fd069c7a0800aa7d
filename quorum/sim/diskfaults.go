package sim

import (
	"errors"
	"slices"

	"perch/quorum"
)

var (
	errRead = errors.New("simulated: input/output error")
	errFull = errors.New("simulated: no space left on device")
)

func (w *World) strikeDisk(k faultKind, n *node, r *rng) {
	if !n.votes() && k != faultFull {
		return // what an observer loses it fetches again, as when it is new
	}
	switch k {
	case faultWipe:
		w.wipe(n)
	case faultWipeEarly:
		w.wipeEarly(n)
	case faultRot:
		w.rot(n, r)
	case faultImage:
		w.saveImage(n)
	case faultRestore:
		w.restoreImage(n)
	case faultFull:
		long := r.around(pick(r, 50*millisecond, 500*millisecond, 2*second))
		w.note("the disk of %d is full for %d ms", n.id, long/millisecond)
		n.disk.full = w.now + long
	}
}

// spare says whether one more disk may be lost: the rest must be a quorum
// without it and without those that are being rebuilt.
func (w *World) spare() bool {
	lost := 0
	for _, p := range w.nodes[1:] {
		if !p.lost() && !p.disk.img.control.Formed {
			return false
		}
		if p.votes() && (p.lost() || p.disk.hurt() || p.bent) {
			lost++
		}
	}
	return w.obs.quorum(w.voters - 1 - lost)
}

// hurt says whether the disk is damaged and nobody has noticed.
func (d *disk) hurt() bool {
	return d.rot != nil || slices.ContainsFunc(d.snaps, func(s *snapFile) bool { return s.bad })
}

// wipeEarly takes a disk away before any store is formed, twice at most. The
// others may wait for its list for ever then, rightly: the remedy is to delete
// all directories (R8). What must not happen is that two clusters are formed.
func (w *World) wipeEarly(n *node) {
	if w.obs.cluster != (quorum.ClusterID{}) || w.early == 2 || !n.disk.exists {
		return
	}
	w.stop(n, keepSome)
	if w.obs.cluster != (quorum.ClusterID{}) {
		return // the crash has kept the record that forms it
	}
	w.early++
	n.w.note("%d loses its disk before a cluster is formed", n.id)
	n.loses()
	n.formers, n.wiped = nil, false // it had no part in anything yet
	n.disk = disk{}
}

// rot is damage on a disk that nobody has noticed: of the record at a position
// of the log, or of a control record when there is no entry.
type rot struct {
	at   quorum.Zxid
	what string
}

// kindsOfRot are told apart only by their names: a record that is not what was
// written has a wrong crc, whatever was done to it, and one that stands where
// another belongs has a wrong salt (quorum/wal).
var kindsOfRot = []string{"a flipped bit", "a zeroed block", "a misdirected write", "a lost end of the file"}

// rot damages the log or the newest snapshot of a node that the others can
// spare. Only what a mark or the watermark vouches for is struck: behind both
// damage looks like a torn write and is cut (RULES.md R7), and a power cut
// together with damage within 100 ms is what the log does not protect from.
func (w *World) rot(n *node, r *rng) {
	if n.lost() || n.disk.hurt() || !w.spare() {
		return
	}
	if d := &n.disk; r.chance(300) && d.newest() != nil {
		w.rotSnapshot(n)
		return
	}
	n.rotLog(r)
	if r.chance(500) {
		w.stop(n, pick(r, keepSome, keepAll, keepTorn))
	}
}

func (w *World) rotSnapshot(n *node) {
	w.stop(n, keepSome)
	for i, s := range n.disk.snaps {
		if s == n.disk.newest() {
			w.note("the snapshot of %d at %v is damaged", n.id, s.meta.Zxid)
			bad := *s
			bad.bad = true
			n.disk.snaps[i] = &bad
			return
		}
	}
}

// rotLog damages one record that recovery can prove to have been whole.
func (n *node) rotLog(r *rng) {
	d := &n.disk
	what := pick(r, kindsOfRot...)
	proven := d.marked
	if n.w.now-d.quiet > idleMark || r.chance(500) { // idle, or the process is killed and the power stays
		proven = d.img.hist.Last()
	} else if what == kindsOfRot[3] {
		proven = 0 // the end is written elsewhere, and synced only when idle
	}
	d.rot = &rot{what: what}
	if i := r.below(len(d.img.entries)); i < len(d.img.entries) && d.img.entries[i].Zxid <= proven {
		d.rot.at = d.img.entries[i].Zxid
	}
	n.w.note("%s in the log of %d at %v", what, n.id, d.rot.at)
}

// idleMark is after how long without a write the driver marks its log.
const idleMark = 100 * millisecond

// readable says whether the log can be read from the entry after z on.
func (n *node) readable(entries []quorum.Entry) error {
	if n.rng.chance(n.w.faults.readErrors) {
		return errRead
	}
	if d := n.disk.rot; d != nil {
		for i := range entries {
			if entries[i].Zxid == d.at {
				return errRead
			}
		}
	}
	return nil
}

// diskFails stops a node whose disk has failed: the core may tell others first.
func (n *node) diskFails(why error) {
	n.w.note("%d: %v", n.id, why)
	n.doomed = true
	n.take(&event{kind: evDiskError, life: n.life})
}
