package quorum

import "slices"

// Rebuilding a voter whose store was lost or is not to be trusted (ZAB.md 3). It
// has no past: it comes back as a store with another incarnation, empty, that
// needs to be rebuilt. It learns like any learner and is in no set. Then the
// leader grants it its vote by a configuration that names the new disk in place
// of the old: from that entry on the former life counts in no quorum, so what it
// promised and acknowledged need not be known. The grant is an entry of the log;
// it needs no repeating and survives a change of leaders.

// rebuild is how far a learner has come that waits for its grant.
type rebuild struct {
	measured bool
	goal     Zxid   // what it must hold: all that was proposed when it was in sync
	pinged   uint64 // number of the last ping before it held that
	held     bool
}

// Spoil says that what this store holds is not to be trusted: it takes no part
// from now on, and the driver sets it aside when that is durable.
func (c *Core) Spoil(reason string) {
	if c.halt != nil || c.retired || c.ctl.Spoiled {
		return
	}
	c.sendStepDown(false, c.heir())
	c.setControl(func(ctl *Control) { ctl.NeedsRebuild, ctl.Spoiled, ctl.Reason = true, true, reason })
	c.abandon()
	c.enterLooking()
}

// disowned: the cluster has replaced this store by another one while it was
// away. What it promised before counts nowhere now, and it must not count again
// as what it was.
func (c *Core) disowned() {
	active, pending := c.inForce()
	if pending != nil && pending.votes(c.cfg.ID, c.ctl.Boot.Incarnation) {
		return // its own grant, which it does not know to be committed since it started
	}
	m, ok := active.Member(c.cfg.ID)
	if c.ctl.Formed && !c.ctl.NeedsRebuild && ok && m.Role == RoleVoter && m.Incarnation != c.ctl.Boot.Incarnation {
		c.Spoil("the cluster has replaced this store by another one of the same node")
	}
}

// grant ends the rebuilding of this store once a committed configuration, which
// it holds, names its disk: from then on it counts. As an observer it never
// does, and has nothing to wait for.
func (c *Core) grant() {
	active, _ := c.inForce()
	m, ok := active.Member(c.cfg.ID)
	named := ok && (m.Role == RoleObserver || m.Incarnation == c.ctl.Boot.Incarnation)
	if !c.ctl.NeedsRebuild || c.ctl.Spoiled || !named || active.Version > max(c.log.emitted, c.log.snap.Zxid) {
		return
	}
	c.setControl(func(ctl *Control) { ctl.NeedsRebuild, ctl.Formed, ctl.Reason = false, true, "" })
	if f := &c.r.follow; f.synced {
		f.ldSeq = c.claim() // what says that it counts leaves after that is durable
	}
}

// regrant proposes the grant of a voter that was rebuilt, one at a time, under
// the strict rule: the leader is established without it; it holds all that was
// proposed when it was in sync; and after that every other voter has answered a
// ping of this leader. If one of them is down, it is for the operator to say so
// (RULES.md R10); one that is itself being rebuilt is not waited for.
func (c *Core) regrant() {
	active, pending := c.inForce()
	if !c.r.est || pending != nil || c.pausing() {
		return
	}
	for i := range c.r.lead.learners {
		l := &c.r.lead.learners[i]
		if !c.replaces(active, l) || !c.holdsGoal(l) || !c.answered(active, l) {
			continue
		}
		next := Configuration{Members: slices.Clone(active.Members)}
		for k := range next.Members {
			if m := &next.Members[k]; m.ID == l.id {
				m.Incarnation = l.boot.Incarnation
			}
		}
		c.propose(EntryConfig, Origin{}, next.Encode())
		return
	}
}

// replaces says whether a learner is a voter on another disk than before. While
// that other disk speaks too, there are two nodes with one id, and neither gains
// anything.
func (c *Core) replaces(active *Configuration, l *learner) bool {
	m, ok := active.Member(l.id)
	p := c.peer(l.id)
	return ok && m.Role == RoleVoter && m.Incarnation != l.boot.Incarnation && l.cred.NeedsRebuild &&
		p != nil && p.boot == l.boot && (p.rival == 0 || c.tick-p.rival > reachTicks) &&
		l.synced && c.present(l)
}

func (c *Core) present(l *learner) bool { return c.tick-l.alive <= uint64(c.tun.FollowerTimeout) }

func (c *Core) holdsGoal(l *learner) bool {
	r := &l.rebuild
	if !r.measured {
		r.measured, r.goal = true, c.log.last()
	}
	if !r.held && l.durable >= r.goal {
		r.held, r.pinged = true, c.r.lead.pingSeq
	}
	return r.held
}

// answered says whether every other voter has answered a ping that was begun
// after a learner held its goal; onPong takes answers of this epoch alone.
func (c *Core) answered(active *Configuration, l *learner) bool {
	for _, m := range active.Members {
		if m.Role != RoleVoter || m.ID == c.cfg.ID || m.ID == l.id {
			continue
		}
		q := c.learner(m.ID)
		switch {
		case q == nil || !q.synced:
			return false
		case q.cred.NeedsRebuild && q.boot.Incarnation != m.Incarnation && c.present(q):
		case !c.member(q) || q.pongSeq <= l.rebuild.pinged:
			return false
		}
	}
	return true
}

// rebuilding says in words what a store that is in no set waits for.
func (c *Core) rebuilding() string {
	return c.ctl.Reason + "; it is being rebuilt from the other nodes and votes again when all of them have answered. " +
		"If one of them is down for good, say so with POST /v1/cluster/members and \"replace\": true for this node"
}
