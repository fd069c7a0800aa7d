package quorum

import "slices"

// Changing the members (ZAB.md 2.9). A change travels to the leader like any
// request. The leader makes a whole configuration of it and proposes that; from
// then on until it is committed every decision needs a majority of the old
// voters and one of the new. One change at a time, and none that the new voters
// could not carry on: a joiner has caught up as a learner before it votes.

// joinLag is how many entries a learner may be behind to be made a voter.
const joinLag = 512

// inheritTicks is for how long a leader that took over by a transfer is not
// removed, which would be another one.
const inheritTicks = 100

// SubmitChange asks for a change of the members. It ends like a request of
// Submit, with which it shares ids: its entry in Ready.Committed is of kind
// EntryConfig and holds the new Configuration.
func (c *Core) SubmitChange(id uint64, ch Change) error {
	return c.submit(request{id: id, kind: EntryConfig, data: ch.Encode()})
}

// reconfigure proposes what a change asks for. It says whether the request is
// settled: proposed, or refused for a cause. One that is not waits, since this
// leader first hands over to a node that stays.
func (c *Core) reconfigure(o Origin, data []byte) (settled bool, why refusal) {
	ch, err := DecodeChange(data)
	if err != nil {
		return true, refusal{cause: CauseBadChange}
	}
	active, pending := c.inForce()
	if pending != nil {
		return true, refusal{cause: CauseChanging}
	}
	if ch.Expect != 0 && ch.Expect != active.Version {
		return true, refusal{cause: CauseVersion}
	}
	next, why := c.changed(active, &ch)
	if why.cause == 0 {
		why.cause = c.viable(&next, ch.Force || active.Voters() == 2)
	}
	if why.cause != 0 {
		return true, why
	}
	if !next.votes(c.cfg.ID, c.ctl.Boot.Incarnation) {
		if c.inherited != 0 && c.tick-c.inherited < inheritTicks {
			return true, refusal{cause: CauseChanging} // else two changes could send the leadership to and fro
		}
		return !c.handOver(&next), refusal{cause: CauseNoQuorum}
	}
	if !c.propose(EntryConfig, o, next.Encode()) {
		return true, refusal{cause: CauseRefused}
	}
	return true, refusal{}
}

// changed is the configuration that a change makes of another. It has the
// address of every member, so that whoever joins can reach them all.
func (c *Core) changed(from *Configuration, ch *Change) (Configuration, refusal) {
	to := Configuration{Members: slices.Clone(from.Members)}
	for i := range to.Members {
		if m := &to.Members[i]; m.Addr == "" {
			m.Addr = c.listed(m.ID).Addr
		}
	}
	for _, id := range ch.Remove {
		n := len(to.Members)
		to.Members = slices.DeleteFunc(to.Members, func(m Member) bool { return m.ID == id })
		if len(to.Members) == n {
			return to, refusal{CauseNoMember, id}
		}
	}
	for _, s := range ch.Set {
		m, known := to.Member(s.ID)
		switch {
		case s.Role == RoleObserver:
			m.Incarnation = Incarnation{}
		case m.Role != RoleVoter || s.Replace:
			if s.ID != c.cfg.ID && !c.caughtUp(s.ID) {
				return to, refusal{CauseBehind, s.ID}
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
	return to, refusal{}
}

// caughtUp says whether a learner holds the history up to a little, so that a
// configuration in which it votes does not have to wait for it, and whether its
// disk is known durably (R3), so that the configuration can name it.
func (c *Core) caughtUp(id NodeID) bool {
	l := c.learner(id)
	if l == nil || !l.synced || c.incarnation(id) == (Incarnation{}) || c.tick-l.alive > maxFollowerTimeout {
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
	c.giveWay(best)
	return true
}

// activate follows the commit of a configuration of the log: who is no member
// any more leaves, and a leader that does not vote in it stops leading once it
// has told that it is committed (ZAB.md 2.9).
func (c *Core) activate() {
	// The hint spares a restarted node the wait for voters that have left.
	c.wal = append(c.wal, Record{Type: RecordCommit, Zxid: c.log.commit})
	c.peersChanged()
	switch c.r.state {
	case StateFollowing:
		if c.roleOf(c.cfg.ID) == 0 {
			c.enterLooking()
		}
	case StateLeading:
		c.r.lead.leaving = !c.votes()
	}
}

// dismiss forgets the learners, and the readers, that are no members any more.
func (c *Core) dismiss() {
	ld := &c.r.lead
	ld.learners = slices.DeleteFunc(ld.learners, func(l learner) bool { return c.roleOf(l.id) == 0 })
	left := func(r reader) bool { return r.node != c.cfg.ID && c.roleOf(r.node) == 0 }
	ld.round.next = slices.DeleteFunc(ld.round.next, left)
	ld.round.flying = slices.DeleteFunc(ld.round.flying, left)
}

// leave ends the leadership of a node that has no vote any more.
func (c *Core) leave() {
	if !c.r.lead.leaving {
		return
	}
	if active, _ := c.inForce(); !c.handOver(active) {
		c.stepDown()
	}
}
