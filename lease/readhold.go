package lease

import (
	"perch/gen/commandpb"
	"perch/tree"
)

// ownHold finds what a session has of a thing, the newest first: by its token
// where one is given.
func (s *sight) ownHold(a *Answer) tree.Code {
	path, code := s.who.named(s.q.Of, s.q.Name, PermUse)
	switch {
	case code != tree.OK:
		return code
	case s.q.Of >= commandpb.Kind_KIND_ONCE:
		return tree.ErrInvalidArgument
	}
	var own *hold
	s.holdsOf.Ascend(&hold{session: s.q.Session, path: path}, func(h *hold) bool {
		if h.session != s.q.Session || h.path != path {
			return false
		}
		if (s.q.Fencing == 0 || h.proves(s.q.Fencing)) && (own == nil || h.token > own.token) {
			own = h
		}
		return true
	})
	if own == nil {
		return tree.ErrHoldLost
	}
	a.Hold = s.told(own)
	return tree.OK
}

// Lost says whether the session of ref, which is not alive any more, had what q
// asks for, a ReadHold, and lost it before its time: the hold was broken, and a
// session that was opened for it ended with it. At wall, Unix milliseconds.
func (v *View) Lost(q Read, ref *commandpb.SessionRef, wall int64) bool {
	who, code := v.policy().access(q.Caller, wall)
	if code != tree.OK {
		return false
	}
	path, code := who.named(q.Of, q.Name, PermUse)
	if code != tree.OK {
		return false
	}
	how, known := endedHow(v.overs.Ascend, path, refOf(ref, q.Caller.GetPrincipal()), q.Fencing)
	return known && (how == howBroken || how == howLost)
}

// told is a hold of one thing as its holder is told of it.
func (s *sight) told(h *hold) Hold {
	t, _ := s.things.Get(&thing{path: h.path})
	out := Hold{
		Kind: t.kind, Names: []string{tree.Name(h.path)}, Owner: h.owner, Session: h.session, Token: h.shown(),
		Shared: h.shared, Permits: h.permits,
	}
	if h.asked(t) {
		out.Revoked, out.Reason = true, t.reason
	}
	return out
}
