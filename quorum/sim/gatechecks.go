package sim

import "perch/quorum"

// leaves: 13, the table of ZAB.md section 3 against the disk of the sender at
// the moment a message leaves it. It reports whether the message may go.
func (o *observer) leaves(n *node, m *quorum.Message) bool {
	if o.w.failure != nil {
		return false
	}
	if m.From != n.id || m.FromBoot != n.disk.img.control.Boot {
		o.w.fail(13, "node %d sends as %d, boot %v", n.id, m.From, m.FromBoot)
	}
	switch m.Type {
	case quorum.MsgNotify:
		o.gateCredentials(n, m)
		o.check8Round(n, m)
	case quorum.MsgJoin:
		o.gateCredentials(n, m)
		o.gateTable(n, m)
	case quorum.MsgLeaderInfo:
		o.gateLeaderInfo(n, m)
	case quorum.MsgAckEpoch:
		o.gateAckEpoch(n, m)
	case quorum.MsgNewLeader:
		o.gateNewLeader(n, m)
	case quorum.MsgAckLD:
		o.gateAckLD(n, m)
	case quorum.MsgAck:
		o.gateAck(n, m)
	case quorum.MsgPong:
		o.gatePong(n, m)
		o.verdicts(n, m)
	case quorum.MsgPing:
		o.verdicts(n, m)
	}
	o.commitIsKnown(n, m)
	o.leaderSpeaks(n, m)
	return o.w.failure == nil
}

func (o *observer) gateFail(n *node, m *quorum.Message, why string) {
	c := &n.disk.img.control
	o.w.fail(13, "node %d: %s %s; disk: aE %d, cE %d, log ends at %v", n.id, messageText(m), why,
		c.AcceptedEpoch, c.CurrentEpoch, n.disk.img.hist.Last())
}

// gateCredentials: every log record up to the zxid claimed is on disk, and the
// epochs are. What a NOTIFY, or an ACKEPOCH that is said again, claims may have
// been cut by a record that was fsynced together with those that it waited for:
// it speaks of a moment before, as one does that was long on its way. A store that
// was taken back takes itself for what it was until it is told; nobody counts it.
func (o *observer) gateCredentials(n *node, m *quorum.Message) {
	im := &n.disk.img
	last := im.hist.Last()
	if m.Type == quorum.MsgNotify || m.Type == quorum.MsgAckEpoch {
		last = max(last, o.peers[n.id].ended)
	}
	if m.Cred.Last > last {
		o.gateFail(n, m, "claims a zxid that is not on its disk")
	}
	if m.Cred.AcceptedEpoch > im.control.AcceptedEpoch || m.Cred.CurrentEpoch > im.control.CurrentEpoch {
		o.gateFail(n, m, "claims epochs that are not on its disk")
	}
	if m.Cred.NeedsRebuild != im.control.NeedsRebuild && !m.Cred.NeedsRebuild {
		o.gateFail(n, m, "conceals that the store needs rebuild")
	}
	if n.wiped && n.taken == 0 && m.Type == quorum.MsgNotify && m.Vote.Leader == n.id && m.State == quorum.StateLeading {
		o.w.fail(15, "node %d, whose disk was lost, says that it leads", n.id)
	}
}

// gateTable: every epoch end claimed is on disk with that hash, or was and has
// been cut.
func (o *observer) gateTable(n *node, m *quorum.Message) {
	for _, t := range m.Table {
		z := quorum.MakeZxid(t.Epoch, t.Last)
		if !n.disk.img.holds(z, t.Chain) && !(m.Type == quorum.MsgAckEpoch && o.peers[n.id].cut[position{z, t.Chain}]) {
			o.gateFail(n, m, "claims an epoch end that is not on its disk")
		}
	}
}

func (o *observer) check8Round(n *node, m *quorum.Message) {
	if m.Forming != quorum.Formed {
		return
	}
	p := &o.peers[n.id]
	if m.Round < p.round {
		o.w.fail(8, "node %d: round %d after %d", n.id, m.Round, p.round)
	}
	p.round = m.Round
}

func (o *observer) gateLeaderInfo(n *node, m *quorum.Message) {
	if n.disk.img.control.AcceptedEpoch < m.Epoch {
		o.gateFail(n, m, "before the leader's own aE is on disk")
	}
}

