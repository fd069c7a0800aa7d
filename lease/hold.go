package lease

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
	"perch/tree/cow"
)

// Locks, semaphores, elections and runs of once are one thing: something that is
// held, by one or by several, and waited for in a queue. All records are
// immutable once they are in a table, and known by the path of the node that
// shows them, in the whole tree, so that tenants are apart.

// thing is what can be held. There is one while it is held, waited for, delayed,
// or a run that is remembered.
type thing struct {
	path        string
	kind        commandpb.Kind
	tag         quorum.Zxid // of the last change that can be seen
	limit       int64       // semaphores
	sharedSince quorum.Zxid // the token of its shared holds (RULES.md R14); 0: none is shared
	delayUntil  uint64      // nobody is granted it below this cluster age
	revokedAt   quorum.Zxid // the holds up to here are asked to end; 0: none
	reason      string
	breakAt     uint64 // cluster age at which those are broken; 0: never
	value       string // elections
	run         *run   // once

	// Counted, not stored.
	holds   int
	permits int64 // held
	revoked int   // holds that are asked to end
	waiting int   // places
	asking  int   // places whose request waits
	barring int   // asking places that want it for themselves
}

func thingLess(a, b *thing) bool { return a.path < b.path }

// idle says whether nothing is to be remembered of t.
func (t *thing) idle(age uint64) bool {
	return t.holds == 0 && t.waiting == 0 && t.delayUntil <= age && t.run == nil
}

// exclusive says whether one hold excludes all others.
func (t *thing) exclusive() bool { return t.kind != commandpb.Kind_KIND_SEMAPHORE }

// hold is one hold of one thing.
type hold struct {
	path     string
	token    quorum.Zxid // fencing token
	session  quorum.Zxid
	identity string // of the acquisition within its session (RULES.md R15)
	owner    string
	shared   bool
	permits  int64
	since    int64       // wall
	granted  quorum.Zxid // the transaction; above token when it joined a shared period
	place    quorum.Zxid // that was granted; 0: it did not wait
	attach   uint32      // of that place
	again    bool        // it was asked for again since: whoever did knows of it
	delay    uint64      // lock delay, ms
	paths    []string    // of a lock set, sorted; nil: none
}

func holdLess(a, b *hold) bool {
	switch {
	case a.path != b.path:
		return a.path < b.path
	case a.token != b.token:
		return a.token < b.token
	case a.session != b.session:
		return a.session < b.session
	}
	return a.identity < b.identity
}

// holdOwnLess is the order by sessions, in which an acquisition has one hold.
func holdOwnLess(a, b *hold) bool {
	switch {
	case a.session != b.session:
		return a.session < b.session
	case a.path != b.path:
		return a.path < b.path
	}
	return a.identity < b.identity
}

// holdPlaceLess is the order by the places that were granted.
func holdPlaceLess(a, b *hold) bool {
	if a.place != b.place {
		return a.place < b.place
	}
	return a.path < b.path
}

// shown is the token that the holder knows: one for a whole set (RULES.md R18).
func (h *hold) shown() quorum.Zxid {
	if h.paths != nil {
		return h.granted
	}
	return h.token
}

// proves says whether h is the hold that token means.
func (h *hold) proves(token quorum.Zxid) bool { return token == h.token || token == h.shown() }

// place is a place in the queue of one thing, or in those of the locks of a set.
type place struct {
	id       quorum.Zxid // the transaction that made it
	paths    []string    // sorted
	shared   []bool      // of each path
	set      bool
	session  quorum.Zxid
	identity string
	request  string // digest of the keyed request
	owner    string
	permits  int64
	delay    uint64
	value    string // elections
	run      run    // once: what it is to be run by
	attach   uint32 // rises with every request (RULES.md R16)
	node     quorum.NodeID
	home     uint64
	asking   bool   // a request waits
	stay     uint64 // ms that it is kept when none does …
	until    uint64 // … which is till this cluster age
}

func placeLess(a, b *place) bool { return a.id < b.id }

// excludes says whether p wants the thing at path for itself.
func (p *place) excludes(path string) bool {
	for i, at := range p.paths {
		if at == path {
			return !p.shared[i]
		}
	}
	return true
}

// spot is a place in one queue, in the order in which they are served.
type spot struct {
	path string
	id   quorum.Zxid
}

func spotLess(a, b spot) bool {
	if a.path != b.path {
		return a.path < b.path
	}
	return a.id < b.id
}

// asker finds the place of an acquisition.
type asker struct {
	session  quorum.Zxid
	path     string
	identity string
	id       quorum.Zxid // of the place
}

func askerLess(a, b asker) bool {
	switch {
	case a.session != b.session:
		return a.session < b.session
	case a.path != b.path:
		return a.path < b.path
	}
	return a.identity < b.identity
}

// load counts the holds and places of a session.
type load struct {
	session quorum.Zxid
	n       int
}

func loadLess(a, b load) bool { return a.session < b.session }

// waitKind says whose places a wait is one of.
type waitKind uint8

// waitHold is the kind of the places of this file.
const waitHold waitKind = 0

// wait lists a place whose request waits under its home.
type wait struct {
	node  quorum.NodeID
	home  uint64
	place quorum.Zxid
	what  waitKind
}

