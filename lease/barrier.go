package lease

import (
	"unicode/utf8"

	"perch/gen/commandpb"
	"perch/gen/snapshotpb"
	"perch/quorum"
	"perch/tree"
	"perch/tree/cow"
)

// Barriers. A plain one is put up and taken down. Another one opens when so many
// sessions are inside as it counts; with each opening a generation is through,
// which may wait again until all of it have left.

// Bounds of what is asked of barriers. They are part of what heldLevel means.
const (
	barrierCount = 1 << 31 // most sessions that one waits for
	entrantBytes = 255     // of an owner
)

// barrier is one barrier. It is immutable once it is in a table.
type barrier struct {
	path       string
	tag        quorum.Zxid // of the last change
	generation uint64      // openings so far
	count      uint64      // entries that open it
	closed     bool        // somebody has put it up

	// Made of its entries.
	entered int64 // of the coming generation
	leaving int64 // of the one that is through, and still inside
}

func barrierLess(a, b *barrier) bool { return a.path < b.path }

func (b *barrier) digest() uint64 {
	closed := uint64(0)
	if b.closed {
		closed = 1
	}
	return sumOf(digestBarrier, []uint64{uint64(b.tag), b.generation, b.count, closed}, b.path)
}

// tallyOf counts an entry in or out. Who is left from generations before counts
// nowhere.
func (b *barrier) tallyOf(e *entry, n int64) {
	switch e.generation {
	case b.generation + 1:
		b.entered += n
	case b.generation:
		b.leaving += n
	}
}

// open lets those go who are inside.
func (b *barrier) open() {
	b.generation++
	b.entered, b.leaving, b.closed = 0, b.entered, false
}

// told is what is told of a barrier to a session that is in a generation; 0:
// none.
func (b *barrier) told(mine uint64) Barrier {
	out := Barrier{
		Name: tree.Name(b.path), Tag: b.tag, Entered: b.entered, Leaving: b.leaving, Count: int64(b.count),
		Open: !b.closed && b.entered == 0, Generation: int64(b.generation), Mine: int64(mine),
	}
	if mine > 0 {
		out.Open = mine <= b.generation
	}
	return out
}

// entry is a session inside of a barrier, until it leaves or ends. It is
// immutable once it is in a table.
type entry struct {
	path       string // of the barrier
	session    quorum.Zxid
	generation uint64
	owner      string
	made       quorum.Zxid // the command that made it
	told       bool        // an Enter has answered that its generation is through
}

func entryLess(a, b *entry) bool {
	if a.session != b.session {
		return a.session < b.session
	}
	return a.path < b.path
}

func (e *entry) digest() uint64 {
	told := uint64(0)
	if e.told {
		told = 1
	}
	return sumOf(digestEntry, []uint64{uint64(e.session), e.generation, uint64(e.made), told}, e.path, e.owner)
}

// gathering are the tables of barriers.
type gathering struct {
	barriers *cow.Table[*barrier]
	entries  *cow.Table[*entry]
}

func newGathering() gathering {
	return gathering{barriers: cow.New(barrierLess), entries: cow.New(entryLess)}
}

func (g *gathering) tables() []table { return []table{g.barriers, g.entries} }

// barrierAt is the barrier of a path; one that was never used is open.
func (s *State) barrierAt(path string) *barrier {
	if b, ok := s.barriers.Get(&barrier{path: path}); ok {
		return b
	}
	return &barrier{path: path}
}

func (s *State) entryOf(session quorum.Zxid, path string) *entry {
	e, _ := s.entries.Get(&entry{session: session, path: path})
	return e
}

// alterBarrier changes a barrier. Without a transaction it is only counted anew,
// for a state that is restored.
func (s *State) alterBarrier(x *txn, path string, f func(b *barrier)) {
	old, was := s.barriers.Get(&barrier{path: path})
	next := barrier{path: path}
	if was {
		s.sum -= old.digest()
		next = *old
	}
	f(&next)
	if x != nil {
		next.tag = x.Zxid
		x.affect(path, (*State).passBarrier)
	}
	if next.closed != (was && old.closed) {
		s.countClosed(&next)
	}
	s.sum += next.digest()
	s.barriers.Set(&next)
}

// countClosed notes whether a barrier is closed.
func (s *State) countClosed(b *barrier) {
	n := int64(-1)
	if b.closed {
		n = 1
	}
	s.count(tallyClosed, b.path, 0, n)
}

