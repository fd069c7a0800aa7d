package quorum

import (
	"cmp"
	"slices"
)

// Election is a help for progress only; discovery checks everything again
// (ZAB.md 2.2). A candidate must have been heard directly in this round and
// must itself hear a quorum: votes that travel through others can elect a node
// that reaches nobody.

const (
	reachTicks   = 100 // longer than the slowest repeat of a notification
	noteTicks    = 75  // a notification older than this elects nobody
	notifyMax    = 50
	standBackoff = 8 // ticks, doubled per failed leadership
)

// looking is the state of a search for a leader.
type looking struct {
	vote     Vote
	reach    []NodeID
	finalize uint64 // tick at which the election ends; 0 while there is no quorum
	nextSend uint64
	interval int
}

// enterLooking leaves whatever role there was and starts a new round.
func (c *Core) enterLooking() {
	c.reset(StateLooking, PhaseLooking)
	if c.formState() != Formed {
		c.r.phase = PhaseForming
	}
	c.round++
	for _, p := range c.peers {
		if p.note.msg.State != StateLooking {
			p.note.at = 0 // it speaks of the leader that was lost
		} else if c.fresh(p) {
			c.round = max(c.round, p.note.msg.Round)
		}
	}
	c.form()
	if c.r.state != StateLooking {
		return
	}
	c.ballot()
	if c.r.state == StateLooking && c.r.look.nextSend == 0 {
		c.notifyAll()
	}
}

func (c *Core) tickLooking() {
	c.form()
	if c.r.state != StateLooking || c.retired {
		return
	}
	if l := &c.r.look; c.tick >= l.nextSend {
		interval := min(l.interval*3/2, notifyMax)
		c.notifyAll()
		c.r.look.interval = interval
		c.r.look.nextSend = c.tick + uint64(interval) + c.random()%3
	}
	c.ballot()
}

// credentials are what this node can prove of itself.
func (c *Core) credentials() Credentials {
	return Credentials{
		AcceptedEpoch: c.ctl.AcceptedEpoch, CurrentEpoch: c.ctl.CurrentEpoch, Last: c.log.last(),
		LogStart: c.log.hist.Start(), SnapZxid: c.log.snap.Zxid, NeedsRebuild: c.ctl.NeedsRebuild, Level: c.cfg.Level,
	}
}

// offer is the reach that this node stands for election with: nobody's while it
// backs off after a leadership that failed.
func (c *Core) offer() []NodeID {
	if c.tick < c.standAt {
		return nil
	}
	return c.reach()
}

// compareVotes orders credentials: current epoch, last zxid, id.
func compareVotes(a, b Vote) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Last, b.Last), cmp.Compare(a.Leader, b.Leader))
}

func (c *Core) notification(to NodeID) Message {
	m := Message{
		Type: MsgNotify, To: to, State: c.r.state, Round: c.round, Cred: c.credentials(),
		Reach: c.offer(), Forming: c.formState(), ConfigHash: c.cfg.ConfigHash, Founding: c.ctl.Founding, Past: c.ctl.Past,
	}
	if c.ctl.Formed {
		active, _ := c.inForce()
		m.Config = *active
	}
	c.notifySeq++
	m.Seq = c.notifySeq
	switch c.r.state {
	case StateLooking:
		m.Vote = c.r.look.vote
	case StateFollowing:
		m.Vote = Vote{Leader: c.r.follow.leader, Epoch: c.r.epoch}
	case StateLeading:
		m.Vote = Vote{Leader: c.cfg.ID, Epoch: c.r.epoch}
	}
	return m
}

// notifyAll tells every peer, and restarts the repeats.
func (c *Core) notifyAll() {
	l := &c.r.look
	l.interval = c.tun.NotifyTicks
	l.nextSend = c.tick + uint64(l.interval)
	l.reach = c.offer()
	c.send(c.notification(0), c.claim())
}

