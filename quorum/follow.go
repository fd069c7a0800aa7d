package quorum

import "fmt"

// Following: the learner's side of discovery (ZAB.md 2.3), synchronization
// (2.4) and broadcast (2.5).

// stashMax bounds the proposals kept while the gap before them is fetched.
const stashMax = 64

// following is the state of a learner.
type following struct {
	leader     NodeID
	boot       Boot
	session    uint64 // nonce of this synchronization session
	joinSeq    uint64
	heard      uint64 // tick of the last valid message of the leader
	hinted     uint64 // tick of a hint that its link is gone
	resend     uint64 // tick at which the present question is asked again
	obeyed     bool   // the one SYNC of this session was obeyed
	synced     bool   // NEWLEADER accepted: cE = e, log contains base
	ldSeq      uint64 // durable step of that acceptance
	acked      Zxid   // last position acknowledged
	ahead      Zxid   // highest commit position that the leader told
	fetchFrom  Zxid   // question in flight: entries after this …
	fetching   bool   // … are asked for
	waiting    bool   // … once the disk has kept up
	installing bool
	wanted     SnapMeta  // what is being installed
	stash      []Message // proposals after a gap
	pongs      []pongMark
	feed       feeding
	fed        []fed
}

// pongMark says at which tick the pong with a number was sent.
type pongMark struct{ seq, tick uint64 }

// followLeader starts discovery with a leader that was elected or found.
func (c *Core) followLeader(p *peer) {
	c.reset(StateFollowing, PhaseDiscovery)
	f := &c.r.follow
	f.leader, f.boot, f.session, f.heard = p.id, p.boot, c.random()|1, c.tick
	f.joinSeq = c.notifySeq + 1
	c.notifySeq++
	c.progress(c.discoveryTicks())
	c.patience.rejoin(p.id, p.boot, c.tick)
	c.sendJoin()
}

func (c *Core) discoveryTicks() int {
	return min(c.tun.DiscoveryTicks<<min(c.failures, 5), maxDiscoveryTicks)
}

// progress moves the deadline of the present stay.
func (c *Core) progress(ticks int) { c.r.deadline = c.tick + uint64(ticks) }

func (c *Core) sendJoin() {
	f := &c.r.follow
	f.resend = c.tick + uint64(c.tun.ResendTicks)
	m := Message{Type: MsgJoin, To: f.leader, Session: f.session, Seq: f.joinSeq, Cred: c.credentials(), Table: c.log.hist.Table()}
	c.send(m, c.claim())
}

func (c *Core) tickFollowing() {
	f := &c.r.follow
	silence := uint64(c.patience.ticks(c.cfg.ID))
	if !f.synced {
		silence = max(silence, uint64(c.discoveryTicks()))
	}
	lost := c.tick-f.heard > silence ||
		f.hinted > f.heard && c.tick-f.hinted > hintTicks ||
		!c.r.est && c.tick > c.r.deadline || c.unheard(silence)
	if lost {
		if !c.r.est && c.tick > c.r.deadline {
			c.failures++
		}
		c.patience.suspect(f.leader, f.boot)
		c.enterLooking()
		return
	}
	if c.tick < f.resend {
		return
	}
	switch {
	case f.fetching:
		c.ask()
	case c.r.phase == PhaseDiscovery && c.r.epoch == 0:
		c.sendJoin()
	}
}

// unheard notices a one-way link: the leader's pings come in, but say that it
// has not heard this node for the time-out (ZAB.md 2.6).
func (c *Core) unheard(silence uint64) bool {
	f := &c.r.follow
	return f.synced && len(f.pongs) > 0 && c.tick-f.pongs[0].tick > silence
}

// stepFollower handles what a leader sends.
func (c *Core) stepFollower(p *peer, m *Message) {
	f := &c.r.follow
	if c.r.state != StateFollowing || p.id != f.leader || p.boot != f.boot {
		c.strayLeader(p, m)
		return
	}
	if m.Type == MsgPing || m.Type == MsgPropose || m.Type == MsgCommit {
		if m.Epoch < c.r.epoch {
			return
		}
		if m.Epoch > c.r.epoch && c.r.epoch != 0 {
			c.followLeader(p) // the same life leads a later epoch
			return
		}
		f.heard = c.tick
	} else if m.Type != MsgStepDown && m.Type != MsgRefuse && m.Type != MsgReadPos {
		if m.Session != f.session {
			return
		}
		f.heard = c.tick
	}
	c.dispatchFollower(p, m)
}

