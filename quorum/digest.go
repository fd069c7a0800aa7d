package quorum

import (
	"fmt"
	"slices"
)

// Digests are compared so that a state that has gone wrong is found and not
// served (RULES.md R5). Every node reports the digest of its state at
// checkpoints: after every DigestEvery transactions, where a snapshot stands,
// and where it comes to rest. A digest is only ever reported of committed and
// applied state, so it can never be undone, and honest nodes never differ.
//
// The leader collects the reports in PONG. What a quorum has at a position is
// the verdict on it, and PING carries the newest verdicts: a node, the leader
// and observers too, whose own digest differs has diverged and stops for good.
// Where voters differ and no value has a quorum the position is disputed, and
// nobody serves until a quorum agrees there or later.

// DigestEvery is the number of transactions between two checkpoints: drivers
// report the digest wherever the counter is a multiple of it.
const DigestEvery = 256

const (
	checkpointsKept = 64 // of a node, and of verdicts
	checkpointsSent = 16 // in a PONG
	verdictsSent    = 8  // in a PING
)

// Checkpoint is the digest of the state at one position.
type Checkpoint struct {
	Zxid   Zxid
	Digest uint64
}

// Doubt says why nothing may be answered from a node's state.
type Doubt uint8

const (
	DoubtNone Doubt = 0
	// DoubtDisputed: voters differ and no digest has a quorum. It ends when a
	// quorum agrees.
	DoubtDisputed Doubt = 1
	// DoubtRebuild: what this store holds is spoiled. It does not end before the
	// store is rebuilt.
	DoubtRebuild Doubt = 2
)

// Mismatch says that a quorum has another digest than this node.
type Mismatch struct {
	Zxid        Zxid
	Own, Agreed uint64
}

// digests is what a node knows of its own state and of the others'. It outlives
// roles: it is about committed state.
type digests struct {
	from     Zxid // the state began here; what was reported of positions before was of another
	own      checkpoints
	agreed   checkpoints // verdicts
	disputed Zxid        // newest position without a verdict at or after it where voters differ; 0 for none
}

// checkpoints are some of the newest, rising by zxid.
type checkpoints []Checkpoint

func (cs checkpoints) find(z Zxid) (int, bool) {
	return slices.BinarySearchFunc(cs, z, func(c Checkpoint, z Zxid) int {
		switch {
		case c.Zxid < z:
			return -1
		case c.Zxid > z:
			return 1
		}
		return 0
	})
}

// at is the digest at z, if it is kept.
func (cs checkpoints) at(z Zxid) (uint64, bool) {
	i, ok := cs.find(z)
	if !ok {
		return 0, false
	}
	return cs[i].Digest, true
}

// add keeps c, unless its position is known already, and drops the oldest when
// there are too many.
func (cs *checkpoints) add(c Checkpoint) {
	i, ok := cs.find(c.Zxid)
	if ok {
		return
	}
	*cs = slices.Insert(*cs, i, c)
	if len(*cs) > checkpointsKept {
		*cs = slices.Delete(*cs, 0, 1)
	}
}

// newest copies the last n, rising.
func (cs checkpoints) newest(n int) []Checkpoint {
	return slices.Clone(cs[max(0, len(cs)-n):])
}

// last is the position of the newest; 0 when there is none.
func (cs checkpoints) last() Zxid {
	if len(cs) == 0 {
		return 0
	}
	return cs[len(cs)-1].Zxid
}

// Digest says that the state which this node has applied up to z has digest d.
// Drivers call it wherever z.Counter() is a multiple of DigestEvery, and where
// the state has not moved for a moment. Of snapshots the core knows by itself.
func (c *Core) Digest(z Zxid, d uint64) {
	if c.halt != nil || z == 0 || z < c.digests.from || z > c.log.emitted {
		return
	}
	c.digests.own.add(Checkpoint{z, d})
	if c.judge(z) {
		c.compare(z)
	}
}

// replaced: the state is the one of this snapshot now.
func (d *digests) replaced(m SnapMeta) {
	d.from, d.own = m.Zxid, nil
	if m.Zxid != 0 {
		d.own.add(Checkpoint{m.Zxid, m.Digest})
	}
}