func (c *Core) onNotify(p *peer, m *Message) {
	if c.outlived(m.Seen) || m.Seq <= p.note.msg.Seq {
		return
	}
	if c.knowsCluster() && m.Cluster != (ClusterID{}) && m.Cluster != c.ctl.Cluster {
		return
	}
	p.note = note{at: max(c.tick, 1), msg: *m}
	if m.Forming != Rebuild && !m.Cred.NeedsRebuild && m.State == StateLooking {
		p.down = false
	}
	c.adopt(m)
	c.listen(m)
	switch c.r.state {
	case StateLooking:
		c.noteWhileLooking(p, m)
	case StateLeading:
		c.noteWhileLeading(p, m)
	default:
		if m.State == StateLooking {
			c.send(c.notification(p.id), c.claim())
		}
		if m.State == StateLeading && p.id == c.r.follow.leader && c.r.phase == PhaseDiscovery && c.r.epoch == 0 {
			c.sendJoin() // the first one may have come before it led
		}
	}
}

func (c *Core) noteWhileLooking(p *peer, m *Message) {
	c.form()
	if c.r.state != StateLooking {
		return
	}
	if m.State == StateLooking && c.ctl.Formed {
		switch {
		case m.Round > c.round && c.counts(p.id, p.boot.Incarnation): // nobody else's search disturbs this one
			c.round = m.Round
			c.r.look.finalize = 0
			c.r.look.vote = Vote{}
		case m.Round < c.round:
			c.send(c.notification(p.id), c.claim())
			return
		}
	}
	if m.State == StateLooking && m.Forming < c.formState() && c.formState() <= Formed {
		c.send(c.notification(p.id), c.claim()) // it waits for what this store has recorded
	}
	c.ballot()
}

func (c *Core) noteWhileLeading(p *peer, m *Message) {
	if m.State == StateLeading && m.Vote.Leader == p.id && m.Vote.Epoch > c.r.epoch && c.r.epoch != 0 &&
		c.counts(p.id, p.boot.Incarnation) {
		c.stepDown()
		return
	}
	if m.State != StateLooking {
		return
	}
	if l := c.learner(p.id); !c.r.est && !c.r.lead.renew.again && m.Round > c.round && l != nil && l.session != 0 {
		c.round = m.Round // an elector has given up (ZOOKEEPER-3109)
		c.stepDown()
		return
	}
	c.send(c.notification(p.id), c.claim())
}

// ballot votes anew on what is known now and ends the election when it can.
func (c *Core) ballot() {
	if c.r.state != StateLooking || c.retired || c.ctl.Spoiled || !c.knowsCluster() || c.roleOf(c.cfg.ID) == 0 {
		return
	}
	// Who has no vote, as far as it knows, votes as well: the candidate may hold
	// a configuration that this node is a voter of and has not heard of, and
	// knows whose votes count. It stands for nothing and decides nothing.
	if c.joinEstablished() || c.ctl.NeedsRebuild {
		return
	}
	l := &c.r.look
	vote := c.bestCandidate()
	if vote != l.vote || !slices.Equal(l.reach, c.offer()) {
		if vote != l.vote {
			l.finalize = 0
		}
		l.vote = vote
		c.notifyAll()
	}
	if vote.Leader == 0 || !c.votes() || !c.quorum(c.agrees) {
		l.finalize = 0
		return
	}
	if l.finalize == 0 {
		l.finalize = c.tick + uint64(c.tun.FinalizeTicks)
	}
	if c.tick >= l.finalize || c.unanimous() {
		c.decide(vote.Leader)
	}
}

