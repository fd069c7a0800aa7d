package node

import (
	"fmt"

	"perch/lease"
	"perch/quorum"
)

// Digests (RULES.md R5). Apply reports the digest of the state at checkpoints,
// and the loop where the state has come to rest; the core compares them with
// those of the other nodes. While a state is in doubt nothing is answered from
// it.

// checkpoint notes the digest at e in b, when one is due there, and keeps the
// state for the next snapshot: it is one that all nodes compare.
func (a *applier) checkpoint(e *quorum.Entry, b *batch) {
	if e.Zxid.Counter()%quorum.DigestEvery != 0 {
		return
	}
	at := a.present()
	a.checked.Store(at)
	b.digests = append(b.digests, quorum.Checkpoint{Zxid: at.view.Zxid(), Digest: at.view.Digest()})
}

// present is the state as it is, which only the goroutine may ask for.
func (a *applier) present() *published {
	return &published{view: a.state.View(), chain: a.chain, config: a.config}
}

// report tells the core of the digests in b.
func (a *applier) report(b *batch) {
	if len(b.digests) == 0 {
		return
	}
	digests := b.digests
	b.digests = nil
	a.node.loop.call(func(core machine) {
		for _, d := range digests {
			core.Digest(d.Zxid, d.Digest)
		}
	})
}

// forSnapshot is the state that a snapshot is taken of: that of the newest
// checkpoint, so that its digest is compared. When less than DigestEvery
// transactions have come since the snapshot at z it is the newest there is.
func (a *applier) forSnapshot(z quorum.Zxid) *published {
	if at := a.checked.Load(); at != nil && at.view.Zxid() > z {
		return at
	}
	return a.now()
}

// rest reports the digest of a state that has not moved between two sweeps, so
// that nodes which idle are compared too, and a dispute ends where all stand
// still.
func (l *loop) rest() {
	view := l.node.view()
	if z := view.Zxid(); z != l.restAt {
		l.restAt, l.rested = z, false
		return
	}
	if !l.rested {
		l.rested = true
		l.core.Digest(view.Zxid(), view.Digest())
	}
}

// mismatched tells that this node's state has turned out to be wrong.
func (l *loop) mismatched(m *quorum.Mismatch) {
	l.node.metrics.mismatches.Inc()
	l.log.Error("the state of this node is wrong: it serves nothing until it is rebuilt",
		keyZxid, m.Zxid.String(), "digest", fmt.Sprintf("%016x", m.Own), "agreed", fmt.Sprintf("%016x", m.Agreed))
}

// doubted follows a change of the doubt: who is parked must not wait for a state
// that nobody is answered from.
func (l *loop) doubted(s quorum.Soft) {
	switch s.Doubt {
	case quorum.DoubtNone:
		l.log.Info("a majority of the voters agrees about the state again", keyZxid, s.Agreed.String())
	case quorum.DoubtDisputed, quorum.DoubtRebuild:
		l.node.watches.wakeAll()
		l.node.places.fail(lease.ErrCommitTimeout)
	}
}

// inDoubt is an error while nothing may be answered from this node's state.
func (n *Node) inDoubt() error {
	if n.Soft().Doubt != quorum.DoubtNone {
		return lease.ErrStateInDoubt
	}
	if n.inPast() {
		return &lease.Refused{Why: lease.ErrNoQuorum, Text: pastText}
	}
	return nil
}

const pastText = "this node was restored, and the new cluster has made no transaction yet"

// inPast says whether this node's state is that of a former cluster: it was
// restored from it, and the first transaction of the new one, which ends what was
// alive then, is not applied here (RULES.md R9).
func (n *Node) inPast() bool {
	past := n.control.Load().Past.Zxid
	return past != 0 && n.positions.now() == past
}