// addEntry lets a session in.
func (s *State) addEntry(x *txn, e *entry) {
	s.entries.Set(e)
	s.burden(e.session, 1)
	s.count(tallyEntries, e.path, 0, 1)
	s.sum += e.digest()
	s.alterBarrier(x, e.path, func(b *barrier) { b.tallyOf(e, 1) })
}

// dropEntry takes a session out. Before its barrier has opened the key of its
// entry comes to nothing.
func (s *State) dropEntry(x *txn, e *entry) {
	s.entries.Delete(e)
	s.burden(e.session, -1)
	s.count(tallyEntries, e.path, 0, -1)
	s.sum -= e.digest()
	x.loosen(e.session)
	if e.generation > s.barrierAt(e.path).generation {
		s.unkeep(e.made)
	}
	s.alterBarrier(x, e.path, func(b *barrier) { b.tallyOf(e, -1) })
}

// endEntries takes a session that ends out of all barriers.
func (s *State) endEntries(x *txn, session quorum.Zxid) {
	var list []*entry
	s.entries.Ascend(&entry{session: session}, func(e *entry) bool {
		if e.session == session {
			list = append(list, e)
		}
		return e.session == session
	})
	for _, e := range list {
		s.dropEntry(x, e)
	}
}

// passBarrier shows what has become of a barrier.
func (s *State) passBarrier(x *txn, path string) {
	b := s.barrierAt(path)
	if !b.closed && b.entered == 0 && b.leaving == 0 {
		s.tree.DropOwn(&x.Txn, path)
		return
	}
	t := b.told(0)
	s.mirror(x, path, struct {
		Open       bool  `json:"open"`
		Generation int64 `json:"generation"`
		Entered    int64 `json:"entered"`
		Leaving    int64 `json:"leaving"`
		Count      int64 `json:"count,omitempty"`
	}{t.Open, t.Generation, t.Entered, t.Leaving, t.Count})
}

// through says whether the generation of a handle is through its barrier.
func (s *State) through(x *txn, op *commandpb.Enter, h *snapshotpb.Handle) bool {
	path, code := x.who.named(commandpb.Kind_KIND_BARRIER, op.Name, PermUse)
	return code == tree.OK && s.barrierAt(path).generation >= uint64(h.Generation)
}

// enter lets the session of the request into the coming generation of a barrier,
// and opens that when it was the last to come. A session that is inside of a
// generation which has opened, and has not been told so, is told that first: it
// may be asking since then.
func (s *State) enter(x *txn, op *commandpb.Enter, res *Result) tree.Code {
	path, code := x.who.named(commandpb.Kind_KIND_BARRIER, op.Name, PermUse)
	switch {
	case code != tree.OK:
		return code
	case op.Count == 0, op.Count > barrierCount, len(op.Owner) > entrantBytes, !utf8.ValidString(op.Owner):
		return tree.ErrInvalidArgument
	}
	b := s.barrierAt(path)
	coming := b.generation + 1
	switch {
	case x.key.through:
		res.Replayed = true
		s.tellThrough(x, b, uint64(x.key.handle.Generation), res)
		return tree.OK
	case op.Generation != nil && *op.Generation < coming:
		if x.opened && x.sess.transient { // it opened for nothing
			s.drop(x, x.sess)
			x.sess, x.opened, x.ended = nil, false, nil
		}
		s.tellThrough(x, b, *op.Generation, res)
		return tree.OK
	case op.Generation != nil && *op.Generation > coming, x.sess == nil:
		return tree.ErrInvalidArgument
	}
	if e := s.entryOf(x.sess.id, path); e != nil && e.generation < coming && !e.told && op.Generation == nil {
		s.tellThrough(x, b, e.generation, res)
		return tree.OK
	}
	return s.join(x, b, op, res)
}

// tellThrough answers that a generation of b is through, and notes it where the
// session of the request is inside of that one or of an earlier one. It is no
// change of the barrier.
func (s *State) tellThrough(x *txn, b *barrier, generation uint64, res *Result) {
	res.Barrier = b.told(generation)
	res.Barrier.Open = true
	if x.sess == nil {
		return
	}
	e := s.entryOf(x.sess.id, b.path)
	if e == nil || e.told || e.generation > generation {
		return
	}
	next := *e
	next.told = true
	s.entries.Set(&next)
	s.sum += next.digest() - e.digest()
}

