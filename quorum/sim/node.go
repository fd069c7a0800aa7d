package sim

import (
	"errors"
	"fmt"
	"slices"

	"perch/quorum"
	"perch/quorum/wire"
)

// appState is the replicated state of a node: how many entries were applied
// and a hash over all of them.
type appState struct {
	pos    int // entries applied
	fold   uint64
	events [kept]quorum.Zxid // of the last entries, by position
	age    uint64            // cluster age: the highest in any entry (R20)
	level  uint32            // that commands may need; 0 stands for the first
	bent   bool              // a fault has made fold wrong
	config string            // the last configuration applied; "" for the founding one
}

func (a *appState) apply(e *quorum.Entry) {
	a.age = max(a.age, e.Stamp.Age)
	a.pos++
	a.events[a.pos%kept] = e.Zxid
	a.fold = mix(mix(a.fold, uint64(e.Zxid)), e.Chain^uint64(a.level)<<32)
	if cf, ok := configIn(e); ok {
		a.config = string(cf.Encode())
	}
}

// pull is a snapshot on its way from another node.
type pull struct {
	install quorum.Install
	left    int // chunks to come
	tries   int
	file    *snapFile // set when the last chunk is here
}

// node is one member: its disk, and while it lives its process.
type node struct {
	w    *World
	id   quorum.NodeID
	rng  rng
	disk disk

	core      *quorum.Core // nil while down
	life      uint32       // counts starts
	gate      quorum.Gate
	app       appState
	unapplied []quorum.Entry // handed out and not applied
	soft      quorum.Soft    // as the observer last saw it
	inbox     []event        // kept while paused
	paused    bool
	pumpDue   bool
	crashIn   int  // effects until an armed crash; negative: none
	doomed    bool // an error of its disk was injected in this life
	pull      *pull
	keeper    keeper
	held      heldState
	jumps     int    // snapshots installed in this life
	reqs      []int  // by request number - 1: the write's number
	asked     []int  // by read number - 1: the read's number
	answered  uint64 // reads up to this number have an answer

	level    uint32 // that its program knows; 0 before the first start
	knew     bool   // … or has known
	outdated bool   // it met a higher one
	storm    int    // starts that are still to end in a crash
	frozen   int64  // its monotonic clock stands until then
	still    bool   // … and a tick waits for it

	rate      int64 // of its clock, in permille
	tickEvery int64
	lastTick  int64
	skewMs    int64
	snapAt    int // position of the newest snapshot
	restAt    int // position of the state at the last tick
	rested    bool
	bent      bool // its state was made wrong in this run

	wiped   bool     // its store was lost, and it has no grant since
	formers []image  // what the stores that it lost held, oldest first
	saved   *disk    // an image that its operator took
	secrets [][]byte // of the cluster, for its next life; the first one draws tokens
	taken   uint64   // its store was taken back to an image: all others have seen this start of it, or a later one
}

// role is what --peers says of the node.
func (n *node) role() quorum.Role {
	if n.founds() && int(n.id) > n.w.voters {
		return quorum.RoleObserver
	}
	return quorum.RoleVoter
}

// founds says whether the node stands in everybody's --peers.
func (n *node) founds() bool { return int(n.id) <= n.w.listed }

// votes says whether the node counts in quorums, as long as the members stay as
// they are.
func (n *node) votes() bool { return int(n.id) <= n.w.voters }

// start begins a new life on whatever the disk holds.
func (n *node) start() {
	w := n.w
	if n.core != nil {
		return
	}
	if w.now < n.disk.full { // the boot counter could not be written
		w.at(event{at: w.now + n.rng.around(20*millisecond), kind: evStart, node: n.id})
		return
	}
	n.life++
	n.recovers()
	n.openStore()
	n.crashIn = -1
	if n.storm > 0 && n.diesEarly() {
		return
	}
	n.drawLevel()
	st := n.disk.restored()
	n.app, n.snapAt, n.restAt, n.rested = appState{}, 0, 0, false
	n.openHeld(n.disk.newest())
	if s := n.disk.newest(); s != nil {
		n.app, n.snapAt = s.state, s.state.pos
		w.obs.loaded(n, s)
		if n.tooNew(n.app.level) {
			w.at(event{at: w.now + n.rng.around(30*millisecond), kind: evStart, node: n.id})
			return
		}
	}
	core, err := quorum.New(w.config(n), st)
	if err != nil {
		w.fail(0, "node %d does not start: %v", n.id, err)
		return
	}
	n.core = core
	core.SetAge(n.app.age)
	n.gate = quorum.Gate{}
	n.unapplied = nil
	n.inbox, n.reqs, n.asked, n.answered = nil, nil, nil, 0
	n.paused, n.pumpDue, n.pull, n.jumps = false, false, nil, 0
	n.doomed, n.keeper = false, keeper{}
	n.frozen, n.still = 0, false
	n.lastTick = w.now
	n.soft = quorum.Soft{}
	w.note("%d starts, boot %d, log %v..%v, cE %d, aE %d", n.id, st.Control.Boot.Counter,
		st.History.Start(), st.History.Last(), st.Control.CurrentEpoch, st.Control.AcceptedEpoch)
	w.at(event{at: w.now + n.rng.between(0, n.tickEvery), kind: evTick, node: n.id, life: n.life})
	w.obs.started(n)
	w.obs.look(n)
	w.watchers.wake(n)
	n.pump()
}

