package quorum

import "errors"

// Transfer of the leadership: a leader proposes nothing more, waits until a
// synchronized voter has everything on disk, names it in STEPDOWN and follows
// it. The one that is named leads at once and the others follow it at once, so
// no election is needed. As an election would be, this is only a help:
// discovery checks everything again, and when the named one fails, its deadline
// leads everybody into an ordinary election.

var (
	// ErrNotLeading refuses a transfer by a node that does not lead with a quorum.
	ErrNotLeading = errors.New("quorum: this node is not an established leader")
	// ErrNotSynced refuses a transfer to a node that is no voter, or is not in
	// sync and heard of late.
	ErrNotSynced = errors.New("quorum: no voter in sync to transfer to")
	// ErrTransferring refuses a transfer while another one is under way.
	ErrTransferring = errors.New("quorum: another transfer is under way")
)

const transferTicks = 100 // after which a transfer is given up

// handover is a transfer under way.
type handover struct {
	to    NodeID // 0: there is none
	seq   uint64 // of a ping sent since; the heir answers it, so it is there now
	until uint64 // tick after which it is given up
}

// Transfer has this leader give way to the voter to, or with 0 to the one that
// has most on disk. It is under way while Soft.Heir is set; when that voter does
// not keep up for a second, this leader goes on. Requests wait meanwhile.
func (c *Core) Transfer(to NodeID) error {
	ld := &c.r.lead
	if c.r.state != StateLeading || !c.r.est || c.halt != nil || c.retired {
		return ErrNotLeading
	}
	if to == 0 {
		to = c.heir()
	}
	switch {
	case to == c.cfg.ID:
		return nil
	case !c.mayInherit(c.learner(to)):
		return ErrNotSynced
	case ld.hand.to == to:
		return nil
	case ld.hand.to != 0:
		return ErrTransferring
	}
	c.ping()
	ld.hand = handover{to: to, seq: ld.pingSeq, until: c.tick + transferTicks}
	return nil
}

// mayInherit says whether a learner is a voter in sync that answered of late.
func (c *Core) mayInherit(l *learner) bool {
	return c.member(l) && l.synced && c.tick-l.alive <= uint64(c.tun.FollowerTimeout)
}

// heir is the voter that could lead best in place of this leader; 0: nobody.
func (c *Core) heir() NodeID {
	best, durable := NodeID(0), Zxid(0)
	if c.r.state != StateLeading || !c.r.est {
		return 0
	}
	for i := range c.r.lead.learners {
		if l := &c.r.lead.learners[i]; c.mayInherit(l) && l.durable >= durable {
			best, durable = l.id, l.durable
		}
	}
	return best
}

// handDue says whether a transfer under way can end: the heir has everything, or
// will not have it in time.
func (c *Core) handDue() bool {
	h := &c.r.lead.hand
	if c.r.state != StateLeading || h.to == 0 || c.halt != nil {
		return false
	}
	l := c.learner(h.to)
	return !c.mayInherit(l) || c.tick > h.until || c.inherits(l)
}

// inherits says whether the heir has everything and is there now.
func (c *Core) inherits(l *learner) bool {
	return l.durable >= c.log.last() && l.pongSeq >= c.r.lead.hand.seq
}

// flushHand ends a transfer, after everything else that this leader has to say.
func (c *Core) flushHand() {
	if !c.handDue() {
		return
	}
	h := &c.r.lead.hand
	if l := c.learner(h.to); c.mayInherit(l) && c.inherits(l) {
		c.giveWay(h.to)
		return
	}
	*h = handover{}
}

// giveWay ends this leadership in favour of a voter, which it follows.
func (c *Core) giveWay(to NodeID) {
	c.sendStepDown(false, to)
	c.round++
	c.followLeader(c.peer(to))
}

// onStepDown: the leader that this node follows has stopped leading. If it names
// an heir, no election is needed.
func (c *Core) onStepDown(p *peer, m *Message) {
	if m.Epoch != c.r.epoch && c.r.epoch != 0 {
		return
	}
	p.down = p.down || m.Counts
	heir := m.Vote.Leader
	known := c.peer(heir)
	switch {
	case m.Epoch != c.r.epoch || heir == 0:
		c.enterLooking()
	case heir == c.cfg.ID && c.votes():
		c.round++
		c.inherited = max(c.tick, 1)
		c.leadElected()
	case known != nil && known.boot != (Boot{}):
		c.round++
		c.followLeader(known)
	default:
		c.enterLooking()
	}
}
