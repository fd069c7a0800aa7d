package lease

import (
	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// What happens to things, holds and places, with all tables that are made of
// them.

func (s *State) thing(path string) *thing {
	t, _ := s.things.Get(&thing{path: path})
	return t
}

// alter changes a thing, which is made if there is none. Without a transaction
// it is only counted anew, for a state that is restored.
func (s *State) alter(x *txn, path string, kind commandpb.Kind, f func(t *thing)) {
	next := thing{path: path, kind: kind}
	if old := s.thing(path); old != nil {
		s.sum -= old.digest()
		next = *old
	}
	f(&next)
	if x != nil {
		next.tag = x.Zxid
		x.affect(path, (*State).passHeld)
	}
	s.sum += next.digest()
	s.things.Set(&next)
}

// burden counts what a session holds and waits for.
func (s *State) burden(id quorum.Zxid, by int) {
	l, _ := s.loads.Get(load{session: id})
	if n := l.n + by; n > 0 {
		s.loads.Set(load{id, n})
	} else {
		s.loads.Delete(load{session: id})
	}
}

// listHold puts a hold into all tables.
func (s *State) listHold(x *txn, kind commandpb.Kind, h *hold) {
	s.holds.Set(h)
	s.holdsOf.Set(h)
	if h.place != 0 {
		s.granted.Set(h)
	}
	s.burden(h.session, 1)
	s.sum += h.digest()
	s.alter(x, h.path, kind, func(t *thing) {
		t.holds++
		t.permits += h.permits
		if h.granted <= t.revokedAt {
			t.revoked++
		}
	})
}

// replaceHold is for changes that nobody sees but its holder.
func (s *State) replaceHold(old, next *hold) {
	s.holds.Set(next)
	s.holdsOf.Set(next)
	if next.place != 0 {
		s.granted.Set(next)
	}
	s.sum += next.digest() - old.digest()
}

// endHold ends a hold of the session n.
func (s *State) endHold(x *txn, n *session, h *hold, how endHow) {
	s.holds.Delete(h)
	s.holdsOf.Delete(h)
	if h.place != 0 {
		s.granted.Delete(h)
	}
	s.burden(h.session, -1)
	s.sum -= h.digest()
	s.over(x, h.path, n.ref(), h.shown(), how)
	x.loosen(h.session)
	s.alter(x, h.path, 0, func(t *thing) {
		t.holds--
		t.permits -= h.permits
		if h.granted <= t.revokedAt {
			if t.revoked--; t.revoked == 0 {
				s.calm(t)
			}
		}
		if how == howExpired && h.delay > 0 && t.delayUntil < x.age+h.delay {
			s.delay(t, x.age+h.delay)
		}
		if t.holds > 0 {
			return
		}
		t.sharedSince, t.value = 0, ""
		if t.run != nil && t.run.state == runRunning {
			s.stopRun(x, t, runIdle)
		}
	})
}

// listPlace puts a place into all tables.
func (s *State) listPlace(x *txn, kind commandpb.Kind, p *place) {
	s.places.Set(p)
	s.burden(p.session, 1)
	s.sum += p.digest()
	for _, path := range p.paths {
		s.askers.Set(asker{p.session, path, p.identity, p.id})
		s.alter(x, path, kind, func(t *thing) { t.waiting++ })
	}
	s.listAsking(x, p)
}

// listAsking notes whether a request waits for a place.
func (s *State) listAsking(x *txn, p *place) {
	if !p.asking {
		if p.until > 0 {
			s.dues.Set(due{age: p.until, what: dueStay, id: uint64(p.id)})
		}
		return
	}
	s.waits.Set(wait{p.node, p.home, p.id, waitHold})
	for i, path := range p.paths {
		s.queue.Set(spot{path, p.id})
		s.alter(x, path, 0, func(t *thing) {
			t.asking++
			if !p.shared[i] {
				t.barring++
			}
		})
	}
}

func (s *State) unlistAsking(x *txn, p *place) {
	if !p.asking {
		if p.until > 0 {
			s.dues.Delete(due{age: p.until, what: dueStay, id: uint64(p.id)})
		}
		return
	}
	s.waits.Delete(wait{p.node, p.home, p.id, waitHold})
	for i, path := range p.paths {
		s.queue.Delete(spot{path, p.id})
		s.alter(x, path, 0, func(t *thing) {
			t.asking--
			if !p.shared[i] {
				t.barring--
			}
		})
	}
}

// replacePlace changes what a place says of who asks for it.
func (s *State) replacePlace(x *txn, old, next *place) {
	s.unlistAsking(x, old)
	s.places.Set(next)
	s.sum += next.digest() - old.digest()
	s.listAsking(x, next)
}

// takePlace takes a place out of all tables.
func (s *State) takePlace(x *txn, p *place) {
	s.unlistAsking(x, p)
	s.places.Delete(p)
	s.burden(p.session, -1)
	s.sum -= p.digest()
	for _, path := range p.paths {
		s.askers.Delete(asker{p.session, path, p.identity, p.id})
		s.alter(x, path, 0, func(t *thing) { t.waiting-- })
	}
}

// endPlace ends the wait for a place with a code.
func (s *State) endPlace(x *txn, p *place, code tree.Code) {
	s.takePlace(x, p)
	x.loosen(p.session)
	s.tell(x, p, code)
}

// tell has the home of an asking place learn how its wait has ended.
func (s *State) tell(x *txn, p *place, code tree.Code) {
	if p.asking {
		x.outcomes = append(x.outcomes, Outcome{
			Place: p.id, Attach: p.attach, Node: p.node, Home: p.home, Code: code, Held: HeldState{Name: p.paths[0]},
		})
	}
}

// grant gives what is asked for at a place, which is in no table (any more).
func (s *State) grant(x *txn, kind commandpb.Kind, p *place, waited bool) Hold {
	var list []string
	if p.set {
		list = p.paths
	}
	var first *hold
	for i, path := range p.paths {
		h := &hold{
			path: path, token: x.Zxid, session: p.session, identity: p.identity, owner: p.owner, shared: p.shared[i],
			permits: p.permits, since: x.Wall, granted: x.Zxid, attach: p.attach, delay: p.delay, paths: list,
		}
		if waited {
			h.place = p.id
		}
		s.alter(x, path, kind, func(t *thing) {
			switch {
			case p.shared[i] && t.sharedSince == 0:
				t.sharedSince = x.Zxid
			case p.shared[i]:
				h.token = t.sharedSince
			}
			t.value = p.value
			if kind == commandpb.Kind_KIND_ONCE {
				s.startRun(x, t, &p.run)
			}
		})
		s.listHold(x, kind, h)
		if i == 0 {
			first = h
		}
	}
	x.touched = append(x.touched, p.session)
	return s.told(first)
}

// told is a hold as its holder is told of it.
func (s *State) told(h *hold) Hold {
	t := s.thing(h.path)
	out := Hold{
		Kind: t.kind, Names: []string{tree.Name(h.path)}, Owner: h.owner, Session: h.session, Token: h.shown(),
		Shared: h.shared, Permits: h.permits,
	}
	if h.paths != nil {
		out.Names = nil
		for _, p := range h.paths {
			out.Names = append(out.Names, tree.Name(p))
			if h.asked(s.thing(p)) {
				out.Revoked, out.Reason = true, s.thing(p).reason
			}
		}
		return out
	}
	if h.asked(t) {
		out.Revoked, out.Reason = true, t.reason
	}
	if t.run != nil {
		out.Names = []string{tree.Name(tree.Parent(h.path))}
		out.Key, out.Attempt = t.run.key, t.run.attempts
	}
	return out
}

// asked says whether somebody has asked the holder to give it up.
func (h *hold) asked(t *thing) bool { return t != nil && t.revokedAt != 0 && h.granted <= t.revokedAt }
