package lease

import (
	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// attach finds the session of the request. One that is not alive refuses the
// command, unless the command may open it (API.md rule 10): a session that is
// opened so is gone again when the operation is refused, so that a loop may
// come with the same token until it succeeds.
func (s *State) attach(x *txn, cmd *commandpb.Command) tree.Code {
	ref := cmd.Session
	if ref == nil {
		return tree.OK
	}
	live, known := s.find(ref, x.who.name)
	switch {
	case live == nil && s.opensTransient(cmd, known):
		var code tree.Code
		if live, code = s.openTransient(x, ref, cmd); code != tree.OK {
			return code
		}
	case live == nil && !known && s.opensByUse(cmd):
		var code tree.Code
		if live, code = s.open(x, ref, ref.OpenTtlMs); code != tree.OK {
			return code
		}
	case live == nil && endsHold(cmd):
		x.ref = refOf(ref, x.who.name)
		return tree.OK // what has ended is remembered without its session
	}
	if _, opens := cmd.Op.(*commandpb.Command_OpenSession); opens && live == nil && !known {
		if _, ok := hashOf(ref, x.who.name); ok {
			return tree.OK // a new token: openSession opens it
		}
	}
	if live == nil {
		return s.gone(x, cmd)
	}
	x.sess, x.Owner, x.ref = live, live.id, live.ref()
	return tree.OK
}

// gone is why a command is refused whose session is not alive: where it depends
// on a hold that is remembered to have ended with the session, that is the
// reason, since the session may have ended with the hold.
func (s *State) gone(x *txn, cmd *commandpb.Command) tree.Code {
	ref := refOf(cmd.Session, x.who.name)
	for _, f := range cmd.Fences[:min(len(cmd.Fences), wantsMost)] {
		path, code := s.heldPath(x, f.Kind, f.Name, PermUse|PermRead)
		if code != tree.OK {
			continue
		}
		if _, ended := s.endedHow(path, ref, quorum.Zxid(f.Token)); ended {
			return tree.ErrFenceStale
		}
	}
	return tree.ErrSessionExpired
}

// opensByUse says whether cmd may open its session: it gives a TTL and makes an
// ephemeral.
func (s *State) opensByUse(cmd *commandpb.Command) bool {
	if _, ok := hashOf(cmd.Session, ""); !ok || cmd.Session.OpenTtlMs == 0 {
		return false
	}
	return cmd.GetCreate().GetMode() == commandpb.Mode_MODE_EPHEMERAL ||
		cmd.GetPut().GetMode() == commandpb.Mode_MODE_EPHEMERAL
}

// showsSession says whether the result of cmd describes its session.
func showsSession(cmd *commandpb.Command) bool {
	switch cmd.Op.(type) {
	case *commandpb.Command_OpenSession, *commandpb.Command_SetTtl, *commandpb.Command_Acquire, *commandpb.Command_Leave,
		*commandpb.Command_Enter:
		return true
	}
	return false
}

// openSession opens a session. A client's token that is alive already answers
// with its session as it is, TTL included: many callers may share one, and a
// repeated request must not change it. SetTtl is there to change the TTL.
func (s *State) openSession(x *txn, ref *commandpb.SessionRef, op *commandpb.OpenSession) (code tree.Code) {
	if !s.settings.validTTL(op.TtlMs) {
		return tree.ErrInvalidArgument
	}
	switch {
	case x.sess == nil:
		x.sess, code = s.open(x, ref, op.TtlMs)
	case x.sess.transient: // from here on it is there for its own sake
		next := *x.sess
		next.transient = false
		x.sess = s.replace(x.sess, &next)
	}
	return code
}

// closeSession ends the session of the request, or the one that is named.
func (s *State) closeSession(x *txn, op *commandpb.CloseSession) tree.Code {
	id := quorum.Zxid(op.Id)
	n := x.sess
	switch {
	case n != nil && id != 0 && id != n.id:
		return tree.ErrInvalidArgument // the token of another session
	case n == nil && id == 0:
		return tree.ErrInvalidArgument
	case n == nil:
		n, _ = s.sessions.Get(&session{id: id})
		if n == nil || !x.who.knows(n) {
			return tree.ErrNoSession
		}
		if !x.who.cluster() {
			return tree.ErrInvalidArgument // it needs the token (API.md rule 10)
		}
	}
	x.Cause = tree.CauseSessionClosed
	if n == x.sess {
		x.how = howReleased
	}
	s.end(x, n)
	return tree.OK
}

func (s *State) setSessionTTL(x *txn, op *commandpb.SetTtl) tree.Code {
	if x.sess == nil || !s.settings.validTTL(op.TtlMs) {
		return tree.ErrInvalidArgument
	}
	if op.TtlMs != x.sess.ttlMs {
		x.sess = s.setTTL(x.sess, op.TtlMs)
	}
	return tree.OK
}

// expireSessions ends those of the sessions that are still there, unless it was
// decided under another leader than the one who proposed it.
func (s *State) expireSessions(x *txn, op *commandpb.ExpireSessions) tree.Code {
	if op.Epoch != 0 && quorum.Epoch(op.Epoch) != x.Zxid.Epoch() {
		return tree.ErrInvalidArgument
	}
	x.Cause, x.how = tree.CauseSessionExpired, howExpired
	for _, id := range op.Ids {
		if n, ok := s.sessions.Get(&session{id: quorum.Zxid(id)}); ok {
			s.end(x, n)
		}
	}
	return tree.OK
}

func (s *State) configure(op *commandpb.Configure) tree.Code {
	next := s.settings
	if !next.merge(op, s.level) || next.Validate() != nil {
		return tree.ErrInvalidArgument
	}
	s.settings = next
	return tree.OK
}