// judge finds the verdict on z, or a dispute, in what voters have reported to
// this leader. It reports false when the verdict has stopped this node.
func (c *Core) judge(z Zxid) bool {
	if c.r.state != StateLeading || !c.r.est || z <= c.digests.agreed.last() {
		return true
	}
	var values []uint64
	if d, ok := c.reported(c.cfg.ID, z); ok && c.votes() {
		values = append(values, d)
	}
	for i := range c.r.lead.learners {
		d, ok := c.reported(c.r.lead.learners[i].id, z)
		if ok && !slices.Contains(values, d) {
			values = append(values, d)
		}
	}
	for _, d := range values {
		if c.quorum(func(id NodeID) bool { got, ok := c.reported(id, z); return ok && got == d }) {
			return c.settle(Checkpoint{z, d})
		}
	}
	if len(values) > 1 && z > c.digests.disputed {
		c.digests.disputed = z
		c.r.lead.pingAt = c.tick // all must stop serving
	}
	return true
}

// reported is the digest that a voter has at z, as this leader knows it.
func (c *Core) reported(id NodeID, z Zxid) (uint64, bool) {
	if id == c.cfg.ID {
		return c.digests.own.at(z)
	}
	l := c.learner(id)
	if !c.member(l) || !l.synced {
		return 0, false
	}
	return l.digests.at(z)
}

// onDigests takes a learner's checkpoints. It reports false when a verdict has
// stopped this leader.
func (c *Core) onDigests(l *learner, m *Message) bool {
	for _, cp := range m.Digests[:min(len(m.Digests), checkpointsSent)] {
		if cp.Zxid > c.log.last() {
			continue
		}
		l.digests.add(cp)
		if !c.judge(cp.Zxid) {
			return false
		}
	}
	return true
}

// onVerdicts takes what the leader says about digests. It reports false when a
// verdict has stopped this node.
func (c *Core) onVerdicts(m *Message) bool {
	if !c.r.follow.synced || !m.Counts {
		return true
	}
	if m.Disputed > max(c.digests.agreed.last(), c.digests.disputed) {
		c.digests.disputed = m.Disputed
	}
	for _, v := range m.Digests {
		if !c.settle(v) {
			return false
		}
	}
	return true
}

// settle notes a verdict. A dispute at or before it is over. It reports false
// when the verdict has stopped this node.
func (c *Core) settle(v Checkpoint) bool {
	c.digests.agreed.add(v)
	if c.digests.disputed <= v.Zxid {
		c.digests.disputed = 0
	}
	return c.compare(v.Zxid)
}

// compare stops this node for good, and reports false, if its state differs from
// the verdict on z.
func (c *Core) compare(z Zxid) bool {
	own, ok := c.digests.own.at(z)
	agreed, judged := c.digests.agreed.at(z)
	if !ok || !judged || own == agreed || c.ctl.NeedsRebuild {
		return true
	}
	c.out.Mismatch = &Mismatch{Zxid: z, Own: own, Agreed: agreed}
	c.Spoil(fmt.Sprintf("the state of this node is wrong: its digest at %v is %016x, that of a majority of the voters is %016x", z, own, agreed))
	return false
}

// abandon ends all requests of this node's clients: nothing may be answered from
// its state any more.
func (c *Core) abandon() {
	for _, r := range c.requests.list {
		cause := CauseStopped
		if r.epoch == 0 {
			cause = CauseRefused
		}
		c.out.Failed = append(c.out.Failed, Failure{ID: r.id, Cause: cause})
	}
	c.requests.list = nil
}

// doubt says whether and why nothing may be answered from this node's state.
func (c *Core) doubt() Doubt {
	switch {
	case c.ctl.Spoiled:
		return DoubtRebuild
	case c.digests.disputed != 0:
		return DoubtDisputed
	}
	return DoubtNone
}

// disputeText tells people what a dispute is about.
func (c *Core) disputeText() string {
	text := fmt.Sprintf("the voters differ about the state at %v and no digest has a majority: nobody serves until a majority agrees", c.digests.disputed)
	if own, ok := c.digests.own.at(c.digests.disputed); ok {
		text += fmt.Sprintf(" (this node has %016x)", own)
	}
	return text + ". Start the voters that are down"
}