func waitLess(a, b wait) bool {
	switch {
	case a.node != b.node:
		return a.node < b.node
	case a.home != b.home:
		return a.home < b.home
	}
	return a.place < b.place
}

// holding are the tables of what is held. What is not marked as made of others
// stands in snapshots.
type holding struct {
	things *cow.Table[*thing]
	holds  *cow.Table[*hold]
	places *cow.Table[*place]
	overs  *cow.Table[*over]

	// Made of those above.
	holdsOf  *cow.Table[*hold]   // by session
	granted  *cow.Table[*hold]   // by place, those that waited
	queue    *cow.Table[spot]    // asking places
	askers   *cow.Table[asker]   // places by session
	loads    *cow.Table[load]    // holds and places of each session
	waits    *cow.Table[wait]    // asking places by home, of all kinds
	runs     *cow.Table[runSpot] // of each name of once, the last begun first
	oversOld *cow.Table[*over]   // by age

	wall    int64  // of the last command …
	wallAge uint64 // … and its cluster age (RULES.md R20)
}

func newHolding() holding {
	return holding{
		things: cow.New(thingLess), holds: cow.New(holdLess), places: cow.New(placeLess), overs: cow.New(overLess),
		holdsOf: cow.New(holdOwnLess), granted: cow.New(holdPlaceLess), queue: cow.New(spotLess),
		askers: cow.New(askerLess), loads: cow.New(loadLess), waits: cow.New(waitLess),
		runs: cow.New(runSpotLess), oversOld: cow.New(overOlder),
	}
}

func (h *holding) tables() []table {
	return []table{
		h.things, h.holds, h.places, h.overs, h.holdsOf, h.granted, h.queue, h.askers, h.loads, h.waits, h.runs,
		h.oversOld,
	}
}

// holdTxn is what a transaction gathers of what is held, counted and queued.
type holdTxn struct {
	// answer is the code of a command that is refused and has nevertheless
	// changed the state; OK for all others.
	answer tree.Code
	// ref is how ended holds of the request's session are remembered.
	ref      string
	shows    string // the path of the thing that Result.Held is of
	how      endHow // of what a session held that ends
	affected map[string]pass
	loose    []quorum.Zxid // sessions that have lost something
	outcomes []Outcome
	touched  []quorum.Zxid
	served   []*place // that were granted after a wait
}

// pass grants what can be granted of the record at a path, and shows what has
// become of it.
type pass func(s *State, x *txn, path string)

// affect has p run over path when all that the transaction ends has ended
// (RULES.md R18). A path has one pass.
func (x *txn) affect(path string, p pass) {
	if x.affected == nil {
		x.affected = make(map[string]pass)
	}
	x.affected[path] = p
}

// loosen has a session that was opened for what it holds end, if that was the
// last of it.
func (x *txn) loosen(id quorum.Zxid) { x.loose = append(x.loose, id) }

// The parts of the records in the sum over the state.

type digester []byte

func (d *digester) num(v uint64) { *d = binary.LittleEndian.AppendUint64(*d, v) }

func (d *digester) flag(v bool) {
	if v {
		*d = append(*d, 1)
	} else {
		*d = append(*d, 0)
	}
}

func (d *digester) text(s string) {
	*d = binary.LittleEndian.AppendUint32(*d, uint32(len(s)))
	*d = append(*d, s...)
}

func (d *digester) sum() uint64 { return xxhash.Sum64(*d) }

func (t *thing) digest() uint64 {
	d := digester(append(make([]byte, 0, 256), 'G', byte(t.kind)))
	d.text(t.path)
	for _, v := range []uint64{
		uint64(t.tag), uint64(t.limit), uint64(t.sharedSince), t.delayUntil, uint64(t.revokedAt), t.breakAt,
	} {
		d.num(v)
	}
	d.text(t.reason)
	d.text(t.value)
	if t.run != nil {
		t.run.digest(&d)
	}
	return d.sum()
}

func (h *hold) digest() uint64 {
	d := digester(append(make([]byte, 0, 256), 'O'))
	d.text(h.path)
	d.text(h.identity)
	d.text(h.owner)
	for _, v := range []uint64{
		uint64(h.token), uint64(h.session), uint64(h.permits), uint64(h.since), uint64(h.granted), uint64(h.place),
		uint64(h.attach), h.delay,
	} {
		d.num(v)
	}
	d.flag(h.shared)
	d.flag(h.again)
	for _, p := range h.paths {
		d.text(p)
	}
	return d.sum()
}

func (p *place) digest() uint64 {
	d := digester(append(make([]byte, 0, 384), 'W'))
	for i, at := range p.paths {
		d.text(at)
		d.flag(p.shared[i])
	}
	for _, v := range []string{p.identity, p.request, p.owner, p.value} {
		d.text(v)
	}
	for _, v := range []uint64{
		uint64(p.id), uint64(p.session), uint64(p.permits), p.delay, uint64(p.attach), uint64(p.node), p.home, p.stay, p.until,
	} {
		d.num(v)
	}
	d.flag(p.set)
	d.flag(p.asking)
	p.run.digest(&d)
	return d.sum()
}
