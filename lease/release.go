package lease

import (
	"slices"
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// runHold runs the operations on what is held; false when cmd is none of them.
func (s *State) runHold(x *txn, cmd *commandpb.Command, res *Result) (code tree.Code, is bool) {
	switch op := cmd.Op.(type) {
	case *commandpb.Command_Acquire:
		return s.acquire(x, op.Acquire, cmd.Key, res), true
	case *commandpb.Command_Release:
		return s.release(x, op.Release), true
	case *commandpb.Command_Break:
		return s.breakHolds(x, op.Break), true
	case *commandpb.Command_Revoke:
		return s.revoke(x, op.Revoke), true
	case *commandpb.Command_Proclaim:
		return s.proclaim(x, op.Proclaim), true
	case *commandpb.Command_Complete:
		return s.complete(x, op.Complete, res), true
	case *commandpb.Command_Forget:
		return s.forgetRuns(x, op.Forget), true
	}
	return tree.OK, false
}

// opensTransient says whether cmd may open a session for what it takes.
func (s *State) opensTransient(cmd *commandpb.Command, known bool) bool {
	ref := cmd.Session
	if cmd.GetAcquire() == nil && cmd.GetEnter() == nil || ref.OpenTtlMs == 0 {
		return false
	}
	_, client := hashOf(ref, "")
	return ref.Ref == nil || client && !known
}

// openTransient opens a session that ends with what it holds. One that a client
// has drawn for a barrier is its own.
func (s *State) openTransient(x *txn, ref *commandpb.SessionRef, cmd *commandpb.Command) (*session, tree.Code) {
	n, code := s.open(x, ref, ref.OpenTtlMs)
	if code != tree.OK || cmd.GetAcquire() == nil && n.drawn {
		return n, code
	}
	next := *n
	next.transient = true
	return s.replace(n, &next), tree.OK
}

// endsHold says whether cmd may come from a session that has ended with what it
// is about.
func endsHold(cmd *commandpb.Command) bool {
	switch cmd.Op.(type) {
	case *commandpb.Command_Release, *commandpb.Command_Complete:
		return true
	}
	return false
}

// release gives back what a session holds and waits for.
func (s *State) release(x *txn, op *commandpb.Release) tree.Code {
	switch {
	case x.ref == "", len(op.Names) > wantsMost, !op.Set && len(op.Names) != 1,
		op.Set && op.Kind != commandpb.Kind_KIND_LOCK:
		return tree.ErrInvalidArgument
	case op.Set && len(op.Names) == 0:
		return s.releaseAll(x)
	}
	lost := tree.OK
	for _, name := range op.Names {
		path, code := s.releasePath(x, op, name)
		if code != tree.OK {
			return code
		}
		if path == "" || s.releaseOne(x, path, quorum.Zxid(op.Token)) {
			continue
		}
		if how, known := s.endedHow(path, x.ref, quorum.Zxid(op.Token)); !known || !how.own() {
			lost = tree.ErrHoldLost
			if !known && x.sess == nil {
				lost = tree.ErrSessionExpired
			}
		}
	}
	x.answer = lost
	return tree.OK
}

// releasePath is the path of what op gives back.
func (s *State) releasePath(x *txn, op *commandpb.Release, name string) (string, tree.Code) {
	path, code := x.who.named(op.Kind, name, PermUse)
	if code != tree.OK || op.Kind != commandpb.Kind_KIND_ONCE {
		return path, code
	}
	if op.Run != nil {
		r, code := s.runOf(x, op.Run)
		return runPath(path, r.key), code
	}
	if h := s.ownRun(x, path, 0); h != nil {
		return h.path, tree.OK
	}
	if last := s.lastRun(path); last != "" {
		return last, tree.OK
	}
	return path, tree.OK
}

// releaseOne ends what the session of the request has at a path; with a token
// only that hold. False when there was nothing.
func (s *State) releaseOne(x *txn, path string, token quorum.Zxid) bool {
	if x.sess == nil {
		return false
	}
	holds := s.holdsAt(x.sess.id, path)
	var places []*place
	if token != 0 {
		holds = slices.DeleteFunc(holds, func(h *hold) bool { return !h.proves(token) })
	} else {
		places = s.placesAt(x.sess.id, path)
	}
	for _, h := range holds {
		s.endHold(x, x.sess, h, howReleased)
	}
	for _, p := range places {
		s.releasePlace(x, p)
	}
	return len(holds)+len(places) > 0
}

func (s *State) releasePlace(x *txn, p *place) {
	t := s.thing(p.paths[0])
	for _, path := range p.paths {
		s.over(x, path, x.ref, p.id, howReleased)
	}
	s.endPlace(x, p, t.refusal(x.age))
}

// releaseAll ends all locks of the session of the request.
func (s *State) releaseAll(x *txn) tree.Code {
	if x.sess == nil {
		if how, known := s.endedHow("", x.ref, 0); known && how.own() {
			return tree.OK
		}
		return tree.ErrSessionExpired
	}
	for _, h := range s.heldOf(x.sess.id) {
		if s.thing(h.path).kind == commandpb.Kind_KIND_LOCK {
			s.endHold(x, x.sess, h, howReleased)
		}
	}
	for _, p := range s.placesOf(x.sess.id) {
		if s.thing(p.paths[0]).kind == commandpb.Kind_KIND_LOCK {
			s.releasePlace(x, p)
		}
	}
	s.over(x, "", x.ref, x.Zxid, howReleased)
	return tree.OK
}

// holdsAt are the holds of a session at a path.
func (s *State) holdsAt(id quorum.Zxid, path string) (list []*hold) {
	s.holdsOf.Ascend(&hold{session: id, path: path}, func(h *hold) bool {
		if h.session != id || h.path != path {
			return false
		}
		list = append(list, h)
		return true
	})
	return list
}

// heldOf are all holds of a session.
func (s *State) heldOf(id quorum.Zxid) (list []*hold) {
	s.holdsOf.Ascend(&hold{session: id}, func(h *hold) bool {
		if h.session == id {
			list = append(list, h)
		}
		return h.session == id
	})
	return list
}

// placesAt are the places of a session at a path.
func (s *State) placesAt(id quorum.Zxid, path string) (list []*place) {
	s.askers.Ascend(asker{session: id, path: path}, func(a asker) bool {
		if a.session != id || a.path != path {
			return false
		}
		p, _ := s.places.Get(&place{id: a.id})
		list = append(list, p)
		return true
	})
	return list
}

// placesOf are all places of a session, each once.
func (s *State) placesOf(id quorum.Zxid) (list []*place) {
	s.askers.Ascend(asker{session: id}, func(a asker) bool {
		if a.session != id {
			return false
		}
		if p, _ := s.places.Get(&place{id: a.id}); p.paths[0] == a.path {
			list = append(list, p)
		}
		return true
	})
	return list
}

// endHeld ends all that a session holds and waits for, since the session ends.
func (s *State) endHeld(x *txn, n *session) {
	for _, h := range s.heldOf(n.id) {
		s.endHold(x, n, h, x.how)
	}
	for _, p := range s.placesOf(n.id) {
		for _, path := range p.paths {
			s.over(x, path, n.ref(), p.id, x.how)
		}
		s.endPlace(x, p, tree.ErrSessionExpired)
	}
}

// breakHolds ends all holds of a name, for an administrator.
func (s *State) breakHolds(x *txn, op *commandpb.Break) tree.Code {
	path, code := s.heldPath(x, op.Kind, op.Name, PermAdmin)
	if code == tree.OK {
		s.breakUpTo(x, path, x.Zxid)
		x.shows = path
	}
	return code
}

// breakUpTo ends the holds of a path that were granted up to a position.
func (s *State) breakUpTo(x *txn, path string, last quorum.Zxid) {
	var list []*hold
	s.holds.Ascend(&hold{path: path}, func(h *hold) bool {
		if h.path == path && h.granted <= last {
			list = append(list, h)
		}
		return h.path == path
	})
	for _, h := range list {
		n, _ := s.sessions.Get(&session{id: h.session})
		s.endHold(x, n, h, howBroken)
	}
}

// revoke asks the present holders of a lock to give it up. What breaks their
// holds in the end needs the right to break them.
func (s *State) revoke(x *txn, op *commandpb.Revoke) tree.Code {
	need := PermUse
	if op.BreakAfterMs != nil {
		need = PermAdmin
	}
	path, code := x.who.named(commandpb.Kind_KIND_LOCK, op.Name, need)
	switch {
	case code != tree.OK:
		return code
	case len(op.Reason) > reasonBytes, op.GetBreakAfterMs() > keepMost:
		return tree.ErrInvalidArgument
	}
	x.shows = path
	if t := s.thing(path); t == nil || t.holds == 0 {
		return tree.OK
	}
	s.alter(x, path, 0, func(t *thing) {
		s.calm(t)
		t.revokedAt, t.reason, t.revoked = x.Zxid, op.Reason, t.holds
		if op.BreakAfterMs != nil {
			t.breakAt = x.age + *op.BreakAfterMs
			s.dues.Set(due{age: t.breakAt, what: dueBreak, path: path})
		}
	})
	return tree.OK
}

// calm takes back what was asked of the holders of t.
func (s *State) calm(t *thing) {
	if t.breakAt > 0 {
		s.dues.Delete(due{age: t.breakAt, what: dueBreak, path: t.path})
	}
	t.revokedAt, t.reason, t.breakAt, t.revoked = 0, "", 0, 0
}

// delay has nobody be granted t before a cluster age.
func (s *State) delay(t *thing, until uint64) {
	if t.delayUntil > 0 {
		s.dues.Delete(due{age: t.delayUntil, what: dueDelay, path: t.path})
	}
	if t.delayUntil = until; until > 0 {
		s.dues.Set(due{age: until, what: dueDelay, path: t.path})
	}
}

// proclaim changes what the leader of an election is known by.
func (s *State) proclaim(x *txn, op *commandpb.Proclaim) tree.Code {
	path, code := x.who.named(commandpb.Kind_KIND_ELECTION, op.Name, PermUse)
	switch {
	case code != tree.OK:
		return code
	case len(op.Value) > valueBytes || strings.ToValidUTF8(op.Value, "") != op.Value:
		return tree.ErrInvalidArgument
	case op.Token == 0 && x.sess == nil:
		return tree.ErrInvalidArgument
	case !s.holdsStill(x, path, quorum.Zxid(op.Token)):
		return tree.ErrNotLeader
	}
	s.alter(x, path, 0, func(t *thing) { t.value = op.Value })
	x.shows = path
	return tree.OK
}

// withdraw ends places that nobody answers for, and grants that nobody has
// received (RULES.md R17).
func (s *State) withdraw(x *txn, op *commandpb.Withdraw) tree.Code {
	if !x.ownEpoch(op.Epoch) {
		return tree.ErrInvalidArgument
	}
	x.Cause = tree.CauseSessionClosed
	for _, h := range op.Homes {
		for _, w := range s.waitsAt(quorum.NodeID(h.Node), h.Instance) {
			withdrawals[w.what](s, x, w.place)
		}
	}
	for _, id := range op.Places {
		for _, h := range s.grantsOf(quorum.Zxid(id)) {
			if !h.again {
				n, _ := s.sessions.Get(&session{id: h.session})
				s.endHold(x, n, h, howLost)
				s.unkeep(h.place)
			}
		}
	}
	return tree.OK
}

// withdrawals end an asking place of each kind.
var withdrawals = map[waitKind]func(*State, *txn, quorum.Zxid){}

func init() {
	withdrawals[waitHold] = func(s *State, x *txn, id quorum.Zxid) {
		if p, ok := s.places.Get(&place{id: id}); ok {
			s.endPlace(x, p, tree.ErrHoldLost)
		}
	}
}

func (s *State) waitsAt(node quorum.NodeID, home uint64) (list []wait) {
	s.waits.Ascend(wait{node: node, home: home}, func(w wait) bool {
		if w.node != node || w.home != home {
			return false
		}
		list = append(list, w)
		return true
	})
	return list
}

// checkpoint notes what long sessions have left (RULES.md R22).
func (s *State) checkpoint(x *txn, op *commandpb.Checkpoint) tree.Code {
	if !x.ownEpoch(op.Epoch) || len(op.Ids) != len(op.LeftMs) {
		return tree.ErrInvalidArgument
	}
	for i, id := range op.Ids {
		n, ok := s.sessions.Get(&session{id: quorum.Zxid(id)})
		if !ok {
			continue
		}
		next := *n
		if next.left = op.LeftMs[i]; next.left >= n.ttlMs {
			next.left = 0
		}
		if next.left != n.left {
			s.replace(n, &next)
		}
	}
	return tree.OK
}

// What is due by cluster age.
const (
	dueStay  dueKind = 1 // a place that is kept for nobody
	dueDelay dueKind = 2 // the end of a lock delay
	dueBreak dueKind = 3 // holds that were to end
	dueRun   dueKind = 4 // a run that is forgotten
)

func init() {
	lapses[dueStay] = func(s *State, x *txn, d due) {
		p, _ := s.places.Get(&place{id: quorum.Zxid(d.id)})
		s.takePlace(x, p)
		x.loosen(p.session)
	}
	lapses[dueDelay] = func(s *State, x *txn, d due) {
		s.alter(x, d.path, 0, func(t *thing) { t.delayUntil = 0 })
	}
	lapses[dueBreak] = func(s *State, x *txn, d due) {
		last := s.thing(d.path).revokedAt
		s.alter(x, d.path, 0, func(t *thing) { t.breakAt = 0 })
		s.breakUpTo(x, d.path, last)
	}
	lapses[dueRun] = func(s *State, x *txn, d due) { s.forgetRun(x, d.path) }
}
