package sim

import (
	"errors"

	"perch/quorum"
)

// pump asks the core what it wants done until it wants nothing.
func (n *node) pump() {
	for range 10_000 {
		if n.core == nil || n.w.failure != nil || !n.core.HasReady() {
			return
		}
		r := n.core.Ready()
		n.carryOut(&r)
	}
	n.w.fail(0, "node %d: Ready never ends", n.id)
}

// effect stands before an effect on the outside world: an armed crash strikes
// here. It reports whether the node still lives.
func (n *node) effect(b boundary) bool {
	if n.core == nil || n.w.failure != nil || !n.boundary(b) {
		return false
	}
	if n.crashIn < 0 {
		return true
	}
	n.crashIn--
	if n.crashIn >= 0 {
		return true
	}
	n.w.stop(n, keepSome)
	return false
}

// carryOut does what a Ready asks, in its order.
func (n *node) carryOut(r *quorum.Ready) {
	if r.Halt != nil {
		n.halted(r.Halt)
		return
	}
	for i := range r.WAL {
		if !n.effect(beforeWrite) {
			return
		}
		n.w.obs.written(n, &r.WAL[i])
		n.disk.write(r.WAL[i], r.Seq)
		n.disk.mutateOrder(n.w.opt.Mutant)
	}
	if len(r.WAL) > 0 && !n.boundary(afterWrite) {
		return
	}
	n.fsync()
	n.sendAll(n.gate.Push(n.mutateGate(r.Msgs)))
	n.applySoon(r.Committed)
	if n.core == nil {
		return
	}
	if r.Mismatch != nil {
		n.w.obs.mismatched(n, r.Mismatch)
	}
	n.w.clients.answered(n, r)
	for _, job := range r.Fetch {
		n.w.at(event{at: n.w.now + n.rng.around(200), kind: evFetched, node: n.id, life: n.life, job: job})
	}
	if r.Install != nil {
		n.beginPull(r.Install)
	}
	n.maybeSnapshot()
}

// halted: the core has stopped. That is right after a disk error only.
func (n *node) halted(err error) {
	if !n.doomed {
		n.w.fail(0, "node %d halts: %v", n.id, err)
		return
	}
	n.w.stop(n, keepSome)
}

func (n *node) sendAll(msgs []quorum.Message) {
	for i := range msgs {
		if !n.effect(beforeSend) {
			return
		}
		n.w.send(n, &msgs[i])
	}
	if len(msgs) > 0 {
		n.boundary(afterSend)
	}
}

// fsync starts an fsync of everything written, unless one is under way.
func (n *node) fsync() {
	d := &n.disk
	if n.core == nil || d.busy || d.stuck || len(d.pending) == 0 {
		return
	}
	d.busy, d.group = true, d.img.hist.Last()
	f := &n.w.faults
	mean := f.fsync
	if n.id == f.slow {
		mean = f.slowMean
	}
	took := n.rng.around(mean)
	if n.rng.chance(f.stall) {
		took += n.rng.between(0, f.stallMax)
	}
	last := d.seqs[len(d.seqs)-1]
	n.w.at(event{at: n.w.now + took, kind: evSynced, node: n.id, life: n.life, num: last})
	if n.w.opt.Mutant == "stable-before-fsync" {
		n.w.at(event{at: n.w.now, kind: evStable, node: n.id, life: n.life, num: last})
	}
}

// synced is the end of an fsync. The disk does its work while the process is
// paused too.
func (n *node) synced(e *event) {
	if n.core == nil || e.life != n.life || n.doomed {
		return
	}
	d := &n.disk
	d.busy = false
	if n.w.faults.diskErrors > 0 && n.rng.chance(n.w.faults.diskErrors) {
		n.diskFails(errDisk)
		return
	}
	if n.w.now < d.full {
		n.diskFails(errFull)
		return
	}
	for len(d.seqs) > 0 && d.seqs[0] <= e.num {
		n.makeDurable(&d.pending[0])
		d.pending, d.seqs = d.pending[1:], d.seqs[1:]
	}
	d.marked, d.quiet = min(d.group, d.img.hist.Last()), n.w.now
	if !n.boundary(afterFsync) {
		return
	}
	if d.img.control.Spoiled && !n.w.script {
		n.restartsEmpty()
		return
	}
	n.fsync()
	if n.w.opt.Mutant != "stable-before-fsync" {
		n.take(&event{kind: evStable, life: n.life, num: e.num})
	}
}

