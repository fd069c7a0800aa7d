package sim

import (
	"perch/lease"
	"perch/quorum"
)

// session is one session as the observer knows it. Sessions are opened and
// closed by writes; its id is the zxid of the one that opened it.
type session struct {
	id       quorum.Zxid
	ttlMs    int64
	open     int   // position of its opening; 0: not committed
	closed   int   // position of its end; 0: alive
	closedAt int64 // when that was committed
	promised int64 // it must not end before
}

// alive says whether the session is there in the state at a position.
func (s *session) alive(pos int) bool {
	return s.open > 0 && s.open <= pos && (s.closed == 0 || s.closed > pos)
}

// touch is a client's renewal on its way.
type touch struct {
	session int
	called  int64
	home    quorum.NodeID
	epoch   quorum.Epoch // of the leader that it is meant for
}

// keeper is what a leader's driver does about sessions, as RULES.md R12 and R23
// say it: deadlines on the lease clock, a confirmed round before an expiry and
// before the answer to a touch.
type keeper struct {
	tracker  *lease.Tracker
	reign    quorum.Epoch // epoch that tracker serves; 0: none
	expiring bool
	raised   bool    // a higher level was proposed
	parked   []touch // of closing sessions: they wait for the outcome
}

// keep is the keeper's part of a tick.
func (n *node) keep() {
	if n.core == nil || !n.reigns() {
		n.keeper = keeper{}
		return
	}
	k, epoch, clock := &n.keeper, n.soft.Epoch, n.soft.LeaseMs
	if k.reign != epoch && !n.beginReign(epoch) {
		return
	}
	n.raise()
	next, ok := k.tracker.Next()
	if !ok || next > clock || k.expiring {
		return
	}
	k.expiring = true
	n.w.clients.ask(n, func() { n.expire(epoch) })
}

// leaseNow is an upper bound of the lease clock between two ticks: counting a
// renewal from a little later only lets the session live longer.
func (n *node) leaseNow() uint64 {
	return n.core.Soft().LeaseMs + uint64(min(n.local(n.w.now-n.lastTick)/millisecond+1, 100))
}

func (n *node) reigns() bool {
	return n.soft.State == quorum.StateLeading && n.soft.Established
}

// beginReign gives every session its whole time to live, once the initial
// history is applied.
func (n *node) beginReign(epoch quorum.Epoch) bool {
	base, ok := n.w.obs.ledger.find(n.soft.Base)
	if !ok || n.app.pos < base {
		return false
	}
	n.keeper = keeper{tracker: lease.NewTracker(), reign: epoch}
	for i := range n.w.clients.sessions {
		if s := &n.w.clients.sessions[i]; s.alive(n.app.pos) {
			n.keeper.tracker.Add(s.id, s.ttl(), n.soft.LeaseMs)
		}
	}
	return true
}

// expire proposes the end of the sessions that are due after a confirmed round.
func (n *node) expire(epoch quorum.Epoch) {
	k := &n.keeper
	if n.core == nil || k.reign != epoch {
		return
	}
	left := 0
	for _, id := range k.tracker.Due(n.core.Soft().LeaseMs, 100) {
		i := n.w.clients.sessionOf(id)
		if !n.w.clients.sessions[i].alive(n.app.pos) {
			k.tracker.Remove(id)
			continue
		}
		left++
		n.w.clients.put(n, write{kind: writeCloses, session: i, epoch: epoch, then: func(ok bool) {
			n.decided(epoch, id, ok)
			if left--; left == 0 {
				n.unpark(epoch)
			}
		}})
	}
	if left == 0 {
		n.unpark(epoch)
	}
}

// decided: the end of a session was applied, or could not be had.
func (n *node) decided(epoch quorum.Epoch, id quorum.Zxid, ok bool) {
	switch k := &n.keeper; {
	case k.reign != epoch:
	case ok:
		k.tracker.Remove(id)
	default:
		k.tracker.Reopen(id, n.leaseNow())
	}
}

func (n *node) unpark(epoch quorum.Epoch) {
	if n.keeper.reign != epoch {
		return
	}
	parked := n.keeper.parked
	n.keeper.parked, n.keeper.expiring = nil, false
	for _, t := range parked {
		n.touched(t)
	}
}

// touched: a renewal has arrived at the node that its home takes for the
// leader. It is answered after a round begun now.
func (n *node) touched(t touch) {
	k := &n.keeper
	if k.reign == 0 || k.reign != t.epoch {
		return
	}
	s := &n.w.clients.sessions[t.session]
	switch _, state := k.tracker.Touch(s.id, n.leaseNow()); state {
	case lease.TouchUnknown:
		return
	case lease.TouchClosing:
		k.parked = append(k.parked, t)
		return
	}
	answer := func() {
		if n.core != nil && n.keeper.reign == t.epoch && n.soft.Epoch == t.epoch && n.reigns() && s.alive(n.app.pos) {
			n.w.net.deliver(n.id, t.home, event{kind: evTouched, touch: t})
		}
	}
	if n.w.opt.Mutant == "touch-unconfirmed" {
		answer()
		return
	}
	n.w.clients.ask(n, answer)
}
