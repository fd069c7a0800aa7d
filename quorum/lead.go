package quorum

import "slices"

// Leading: the leader's side of discovery (ZAB.md 2.3), synchronization (2.4),
// broadcast (2.5) and stepping down; heartbeat.go has the rest of 2.6.

// leading is the state of a leader, elected or established.
type leading struct {
	learners  []learner // sorted by id
	epochSeq  uint64    // durable step of this node's own promise of the epoch
	ldSeq     uint64    // durable step of cE = e; 0 before
	baseChain uint64    // chain hash at the base, which the log may be compacted past
	pull      NodeID    // whom the candidate pulls history from; 0 for nobody
	pullFetch uint64    // tick at which the pull asks again
	pulled    Credentials
	sentTo    Zxid // proposals up to here were broadcast
	toldTo    Zxid // commits up to here were told
	window    int  // bytes proposed and not committed
	counter   uint32
	committed uint64 // tick of the last commit, or of nothing being outstanding
	pingAt    uint64
	pingSeq   uint64
	pings     []pongMark // which ping numbers were sent from which tick on
	leaseMs   uint64
	ageBase   uint64
	homes     []home
	round     readRound
	renew     renewal
	leaving   bool // the active configuration has no vote for this leader
	hand      handover
}

// learner is what a leader knows of one peer in this reign.
type learner struct {
	id       NodeID
	boot     Boot
	session  uint64
	joinSeq  uint64
	cred     Credentials
	table    []EpochEnd
	answered bool // ACKEPOCH came
	promised bool // … and it counts
	sync     *Message
	told     *Message // NEWLEADER, once its log holds the base
	synced   bool
	durable  Zxid
	pongSeq  uint64
	alive    uint64 // tick of the newest ping that it answered
	timeout  uint32
	stall    uint32
	digests  checkpoints // of its state
	resend   uint64
	keptAt   uint64 // durable step that remembers its boot (R3)
	rebuild  rebuild
}

func (c *Core) learner(id NodeID) *learner {
	ls := c.r.lead.learners
	for i := range ls {
		if ls[i].id == id {
			return &ls[i]
		}
	}
	return nil
}

// member says whether a learner is in the sets that are compared with a quorum.
func (c *Core) member(l *learner) bool {
	return l != nil && c.counts(l.id, l.boot.Incarnation) && !l.cred.NeedsRebuild
}

func (c *Core) leadElected() {
	c.reset(StateLeading, PhaseDiscovery)
	c.progress(c.discoveryTicks())
	c.r.lead.committed = c.tick
	c.send(c.notification(0), c.claim())
	c.ping()
	c.chooseEpoch()
}

// chooseEpoch picks the new epoch once a quorum has joined (2.3 step 2).
func (c *Core) chooseEpoch() {
	joined := func(id NodeID) bool { return id == c.cfg.ID || c.member(c.learner(id)) }
	if c.r.epoch != 0 || !c.quorum(joined) {
		return
	}
	e := c.highestPromise()
	if e == 0 {
		e = c.firstEpoch() - 1
	}
	e++
	c.promiseOwn(e)
	c.r.epoch, c.r.lead.epochSeq = e, c.claim()
	for i := range c.r.lead.learners {
		c.sendLeaderInfo(&c.r.lead.learners[i])
	}
}

// firstEpoch is where a cluster that forms now begins, so that no position of an
// earlier one comes back (R9).
func (c *Core) firstEpoch() Epoch {
	if c.ctl.Past == (Past{}) {
		return max(1, c.cfg.MinEpoch)
	}
	return max(c.cfg.MinEpoch, c.ctl.Past.Epoch) + RestoredEpochs
}

// highestPromise is the highest epoch that this leader knows anybody to have
// promised, itself included. A learner that does not count is in no quorum by
// that; but it could not follow a lower one.
func (c *Core) highestPromise() Epoch {
	e := max(c.ctl.AcceptedEpoch, c.r.lead.renew.above)
	for i := range c.r.lead.learners {
		e = max(e, c.r.lead.learners[i].cred.AcceptedEpoch)
	}
	return e
}

func (c *Core) promiseOwn(e Epoch) {
	c.setControl(func(ctl *Control) {
		ctl.AcceptedEpoch, ctl.AcceptedFrom = e, Promise{c.cfg.ID, c.ctl.Boot}
	})
}

