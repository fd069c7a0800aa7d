package sim

import (
	"cmp"
	"io"
	"slices"

	"perch/quorum"
)

// The explorer walks a tiny world: the same nodes, disks and observer as in every
// run, but what happens next is not drawn by a clock. From every state it tries
// whatever could happen then, goes on from states that it has not seen, and the
// observer holds each of them against its assertions.
//
// What can happen: a message that is under way arrives, in any order, or never;
// the oldest group of records of a node becomes stable; a node crashes and keeps
// any prefix of its unstable records; one that is down starts; a client writes at
// a node that says it leads; a node gives up its role, as after a time-out. And
// elections are free: any node that looks for a leader may win, whatever its
// history, or follow any that says it leads. Discovery must make up for that.

// Bounds limit what happens on the way from the root to any state.
type Bounds struct {
	Writes, Crashes    int
	Elections, GiveUps int
	Follows            int // beyond one for every election and each of two followers
	Depth              int // actions
	Flying             int // messages under way; more are lost
	Renew              int // writes after which a leader renews its epoch in place; 0: never
}

// TinyWorld is the one of make explore.
var TinyWorld = Bounds{Writes: 2, Crashes: 2, Elections: 3, GiveUps: 4, Follows: 1, Depth: 120, Flying: 14}

// ExploreOptions choose a walk.
type ExploreOptions struct {
	Seed   uint64 // of the order in which actions are tried
	States int    // end after so many distinct ones; 0: when there are no more
	Bounds Bounds
	Leap   int                     // after so many new states go back to a random place on the way; 0: never
	First  func(state uint64) bool // says whether nobody has seen a state before; nil: all are new
	Mutant string                  // a bug of the driver, see Mutants
	Out    io.Writer               // transcript; nil: none
	Tamper func(*quorum.Message)   // a bug of a sender: changes messages as they leave
}

// Exploration is the outcome of a walk.
type Exploration struct {
	States    int // distinct
	New       int // … of which First says so
	Steps     int
	Depth     int  // deepest
	Exhausted bool // there was nothing left to try
	Epochs    int  // most leaders established on one way
	Committed int  // most writes
	Failure   *Violation
	Path      []string // what led to the failure, from the root on
}

// spent counts what happened on the way to a state.
type spent struct{ writes, crashes, elections, giveUps, follows int }

// flying is a message under way.
type flying struct {
	from, to quorum.NodeID
	msg      *quorum.Message
}

// birth tells the age of a session.
type birth struct {
	owner   quorum.NodeID
	session uint64
}

// place is a state of the tiny world and what may happen next.
type place struct {
	world  *World
	flying []flying
	births []birth
	spent  spent
	forged uint64 // notifications made up so far
}

// walk is one exploration.
type walk struct {
	opt     ExploreOptions
	rng     rng
	copier  copier
	digest  digester
	status  map[uint64]uint8
	stack   []frame
	result  Exploration
	fresh   int  // new states since the last leap
	rounds  int  // times that the root was entered
	leapt   bool // in this round: something was left out
	tooDeep bool // … for good: beyond the greatest depth
}

// frame is a state on the way, with the actions that are left to try.
type frame struct {
	at      *place
	state   uint64
	todo    []action
	action  action // that led here
	partial bool   // something that comes after it was left out
}

// What a walk knows of a state.
const (
	stateSeen   = 1 // … and left before everything was tried
	stateOpen   = 2 // it is on the way
	stateClosed = 3 // everything was tried
)

// Explore walks a tiny world.
func Explore(opt ExploreOptions) Exploration {
	e := &walk{opt: opt, rng: rng{state: scramble(opt.Seed)}, status: map[uint64]uint8{}}
	for e.result.Failure == nil && (opt.States == 0 || e.result.States < opt.States) {
		if len(e.stack) == 0 && !e.begin() {
			break
		}
		f := &e.stack[len(e.stack)-1]
		if len(f.todo) == 0 {
			e.finish(f)
			continue
		}
		a := f.todo[len(f.todo)-1]
		f.todo = f.todo[:len(f.todo)-1]
		e.try(f, a)
		if opt.Leap > 0 && e.fresh >= opt.Leap {
			e.leap()
		}
	}
	return e.result
}

// begin enters the root, again when the last time something was left out. It
// reports false when there is nothing to try any more.
func (e *walk) begin() bool {
	if e.rounds > 0 && !e.leapt {
		e.result.Exhausted = !e.tooDeep
		return false
	}
	e.rounds++
	e.leapt = false
	root := e.root()
	if e.result.Failure = root.world.failure; e.result.Failure != nil {
		return false
	}
	if h := e.state(root); e.status[h] != 0 {
		e.status[h] = stateSeen
	}
	e.enter(root, action{})
	return true
}

