package lease

import (
	"maps"
	"slices"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// settle ends a transaction that has done what it was asked for: what it has
// ended is granted to others, in the order of paths, and shown (RULES.md R18).
func (s *State) settle(x *txn, res *Result) {
	for len(x.affected) > 0 || len(x.loose) > 0 {
		s.endLoose(x)
		affected := x.affected
		x.affected = nil
		for _, path := range slices.Sorted(maps.Keys(affected)) {
			affected[path](s, x, path)
		}
	}
	s.tellWays(x)
	if x.shows != "" {
		res.Held = s.heldState(x.shows)
	}
}

// tellWays says of each wait that has failed what is in the way now. Till here
// the outcome has but the path.
func (s *State) tellWays(x *txn) {
	var way map[string]HeldState
	for i := range x.outcomes {
		o := &x.outcomes[i]
		path := o.Held.Name
		if path == "" {
			continue
		}
		held, known := way[path]
		if !known {
			if way == nil {
				way = make(map[string]HeldState)
			}
			held = s.heldState(path)
			way[path] = held
		}
		o.Held = held
	}
}

// endLoose ends the sessions that were opened for what they held, if nothing of
// it is left. Their tokens are forgotten, so that a loop may come again with the
// same one.
func (s *State) endLoose(x *txn) {
	loose := x.loose
	x.loose = nil
	slices.Sort(loose)
	for _, id := range slices.Compact(loose) {
		n, ok := s.sessions.Get(&session{id: id})
		if ok && n.transient && !s.busy(id) {
			cause := x.Cause
			x.Cause = tree.CauseSessionClosed
			s.drop(x, n)
			x.Cause = cause
		}
	}
}

// busy says whether a session holds something or waits for it.
func (s *State) busy(id quorum.Zxid) bool {
	_, held := s.loads.Get(load{session: id})
	return held
}

// passHeld is the pass of a thing.
func (s *State) passHeld(x *txn, path string) {
	if t := s.thing(path); t != nil && t.asking > 0 {
		s.serve(x, path)
	}
	t := s.thing(path)
	if t == nil {
		return
	}
	if t.idle(x.age) {
		if t.delayUntil > 0 {
			s.dues.Delete(due{age: t.delayUntil, what: dueDelay, path: path})
		}
		s.sum -= t.digest()
		s.things.Delete(t)
		s.hide(x, t)
		return
	}
	if t.tag == x.Zxid {
		s.show(x, t)
	}
}

// serve grants a thing to those who wait for it, as far as it goes. Who waits
// longest is first; nobody overtakes but those who share it a lock set that
// waits for another one of its locks.
func (s *State) serve(x *txn, path string) {
	shared := false // only shared holds can be granted from here on
	for from := quorum.Zxid(0); ; {
		id, ok := s.nextAsking(path, from)
		if !ok {
			return
		}
		from = id + 1
		p, _ := s.places.Get(&place{id: id})
		t := s.thing(path)
		if code := spent(t, &p.run); code != tree.OK {
			s.endPlace(x, p, code)
			continue
		}
		alone := p.excludes(path)
		if shared && alone || !t.free(p, alone, x.age) {
			return
		}
		if len(p.paths) > 1 && !s.grantable(x, p) {
			if alone {
				return
			}
			shared = true
			continue
		}
		kind := t.kind
		s.takePlace(x, p)
		hold := s.grant(x, kind, p, true)
		n, _ := s.sessions.Get(&session{id: p.session})
		x.served = append(x.served, p)
		x.outcomes = append(x.outcomes, Outcome{
			Place: p.id, Attach: p.attach, Node: p.node, Home: p.home, Hold: hold, TTL: n.info(0).TTL,
		})
	}
}

// nextAsking is the first asking place of a path from an id on.
func (s *State) nextAsking(path string, from quorum.Zxid) (id quorum.Zxid, ok bool) {
	s.queue.Ascend(spot{path, from}, func(q spot) bool {
		id, ok = q.id, q.path == path
		return false
	})
	return id, ok
}

// free says whether the holds on a thing, and delays, let p have it.
func (t *thing) free(p *place, alone bool, age uint64) bool {
	switch {
	case t == nil:
		return true
	case t.delayUntil > age:
		return false
	case !t.exclusive():
		return t.permits+p.permits <= t.limit
	case t.run != nil && t.run.state != runIdle:
		return false
	}
	return t.holds == 0 || !alone && t.sharedSince != 0
}

// grantable says whether everything that p asks for is free, and nobody waits for
// it who comes before.
func (s *State) grantable(x *txn, p *place) bool {
	return s.barred(x, p) == ""
}

// barred is the first path of p that is not to be had.
func (s *State) barred(x *txn, p *place) string {
	for i, path := range p.paths {
		t := s.thing(path)
		if !t.free(p, !p.shared[i], x.age) || s.behind(t, p, !p.shared[i]) {
			return path
		}
	}
	return ""
}

// behind says whether somebody before p waits for the thing in a way that p
// would overtake.
func (s *State) behind(t *thing, p *place, alone bool) (behind bool) {
	if t == nil || t.asking == 0 || !alone && t.barring == 0 {
		return false
	}
	s.queue.Ascend(spot{path: t.path}, func(q spot) bool {
		if q.path != t.path || q.id >= p.id {
			return false
		}
		if !alone {
			other, _ := s.places.Get(&place{id: q.id})
			behind = other.excludes(t.path)
		} else {
			behind = true
		}
		return !behind
	})
	return behind
}

// refusal is why a thing is not to be had.
func (t *thing) refusal(age uint64) tree.Code {
	switch {
	case t == nil:
		return tree.ErrLockHeld
	case t.kind == commandpb.Kind_KIND_SEMAPHORE:
		return tree.ErrNoPermits
	case t.kind == commandpb.Kind_KIND_ONCE && t.run != nil:
		switch t.run.state {
		case runDone:
			return tree.ErrOnceDone
		case runFailed:
			return tree.ErrOnceFailed
		}
		return tree.ErrOnceRunning
	case t.holds == 0 && t.delayUntil > age:
		return tree.ErrLockDelayed
	}
	return tree.ErrLockHeld
}