func (c *Core) sendLeaderInfo(l *learner) {
	l.resend = c.tick + uint64(c.tun.ResendTicks)
	c.send(Message{Type: MsgLeaderInfo, To: l.id, Session: l.session, Epoch: c.r.epoch}, c.r.lead.epochSeq)
}

// stepLeader handles what learners send.
func (c *Core) stepLeader(p *peer, m *Message) {
	if c.r.state != StateLeading {
		return
	}
	if m.Type == MsgJoin {
		c.onJoin(p, m)
		return
	}
	l := c.learner(p.id)
	if l == nil || l.boot != m.FromBoot {
		return
	}
	switch m.Type {
	case MsgRequest:
		c.onRequest(p, m)
		return
	case MsgRead:
		c.onRead(l, m)
		return
	case MsgNack:
		if m.Cred.AcceptedEpoch > c.r.epoch && m.Session == l.session {
			l.cred.AcceptedEpoch = m.Cred.AcceptedEpoch
			c.overtaken(l.cred.AcceptedEpoch)
		}
		return
	}
	if m.Session != l.session || m.Epoch != c.r.epoch {
		return
	}
	switch m.Type {
	case MsgAckEpoch:
		c.onAckEpoch(l, m)
	case MsgAckLD:
		c.onAckLD(l, m)
	case MsgAck:
		c.onAck(l, m.Durable)
	case MsgPong:
		c.onPong(l, m)
	}
}

// onJoin opens a session. A new one voids everything the peer said before,
// also a promise that was counted and a pull from it (R1).
func (c *Core) onJoin(p *peer, m *Message) {
	if c.roleOf(p.id) == 0 {
		return // no member: it waits until it is added
	}
	l := c.learner(p.id)
	if l != nil && l.boot == m.FromBoot && (m.Seq < l.joinSeq || m.Session == l.session) {
		return // late, or asked again: tickLeading repeats the answer
	}
	if l == nil {
		ls := append(c.r.lead.learners, learner{id: p.id})
		slices.SortFunc(ls, func(a, b learner) int { return int(a.id) - int(b.id) })
		c.r.lead.learners = ls
		l = c.learner(p.id)
	}
	*l = learner{id: p.id, boot: m.FromBoot, session: m.Session, joinSeq: m.Seq, cred: m.Cred, table: m.Table, alive: l.alive, timeout: l.timeout, keptAt: p.keptAt}
	if c.r.lead.pull == p.id {
		c.r.lead.pull = 0
		c.r.follow = following{}
	}
	if !c.r.est {
		c.progress(c.discoveryTicks())
	}
	switch {
	case c.r.epoch == 0:
		c.chooseEpoch()
	case m.Cred.AcceptedEpoch > c.r.epoch:
		c.overtaken(m.Cred.AcceptedEpoch)
	default:
		c.sendLeaderInfo(l)
	}
}

func (c *Core) onAckEpoch(l *learner, m *Message) {
	if l.answered {
		return
	}
	l.answered, l.cred, l.table = true, m.Cred, m.Table
	l.promised = m.Counts // whether it is a voter the configurations of this leader say
	if c.r.lead.ldSeq != 0 {
		c.startSync(l)
		return
	}
	c.progress(c.discoveryTicks())
	c.discover()
}

// discover ends discovery when a quorum has promised and nobody in it is ahead
// (2.3 steps 5 and 6).
func (c *Core) discover() {
	ld := &c.r.lead
	if c.r.state != StateLeading || c.r.epoch == 0 || ld.ldSeq != 0 || c.stable < ld.epochSeq {
		return
	}
	promised := func(id NodeID) bool {
		l := c.learner(id)
		return id == c.cfg.ID || c.member(l) && l.promised
	}
	if !c.quorum(promised) || ld.pull != 0 {
		return
	}
	own := c.credentials()
	own.CurrentEpoch = max(own.CurrentEpoch, ld.pulled.CurrentEpoch)
	if l := c.ahead(own); l != nil {
		c.startPull(l)
		return
	}
	c.setControl(func(ctl *Control) { ctl.CurrentEpoch = c.r.epoch })
	c.r.phase, c.r.base, ld.ldSeq, ld.sentTo = PhaseSync, c.log.last(), c.claim(), c.log.last()
	ld.baseChain = c.log.hist.LastChain()
	c.progress(c.tun.SyncTicks)
	for i := range ld.learners {
		if l := &ld.learners[i]; l.answered {
			c.startSync(l)
		}
	}
}