// finish leaves a state for good, unless something that comes after it was left
// out: then it must be passed again.
func (e *walk) finish(f *frame) {
	if !f.partial {
		e.leave(stateClosed)
		return
	}
	e.leave(stateSeen)
	if last := len(e.stack) - 1; last >= 0 {
		e.stack[last].partial = true
	}
}

// leave drops the last state of the way.
func (e *walk) leave(status uint8) {
	last := len(e.stack) - 1
	e.status[e.stack[last].state] = status
	e.stack[last] = frame{}
	e.stack = e.stack[:last]
}

// leap goes back to a random state of the way, so that a walk with a bound does
// not spend it all on what is near its first deep end.
func (e *walk) leap() {
	e.fresh, e.leapt = 0, true
	for keep := 1 + e.rng.below(len(e.stack)); len(e.stack) > keep; {
		e.leave(stateSeen)
		e.stack[len(e.stack)-1].partial = true
	}
}

// try does an action to a copy of the state, and goes there if it is new.
func (e *walk) try(f *frame, a action) {
	next := f.at
	if len(f.todo) > 0 {
		next = deepCopy(&e.copier, f.at)
	} else {
		f.at = nil // nothing else will be tried from here
	}
	e.do(next, a)
	e.result.Steps++
	if v := next.world.failure; v != nil {
		e.fails(v, a)
		return
	}
	e.enter(next, a)
}

// fails walks the way to the failure once more, with a transcript.
func (e *walk) fails(v *Violation, last action) {
	e.result.Failure = v
	root := e.root()
	root.world.opt.Out = e.opt.Out
	steps := append([]frame(nil), e.stack[1:]...)
	for _, f := range append(steps, frame{action: last}) {
		text := root.describe(f.action)
		root.world.note("== %s", text)
		e.result.Path = append(e.result.Path, text)
		e.do(root, f.action)
	}
}

// enter counts a state and goes on from it, unless that was done before.
func (e *walk) enter(p *place, by action) {
	h := e.state(p)
	status := e.status[h]
	if status == 0 {
		e.status[h] = stateSeen
		e.fresh++
		e.result.States++
		if e.opt.First == nil || e.opt.First(h) {
			e.result.New++
		}
		e.result.Epochs = max(e.result.Epochs, p.world.obs.reigns)
		e.result.Committed = max(e.result.Committed, p.world.obs.ledger.len())
	}
	if status >= stateOpen {
		return
	}
	if len(e.stack) > e.opt.Bounds.Depth {
		e.tooDeep = true
		return
	}
	e.status[h] = stateOpen
	e.stack = append(e.stack, frame{at: p, state: h, todo: e.shuffle(e.actions(p)), action: by})
	e.result.Depth = max(e.result.Depth, len(e.stack)-1)
}

// shuffle orders actions at random, the last to be tried first. What is bounded
// comes late mostly, or most ways would have used it up before much happened.
func (e *walk) shuffle(all []action) []action {
	for i := range all {
		all[i].turn = e.rng.next() >> 1
		if k := all[i].kind; k != arrives && k != fsyncs && k != starts && e.rng.below(8) > 0 {
			all[i].turn >>= 4
		}
	}
	slices.SortFunc(all, func(a, b action) int { return cmp.Compare(a.turn, b.turn) })
	return all
}

// state is the digest of a place: of disks, cores and messages, and of what the
// observer knows to be committed.
func (e *walk) state(p *place) uint64 {
	d := &e.digest
	d.sum, d.name = 0, p.age
	digest(d, &p.spent)
	w := p.world
	for _, n := range w.nodes[1:] {
		d.stable = 0
		if digest(d, &n.core); n.core != nil {
			digest(d, &n.gate)
		}
		digest(d, &n.disk)
		for _, seq := range n.disk.seqs {
			d.group(seq)
		}
		d.fold(uint64(n.app.pos))
	}
	digest(d, &w.obs.ledger.chains)
	digest(d, &w.obs.byEpoch)
	sum, all := d.sum, uint64(0)
	for _, f := range p.flying {
		all += e.weigh(p, f) // they are in no order
	}
	return mix(sum, all)
}

// age names a session by its owner and by how many of the owner are younger.
func (p *place) age(session uint64) uint64 {
	if session == 0 {
		return 0
	}
	var younger [16]uint64
	for i := len(p.births) - 1; i >= 0; i-- {
		b := p.births[i]
		if b.session == session {
			return uint64(b.owner)<<32 + younger[b.owner&15] + 1
		}
		younger[b.owner&15]++
	}
	return session
}