func (c *Core) dispatchFollower(p *peer, m *Message) {
	switch m.Type {
	case MsgLeaderInfo:
		c.onLeaderInfo(m)
	case MsgSync:
		c.onSync(m)
	case MsgNewLeader:
		c.onNewLeader(m)
	case MsgUpToDate:
		c.onUpToDate(m)
	case MsgPropose:
		c.onPropose(m)
	case MsgCommit:
		c.learnCommit(m)
	case MsgPing:
		c.onPing(m)
	case MsgStepDown:
		c.onStepDown(p, m)
	case MsgRefuse:
		c.onRefuse(m)
	case MsgReadPos:
		c.onReadPos(m)
	}
}

// strayLeader answers a leader that this node does not follow and cannot follow
// in that epoch.
func (c *Core) strayLeader(p *peer, m *Message) {
	if m.Type == MsgLeaderInfo && m.Epoch < c.ctl.AcceptedEpoch {
		c.sendNack(p.id)
	}
}

func (c *Core) sendNack(to NodeID) {
	c.send(Message{Type: MsgNack, To: to, Session: c.r.follow.session, Cred: c.credentials()}, c.claim())
}

// onLeaderInfo promises the epoch (ZAB.md 2.3 step 3).
func (c *Core) onLeaderInfo(m *Message) {
	f := &c.r.follow
	switch {
	case c.r.epoch == 0 || m.Epoch == c.r.epoch && !f.obeyed:
	case m.Epoch <= c.r.epoch:
		return
	case f.synced:
		c.followRenewed()
	default:
		c.followLeader(c.peer(f.leader)) // in the midst of synchronization: begin again
		return
	}
	promise := Promise{Leader: f.leader, Boot: f.boot}
	switch {
	case m.Epoch < c.ctl.AcceptedEpoch:
		c.sendNack(f.leader)
		return
	case m.Epoch > c.ctl.AcceptedEpoch:
		c.setControl(func(ctl *Control) { ctl.AcceptedEpoch, ctl.AcceptedFrom = m.Epoch, promise })
	}
	if c.r.epoch == 0 {
		c.progress(c.discoveryTicks())
	}
	c.r.epoch = m.Epoch
	c.send(Message{
		Type: MsgAckEpoch, To: f.leader, Session: f.session, Epoch: m.Epoch,
		Counts: c.ctl.AcceptedFrom == promise && !c.ctl.NeedsRebuild, Cred: c.credentials(), Table: c.log.hist.Table(),
	}, c.claim())
}

// onSync obeys the one SYNC of a session; obeying a repeated one would cut
// newer state (ZAB.md 2.4).
func (c *Core) onSync(m *Message) {
	f := &c.r.follow
	if f.obeyed && f.fetching && (f.feed.from == 0 || f.feed.offered) && m.Mode == SyncSnap && m.Epoch == c.r.epoch && m.Snap.Zxid > c.log.last() {
		// The leader has compacted what this node asked for. One session obeys
		// one SYNC, so the way to a snapshot is a new session.
		c.followLeader(c.peer(f.leader))
		return
	}
	if f.obeyed || c.r.epoch != m.Epoch {
		return
	}
	f.obeyed = true
	c.r.phase = PhaseSync
	c.r.base = m.Base
	c.progress(c.tun.SyncTicks)
	c.startFeeding(m)
	if m.Mode == SyncSnap {
		if f.feed.from != 0 {
			c.fetch()
			return
		}
		c.install(f.leader, f.boot, m.Snap)
		return
	}
	if chain, ok := c.log.hist.Chain(m.Common); !ok || chain != m.Chain {
		c.fail(fmt.Errorf("%w: this log and the one of leader %d differ at %v, which both hold", ErrViolation, f.leader, m.Common))
		return
	}
	if !c.cut(m.Common) {
		return
	}
	if m.Via == 0 && c.log.last() >= m.Base { // NEWLEADER comes with it; if it is lost, this asks
		f.fetching, f.fetchFrom, f.resend = true, c.log.last(), c.tick+uint64(c.tun.ResendTicks)
		return
	}
	c.fetch()
}

// cut truncates the log to z, which is never below what was committed here.
func (c *Core) cut(z Zxid) bool {
	if z == c.log.last() {
		return true
	}
	last := c.log.last()
	if !c.log.truncate(z) {
		c.fail(fmt.Errorf("%w: told to cut the log from %v to %v, but %v is committed", ErrViolation, last, z, c.log.hint))
		return false
	}
	c.wal = append(c.wal, Record{Type: RecordTruncate, Zxid: z, Chain: c.log.hist.LastChain()})
	c.peersChanged()
	return true
}