// ahead is the promised learner with the best history, if it beats own.
func (c *Core) ahead(own Credentials) *learner {
	best, bestVote := (*learner)(nil), Vote{Epoch: own.CurrentEpoch, Last: own.Last}
	for i := range c.r.lead.learners {
		l := &c.r.lead.learners[i]
		v := Vote{Epoch: l.cred.CurrentEpoch, Last: l.cred.Last}
		if c.member(l) && l.promised && compareVotes(v, bestVote) > 0 {
			best, bestVote = l, v
		}
	}
	return best
}

// onOwnStable: this leader's own promise, acceptance or ack became durable.
func (c *Core) onOwnStable() {
	c.chooseEpoch()
	c.discover()
	c.establish()
	c.commit()
	c.confirmReads()
	c.renewStep()
}

// establish makes the whole initial history committed once a quorum holds it.
func (c *Core) establish() {
	ld := &c.r.lead
	if c.r.est || ld.ldSeq == 0 || c.stable < ld.ldSeq || !c.quorum(c.holdsBase) {
		return
	}
	c.r.est, c.r.phase, c.failures = true, PhaseBroadcast, 0
	ld.ageBase, ld.committed, ld.toldTo = c.age, c.tick, c.r.base
	c.advance(c.r.base)
	c.send(c.notification(0), c.claim())
	for i := range ld.learners {
		l := &ld.learners[i]
		l.alive = c.tick
		if l.synced {
			c.sendUpToDate(l)
		}
	}
	c.beginAnew()
}

// beginAnew makes what leaves the past behind the first transaction of a cluster
// that was restored, before any of a client (R9). A leader that pauses proposes
// nothing else either, and is established once more when it has renewed its epoch.
func (c *Core) beginAnew() {
	if c.endsAtPast(c.log.last()) {
		c.propose(EntryRestored, Origin{}, nil)
	}
}

// endsAtPast says whether z, where the log ends or is known to be committed, is
// that of the state that the cluster was restored from. Nothing is read there.
func (c *Core) endsAtPast(z Zxid) bool { return z != 0 && z == c.ctl.Past.Zxid }

func (c *Core) holdsBase(id NodeID) bool {
	l := c.learner(id)
	return id == c.cfg.ID || c.member(l) && l.synced
}

func (c *Core) tickLeading(elapsedMs int) {
	ld := &c.r.lead
	if !c.r.est && c.tick > c.r.deadline && c.stable >= max(ld.epochSeq, ld.ldSeq) {
		c.failures++
		c.stepDown()
		return
	}
	if c.r.est && (!c.quorumFresh() || c.stalled()) {
		c.stepDown()
		return
	}
	if c.log.commit == c.log.last() {
		ld.committed = c.tick
	}
	if c.r.est && c.tick-ld.committed < leaseStallTicks && c.doubt() == DoubtNone {
		ld.leaseMs += uint64(max(0, min(elapsedMs, leaseStepMs)))
	}
	if c.tick >= ld.pingAt {
		c.ping()
	}
	c.regrant()
	c.resendPull()
	for i := range ld.learners {
		if l := &ld.learners[i]; c.tick >= l.resend && !l.synced {
			c.repeat(l)
		}
	}
	c.renewStep()
}

// repeat says again what a learner has not answered.
func (c *Core) repeat(l *learner) {
	l.resend = c.tick + uint64(c.tun.ResendTicks)
	switch {
	case l.told != nil:
		if l.sync.Mode != SyncSnap {
			c.send(*l.sync, c.r.lead.ldSeq) // they may have gone together
		}
		c.send(*l.told, c.r.lead.ldSeq)
	case l.sync != nil && l.sync.Mode == SyncSnap && c.doubt() != DoubtNone:
		// A copy of a disputed state would be counted as a second witness to it.
	case l.sync != nil:
		c.send(*l.sync, c.r.lead.ldSeq)
	case !l.answered && c.r.epoch != 0:
		c.sendLeaderInfo(l)
	}
}

