package sim

import (
	"sort"
	"time"

	"perch/quorum"
)

func (s *session) ttl() time.Duration { return time.Duration(s.ttlMs) * time.Millisecond }

// openNext has a client open a session somewhere.
func (c *clients) openNext() {
	if c.w.healed || len(c.sessions) > 40 {
		return
	}
	c.later(evOpen, c.w.faults.open)
	if n := c.someNode(); n.core != nil && !n.paused {
		c.openSessionAt(n, c.rng.between(200, 1200))
	}
}

// openSessionAt opens a session at n and gives its number.
func (c *clients) openSessionAt(n *node, ttlMs int64) int {
	c.sessions = append(c.sessions, session{ttlMs: ttlMs, promised: c.w.now + c.w.shortest(ttlMs)})
	number := len(c.sessions) - 1
	c.put(n, write{kind: writeOpens, session: number})
	c.w.obs.look(n)
	n.pump()
	return number
}

// touchNext has a client renew a session through some node.
func (c *clients) touchNext() {
	if c.w.healed {
		return
	}
	c.later(evTouch, c.w.faults.touch)
	if len(c.sessions) > 0 {
		c.touchThrough(c.someNode(), c.rng.below(len(c.sessions)))
	}
}

func (c *clients) touchThrough(home *node, number int) {
	if home.core == nil || !home.soft.Established || home.soft.Leader == 0 || c.sessions[number].open == 0 {
		return
	}
	t := touch{session: number, called: c.w.now, home: home.id, epoch: home.soft.Epoch}
	c.w.net.deliver(home.id, home.soft.Leader, event{kind: evTouchArrives, touch: t})
}

// sessionOf finds a session by its id; ids rise in the order of opening.
func (c *clients) sessionOf(id quorum.Zxid) int {
	i := sort.Search(len(c.opened), func(i int) bool { return c.sessions[c.opened[i]].id >= id })
	return c.opened[i]
}

// sessionCommitted notes what a committed write does to a session. An end that
// was decided in another epoch than that of its entry does nothing: the leader
// of that epoch has given the session its time again.
func (c *clients) sessionCommitted(wr *write, pos int) {
	z, _ := c.w.obs.ledger.at(pos)
	s := &c.sessions[wr.session]
	switch {
	case wr.kind == writeOpens:
		s.id, s.open = z, pos
		c.opened = append(c.opened, wr.session)
	case wr.kind == writeCloses && s.closed == 0 && (wr.epoch == z.Epoch() || c.w.opt.Mutant == "expire-any-epoch"):
		s.closed, s.closedAt = pos, c.w.now
		c.check18(wr.session, s.promised)
	}
}

// sessionApplied lets the keeper of a leader follow.
func (n *node) sessionApplied(wr *write) {
	s, k := &n.w.clients.sessions[wr.session], &n.keeper
	switch {
	case k.reign == 0:
	case wr.kind == writeOpens:
		k.tracker.Add(s.id, s.ttl(), n.leaseNow())
	case wr.kind == writeCloses && !s.alive(n.app.pos):
		k.tracker.Remove(s.id)
	}
}

// touchAnswered: a client was told that its session is renewed.
func (c *clients) touchAnswered(t touch) {
	s := &c.sessions[t.session]
	until := t.called + c.w.shortest(s.ttlMs)
	s.promised = max(s.promised, until)
	c.check18(t.session, until)
}

// check18: 18, no session ends before its time-out as seen by a client that was
// told of a renewal.
func (c *clients) check18(number int, until int64) {
	s := &c.sessions[number]
	if s.closed != 0 && s.closedAt < until {
		c.w.fail(18, "session %v ended at %s ms; it was promised to live until %s ms", s.id, clock(s.closedAt), clock(until))
	}
}

// openSession is a session that should have ended; -1 for none.
func (c *clients) openSession() int {
	for _, i := range c.opened {
		if c.sessions[i].closed == 0 {
			return i
		}
	}
	return -1
}
