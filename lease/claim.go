package lease

import (
	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// Claims of messages, what waits for some, and what becomes of claims.

// waiter is a claim that waits, in the order of places. It is immutable once it
// is in a table.
type waiter struct {
	path   string      // of the queue
	place  quorum.Zxid // the command that made it
	attach uint32
	node   quorum.NodeID // who answers the request
	home   uint64
	count  uint32
	ttlMs  uint64
}

func waiterLess(a, b *waiter) bool { return a.place < b.place }

// waiterFirst is the order in which the waiters of a queue are served.
func waiterFirst(a, b *waiter) bool {
	if a.path != b.path {
		return a.path < b.path
	}
	return a.place < b.place
}

func (w *waiter) digest() uint64 {
	return sumOf(digestWaiter, []uint64{
		uint64(w.place), uint64(w.attach), uint64(w.node), w.home, uint64(w.count), w.ttlMs,
	}, w.path)
}

// waitClaim is the kind of the places of this file.
const waitClaim waitKind = 1

func init() {
	withdrawals[waitClaim] = func(s *State, x *txn, place quorum.Zxid) {
		if w := s.waiterAt(place); w != nil {
			s.dropWaiter(w)
			x.tellWaiter(w, tree.ErrHoldLost, nil)
		}
	}
	leavers = append(leavers, (*State).leaveQueue)
}

func (s *State) waiterAt(place quorum.Zxid) *waiter {
	w, _ := s.waiters.Get(&waiter{place: place})
	return w
}

func (s *State) addWaiter(w *waiter)  { s.countWaiter(w, true) }
func (s *State) dropWaiter(w *waiter) { s.countWaiter(w, false) }

func (s *State) countWaiter(w *waiter, in bool) {
	setIn(s.waiters, w, in)
	setIn(s.lines, w, in)
	setIn(s.waits, wait{w.node, w.home, w.place, waitClaim}, in)
	if in {
		s.sum += w.digest()
		s.count(tallyWaiters, w.path, 0, 1)
	} else {
		s.sum -= w.digest()
		s.count(tallyWaiters, w.path, 0, -1)
	}
}

// tellWaiter has the home of a waiter learn how its wait has ended.
func (x *txn) tellWaiter(w *waiter, code tree.Code, claimed []Message) {
	x.outcomes = append(x.outcomes, Outcome{
		Place: w.place, Attach: w.attach, Node: w.node, Home: w.home, Code: code, Claimed: claimed,
	})
}

// claim takes messages, or a place to wait for some.
func (s *State) claim(x *txn, op *commandpb.Claim, res *Result) tree.Code {
	path, code := x.who.named(commandpb.Kind_KIND_QUEUE, op.Queue, PermUse)
	switch {
	case code != tree.OK:
		return code
	case op.Count == 0, op.Count > claimMost, op.TtlMs < claimTTLMinMs, op.TtlMs > claimTTLMaxMs:
		return tree.ErrInvalidArgument
	}
	if old := x.key.old; old != nil {
		if x.key.handle.Token != 0 {
			return s.claimAgain(x, path, res)
		}
		if w := s.waiterAt(old.zxid); w != nil {
			return s.waitAgain(x, w, op, res)
		}
	}
	w := &waiter{
		path: path, place: x.Zxid, attach: 1, node: quorum.NodeID(op.Home.GetNode()), home: op.Home.GetInstance(),
		count: op.Count, ttlMs: op.TtlMs,
	}
	ahead := s.tally(tallyWaiters, path, 0)
	if ahead == 0 { // else nothing is ready
		res.Claimed = s.take(x, w)
	}
	switch {
	case len(res.Claimed) > 0 || !op.Wait:
		return tree.OK
	case ahead >= int64(s.settings.Waiting):
		return tree.ErrTooManyWaiters
	}
	if code := s.housed(path); code != tree.OK {
		return code
	}
	s.addWaiter(w)
	res.Place = Place{ID: w.place, Attach: w.attach, Position: int(ahead) + 1}
	return tree.OK
}

// take claims what is ready for a waiter, as far as one answer goes.
func (s *State) take(x *txn, w *waiter) (list []Message) {
	for bytes := 0; len(list) < int(w.count); {
		m := s.firstReady(w.path)
		if m == nil {
			break
		}
		if bytes += len(m.data); bytes > claimBytes && len(list) > 0 {
			break
		}
		next := *m
		next.state, next.due, next.claim, next.by, next.attach = messageLeased, x.age+w.ttlMs, x.Zxid, w.place, w.attach
		next.attempts++
		s.changeMessage(x, m, &next)
		list = append(list, next.claimed(x.age))
	}
	return list
}

// serveClaims gives ready messages to those who wait, the longest first: a
// message wakes one.
func (s *State) serveClaims(x *txn, path string) {
	for s.firstReady(path) != nil {
		var first *waiter
		s.lines.Ascend(&waiter{path: path}, func(w *waiter) bool {
			if w.path == path {
				first = w
			}
			return false
		})
		if first == nil {
			return
		}
		s.dropWaiter(first)
		x.tellWaiter(first, tree.OK, s.take(x, first))
	}
}

// claimAgain answers the key of a claim with what that still has.
func (s *State) claimAgain(x *txn, path string, res *Result) tree.Code {
	h := x.key.handle
	for _, id := range h.Ids {
		if m := s.message(path, uint64(id)); m != nil && m.state == messageLeased && uint64(m.claim) == h.Token {
			res.Claimed = append(res.Claimed, m.claimed(x.age))
		}
	}
	if len(res.Claimed) == 0 {
		return tree.ErrHoldLost
	}
	res.Replayed = true
	return tree.OK
}

// waitAgain has this request wait in the place of an older one (RULES.md R16).
func (s *State) waitAgain(x *txn, w *waiter, op *commandpb.Claim, res *Result) tree.Code {
	s.dropWaiter(w)
	x.tellWaiter(w, tree.ErrSuperseded, nil)
	if !op.Wait {
		s.unkeep(w.place)
		x.key.keep = false
		return tree.OK
	}
	next := *w
	next.attach, next.node, next.home = w.attach+1, quorum.NodeID(op.Home.GetNode()), op.Home.GetInstance()
	next.count, next.ttlMs = op.Count, op.TtlMs
	s.addWaiter(&next)
	res.Place, res.Replayed = Place{ID: next.place, Attach: next.attach}, true
	return tree.OK
}

// leaveQueue ends a request that waits for messages; false when the place is none
// of a queue. What has come meanwhile is the answer, or goes back when nobody is
// there to be answered.
func (s *State) leaveQueue(x *txn, op *commandpb.Leave, res *Result) (tree.Code, bool) {
	place := quorum.Zxid(op.Place)
	if w := s.waiterAt(place); w != nil {
		if w.attach != op.Attach {
			return tree.ErrSuperseded, true
		}
		s.dropWaiter(w)
		s.unkeep(place)
		return tree.OK, true
	}
	list := s.takenBy(place)
	switch {
	case len(list) == 0:
		return tree.OK, false
	case list[0].attach != op.Attach:
		return tree.ErrSuperseded, true
	case op.Gone:
		for _, m := range list {
			s.untake(x, m)
		}
		s.unkeep(place)
		return tree.OK, true
	}
	for _, m := range list {
		res.Claimed = append(res.Claimed, m.claimed(x.age))
	}
	return tree.OK, true
}

// takenBy are the messages that a place has claimed.
func (s *State) takenBy(place quorum.Zxid) (list []*message) {
	s.takens.Ascend(taken{by: place}, func(t taken) bool {
		if t.by == place {
			list = append(list, s.message(t.path, t.id))
		}
		return t.by == place
	})
	return list
}

// untake takes a claim back that nobody has seen: it does not count.
func (s *State) untake(x *txn, m *message) {
	next := *m
	next.state, next.due, next.claim, next.by, next.attach = messageReady, 0, 0, 0, 0
	next.attempts--
	s.changeMessage(x, m, &next)
}

// acked remembers a claim that was acked.
type acked struct {
	path  string
	id    uint64
	claim quorum.Zxid
	age   uint64 // cluster age at the ack
}

func ackedLess(a, b *acked) bool {
	switch {
	case a.path != b.path:
		return a.path < b.path
	case a.id != b.id:
		return a.id < b.id
	}
	return a.claim < b.claim
}

// ackedOlder is the order in which they are forgotten.
func ackedOlder(a, b *acked) bool {
	if a.age != b.age {
		return a.age < b.age
	}
	return ackedLess(a, b)
}

func (a *acked) digest() uint64 {
	return sumOf(digestReceipt, []uint64{a.id, uint64(a.claim), a.age}, a.path)
}

// ackedMost is how many are remembered. It is part of what heldLevel means.
const ackedMost = 1 << 18

func (s *State) addAcked(a *acked) {
	s.receipts.Set(a)
	s.receiptsOld.Set(a)
	s.sum += a.digest()
}

// forgetAcked drops what was remembered for long enough, and the oldest beyond
// as many as there may be.
func (s *State) forgetAcked() {
	for range recordsAtOnce {
		a, ok := s.receiptsOld.Min()
		if !ok || s.receiptsOld.Len() <= ackedMost && s.age-a.age < uint64(s.settings.OverAgeMs) {
			return
		}
		s.receiptsOld.Delete(a)
		s.receipts.Delete(a)
		s.sum -= a.digest()
	}
}

// settleClaims acks, returns or extends claims. Those that are lost do not stand
// in the way of the others.
func (s *State) settleClaims(x *txn, op *commandpb.Settle, res *Result) tree.Code {
	path, code := x.who.named(commandpb.Kind_KIND_QUEUE, op.Queue, PermUse)
	switch {
	case code != tree.OK:
		return code
	case len(op.Receipts) == 0, len(op.Receipts) > claimMost, !validSettle(op):
		return tree.ErrInvalidArgument
	case s.queueAt(path) == nil:
		return tree.ErrNoQueue
	}
	done := make(map[string]bool, len(op.Receipts))
	for _, receipt := range op.Receipts {
		ok, twice := done[receipt]
		if !twice {
			ok = s.settleClaim(x, path, receipt, op)
			done[receipt] = ok
		}
		if ok {
			res.Receipts.OK = append(res.Receipts.OK, receipt)
		} else {
			res.Receipts.Lost = append(res.Receipts.Lost, receipt)
		}
	}
	if len(res.Receipts.Lost) > 0 {
		x.answer = tree.ErrReceiptLost
	}
	return tree.OK
}

func validSettle(op *commandpb.Settle) bool {
	switch op.How {
	case commandpb.Settle_HOW_ACK:
		return op.Ms == 0
	case commandpb.Settle_HOW_NACK:
		return op.Ms <= delayMostMs
	case commandpb.Settle_HOW_EXTEND:
		return op.Ms >= claimTTLMinMs && op.Ms <= claimTTLMaxMs
	}
	return false
}

// settleClaim is settleClaims for one receipt; false when it is lost. One that
// was acked is done.
func (s *State) settleClaim(x *txn, path, receipt string, op *commandpb.Settle) bool {
	id, claim, ok := parseReceipt(receipt)
	if !ok {
		return false
	}
	m := s.message(path, id)
	if m == nil || m.state != messageLeased || m.claim != claim {
		_, done := s.receipts.Get(&acked{path: path, id: id, claim: claim})
		return done
	}
	switch op.How {
	case commandpb.Settle_HOW_ACK:
		s.changeMessage(x, m, nil)
		s.addAcked(&acked{path: path, id: id, claim: claim, age: x.age})
	case commandpb.Settle_HOW_NACK:
		s.comeBack(x, m, op.Ms)
	case commandpb.Settle_HOW_EXTEND:
		next := *m
		next.due = x.age + op.Ms
		s.changeMessage(x, m, &next)
	}
	return true
}
