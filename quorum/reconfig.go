package quorum

import "slices"

// Changing the members (ZAB.md 2.9). A change travels to the leader like any
// request. The leader makes a whole configuration of it and proposes that; from
// then on until it is committed every decision needs a majority of the old
// voters and one of the new. One change at a time, and none that the new voters
// could not carry on: a joiner has caught up as a learner before it votes.

// joinLag is how many entries a learner may be behind to be made a voter.
const joinLag = 512

// SubmitChange asks for a change of the members. It ends like a request of
// Submit, with which it shares ids: its entry in Ready.Committed is of kind
// EntryConfig and holds the new Configuration.
func (c *Core) SubmitChange(id uint64, ch Change) error {
	return c.submit(request{id: id, kind: EntryConfig, data: ch.Encode()})
}

// reconfigure proposes what a change asks for. It says whether the request is
// settled: proposed, or refused for a cause. One that is not waits, since this
// leader first hands over to a node that stays.
func (c *Core) reconfigure(o Origin, data []byte) (settled bool, cause Cause) {
	ch, err := DecodeChange(data)
	if err != nil {
		return true, CauseBadChange
	}
	active, pending := c.inForce()
	if pending != nil {
		return true, CauseChanging
	}
	if ch.Expect != 0 && ch.Expect != active.Version {
		return true, CauseVersion
	}
	next, cause := c.changed(active, &ch)
	if cause == 0 {
		cause = c.viable(&next, ch.Force)
	}
	if cause != 0 {
		return true, cause
	}
	if !next.votes(c.cfg.ID, c.ctl.Boot.Incarnation) {
		return !c.handOver(&next), CauseNoQuorum
	}
	if !c.propose(EntryConfig, o, next.Encode()) {
		return true, CauseRefused
	}
	return true, 0
}

// changed is the configuration that a change makes of another.
func (c *Core) changed(from *Configuration, ch *Change) (Configuration, Cause) {
	to := Configuration{Members: slices.Clone(from.Members)}
	for _, id := range ch.Remove {
		n := len(to.Members)
		to.Members = slices.DeleteFunc(to.Members, func(m Member) bool { return m.ID == id })
		if len(to.Members) == n {
			return to, CauseNoMember
		}
	}
	for _, s := range ch.Set {
		m, known := to.Member(s.ID)
		switch {
		case s.Role == RoleObserver:
			m.Incarnation = Incarnation{}
		case m.Role != RoleVoter || s.Replace && m.Incarnation != c.incarnation(s.ID):
			if !c.caughtUp(s.ID) {
				return to, CauseBehind
			}
			m.Incarnation = c.incarnation(s.ID)
		}
		m.ID, m.Role = s.ID, s.Role
		if s.Addr != "" {
			m.Addr = s.Addr
		}
		if known {
			to.Members = slices.DeleteFunc(to.Members, func(o Member) bool { return o.ID == s.ID })
		}
		to.Members = append(to.Members, m)
		slices.SortFunc(to.Members, func(a, b Member) int { return int(a.ID) - int(b.ID) })
	}
	return to, 0
}

// caughtUp says whether a learner holds the history up to a little, so that a
// configuration in which it votes does not have to wait for it.
func (c *Core) caughtUp(id NodeID) bool {
	l := c.learner(id)
	if l == nil || !l.synced || c.tick-l.alive > maxFollowerTimeout {
		return false
	}
	last := c.log.last()
	return l.durable >= c.r.base && (l.durable == last || l.durable.Epoch() == last.Epoch() && last.Counter()-l.durable.Counter() <= joinLag ||
		last.Epoch() == c.r.epoch && last.Counter() <= joinLag)
}

// viable says why a configuration cannot be had: it is out of bounds, its voters
// could not decide anything now, or losing one of two would stop it (R11).
func (c *Core) viable(to *Configuration, force bool) Cause {
	voters := to.Voters()
	if voters == 0 || voters > MaxVoters || len(to.Members) > MaxMembers {
		return CauseBounds
	}
	if voters == 2 && !force {
		return CauseTwoVoters
	}
	ready := to.majority(func(m *Member) bool {
		return c.incarnation(m.ID) == m.Incarnation && (m.ID == c.cfg.ID || c.caughtUp(m.ID))
	})
	if !ready {
		return CauseNoQuorum
	}
	return 0
}

// handOver gives the leadership to the most advanced voter of a configuration
// that this leader is not in. It reports false when there is none.
func (c *Core) handOver(to *Configuration) bool {
	best := NodeID(0)
	var durable Zxid
	for _, m := range to.Members {
		l := c.learner(m.ID)
		if to.votes(m.ID, c.incarnation(m.ID)) && c.member(l) && c.caughtUp(m.ID) && l.durable >= durable {
			best, durable = m.ID, l.durable
		}
	}
	if best == 0 {
		return false
	}
	c.stepDown()
	return true
}

// activate follows the commit of a configuration: who is no member any more
// leaves, and a leader that does not vote in it stops leading (ZAB.md 2.9).
func (c *Core) activate(cf *Configuration) {
	// The hint spares a restarted node the wait for voters that have left.
	c.wal = append(c.wal, Record{Type: RecordCommit, Zxid: c.log.commit})
	c.peersChanged()
	if c.r.state == StateLeading && c.r.est && !cf.votes(c.cfg.ID, c.ctl.Boot.Incarnation) {
		c.flushProposals()
		if !c.handOver(cf) {
			c.stepDown()
		}
	}
}
