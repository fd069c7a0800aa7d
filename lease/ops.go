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
	live, known := s.find(ref)
	if live == nil && !known && s.opensByUse(cmd) {
		var code tree.Code
		if live, code = s.open(x, ref, ref.OpenTtlMs); code != tree.OK {
			return code
		}
	}
	if _, opens := cmd.Op.(*commandpb.Command_OpenSession); opens && live == nil && !known {
		if _, ok := hashOf(ref); ok {
			return tree.OK // a new token: openSession opens it
		}
	}
	if live == nil {
		return tree.ErrSessionExpired
	}
	x.sess, x.Owner = live, live.id
	return tree.OK
}

// opensByUse says whether cmd may open its session: it gives a TTL and makes an
// ephemeral.
func (s *State) opensByUse(cmd *commandpb.Command) bool {
	if _, ok := hashOf(cmd.Session); !ok || cmd.Session.OpenTtlMs == 0 {
		return false
	}
	return cmd.GetCreate().GetMode() == commandpb.Mode_MODE_EPHEMERAL ||
		cmd.GetPut().GetMode() == commandpb.Mode_MODE_EPHEMERAL
}

// showsSession says whether the result of cmd describes its session.
func showsSession(cmd *commandpb.Command) bool {
	switch cmd.Op.(type) {
	case *commandpb.Command_OpenSession, *commandpb.Command_SetTtl:
		return true
	}
	return false
}

func validMode(m commandpb.Mode) bool {
	return m >= commandpb.Mode_MODE_UNSPECIFIED && m <= commandpb.Mode_MODE_EPHEMERAL
}

// modeOf is m as the tree has it: what is unspecified is persistent in a create,
// and means no change in a put.
func modeOf(m commandpb.Mode) tree.Mode {
	switch m {
	case commandpb.Mode_MODE_EPHEMERAL:
		return tree.ModeEphemeral
	case commandpb.Mode_MODE_CONTAINER:
		return tree.ModeContainer
	case commandpb.Mode_MODE_TTL:
		return tree.ModeTTL
	}
	return tree.ModePersistent
}

func (s *State) create(x *txn, op *commandpb.Create, res *Result) (code tree.Code) {
	if !validMode(op.Mode) {
		return tree.ErrInvalidArgument
	}
	res.Node, code = s.tree.Create(&x.Txn, tree.CreateOp{
		Path: op.Path, Data: op.Data, Mode: modeOf(op.Mode),
		Sequential: op.Sequential, Parents: op.Parents,
	})
	res.Created = code == tree.OK
	return code
}

func (s *State) put(x *txn, op *commandpb.Put, res *Result) (code tree.Code) {
	if !validMode(op.Mode) || op.Mode == commandpb.Mode_MODE_PERSISTENT {
		return tree.ErrInvalidArgument // a PUT never makes a node persistent
	}
	cond, ok := condition(op.Condition)
	if !ok {
		return tree.ErrInvalidArgument
	}
	res.Node, res.Created, code = s.tree.Put(&x.Txn, tree.PutOp{
		Path: op.Path, Data: op.Data, Mode: modeOf(op.Mode),
		Takeover: op.Takeover, Parents: op.Parents, Condition: cond,
	})
	return code
}

func (s *State) delete(x *txn, op *commandpb.Delete) tree.Code {
	cond, ok := condition(op.Condition)
	if !ok {
		return tree.ErrInvalidArgument
	}
	return s.tree.Delete(&x.Txn, tree.DeleteOp{Path: op.Path, Recursive: op.Recursive, Condition: cond})
}

// condition reads c; false when it says nothing that can be checked.
func condition(c *commandpb.Condition) (tree.Condition, bool) {
	if c == nil {
		return tree.Condition{}, true
	}
	switch w := c.When.(type) {
	case nil:
		return tree.Condition{}, true
	case *commandpb.Condition_Version:
		return tree.Condition{Kind: tree.CondVersion, Version: w.Version}, true
	case *commandpb.Condition_Etag:
		return tree.Condition{Kind: tree.CondETag, ETag: quorum.Zxid(w.Etag)}, true
	case *commandpb.Condition_IfAbsent:
		return tree.Condition{Kind: tree.CondAbsent}, w.IfAbsent
	case *commandpb.Condition_IfPresent:
		return tree.Condition{Kind: tree.CondPresent}, w.IfPresent
	}
	return tree.Condition{}, false
}

// openSession opens a session. A client's token that is alive already answers
// with its session as it is, TTL included: many callers may share one, and a
// repeated request must not change it. SetTtl is there to change the TTL.
func (s *State) openSession(x *txn, ref *commandpb.SessionRef, op *commandpb.OpenSession) (code tree.Code) {
	if !s.settings.validTTL(op.TtlMs) {
		return tree.ErrInvalidArgument
	}
	if x.sess == nil {
		x.sess, code = s.open(x, ref, op.TtlMs)
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
		if n, _ = s.sessions.Get(&session{id: id}); n == nil {
			return tree.ErrNoSession
		}
	}
	x.Cause = tree.CauseSessionClosed
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
	x.Cause = tree.CauseSessionExpired
	for _, id := range op.Ids {
		if n, ok := s.sessions.Get(&session{id: quorum.Zxid(id)}); ok {
			s.end(x, n)
		}
	}
	return tree.OK
}

func (s *State) configure(op *commandpb.Configure) tree.Code {
	next := s.settings
	if !next.merge(op) || next.Validate() != nil {
		return tree.ErrInvalidArgument
	}
	s.settings = next
	return tree.OK
}
