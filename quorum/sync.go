package quorum

import "fmt"

// Synchronization, the leader's side (ZAB.md 2.4), and the pull of a candidate
// whose followers are ahead of it (2.3 step 5).

// startSync tells a learner how to reach the initial history. Nobody is told to
// cut before discovery is complete.
func (c *Core) startSync(l *learner) {
	m := Message{Type: MsgSync, To: l.id, Session: l.session, Epoch: c.r.epoch, Base: c.r.base}
	common, ok := commonPoint(c.log.hist.Table(), l.table)
	chain, held := c.log.hist.Chain(common)
	switch {
	case !ok || !held || common < l.cred.SnapZxid || common < l.cred.LogStart:
		m.Mode, m.Snap = SyncSnap, c.log.snap
	case common < l.cred.Last:
		m.Mode, m.Common, m.Chain = SyncTrunc, common, chain
	default:
		m.Mode, m.Common, m.Chain = SyncDiff, common, chain
	}
	if l.cred.Last != c.log.last() {
		m.Via = c.feeder(l)
	}
	l.sync = &m
	if m.Mode != SyncSnap && m.Via == 0 && common >= c.r.base {
		l.told = c.newLeader(l) // it holds the base: one round trip less
	}
	c.repeat(l)
}

func (c *Core) newLeader(l *learner) *Message {
	return &Message{Type: MsgNewLeader, To: l.id, Session: l.session, Epoch: c.r.epoch, Base: c.r.base, Chain: c.r.lead.baseChain}
}

// onFetch serves a learner. One that has reached the base is told NEWLEADER,
// not earlier (ZOOKEEPER-3104).
func (c *Core) onFetch(p *peer, m *Message) {
	l := c.learner(p.id)
	if l == nil || l.boot != m.FromBoot || l.session != m.Session || m.Epoch != c.r.epoch || l.sync == nil {
		return
	}
	if !c.r.est {
		c.progress(c.tun.SyncTicks)
	}
	if l.told != nil || m.Prev < c.r.base {
		c.serve(p, m, c.log.last())
		return
	}
	l.told = c.newLeader(l)
	c.repeat(l)
}

func (c *Core) onAckLD(l *learner, m *Message) {
	if l.told == nil || m.Durable < c.r.base {
		return
	}
	if !l.synced {
		l.synced, l.alive = true, c.tick
		if m.Durable <= c.log.last() {
			l.durable = m.Durable
		}
	}
	if c.r.est {
		c.sendUpToDate(l)
		c.commit()
		return
	}
	c.establish()
}

// sendUpToDate carries the commit position of now, not the one at NEWLEADER.
func (c *Core) sendUpToDate(l *learner) {
	c.send(Message{Type: MsgUpToDate, To: l.id, Session: l.session, Epoch: c.r.epoch, Commit: c.log.commit, Counts: true}, 0)
}

// startPull makes the candidate a learner of the promised peer that is ahead.
func (c *Core) startPull(l *learner) {
	ld := &c.r.lead
	common, ok := commonPoint(c.log.hist.Table(), l.table)
	ld.pull = l.id
	c.progress(c.tun.SyncTicks)
	if _, held := c.log.hist.Chain(common); !ok || !held {
		if c.log.last() >= l.cred.LogStart { // else the peer answers with a snapshot
			c.fail(fmt.Errorf("%w: the logs of this node and node %d have nothing in common", ErrViolation, l.id))
			return
		}
	} else if !c.agree(l, common) || !c.cut(common) {
		return
	}
	c.pullNext()
}

// agree compares chain hashes at the common point where the peer's table shows
// one.
func (c *Core) agree(l *learner, common Zxid) bool {
	mine, _ := c.log.hist.Chain(common)
	for _, e := range l.table {
		if MakeZxid(e.Epoch, e.Last) == common && e.Chain != mine {
			c.fail(fmt.Errorf("%w: this log and the one of node %d differ at %v", ErrViolation, l.id, common))
			return false
		}
	}
	return true
}

// pullNext asks for more, or ends the pull when the peer's last position is
// reached.
func (c *Core) pullNext() {
	ld := &c.r.lead
	l := c.learner(ld.pull)
	if l == nil {
		return
	}
	if c.log.last() >= l.cred.Last {
		ld.pull, ld.pulled = 0, l.cred
		c.discover()
		return
	}
	ld.pullFetch = c.tick + uint64(c.tun.ResendTicks)
	c.send(Message{Type: MsgFetch, To: l.id, Session: l.session, Epoch: c.r.epoch, Prev: c.log.last()}, 0)
}

func (c *Core) resendPull() {
	if ld := &c.r.lead; ld.pull != 0 && c.tick >= ld.pullFetch && !c.r.follow.installing {
		c.pullNext()
	}
}

// onPulled takes history from the peer that is ahead.
func (c *Core) onPulled(p *peer, m *Message) {
	l := c.learner(p.id)
	if l == nil || c.r.lead.pull != p.id || l.session != m.Session || m.Epoch != c.r.epoch || m.Prev > c.log.last() || c.r.follow.installing {
		return
	}
	before := c.log.last()
	if c.extend(m) && c.log.last() > before {
		c.progress(c.tun.SyncTicks)
		c.pullNext()
	}
}

// onPullSnap: the peer that is ahead has compacted what this candidate lacks.
func (c *Core) onPullSnap(p *peer, m *Message) {
	l := c.learner(p.id)
	if l == nil || c.r.lead.pull != p.id || l.session != m.Session || m.Epoch != c.r.epoch || m.Mode != SyncSnap || c.r.follow.installing {
		return
	}
	if m.Snap.Zxid <= c.log.last() {
		return // a second copy: what was pulled since must not be cut (ZAB.md 2.4)
	}
	c.install(p.id, p.boot, m.Snap)
}

func errBroken(at, next Zxid) error {
	return fmt.Errorf("%w: own log is broken between %v and %v", ErrViolation, at, next)
}
