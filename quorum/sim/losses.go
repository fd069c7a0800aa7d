package sim

import (
	"slices"

	"perch/quorum"
)

// What becomes of a store that is lost, damaged, or taken back to an older
// image: the node comes back on an empty one, and counts again by a grant alone.

// configIn is the configuration that an entry makes.
func configIn(e *quorum.Entry) (quorum.Configuration, bool) {
	if e.Kind != quorum.EntryConfig {
		return quorum.Configuration{}, false
	}
	cf, err := quorum.DecodeConfiguration(e.Data)
	cf.Version = e.Zxid
	return cf, err == nil
}

// lost says whether this node counts nowhere until it is rebuilt.
func (n *node) lost() bool { return n.wiped || n.disk.img.control.NeedsRebuild }

// loses takes the store away from a node that is down. What it held is kept: it
// may have acknowledged what is committed only later.
func (n *node) loses() {
	n.formers, n.wiped, n.taken, n.bent = append(n.formers, n.disk.img), true, 0, false
	n.w.obs.peers[n.id].promised = map[quorum.Epoch]quorum.Promise{}
}

// wipe removes everything on the disk of a dead node.
func (n *node) wipe() {
	n.w.note("%d loses its disk", n.id)
	n.loses()
	n.disk = disk{}
}

// wipe takes a node's disk away when the rest can go on without it.
func (w *World) wipe(n *node) {
	if !n.lost() && !n.disk.hurt() && !w.spare() {
		return
	}
	if w.stop(n, keepNone); n.core == nil && n.disk.exists {
		n.wipe()
	}
}

// setAside is what a driver does with a store that is damaged or spoiled: the
// node starts on an empty one that needs to be rebuilt.
func (n *node) setAside(why string) {
	n.w.note("%d sets its store aside: %s", n.id, why)
	old := &n.disk.img.control
	fresh := disk{exists: true}
	c := &fresh.img.control
	c.Node, c.NeedsRebuild, c.Reason = n.id, true, why
	known := n.w.script || n.rng.chance(800)   // else its cluster could not be read
	if known && (old.Formed || !old.Spoiled) { // else its founders are not those of the cluster
		c.Cluster, c.Founding = old.Cluster, slices.Clone(old.Founding)
	}
	c.Boot.Incarnation = incarnation(&n.rng)
	n.loses()
	n.disk = fresh
}

// recovers looks at a store as opening it does, and sets it aside when it is
// damaged or spoiled.
func (n *node) recovers() {
	d := &n.disk
	whole := len(d.snaps)
	d.snaps = slices.DeleteFunc(d.snaps, func(s *snapFile) bool { return s.bad })
	switch {
	case d.rot != nil:
		n.setAside(d.rot.what)
	case d.img.control.Spoiled:
		n.setAside(d.img.control.Reason)
	case n.taken != 0 && d.img.control.Boot.Counter >= n.taken:
		n.setAside("it was started so often that nobody would notice: its operator deletes it")
	case whole > len(d.snaps) && d.newest() == nil && d.img.hist.Start() != 0:
		n.setAside("no whole snapshot reaches back to the log")
	}
}

// restartsEmpty: the core has found out that the store is spoiled, and that is
// durable. In a schedule the story itself says when.
func (n *node) restartsEmpty() {
	w := n.w
	w.note("%d finds its store spoiled: %s", n.id, n.disk.img.control.Reason)
	w.stop(n, keepSome)
}

// saveImage: an operator takes an image of a directory.
func (w *World) saveImage(n *node) {
	if n.disk.exists && n.disk.img.control.Formed && !n.lost() && !n.disk.hurt() {
		w.note("an image of the store of %d is taken, start %d", n.id, n.disk.img.control.Boot.Counter)
		n.saved = n.disk.copy()
	}
}

// restoreImage puts the image back, which nobody must do. It is caught when
// every other voter has seen a later start of that disk; of others nothing is
// promised (R3).
func (w *World) restoreImage(n *node) {
	if n.saved == nil || n.lost() || n.disk.hurt() || !w.spare() || w.allSaw(n) <= n.saved.img.control.Boot.Counter {
		return
	}
	if w.stop(n, keepAll); n.core == nil {
		n.restore()
	}
}

// allSaw is the start of the disk of a saved image that every other voter has
// seen, or a later one; 0 when there is none.
func (w *World) allSaw(n *node) uint64 {
	least := ^uint64(0)
	for _, p := range w.nodes[1:] {
		if p == n || !p.votes() {
			continue
		}
		at := uint64(0)
		for _, l := range p.disk.img.control.Seen {
			if l.ID == n.id && l.Boot.Incarnation == n.saved.img.control.Boot.Incarnation {
				at = l.Boot.Counter
			}
		}
		least = min(least, at)
	}
	return least
}

func (n *node) restore() {
	n.w.note("the store of %d is taken back to start %d", n.id, n.saved.img.control.Boot.Counter)
	seen := n.w.allSaw(n)
	n.loses()
	n.disk, n.taken = *n.saved.copy(), seen
}

// copy copies what is stable on a disk.
func (d *disk) copy() *disk {
	return &disk{
		exists: true, snaps: slices.Clone(d.snaps), marked: d.marked, quiet: d.quiet,
		img: image{
			control: *d.img.control.Clone(), hist: d.img.hist.Clone(), entries: slices.Clone(d.img.entries), hint: d.img.hint,
		},
	}
}

// store is what a node held, or holds, on the disk with that incarnation; nil
// when it never had it. Of one that was taken back the state before counts, the
// oldest of its losses: what it acknowledged was acknowledged.
func (n *node) store(inc quorum.Incarnation) *image {
	for i := range n.formers {
		if n.formers[i].control.Boot.Incarnation == inc {
			return &n.formers[i]
		}
	}
	if n.disk.img.control.Boot.Incarnation == inc {
		return &n.disk.img
	}
	return nil
}