// bestCandidate is the best of those that may be elected, this node included.
func (c *Core) bestCandidate() Vote {
	var best Vote
	if c.votes() && c.reaches(c.offer()) {
		best = Vote{Leader: c.cfg.ID, Epoch: c.ctl.CurrentEpoch, Last: c.log.last()}
	}
	for _, p := range c.peers {
		if !c.stands(p) || !c.inRound(p) || p.note.msg.Cred.NeedsRebuild || !c.reaches(p.note.msg.Reach) {
			continue
		}
		cred := &p.note.msg.Cred
		v := Vote{Leader: p.id, Epoch: cred.CurrentEpoch, Last: cred.Last}
		if compareVotes(v, best) > 0 {
			best = v
		}
	}
	return best
}

// fresh says whether the peer's notification may be counted.
func (c *Core) fresh(p *peer) bool {
	return p.note.at != 0 && c.tick-p.note.at < noteTicks && c.counts(p.id, p.boot.Incarnation)
}

// stands says whether the peer may lead: it is a voter, or it says so and knows
// no older members than this node does. Then it holds a configuration that is
// not committed yet, which can be so only if it leads (ZAB.md 2.9).
func (c *Core) stands(p *peer) bool {
	if c.fresh(p) {
		return true
	}
	n := &p.note.msg
	active, _ := c.inForce()
	return p.note.at != 0 && c.tick-p.note.at < noteTicks && n.Forming == Formed && n.Vote.Leader == p.id &&
		(n.State == StateLooking || n.State == StateLeading) && n.Config.Version >= active.Version
}

func (c *Core) inRound(p *peer) bool {
	return p.note.msg.State == StateLooking && p.note.msg.Round == c.round
}

// agrees says whether a voter's newest vote in this round is this node's own, or
// it follows this node, which stands, already. It may know older members than
// this node does, of whom fewer are a quorum, and would wait for it in vain while
// this node waits for its vote (ZAB.md 2.2).
func (c *Core) agrees(id NodeID) bool {
	if id == c.cfg.ID {
		return true
	}
	p := c.peer(id)
	if p == nil || !c.fresh(p) {
		return false
	}
	vote, n := c.r.look.vote, &p.note.msg
	if n.State == StateFollowing && vote.Leader == c.cfg.ID && n.Vote.Leader == c.cfg.ID {
		return true
	}
	return c.inRound(p) && n.Vote == vote
}

// unanimous says whether every voter not known to be dead agrees, so that no
// better vote can arrive.
func (c *Core) unanimous() bool {
	for _, id := range c.voters() {
		if p := c.peer(id); id != c.cfg.ID && (p == nil || !p.down) && !c.agrees(id) {
			return false
		}
	}
	return true
}

// joinEstablished follows a leader that is there already: it says so itself,
// and with this node a quorum names it, or it is the hub of a star.
func (c *Core) joinEstablished() bool {
	for _, p := range c.peers {
		if !c.stands(p) || p.note.msg.State != StateLeading || p.note.msg.Vote.Leader != p.id {
			continue
		}
		ok := c.quorum(func(id NodeID) bool {
			if id == c.cfg.ID {
				return c.votes()
			}
			if id == p.id {
				return true
			}
			q := c.peer(id)
			return q != nil && c.fresh(q) && q.note.msg.Vote.Leader == p.id && q.note.msg.State != StateLooking ||
				q != nil && c.fresh(q) && c.inRound(q) && q.note.msg.Vote.Leader == p.id
		})
		if ok || c.leadsHub(p) {
			c.round = max(c.round, p.note.msg.Round)
			c.followLeader(p)
			return true
		}
	}
	return false
}

// leadsHub says whether a peer that says it leads may be believed without other
// voices: it reaches a quorum, and it won this round or has discovery behind it.
// Where only one node sees all others, nobody else hears a quorum.
func (c *Core) leadsHub(p *peer) bool {
	n := &p.note.msg
	return c.reaches(n.Reach) && (n.Round == c.round || n.Vote.Epoch != 0 && n.Cred.CurrentEpoch == n.Vote.Epoch)
}

func (c *Core) decide(leader NodeID) {
	if leader == c.cfg.ID {
		c.leadElected()
		return
	}
	c.followLeader(c.peer(leader))
}
