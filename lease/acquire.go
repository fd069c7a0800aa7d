package lease

import (
	"slices"
	"strings"
	"unicode/utf8"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// Bounds of what an Acquire may ask for. They are part of what heldLevel means.
const (
	wantsMost   = 128
	ownerBytes  = 255
	valueBytes  = 4096 // of an election
	reasonBytes = 255
	permitsMost = 1 << 31
	lockDelayMs = 60_000
	stayMs      = 300_000
)

// acquire asks for one thing, or for several locks.
func (s *State) acquire(x *txn, op *commandpb.Acquire, key *commandpb.Key, res *Result) tree.Code {
	p, code := s.wanted(x, op, key)
	switch {
	case code != tree.OK:
		return code
	case x.sess == nil:
		return tree.ErrInvalidArgument // without a session that was to be opened either
	}
	p.session = x.sess.id
	if op.Kind == commandpb.Kind_KIND_SEMAPHORE {
		if t := s.thing(p.paths[0]); t != nil && t.limit != op.Limit {
			res.Held = s.heldState(t.path)
			return tree.ErrLimitMismatch
		}
	}
	if h := s.holdFor(p); h != nil {
		return s.holdAgain(x, p, h, res)
	}
	old, code := s.waitsFor(p)
	if code != tree.OK {
		return code
	}
	if old != nil {
		return s.askAgain(x, op, p, old, res)
	}
	return s.askFirst(x, op, p, res)
}

// wanted is the place that op would take; its session is not filled in.
func (s *State) wanted(x *txn, op *commandpb.Acquire, key *commandpb.Key) (*place, tree.Code) {
	p := &place{
		id: x.Zxid, owner: op.Owner, permits: max(op.Permits, 1), delay: op.LockDelayMs, value: op.Value, set: op.Set,
		attach: 1, node: quorum.NodeID(op.Home.GetNode()), home: op.Home.GetInstance(), asking: true, stay: op.StayMs,
		identity: "o" + op.Owner,
	}
	if key != nil {
		p.identity, p.request = "k"+string(key.Hash), string(key.Digest)
	}
	if !validWants(op) {
		return nil, tree.ErrInvalidArgument
	}
	if op.Set {
		p.identity = "s" + p.identity
	}
	wants := slices.Clone(op.Wants)
	slices.SortFunc(wants, func(a, b *commandpb.Want) int { return strings.Compare(a.Name, b.Name) })
	for i, w := range wants {
		path, code := x.who.named(op.Kind, w.Name, PermUse)
		if code != tree.OK {
			return nil, code
		}
		if i > 0 && w.Name == wants[i-1].Name {
			return nil, tree.ErrInvalidArgument
		}
		p.paths, p.shared = append(p.paths, path), append(p.shared, w.Shared)
	}
	if op.Kind == commandpb.Kind_KIND_ONCE {
		var code tree.Code
		if p.run, code = s.runOf(x, op.Run); code != tree.OK {
			return nil, code
		}
		p.paths[0] = runPath(p.paths[0], p.run.key)
	}
	return p, tree.OK
}

// validWants says whether op asks for something that there can be.
func validWants(op *commandpb.Acquire) bool {
	lock, sem := op.Kind == commandpb.Kind_KIND_LOCK, op.Kind == commandpb.Kind_KIND_SEMAPHORE
	switch {
	case op.Kind > commandpb.Kind_KIND_ONCE, len(op.Wants) == 0, len(op.Wants) > wantsMost,
		op.Set && !lock, !op.Set && len(op.Wants) > 1, !lock && op.Wants[0].GetShared(),
		len(op.Owner) > ownerBytes, !utf8.ValidString(op.Owner), op.LockDelayMs > lockDelayMs, op.StayMs > stayMs,
		len(op.Value) > valueBytes, !utf8.ValidString(op.Value):
		return false
	case op.Value != "" && op.Kind != commandpb.Kind_KIND_ELECTION,
		op.LockDelayMs > 0 && !lock, op.Run != nil && op.Kind != commandpb.Kind_KIND_ONCE:
		return false
	case sem:
		return op.Limit > 0 && op.Limit <= permitsMost && op.Permits >= 0 && op.Permits <= op.Limit
	}
	return op.Limit == 0 && op.Permits == 0
}

// holdFor is a hold of the acquisition p; nil when it has none.
func (s *State) holdFor(p *place) *hold {
	for _, path := range p.paths {
		if h := s.holdOf(p.session, path, p.identity); h != nil {
			return h
		}
	}
	return nil
}

// holdOf is the hold of an acquisition; nil when it has none.
func (s *State) holdOf(id quorum.Zxid, path, identity string) *hold {
	h, _ := s.holdsOf.Get(&hold{session: id, path: path, identity: identity})
	return h
}

// holdAgain answers an acquisition that holds what it asks for.
func (s *State) holdAgain(x *txn, p *place, h *hold, res *Result) tree.Code {
	paths := h.paths
	if paths == nil {
		paths = []string{h.path}
	}
	if !slices.Equal(paths, p.paths) {
		return tree.ErrModeMismatch
	}
	all := make([]*hold, 0, len(paths))
	for _, path := range paths {
		own := s.holdOf(h.session, path, h.identity)
		if own == nil || own.granted != h.granted {
			return tree.ErrHoldLost // part of a set was given back
		}
		all = append(all, own)
	}
	for i, own := range all {
		if own.shared != p.shared[i] || own.permits != p.permits {
			return tree.ErrModeMismatch
		}
	}
	for _, own := range all {
		next := *own
		next.attach, next.again = own.attach+1, true
		s.replaceHold(own, &next)
	}
	res.Hold, res.Replayed = s.told(h), true
	if h.place != 0 {
		res.Place = Place{ID: h.place, Attach: h.attach + 1}
	}
	return tree.OK
}

// waitsFor is the place that the acquisition p has; nil when it has none.
func (s *State) waitsFor(p *place) (old *place, code tree.Code) {
	for _, path := range p.paths {
		if a, ok := s.askers.Get(asker{session: p.session, path: path, identity: p.identity}); ok {
			old, _ = s.places.Get(&place{id: a.id})
			break
		}
	}
	if old != nil && !(slices.Equal(old.paths, p.paths) && slices.Equal(old.shared, p.shared) && old.permits == p.permits) {
		return nil, tree.ErrModeMismatch
	}
	return old, tree.OK
}

// askFirst grants what p asks for, or gives it a place.
func (s *State) askFirst(x *txn, op *commandpb.Acquire, p *place, res *Result) tree.Code {
	for _, path := range p.paths {
		if code := s.housed(path); code != tree.OK {
			return code
		}
	}
	barred, code := s.barred(x, p), spent(s.thing(p.paths[0]), &p.run)
	l, _ := s.loads.Get(load{session: p.session})
	waits := code == tree.OK && barred != "" && (op.Wait || p.stay > 0)
	if code == tree.OK && barred != "" && !waits {
		code = s.thing(barred).refusal(x.age)
	}
	switch {
	case code != tree.OK:
		s.refuse(p, barred, res)
		return code
	case l.n+len(p.paths) > s.settings.SessionHolds:
		return tree.ErrTooManyWaiters
	}
	for _, path := range p.paths {
		if t := s.thing(path); waits && t != nil && t.waiting >= s.settings.Waiting {
			return tree.ErrTooManyWaiters
		}
	}
	if op.Limit > 0 {
		s.alter(x, p.paths[0], op.Kind, func(t *thing) { t.limit = op.Limit })
	}
	if !waits {
		res.Hold = s.grant(x, op.Kind, p, false)
		return tree.OK
	}
	s.listPlace(x, op.Kind, p)
	s.queued(p, barred, res)
	return tree.OK
}

// refuse says what is in the way of p.
func (s *State) refuse(p *place, barred string, res *Result) {
	if barred == "" {
		barred = p.paths[0]
	}
	res.Held = s.heldState(barred)
	if t := s.thing(barred); t != nil {
		res.Place.Position = t.asking + 1
	}
}

// queued describes the place that p has, and what it waits for.
func (s *State) queued(p *place, barred string, res *Result) {
	if barred == "" {
		barred = p.paths[0]
	}
	res.Held = s.heldState(barred)
	res.Place = Place{ID: p.id, Attach: p.attach, Position: s.position(p, barred)}
}

// position is where p stands in the queue of a path: 1 is next.
func (s *State) position(p *place, path string) int {
	if !p.asking {
		return 0
	}
	return s.queue.Rank(spot{path, p.id}) - s.queue.Rank(spot{path: path}) + 1
}

// askAgain answers an acquisition that has a place: this request takes over from
// the one before (RULES.md R16).
func (s *State) askAgain(x *txn, op *commandpb.Acquire, p, old *place, res *Result) tree.Code {
	s.tell(x, old, tree.ErrSuperseded)
	next := *old
	next.attach, next.node, next.home, next.asking = old.attach+1, p.node, p.home, true
	next.stay, next.until, next.delay, next.value = p.stay, 0, p.delay, p.value
	next.run = p.run
	s.replacePlace(x, old, &next)
	code, barred := spent(s.thing(next.paths[0]), &next.run), s.barred(x, &next)
	switch {
	case code != tree.OK:
	case barred == "":
		s.takePlace(x, &next)
		res.Hold = s.grant(x, op.Kind, &next, true)
		res.Place = Place{ID: next.id, Attach: next.attach}
		return tree.OK
	case op.Wait || next.stay > 0:
		s.queued(&next, barred, res)
		return tree.OK
	default:
		code = s.thing(barred).refusal(x.age)
	}
	s.queued(&next, barred, res)
	s.takePlace(x, &next)
	x.loosen(next.session)
	x.answer, x.shows = code, barred
	return tree.OK
}

// leave ends a request that waits for a place. What it was asked for may have
// come meanwhile.
func (s *State) leave(x *txn, op *commandpb.Leave, res *Result) tree.Code {
	p, ok := s.places.Get(&place{id: quorum.Zxid(op.Place)})
	if !ok {
		return s.leaveGranted(x, op, res)
	}
	if p.attach != op.Attach || !p.asking {
		return tree.ErrSuperseded
	}
	barred := s.barred(x, p)
	if barred == "" {
		barred = p.paths[0]
	}
	s.queued(p, barred, res)
	x.answer, x.shows = s.thing(barred).refusal(x.age), barred
	if p.stay == 0 {
		s.takePlace(x, p)
		x.loosen(p.session)
		return tree.OK
	}
	next := *p
	next.asking, next.until, next.node, next.home = false, x.age+p.stay, 0, 0
	s.replacePlace(x, p, &next)
	return tree.OK
}

// leaveGranted is leave for a place that was granted: it is answered with the
// hold, or gives that back when nobody is there to be answered.
func (s *State) leaveGranted(x *txn, op *commandpb.Leave, res *Result) tree.Code {
	list := s.grantsOf(quorum.Zxid(op.Place))
	switch {
	case len(list) == 0:
		return s.leaveOther(x, op, res)
	case list[0].attach != op.Attach:
		return tree.ErrSuperseded
	}
	n, _ := s.sessions.Get(&session{id: list[0].session})
	if !op.Gone {
		x.sess, res.Hold = n, s.told(list[0])
		return tree.OK
	}
	for _, h := range list {
		s.endHold(x, n, h, howReleased)
	}
	s.unkeep(quorum.Zxid(op.Place))
	return tree.OK
}

// grantsOf are the holds that a place was granted.
func (s *State) grantsOf(id quorum.Zxid) (list []*hold) {
	s.granted.Ascend(&hold{place: id}, func(h *hold) bool {
		if h.place == id {
			list = append(list, h)
		}
		return h.place == id
	})
	return list
}

// leavers know of the places of other kinds than holds; they say false when a
// place is none of theirs.
var leavers []func(*State, *txn, *commandpb.Leave, *Result) (tree.Code, bool)

func (s *State) leaveOther(x *txn, op *commandpb.Leave, res *Result) tree.Code {
	for _, leave := range leavers {
		if code, own := leave(s, x, op, res); own {
			return code
		}
	}
	return tree.ErrHoldLost
}