// makeDurable moves one record to the stable image, under the observer's eyes.
func (n *node) makeDurable(r *quorum.Record) {
	if n.w.failure != nil {
		return
	}
	n.w.obs.beforeDurable(n, r)
	if err := n.disk.img.apply(r); err != nil {
		n.w.fail(14, "node %d: %v", n.id, err)
		return
	}
	n.w.obs.afterDurable(n, r)
}

// applySoon applies entries at once, or queues them for a slow state machine.
func (n *node) applySoon(entries []quorum.Entry) {
	lag := n.w.faults.applyLag
	if lag > 0 && len(entries) > 0 && len(n.unapplied) == 0 {
		n.w.at(event{at: n.w.now + n.rng.around(lag), kind: evApply, node: n.id, life: n.life})
	}
	n.unapplied = append(n.unapplied, entries...)
	if lag == 0 {
		n.applySome(len(n.unapplied))
	}
}

// applySome applies the next entries of the queue; a crash may come between any
// two.
func (n *node) applySome(most int) {
	for range min(most, len(n.unapplied)) {
		if !n.effect(beforeApply) {
			return
		}
		e := n.unapplied[0]
		n.unapplied = n.unapplied[1:]
		n.apply(&e)
		if !n.boundary(afterApply) {
			return
		}
	}
}

// applyNext is the state machine's turn.
func (n *node) applyNext() {
	n.applySome(1 + n.rng.below(20))
	if n.core == nil {
		return
	}
	n.maybeSnapshot()
	if len(n.unapplied) > 0 {
		n.w.at(event{at: n.w.now + n.rng.around(max(n.w.faults.applyLag, 1)), kind: evApply, node: n.id, life: n.life})
	}
}

func (n *node) backlog() (bytes int) {
	for i := range n.unapplied {
		bytes += n.unapplied[i].Size()
	}
	return bytes
}

func (n *node) apply(e *quorum.Entry) {
	kind := n.w.kindOf(e)
	if n.tooNew(kind.level()) {
		n.w.stop(n, keepSome)
		return
	}
	n.w.obs.check28(n, e, kind)
	n.app.apply(e)
	n.w.obs.applied(n, e)
	n.applyHeld(e)
	if kind == writeRaises {
		n.app.level = newLevel
	}
	n.w.clients.applied(n, e)
	n.checkpoint(e.Zxid)
	n.w.watchers.wake(n)
}

// maybeSnapshot starts a snapshot of the present state when enough has been
// applied since the last.
func (n *node) maybeSnapshot() {
	f := &n.w.faults
	if n.core == nil || n.disk.writing != nil || f.snapEvery == 0 || n.app.pos-n.snapAt < f.snapEvery || n.core.Soft().Doubt != quorum.DoubtNone {
		return
	}
	z, chain := n.w.obs.ledger.at(n.app.pos)
	s := &snapFile{state: n.app, meta: quorum.SnapMeta{
		Zxid: z, Chain: chain, Digest: n.app.fold, Size: 1000 + int64(n.app.pos), Hash: mix(n.app.fold, 1),
		Config: n.app.config,
	}, held: n.heldSnapshot()}
	n.mutateSnapshot(s)
	took := n.rng.around(f.snapTakes)
	s.named = n.w.now + took*3/4
	n.disk.writing = s
	n.snapAt = n.app.pos
	n.w.at(event{at: n.w.now + took, kind: evSnapDone, node: n.id, life: n.life, snap: s})
	if n.w.sweep != nil {
		n.w.at(event{at: s.named, kind: evSnapNamed, node: n.id, life: n.life})
		n.boundary(snapshotWritten)
	}
}

// snapDone: the file is durable. Older ones and the log below them may go.
func (n *node) snapDone(s *snapFile) {
	d := &n.disk
	if d.writing != s {
		return
	}
	d.writing = nil
	d.keep(s)
	n.w.note("%d has a snapshot at %v", n.id, s.meta.Zxid)
	if !n.boundary(snapshotDurable) {
		return
	}
	n.core.SnapshotTaken(s.meta)
	n.purge()
	n.boundary(afterPurge)
}

