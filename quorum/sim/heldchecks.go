package sim

import (
	"slices"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// lockModel is what the observer knows of a lock.
type lockModel struct {
	holders   []lease.Holder
	queue     []placeModel
	exclusive quorum.Zxid // greatest token of an exclusive hold so far
	shared    quorum.Zxid // … of a shared one
}

type placeModel struct{ id quorum.Zxid }

// check holds the first application of a command against the rules, and every
// other one against the first: 29, one state everywhere.
func (h *held) check(n *node, wr *write, res *lease.Result) {
	pos, view := n.app.pos, n.held.state.View()
	if pos <= h.checked {
		h.sameDigest(n, pos, view)
		return
	}
	h.checked = pos
	h.digests = append(h.digests, heldDigest{pos, view.Digest()})
	h.w.note("held %v: %v -> %v hold %v place %v outcomes %v ended %v", res.Zxid, wr.cmd, res.Code, res.Hold, res.Place, res.Outcomes, res.Ended)
	for i := range h.locks {
		h.follow(i, view, wr, res)
	}
	h.checkOnce(view, wr, res)
	h.checkFenced(wr, res)
}

func (h *held) sameDigest(n *node, pos int, view *lease.View) {
	i, ok := slices.BinarySearchFunc(h.digests, pos, func(d heldDigest, pos int) int { return d.pos - pos })
	if !ok || h.digests[i].digest != view.Digest() {
		h.w.fail(29, "node %d has another state at position %d than the first that applied it", n.id, pos)
	}
}

// follow compares a lock after a command with what may have become of it.
func (h *held) follow(i int, view *lease.View, wr *write, res *lease.Result) {
	m := &h.locks[i]
	q := lease.Read{Kind: lease.ReadHeld, Of: commandpb.Kind_KIND_LOCK, Name: lockName(i)}
	a, _, err := view.Read(q, lease.Cursor{}, 0)
	if err != nil || len(a.Held) != 1 {
		h.w.fail(29, "lock %d cannot be read: %v", i, err)
		return
	}
	now := &a.Held[0]
	h.followQueue(i, m, wr, res)
	for _, n := range now.Holders {
		h.checkHolder(i, m, n, now.Holders)
	}
	for _, n := range now.Holders {
		if n.Shared {
			m.shared = max(m.shared, n.Token)
		} else {
			m.exclusive = max(m.exclusive, n.Token)
		}
	}
	m.holders = slices.Clone(now.Holders)
	if now.Waiting != len(m.queue) {
		h.w.fail(31, "lock %d has %d places, %d are known", i, now.Waiting, len(m.queue))
	}
	if len(m.queue) > 0 && len(m.holders) == 0 {
		h.w.fail(31, "lock %d is free and %v waits", i, m.queue[0].id)
	}
}

// checkHolder: 30, at most one holder, or several that share; tokens rise.
func (h *held) checkHolder(i int, m *lockModel, n lease.Holder, all []lease.Holder) {
	if len(all) > 1 && !n.Shared {
		h.w.fail(30, "lock %d has %d holders, one of them exclusive", i, len(all))
	}
	if slices.ContainsFunc(m.holders, func(o lease.Holder) bool { return o.Token == n.Token && o.Session == n.Session }) {
		return
	}
	if n.Token <= m.exclusive || !n.Shared && n.Token <= m.shared {
		h.w.fail(30, "lock %d is granted under token %v after %v and, shared, %v", i, n.Token, m.exclusive, m.shared)
	}
}

// followQueue: 31, places are granted in their order, and none is forgotten.
func (h *held) followQueue(i int, m *lockModel, wr *write, res *lease.Result) {
	op := wr.cmd.GetAcquire()
	if op != nil && op.Wants[0].Name == lockName(i) && res.Place.ID == res.Zxid && !res.Replayed {
		m.queue = append(m.queue, placeModel{id: res.Place.ID})
	}
	if leave := wr.cmd.GetLeave(); leave != nil && (res.Code == tree.ErrLockHeld || res.Code == tree.OK) {
		at := slices.IndexFunc(m.queue, func(p placeModel) bool { return p.id == quorum.Zxid(leave.Place) })
		if at >= 0 && res.Hold.Token == 0 {
			m.queue = slices.Delete(m.queue, at, at+1)
		}
	}
	for j := range res.Outcomes {
		o := &res.Outcomes[j]
		at := slices.IndexFunc(m.queue, func(p placeModel) bool { return p.id == o.Place })
		if at < 0 || o.Code == tree.ErrSuperseded {
			continue
		}
		if o.Code == tree.OK && at != 0 {
			h.w.fail(31, "lock %d is granted to place %v before %v", i, o.Place, m.queue[0].id)
		}
		m.queue = slices.Delete(m.queue, at, at+1)
	}
}

// once is what the observer knows of a key: what was done under it last.
type once struct {
	zxid quorum.Zxid
	age  uint64 // cluster age
}

// checkOnce: 32, what has a key happens once for as long as its record must be
// kept, and the oldest record goes first (RULES.md R21).
func (h *held) checkOnce(view *lease.View, wr *write, res *lease.Result) {
	if wr.cmd.GetAddCounter() == nil || res.Code != tree.OK {
		return
	}
	key := string(wr.cmd.Key.Hash)
	first, seen := h.keys[key]
	switch {
	case !seen && res.Replayed, seen && !res.Replayed && view.Age()-first.age < recordKept(view.Settings()):
		h.w.fail(32, "what %x asks for is done at %v, and %v (replayed: %v)", key, first.zxid, res.Zxid, res.Replayed)
	case res.Replayed && res.Zxid != first.zxid:
		h.w.fail(32, "an answer for %x names %v, it was done at %v", key, res.Zxid, first.zxid)
	case res.Replayed && first.zxid <= h.dropped:
		h.w.fail(32, "the record of %v is there, and that of %v is gone", first.zxid, h.dropped)
	case res.Replayed:
		return
	}
	h.dropped = max(h.dropped, first.zxid)
	h.keys[key] = once{res.Zxid, view.Age()}
	if h.counted++; res.Counter.Value != h.counted {
		h.w.fail(32, "the counter is %d after %d additions", res.Counter.Value, h.counted)
	}
}

// recordKept is how long a record is kept in any case, in ms of cluster age.
// Room is wanting only where a schedule has left little.
func recordKept(s lease.Settings) uint64 {
	if s.RecordBytes < heldSettings().RecordBytes {
		return uint64(min(s.RecordLeastMs, s.RecordAgeMs))
	}
	return uint64(s.RecordAgeMs)
}

// checkFenced: 33, no write passes the fence of a hold that is over.
func (h *held) checkFenced(wr *write, res *lease.Result) {
	if len(wr.cmd.Fences) == 0 {
		return
	}
	f := wr.cmd.Fences[0]
	for i := range h.locks {
		if f.Name != lockName(i) {
			continue
		}
		holds := slices.ContainsFunc(h.locks[i].holders, func(o lease.Holder) bool { return uint64(o.Token) == f.Token })
		if res.Code == tree.OK && !holds {
			h.w.fail(33, "a write under token %v of lock %d passes, and nobody holds it", quorum.Zxid(f.Token), i)
		}
		if res.Code == tree.ErrFenceStale && holds && wr.cmd.Session == nil {
			h.w.fail(33, "a write under token %v of lock %d is refused, and it is held", quorum.Zxid(f.Token), i)
		}
	}
}

// checkBelief: 34, no two workers may believe that they hold what only one can.
func (h *held) checkBelief(wk *worker) {
	for i := range h.workers {
		o := &h.workers[i]
		if o == wk || o.phase != workerHolding || o.lock != wk.lock || o.until <= h.w.now || o.shared && wk.shared {
			continue
		}
		if wk.until > h.w.now {
			h.w.fail(34, "workers %d and %d both hold lock %d: the first was told until %s ms, by token %v; the second by %v",
				o.number, wk.number, wk.lock, clock(o.until), o.token, wk.token)
		}
	}
}

// remains is what is still held or waited for at the end; "" for nothing.
func (h *held) remains(n *node) string {
	if h == nil || len(h.workers) == 0 {
		return ""
	}
	for i := range h.locks {
		if m := &h.locks[i]; len(m.holders) > 0 || len(m.queue) > 0 {
			return lockName(i) + " is held or waited for"
		}
	}
	if n.held.state.View().Sessions() > 0 {
		return "a session of a worker is still there"
	}
	return ""
}