// openStore does what opening a log does: create it when there is none, and
// raise the boot durably.
func (n *node) openStore() {
	c := &n.disk.img.control
	if !n.disk.exists {
		n.newStore()
		if n.restores() {
			n.disk.restoredFrom(n.w.faults.past)
		}
	}
	c.Boot.Counter++
	c.Boot.Nonce = n.rng.next()
	n.disk.marked, n.disk.quiet = n.disk.img.hist.Last(), n.w.now
}

func (n *node) newStore() {
	n.disk = disk{exists: true}
	n.disk.img.control.Node = n.id
	n.disk.img.control.Boot.Incarnation = incarnation(&n.rng)
}

// diesEarly is a start in the middle of a storm: it ends in a crash while the
// store is opened, or after a few effects.
func (n *node) diesEarly() bool {
	n.storm--
	if n.rng.chance(700) {
		n.crashIn = n.rng.below(6)
		return false
	}
	n.w.note("%d crashes while it starts", n.id)
	n.w.at(event{at: n.w.now + n.rng.around(2*millisecond), kind: evStart, node: n.id})
	return true
}

func incarnation(r *rng) (inc quorum.Incarnation) {
	for i := range inc {
		inc[i] = byte(r.below(256))
	}
	return inc
}

// crash ends the life at once. Of what was written and not fsynced a prefix
// survives; of a snapshot that was renamed and whose directory was not fsynced,
// all or nothing.
func (n *node) crash(how survival) {
	if n.core == nil {
		return
	}
	w := n.w
	w.stir(n.core.Hash())
	d := &n.disk
	keep := n.rng.below(len(d.pending) + 1)
	switch how {
	case keepNone:
		keep = 0
	case keepAll:
		keep = len(d.pending)
	case keepTorn:
		keep = n.untorn()
	case keepPart:
		keep = n.rng.below(len(d.pending))
	}
	w.note("%d crashes; %d of %d unsynced records survive", n.id, keep, len(d.pending))
	n.core, n.keeper, n.held = nil, keeper{}, heldState{}
	for i := range keep {
		n.makeDurable(&d.pending[i])
	}
	d.pending, d.seqs, d.busy = nil, nil, false
	n.mutateCrash()
	if s := d.writing; s != nil && w.now >= s.named && n.keepsName(how) {
		d.keep(s)
	}
	d.writing = nil
	n.pull = nil
	n.inbox, n.unapplied = nil, nil
	w.clients.homeDied(n)
	w.obs.stopped(n)
	w.watchers.left(n)
}

// survival says what a crash leaves of unsynced records.
type survival uint8

const (
	keepSome survival = iota
	keepNone
	keepAll
	keepTorn // each block for itself: what stands behind the first one missing is cut
	keepPart // a prefix, never all; the record behind it is torn and cut
)

// untorn counts the records before the first whose bytes did not all reach the
// disk. Later ones may be whole; recovery cuts them, since only a later group
// would vouch for them.
func (n *node) untorn() int {
	for i := range n.disk.pending {
		if n.rng.chance(250) {
			return i
		}
	}
	return len(n.disk.pending)
}

// take brings an event to the node's loop, or keeps it while the node is
// paused.
func (n *node) take(e *event) {
	if n.core == nil || e.life != 0 && e.life != n.life {
		return
	}
	if n.paused {
		if e.kind != evMessage || len(n.inbox) < 4096 {
			n.inbox = append(n.inbox, *e)
		}
		return
	}
	n.input(e)
	if n.core == nil {
		return
	}
	n.w.obs.look(n)
	if n.w.faults.lazy > 0 && e.kind != evPump && n.rng.chance(n.w.faults.lazy) {
		n.pumpLater()
		return
	}
	n.pump()
}

// pumpLater lets further inputs come before the core is asked again.
func (n *node) pumpLater() {
	if n.pumpDue {
		return
	}
	n.pumpDue = true
	n.w.at(event{at: n.w.now + n.rng.between(1, 3000), kind: evPump, node: n.id, life: n.life})
}