// onAck counts a cumulative ack; only learners that acknowledged the initial
// history are counted.
func (c *Core) onAck(l *learner, durable Zxid) {
	if l.synced && durable > l.durable && durable <= c.log.last() {
		l.durable = durable
		c.commit()
	}
}

// commit moves the commit position to what a quorum has on disk.
func (c *Core) commit() {
	if !c.r.est || c.r.state != StateLeading {
		return
	}
	z := c.quorumZxid(func(id NodeID) Zxid {
		if id == c.cfg.ID {
			return c.log.durable
		}
		if l := c.learner(id); c.member(l) && l.synced {
			return l.durable
		}
		return 0
	})
	before := c.log.commit
	if z <= before {
		return
	}
	c.r.lead.committed = c.tick
	for i := c.log.index(before); i < len(c.log.tail) && c.log.tail[i].Zxid <= z; i++ {
		c.r.lead.window -= c.log.tail[i].Size()
	}
	if c.advance(z) && c.r.state == StateLeading && z < c.log.last() {
		c.commit() // a configuration that is active now may let more be committed
	}
}

// stepDown stops leading, then tells.
func (c *Core) stepDown() {
	if c.r.state != StateLeading {
		return
	}
	c.sendStepDown(false, 0)
	if c.failures > 0 || c.r.est {
		c.standAt = c.tick + standBackoff<<min(c.failures, 3) + c.random()%standBackoff
	}
	c.enterLooking()
}

// sendStepDown tells that this leader has stopped, whether it is leaving for
// good, and who should lead in its place; 0: whom the others elect.
func (c *Core) sendStepDown(leaving bool, heir NodeID) {
	if c.r.state == StateLeading {
		c.send(Message{Type: MsgStepDown, Epoch: c.r.epoch, Counts: leaving, Vote: Vote{Leader: heir}}, 0)
	}
}

// propose appends an entry of this leader's epoch, unless the window is full or
// the leader pauses. Callers that can wait ask pausing first.
func (c *Core) propose(kind EntryKind, o Origin, data []byte) bool {
	ld := &c.r.lead
	e := Entry{Kind: kind, Origin: o, Stamp: Stamp{Wall: c.wall, Age: c.stampAge()}, Data: data}
	if size := e.Size(); ld.window > 0 && ld.window+size > c.tun.WindowBytes || c.pausing() {
		return false
	}
	ld.counter++
	e.Zxid = MakeZxid(c.r.epoch, ld.counter)
	if !c.append(&e) {
		c.fail(errBroken(c.log.last(), e.Zxid))
		return false
	}
	ld.window += e.Size()
	return true
}

// stampAge is the cluster age of a proposal made now (R20).
func (c *Core) stampAge() uint64 {
	if c.r.state == StateLeading && c.r.est {
		return c.r.lead.ageBase + c.r.lead.leaseMs
	}
	return c.age
}

func (c *Core) unsent() bool {
	return c.r.state == StateLeading && c.r.est && c.halt == nil && (c.log.last() > c.r.lead.sentTo || c.log.commit > c.r.lead.toldTo)
}

// flushProposals broadcasts what was appended since the last call, without
// waiting for this node's own disk; a commit rides along, or leaves at once.
func (c *Core) flushProposals() {
	ld := &c.r.lead
	if !c.unsent() {
		return
	}
	for ld.sentTo < c.log.last() {
		entries, ok := c.log.after(ld.sentTo, c.tun.MessageBytes)
		chain, known := c.log.hist.Chain(ld.sentTo)
		if !ok || !known || len(entries) == 0 {
			c.fail(errBroken(ld.sentTo, c.log.last()))
			return
		}
		c.send(Message{
			Type: MsgPropose, Epoch: c.r.epoch, Prev: ld.sentTo, Chain: chain,
			Entries: entries, Commit: c.log.commit, Counts: true,
		}, 0)
		ld.sentTo, ld.toldTo = entries[len(entries)-1].Zxid, c.log.commit
	}
	if c.log.commit > ld.toldTo {
		c.send(Message{Type: MsgCommit, Epoch: c.r.epoch, Commit: c.log.commit, Counts: true}, 0)
		ld.toldTo = c.log.commit
	}
}