// join lets the session of the request into the coming generation of b.
func (s *State) join(x *txn, b *barrier, op *commandpb.Enter, res *Result) tree.Code {
	res.Barrier = b.told(0)
	if b.entered > 0 && b.count != op.Count {
		return tree.ErrLimitMismatch
	}
	e, coming := s.entryOf(x.sess.id, b.path), b.generation+1
	if e != nil && e.generation == coming {
		res.Barrier = b.told(coming)
		res.Replayed = x.key.old != nil && uint64(x.key.handle.Generation) == coming
		return tree.OK
	}
	if code := s.admits(x, b, e); code != tree.OK {
		return code
	}
	if code := s.housed(b.path); code != tree.OK {
		return code
	}
	if e != nil {
		s.dropEntry(x, e)
	}
	s.addEntry(x, &entry{path: b.path, session: x.sess.id, generation: coming, owner: op.Owner, made: x.Zxid})
	s.alterBarrier(x, b.path, func(b *barrier) {
		if b.count = op.Count; uint64(b.entered) >= b.count && !b.closed {
			b.open()
		}
	})
	if b = s.barrierAt(b.path); b.generation == coming {
		s.tellThrough(x, b, coming, res)
		return tree.OK
	}
	res.Barrier = b.told(coming)
	return tree.OK
}

// admits says whether there is room for one more entry: in a barrier, and among
// what a session may have. One that it has there already makes room.
func (s *State) admits(x *txn, b *barrier, old *entry) tree.Code {
	if b.entered >= int64(s.settings.Waiting) || old == nil && s.carries(x.sess.id) >= s.settings.SessionHolds {
		return tree.ErrTooManyWaiters
	}
	return tree.OK
}

// depart takes the session of the request out of a barrier. After a wait that has
// failed only a session goes that nobody else knows; others stay in, and the same
// one may ask again.
func (s *State) depart(x *txn, op *commandpb.Depart, res *Result) tree.Code {
	path, code := x.who.named(commandpb.Kind_KIND_BARRIER, op.Name, PermUse)
	switch {
	case code != tree.OK:
		return code
	case x.sess == nil:
		return tree.ErrInvalidArgument
	}
	b, e := s.barrierAt(path), s.entryOf(x.sess.id, path)
	if e == nil || op.Generation != nil && *op.Generation != e.generation {
		res.Barrier = b.told(0) // it has left already
		return tree.OK
	}
	if !op.Failed || e.generation > b.generation && x.sess.transient {
		s.dropEntry(x, e)
	}
	res.Barrier = s.barrierAt(path).told(e.generation)
	return tree.OK
}

// closeBarrier puts a plain barrier up.
func (s *State) closeBarrier(x *txn, op *commandpb.CloseBarrier, res *Result) tree.Code {
	path, code := x.who.named(commandpb.Kind_KIND_BARRIER, op.Name, PermUse)
	if code != tree.OK {
		return code
	}
	if code := s.housed(path); code != tree.OK {
		return code
	}
	if !s.barrierAt(path).closed {
		s.alterBarrier(x, path, func(b *barrier) { b.closed = true })
	}
	res.Barrier = s.barrierAt(path).told(0)
	return tree.OK
}

// openBarrier takes a barrier down: whoever is inside is through.
func (s *State) openBarrier(x *txn, op *commandpb.OpenBarrier, res *Result) tree.Code {
	path, code := x.who.named(commandpb.Kind_KIND_BARRIER, op.Name, PermUse)
	if code != tree.OK {
		return code
	}
	if b := s.barrierAt(path); b.closed || b.entered > 0 {
		s.alterBarrier(x, path, (*barrier).open)
	}
	res.Barrier = s.barrierAt(path).told(0)
	return tree.OK
}

// barrierRead answers about a barrier, to the session that the node has found.
func (s *sight) barrierRead(a *Answer) tree.Code {
	path, code := s.who.named(commandpb.Kind_KIND_BARRIER, s.q.Name, PermUse|PermRead)
	if code != tree.OK {
		return code
	}
	b, ok := s.barriers.Get(&barrier{path: path})
	if !ok {
		b = &barrier{path: path}
	}
	mine := uint64(0)
	if e, ok := s.entries.Get(&entry{session: s.q.Session, path: path}); ok && s.q.Session != 0 {
		mine = e.generation
	}
	a.Barrier = b.told(mine)
	return tree.OK
}
