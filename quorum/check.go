package quorum

import (
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Peers is what this node knows of the others: in full only when it leads.
func (c *Core) Peers() []Progress {
	var ps []Progress
	for _, p := range c.peers {
		if c.ctl.Formed && c.roleOf(p.id) == 0 {
			continue
		}
		pr := Progress{ID: p.id, Role: c.roleOf(p.id)}
		if l := c.learner(p.id); l != nil && c.r.state == StateLeading {
			pr.Synced, pr.Durable, pr.Level = l.synced && !l.cred.NeedsRebuild, l.durable, l.cred.Level
			pr.Connected = l.synced && c.tick-l.alive <= uint64(c.tun.FollowerTimeout)
		} else if c.r.state == StateFollowing && p.id == c.r.follow.leader {
			pr.Connected, pr.Synced, pr.Durable = true, c.r.est, c.log.commit
		}
		ps = append(ps, pr)
	}
	return ps
}

// Check reports the first invariant of ZAB.md section 1 that this node breaks.
func (c *Core) Check() error {
	l := &c.log
	broken := cmp.Or(
		rule(c.ctl.CurrentEpoch <= c.ctl.AcceptedEpoch, "cE ≤ aE"),
		rule(l.last().Epoch() <= c.ctl.AcceptedEpoch || l.last() == l.snap.Zxid, "epoch(last) ≤ aE"),
		rule(l.snap.Zxid <= l.last(), "snapshot ≤ last"),
		rule(l.commit <= l.last(), "commit ≤ last"),
		rule(l.emitted <= l.commit, "emitted ≤ commit"),
		rule(l.emitted <= max(l.durable, l.snap.Zxid), "emitted ≤ durable"),
		rule(l.durable <= l.last(), "durable ≤ last"),
		rule(l.hist.Start() <= l.snap.Zxid, "log start ≤ snapshot"),
		rule(len(l.tail) == 0 || l.tail[len(l.tail)-1].Zxid == l.last(), "tail ends at last"),
		rule(len(l.tail) > 0 || l.tailStart == l.last(), "empty tail starts at last"),
		rule(l.tailStart <= l.emitted, "what is not handed out is in memory"),
		rule(c.r.state != StateLeading || !c.r.est || c.ctl.CurrentEpoch == c.r.epoch, "an established leader leads cE"),
	)
	if broken != "" {
		return fmt.Errorf("%w at node %d: %s (aE %d, cE %d, snapshot %v, emitted %v, commit %v, durable %v, last %v)", ErrViolation,
			c.cfg.ID, broken, c.ctl.AcceptedEpoch, c.ctl.CurrentEpoch, l.snap.Zxid, l.emitted, l.commit, l.durable, l.last())
	}
	return nil
}

func rule(holds bool, name string) string {
	if holds {
		return ""
	}
	return name
}

// Hash digests the state, for comparing traces of one seed.
func (c *Core) Hash() uint64 {
	var d xxhash.Digest
	d.Reset()
	var b [8]byte
	for _, v := range []uint64{
		uint64(c.cfg.ID), c.tick, c.round, c.rng, c.seq, c.stable, c.age, uint64(c.ctl.AcceptedEpoch),
		uint64(c.ctl.CurrentEpoch), uint64(c.log.last()), c.log.hist.LastChain(), uint64(c.log.commit),
		uint64(c.log.durable), uint64(c.log.emitted), uint64(c.r.state), uint64(c.r.phase), uint64(c.r.epoch),
		uint64(c.r.base), c.r.deadline, uint64(c.r.follow.leader), c.r.follow.session, c.r.lead.pingSeq,
		c.r.lead.leaseMs, uint64(len(c.requests.list)), c.reads.want, c.reads.done,
		uint64(c.digests.own.last()), uint64(c.digests.agreed.last()), uint64(c.digests.disputed),
	} {
		binary.LittleEndian.PutUint64(b[:], v)
		_, _ = d.Write(b[:])
	}
	return d.Sum64()
}
