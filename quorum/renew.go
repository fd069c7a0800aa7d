package quorum

// Epoch renewal in place (ZAB.md 2.7): a leader whose counter has come to its
// limit, or one of whose voters has promised a higher epoch than its own, goes
// back to its own discovery, without an election and with the learners and
// sessions that it has. A voter that promised more can never follow the present
// epoch, and would otherwise wait until somebody else fails.
//
// Requests wait meanwhile, and none is refused for it. What follows is the
// discovery and synchronization of every leader; when that fails, so does the
// leadership, like any other.

// renewal is what a leader keeps about the epoch that it will lead next.
type renewal struct {
	epoch Epoch  // promised by this leader to itself while it leads another; 0: none
	seq   uint64 // durable step of that promise
	above Epoch  // highest epoch that a voter is known to have promised
	again bool   // this leader led an earlier epoch in this same stay
}

// pausing says whether a leader proposes nothing, since it has something else
// to do first.
func (c *Core) pausing() bool { return c.r.lead.leaving || c.r.lead.hand.to != 0 || c.renewalDue() }

func (c *Core) renewalDue() bool {
	ld := &c.r.lead
	return ld.counter >= c.tun.CounterLimit || ld.renew.above > c.r.epoch
}

// overtaken: a learner has promised a higher epoch and cannot follow this one. A
// leader that can have its quorum without it renews its epoch once it has; any
// other gives up at once.
func (c *Core) overtaken(e Epoch) {
	c.r.lead.renew.above = max(c.r.lead.renew.above, e)
	mayFollow := func(id NodeID) bool {
		l := c.learner(id)
		return id == c.cfg.ID || c.member(l) && l.cred.AcceptedEpoch <= c.r.epoch
	}
	if !c.r.est && !c.quorum(mayFollow) {
		c.stepDown()
	}
}

// renewStep takes the next step of a renewal that is due. When everything
// proposed is committed the leader promises the new epoch to itself; until that
// is durable it leads the present one on, answers reads and pings and can step
// down; then it begins.
func (c *Core) renewStep() {
	if c.r.state != StateLeading || !c.r.est || c.r.lead.hand.to != 0 || c.r.lead.leaving || !c.renewalDue() || c.log.commit < c.log.last() {
		return
	}
	rn := &c.r.lead.renew
	if rn.epoch == 0 || rn.epoch <= rn.above {
		e := c.highestPromise() + 1
		c.promiseOwn(e)
		rn.epoch, rn.seq = e, c.claim()
		return
	}
	if c.stable >= rn.seq {
		c.renewEpoch()
	}
}

// renewEpoch begins discovery in the promised epoch. Of the role only this is
// kept: who the learners are, in which sessions, when they were alive, and the
// numbers of the pings, which rise through the stay. Every promise,
// acknowledgement, position, home and read of the old epoch is gone, and so is
// its lease clock: sessions get their whole time again, as under any new leader.
func (c *Core) renewEpoch() {
	c.age = c.stampAge()
	old := c.r.lead
	c.reset(StateLeading, PhaseDiscovery)
	c.r.epoch = old.renew.epoch
	c.r.lead = leading{
		learners: old.learners, epochSeq: old.renew.seq, committed: c.tick, pingAt: old.pingAt, pingSeq: old.pingSeq,
		renew: renewal{above: old.renew.above, again: true},
	}
	c.progress(c.discoveryTicks())
	for i := range c.r.lead.learners {
		l := &c.r.lead.learners[i]
		*l = learner{
			id: l.id, boot: l.boot, session: l.session, joinSeq: l.joinSeq, cred: l.cred, table: l.table,
			alive: l.alive, timeout: l.timeout, stall: l.stall, keptAt: l.keptAt,
		}
		c.sendLeaderInfo(l)
	}
	c.discover()
}

// followRenewed is a follower's part: the very leader that it is synchronized
// with asks for the promise of a higher epoch, in the same session. Of the role
// only that session is kept.
func (c *Core) followRenewed() {
	old := c.r.follow
	c.reset(StateFollowing, PhaseDiscovery)
	c.r.follow = following{
		leader: old.leader, boot: old.boot, session: old.session, joinSeq: old.joinSeq, heard: old.heard, hinted: old.hinted,
	}
}
