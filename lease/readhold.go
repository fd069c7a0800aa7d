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