// resume drains what came during a pause and goes on.
func (n *node) resume() {
	if n.core == nil || !n.paused {
		return
	}
	n.paused = false
	n.w.note("%d goes on with %d events waiting", n.id, len(n.inbox))
	kept := n.inbox
	n.inbox = nil
	if n.w.script || n.rng.chance(500) { // calls come before what was waiting: other goroutines bring them
		slices.SortStableFunc(kept, func(a, b event) int { return rank(&a) - rank(&b) })
	}
	for i := range kept {
		if n.core == nil {
			return
		}
		if n.paused {
			n.inbox = append(n.inbox, kept[i:]...)
			return
		}
		n.take(&kept[i])
	}
}

func rank(e *event) int {
	if e.kind == evClient || e.kind == evTouchArrives {
		return 0
	}
	return 1
}

// input gives one event to the core.
func (n *node) input(e *event) {
	if n.w.faults.applyLag > 0 {
		n.core.Backlog(n.backlog())
	}
	switch e.kind {
	case evApply:
		n.applyNext()
	case evMessage:
		n.w.obs.arrives(n, e.msg)
		n.core.Step(n.w.received(e.msg))
	case evTick:
		n.tick()
	case evThaw:
		n.thaw()
	case evPump:
		n.pumpDue = false
	case evStable:
		n.core.Stable(e.num)
		n.w.obs.look(n)
		n.sendAll(n.gate.Release(e.num))
	case evDiskError:
		n.doomed = true
		n.core.DiskFailed(errDisk)
	case evSnapNamed:
		n.boundary(snapshotRenamed)
	case evSnapDone:
		n.snapDone(e.snap)
	case evPurged:
		n.core.Compacted(quorum.Zxid(e.num))
	case evChunk:
		n.chunk(e.pull)
	case evPulled:
		n.pulled(e.pull)
	case evFetched:
		n.fetched(e.job)
	case evHint:
		n.core.PeerHint(e.from, e.num == 1)
	case evClient:
		if e.num == 1 {
			n.w.clients.read(n)
		} else {
			n.w.clients.submit(n)
		}
	case evTouchArrives:
		n.touched(e.touch)
	case evForget:
		n.w.clients.forget(n, e.num)
	case evBeat:
		n.beaten(e)
	case evWaitEnds:
		n.waitEnds(e)
	case evConfirm:
		n.confirmed(e.confirm)
	case evConfirmed:
		n.confirmAnswered(e.confirm)
	default:
		panic(fmt.Sprintf("event kind %d at a node", e.kind))
	}
}

var errDisk = errors.New("simulated: fsync failed")

// received is the message as it comes out of a decoder: nothing shared with
// the sender that a receiver writes to, and no chain hashes of entries, which
// do not travel. Some seeds use the real codec.
func (w *World) received(m *quorum.Message) quorum.Message {
	if w.faults.wire {
		c, err := wire.Decode(wire.Append(nil, m))
		if err != nil {
			w.fail(0, "%s does not survive the codec: %v", messageText(m), err)
		}
		return c
	}
	c := *m
	if len(m.Entries) > 0 {
		c.Entries = make([]quorum.Entry, len(m.Entries))
		copy(c.Entries, m.Entries)
		for i := range c.Entries {
			c.Entries[i].Chain = 0
		}
	}
	return c
}

// local is how much of a time passes on the node's own clock.
func (n *node) local(d int64) int64 { return d * n.rate / 1000 }

// thaw lets a clock that stood still go on from where it was.
func (n *node) thaw() {
	if n.still && n.w.now >= n.frozen {
		n.still, n.lastTick = false, n.w.now
		n.tick()
	}
}

// tick is one tick of the node's own clock, which may run fast or slow.
func (n *node) tick() {
	w := n.w
	if w.now < n.frozen {
		n.still = true
		w.at(event{at: n.frozen, kind: evThaw, node: n.id, life: n.life})
		return
	}
	elapsed := n.local(w.now-n.lastTick) / millisecond
	n.lastTick += elapsed * millisecond * 1000 / n.rate
	w.at(event{at: w.now + n.tickEvery, kind: evTick, node: n.id, life: n.life})
	n.core.SetWall(1_700_000_000_000 + w.now/millisecond + n.skewMs)
	before := n.soft
	n.core.Tick(int(elapsed))
	w.obs.ticked(n, before)
	if elapsed >= 20 {
		before = n.core.Soft()
		n.core.Tick(0) // of a pause at most two ticks count
		w.obs.ticked(n, before)
	}
	w.obs.look(n)
	n.rest()
	n.keep()
	n.keepHeld()
}