func (o *observer) gateAckEpoch(n *node, m *quorum.Message) {
	o.gateCredentials(n, m)
	o.gateTable(n, m)
	if n.disk.img.control.AcceptedEpoch < m.Epoch {
		o.gateFail(n, m, "before aE is on disk")
	}
	if !m.Counts {
		return
	}
	o.mayCount(n, m)
	if got := o.peers[n.id].promised[m.Epoch]; got.Leader != m.To || got.Boot != m.ToBoot {
		o.gateFail(n, m, "is a promise to another than the disk says")
	}
}

// mayCount: 15, a store that needs rebuild promises nothing. It may follow and
// acknowledge; that nobody counts it shows in 9 and 23.
func (o *observer) mayCount(n *node, m *quorum.Message) {
	if n.wiped || n.disk.img.control.NeedsRebuild {
		o.w.fail(15, "node %d, whose disk was lost, sends %s", n.id, messageText(m))
	}
}

func (o *observer) gateNewLeader(n *node, m *quorum.Message) {
	im := &n.disk.img
	if im.control.CurrentEpoch < m.Epoch || !im.holds(m.Base, m.Chain) || im.hist.Last() < m.Base {
		o.gateFail(n, m, "before the leader's own cE and log up to the base are on disk")
	}
}

func (o *observer) gateAckLD(n *node, m *quorum.Message) {
	im := &n.disk.img
	if im.control.CurrentEpoch < m.Epoch || im.hist.Last() < m.Durable {
		o.gateFail(n, m, "before cE and the log are on disk")
	}
	if r := o.byEpoch[m.Epoch]; r != nil && r.established && !im.holds(r.base, r.baseChain) {
		o.gateFail(n, m, "without the initial history on disk")
	}
}

func (o *observer) gateAck(n *node, m *quorum.Message) {
	im := &n.disk.img
	if im.control.CurrentEpoch != m.Epoch || im.control.AcceptedEpoch != m.Epoch {
		o.gateFail(n, m, "in another epoch than that of the disk")
	}
	if im.hist.Last() < m.Durable {
		o.gateFail(n, m, "before the log is on disk")
	}
}

// gatePong: a PONG claims what an ACK does, and counts for life only from a
// voter with aE = cE = e.
func (o *observer) gatePong(n *node, m *quorum.Message) {
	if n.disk.img.hist.Last() < m.Durable {
		o.gateFail(n, m, "before the log is on disk")
	}
}

// commitIsKnown: no message names a commit point that no leader has reached.
func (o *observer) commitIsKnown(n *node, m *quorum.Message) {
	if m.Commit > o.ledger.last() {
		o.w.fail(9, "node %d sends %s: nobody has committed that", n.id, messageText(m))
	}
}

// leaderSpeaks: what only the established leader of an epoch may say.
func (o *observer) leaderSpeaks(n *node, m *quorum.Message) {
	switch m.Type {
	case quorum.MsgUpToDate, quorum.MsgPropose, quorum.MsgCommit, quorum.MsgReadPos:
	default:
		return
	}
	r := o.byEpoch[m.Epoch]
	if r == nil || !r.established || r.leader != n.id || r.boot != m.FromBoot {
		o.w.fail(7, "node %d sends %s and is not the established leader of the epoch", n.id, messageText(m))
	}
}

// arrives notes what a leader hears, for the lease clock: from any life of a
// disk that counts.
func (o *observer) arrives(n *node, m *quorum.Message) {
	if m.Type != quorum.MsgPong && m.Type != quorum.MsgAckLD || m.ToBoot != n.disk.img.control.Boot {
		return
	}
	p := &o.peers[n.id]
	as, _ := o.configOf(n).Member(m.From)
	counts := (as.Role != quorum.RoleVoter || as.Incarnation == m.FromBoot.Incarnation) && !m.Cred.NeedsRebuild
	if counts && m.Epoch >= p.heardIn[m.From] {
		p.heard[m.From], p.heardIn[m.From] = p.ticks, m.Epoch
	}
	p.window = max(p.window, int(m.Timeout))
}