// install asks the driver for a snapshot that replaces the log.
func (c *Core) install(from NodeID, boot Boot, s SnapMeta) {
	if s.Zxid < max(c.log.hint, c.log.emitted) {
		c.fail(fmt.Errorf("%w: told to install a snapshot of %v, but %v is committed", ErrViolation, s.Zxid, c.log.hint))
		return
	}
	c.r.follow.installing, c.r.follow.wanted = true, s
	c.out.Install = &Install{From: from, Boot: boot, Snap: s}
}

// InstallProgress says that a part of the snapshot has arrived.
func (c *Core) InstallProgress() {
	if c.r.follow.installing {
		c.progress(c.tun.SyncTicks)
	}
}

// SnapshotInstalled says that the snapshot asked for in Ready.Install is durable
// under its final name, or could not be had. When it reports true the driver
// loads it before it applies any later Committed.
func (c *Core) SnapshotInstalled(m SnapMeta, err error) (accepted bool) {
	f := &c.r.follow
	if !f.installing || m != f.wanted || c.halt != nil || m.Zxid < c.log.emitted {
		return false
	}
	if err != nil {
		c.enterLooking()
		return false
	}
	f.installing = false
	if err := c.log.install(m); err != nil {
		c.fail(fmt.Errorf("%w: %v", ErrViolation, err))
		return false
	}
	c.peersChanged()
	c.digests.replaced(m)
	c.wal = append(c.wal, Record{Type: RecordInstall, Zxid: m.Zxid, Chain: m.Chain})
	c.jumped()
	c.progress(c.tun.SyncTicks)
	if c.r.state == StateLeading {
		c.pullNext()
	} else {
		c.fetch()
	}
	return true
}

// fetch asks the leader for what follows the log.
func (c *Core) fetch() {
	f := &c.r.follow
	if f.fetching && f.fetchFrom == c.log.last() {
		return
	}
	f.fetching = true
	c.ask()
}

// ask sends the question, unless the disk has to keep up first: what a learner
// has taken in and not written is bounded by a window, however slow its disk.
func (c *Core) ask() {
	f := &c.r.follow
	f.waiting = c.log.saturated(c.tun.WindowBytes)
	if f.waiting {
		f.fetchFrom, f.resend = c.log.last(), c.tick+1
		return
	}
	c.sendFetch()
}

func (c *Core) sendFetch() {
	f := &c.r.follow
	f.fetchFrom = c.log.last()
	f.resend = c.tick + uint64(c.tun.ResendTicks)
	if f.feed.from != 0 && !f.synced {
		c.askFeeder()
		return
	}
	c.send(Message{Type: MsgFetch, To: f.leader, Session: f.session, Epoch: c.r.epoch, Prev: f.fetchFrom, Last: f.fetchFrom}, 0)
}

// onNewLeader accepts the leader once the log holds its initial history: epoch
// after entries, in one log order (ZOOKEEPER-4643).
func (c *Core) onNewLeader(m *Message) {
	f := &c.r.follow
	if m.Epoch != c.r.epoch || m.Epoch != c.ctl.AcceptedEpoch || !f.obeyed || f.installing {
		return
	}
	chain, ok := c.log.hist.Chain(m.Base)
	if m.Base < c.log.hist.Start() {
		chain, ok = m.Chain, true // the snapshot that the log begins with contains it
	}
	if !ok || c.log.last() < m.Base {
		return
	}
	if chain != m.Chain {
		c.fail(fmt.Errorf("%w: this log and the initial history of epoch %d differ at %v", ErrViolation, m.Epoch, m.Base))
		return
	}
	if c.ctl.CurrentEpoch != m.Epoch {
		c.setControl(func(ctl *Control) { ctl.CurrentEpoch = m.Epoch })
	}
	if !f.synced {
		f.synced, f.ldSeq, f.fetching = true, c.claim(), false
		c.r.base = m.Base
		c.progress(c.tun.SyncTicks)
	}
	c.send(Message{Type: MsgAckLD, To: f.leader, Session: f.session, Epoch: m.Epoch, Durable: c.log.last()}, c.claim())
}

func (c *Core) onUpToDate(m *Message) {
	if m.Epoch == c.r.epoch && c.r.follow.synced {
		c.learnCommit(m)
	}
}

// learnCommit takes the commit position of an established leader.
func (c *Core) learnCommit(m *Message) {
	f := &c.r.follow
	if !f.synced || m.Epoch != c.r.epoch || !m.Counts {
		return
	}
	if !c.r.est {
		c.r.est, c.r.phase = true, PhaseBroadcast
		c.failures = 0
		c.send(c.notification(0), c.claim())
	}
	f.ahead = max(f.ahead, m.Commit)
	c.advance(m.Commit)
}