// purge deletes old snapshots and a random part of the log that the oldest one
// left makes needless.
func (n *node) purge() {
	d := &n.disk
	r := &n.rng
	good := d.vouched()
	keep := 1 + r.below(n.w.faults.snapsKept)
	if len(good) == 0 {
		return
	}
	oldest := good[max(0, len(good)-keep)]
	d.snaps = append([]*snapFile(nil), d.snaps[oldest:]...)
	if !r.chance(n.w.faults.purge) {
		return
	}
	upTo := d.snaps[0].meta.Zxid
	if i := len(d.img.entries); i > 0 && !n.w.script && r.chance(500) {
		upTo = min(upTo, d.img.entries[r.below(i)].Zxid)
	}
	if upTo <= d.img.hist.Start() || !d.img.forget(upTo) {
		return
	}
	if d.rot != nil && d.rot.at <= upTo {
		d.rot = nil
	}
	n.mutatePurge()
	n.w.note("%d purges its log up to %v", n.id, upTo)
	n.w.at(event{at: n.w.now + r.between(0, 5000), kind: evPurged, node: n.id, life: n.life, num: uint64(upTo)})
}

// fetched reads from the log as it is on disk now, which may be behind the
// core's view of it or, before a truncation is stable, beside it.
func (n *node) fetched(job quorum.FetchJob) {
	rest, ok := n.disk.img.after(job.After)
	if !ok {
		n.core.Fetched(job, nil, errPurged)
		return
	}
	var got []quorum.Entry
	for i, size := 0, 0; i < len(rest); i++ {
		if size += rest[i].Size(); i > 0 && size > job.MaxBytes {
			break
		}
		got = append(got, rest[i])
	}
	if err := n.readable(got); err != nil {
		n.w.note("%d stops: its log cannot be read: %v", n.id, err)
		n.w.stop(n, keepSome)
		return
	}
	n.core.Fetched(job, got, nil)
}

var errPurged = errors.New("simulated: the log no longer reaches back so far")

// beginPull starts to fetch a snapshot in chunks; the same order again lets it
// go on.
func (n *node) beginPull(in *quorum.Install) {
	if n.pull != nil && n.pull.install == *in {
		return
	}
	n.w.note("%d pulls the snapshot at %v from %d", n.id, in.Snap.Zxid, in.From)
	n.pull = &pull{install: *in, left: 1 + n.rng.below(4)}
	n.nextChunk(n.pull)
}

func (n *node) nextChunk(p *pull) {
	n.w.at(event{at: n.w.now + n.rng.around(n.w.faults.chunk), kind: evChunk, node: n.id, life: n.life, pull: p})
}

// chunk is one step of a pull: it fails when the server is gone or cut off.
func (n *node) chunk(p *pull) {
	if n.pull != p {
		return
	}
	from := n.w.nodes[p.install.From]
	reachable := from.core != nil && !from.paused && from.disk.img.control.Boot == p.install.Boot &&
		n.w.net.open(n.w.now, n.id, from.id) && n.w.net.open(n.w.now, from.id, n.id)
	var file *snapFile
	if reachable {
		file = from.disk.find(p.install.Snap)
	}
	if file == nil || n.rng.chance(n.w.faults.loss) {
		if p.tries++; p.tries < 5 && !(reachable && file == nil) {
			n.nextChunk(p)
			return
		}
		n.pull = nil
		n.core.SnapshotInstalled(p.install.Snap, errPurged)
		return
	}
	n.core.InstallProgress()
	if p.left--; p.left > 0 {
		n.nextChunk(p)
		return
	}
	p.file = file
	took := n.rng.around(n.w.faults.snapTakes)
	n.w.at(event{at: n.w.now + took, kind: evPulled, node: n.id, life: n.life, pull: p})
}

// pulled: the pulled file is durable, whether or not anybody still wants it.
func (n *node) pulled(p *pull) {
	n.disk.keep(p.file)
	if n.pull != p || n.w.spread(n, p.file) || !n.boundary(snapshotPulled) {
		return
	}
	n.pull = nil
	if n.tooNew(p.file.state.level) {
		n.w.stop(n, keepSome)
		return
	}
	if !n.core.SnapshotInstalled(p.file.meta, nil) {
		return
	}
	n.w.note("%d installs the snapshot at %v", n.id, p.file.meta.Zxid)
	n.jumps++
	n.applySome(len(n.unapplied)) // what was handed out before comes first
	if n.core == nil {
		return
	}
	n.app, n.snapAt = p.file.state, p.file.state.pos
	n.installHeld(p.file)
	n.core.SetAge(n.app.age)
	n.w.obs.installed(n, p.file)
	n.w.watchers.wake(n)
	n.boundary(snapshotLoaded)
}
