package quorum

import "slices"

// Heartbeats, the leader's side (ZAB.md 2.6): only an answered ping is a proof of
// life, and a leader that has none of a quorum steps down.

// ping asks every learner for a proof of life; it carries the commit position
// and says whom this leader hears.
func (c *Core) ping() {
	ld := &c.r.lead
	ld.pingAt = c.tick + uint64(c.tun.PingTicks)
	ld.pingSeq++
	if n := len(ld.pings); n == 0 || ld.pings[n-1].tick != c.tick {
		if n > 2*maxFollowerTimeout {
			ld.pings = slices.Delete(ld.pings, 0, n/2)
		}
		ld.pings = append(ld.pings, pongMark{ld.pingSeq, c.tick})
	}
	m := Message{Type: MsgPing, Epoch: c.r.epoch, Seq: ld.pingSeq, Last: c.log.last(), Commit: c.log.commit, Counts: c.r.est}
	if c.r.est {
		m.Digests, m.Disputed = c.digests.agreed.newest(verdictsSent), c.digests.disputed
	}
	for i := range ld.learners {
		m.Heard = append(m.Heard, Heard{ld.learners[i].id, ld.learners[i].pongSeq})
	}
	c.send(m, 0)
}

// onPong: only the echo of a number of our own is a proof of life; a message
// may have been stuck for long (NATS.md 5).
func (c *Core) onPong(l *learner, m *Message) {
	if !l.synced || m.Seq > c.r.lead.pingSeq || m.Cred.CurrentEpoch != c.r.epoch || m.Cred.AcceptedEpoch != c.r.epoch {
		return
	}
	if m.Seq > l.pongSeq {
		l.cred.NeedsRebuild = m.Cred.NeedsRebuild // until its GRANT it is in no set
		l.pongSeq, l.timeout, l.stall = m.Seq, m.Timeout, m.Stall
		for i := len(c.r.lead.pings) - 1; i >= 0; i-- {
			if c.r.lead.pings[i].seq <= m.Seq {
				l.alive = max(l.alive, c.r.lead.pings[i].tick)
				break
			}
		}
	}
	if !c.onDigests(l, m) {
		return
	}
	c.onAck(l, m.Durable)
	c.commit() // what it had acknowledged before it counted
	c.confirmReads()
}

// quorumFresh says whether a quorum of synchronized voters has answered a ping
// that was sent inside the window: the largest time-out that they report.
func (c *Core) quorumFresh() bool {
	window := uint64(c.tun.FollowerTimeout - 2)
	for i := range c.r.lead.learners {
		if l := &c.r.lead.learners[i]; c.member(l) && l.synced {
			window = max(window, uint64(min(l.timeout, maxFollowerTimeout+5)))
		}
	}
	return c.quorum(func(id NodeID) bool {
		l := c.learner(id)
		return id == c.cfg.ID || c.member(l) && l.synced && c.tick-l.alive <= window
	})
}

// stalled says whether this leader's disk has hung for long while a majority of
// the other voters' disks work (RULES.md part D). A report is older than what it
// is compared with; so of disks that hang together, as on shared storage, the
// others' always seem to hang a little shorter, and only half as long counts.
func (c *Core) stalled() bool {
	stall := c.log.stall(c.tick)
	if stall <= max(stallTicks, 4*c.patience.ticks(c.cfg.ID)) {
		return false
	}
	return c.quorum(func(id NodeID) bool {
		l := c.learner(id)
		return c.member(l) && l.synced && l.stall < stall/2 && c.tick-l.alive <= stallTicks
	})
}
