package lease

import (
	"container/heap"
	"time"

	"perch/quorum"
)

// TouchState is what a Tracker says of a session.
type TouchState uint8

const (
	// TouchUnknown: the tracker has no such session.
	TouchUnknown TouchState = 0
	// TouchAlive: the session lives and was renewed.
	TouchAlive TouchState = 1
	// TouchClosing: its expiry is being proposed. The touch must wait for the
	// outcome: committed, the session is gone; leadership lost, nobody knows
	// (RULES.md R23).
	TouchClosing TouchState = 2
)

// expirySlackMs bounds what is added to a TTL before a session is due.
const expirySlackMs = 500

// Tracker holds the deadlines of all sessions on the lease clock of one
// leader's reign, in milliseconds. It is pure: time is an argument, and must
// not go back. One goroutine owns it.
//
// It guarantees that no session is due before its TTL and min(TTL/50, 500 ms)
// have passed since the last Touch, Add or SetTTL, or since Reset.
type Tracker struct {
	byID map[quorum.Zxid]*tracked
	heap dueHeap
}

type tracked struct {
	id       quorum.Zxid
	ttlMs    uint64
	deadline uint64 // lease clock at which the TTL has passed
	key      uint64 // place in the heap: at or before when it is due
	index    int    // in the heap; -1 while closing
}

// due is the lease clock at which the session may be expired.
func (t *tracked) due() uint64 { return t.deadline + min(t.ttlMs/50, expirySlackMs) }

// NewTracker tracks nothing.
func NewTracker() *Tracker { return &Tracker{byID: make(map[quorum.Zxid]*tracked)} }

// Reset begins a reign: every session of v has its full TTL from now.
func (t *Tracker) Reset(v *View, now uint64) {
	t.Forget()
	v.sessions.Scan(func(n *session) bool {
		t.add(n.id, n.ttlMs, now)
		if n.left > 0 && n.ttlMs >= LongTTL {
			t.shorten(n.id, n.left, now)
		}
		return true
	})
}

// LongTTL is from which TTL on, in milliseconds, what a session has left is
// noted by checkpoints (RULES.md R22).
const LongTTL = 60_000

// shorten has a session that was added just now have less than its TTL.
func (t *Tracker) shorten(id quorum.Zxid, leftMs, now uint64) {
	e := t.byID[id]
	e.deadline = now + min(leftMs, e.ttlMs)
	e.key = e.due()
	heap.Fix(&t.heap, e.index)
}

// Forget ends a reign: nothing is tracked any more.
func (t *Tracker) Forget() {
	t.byID = make(map[quorum.Zxid]*tracked)
	t.heap = nil
}

// Len is the number of sessions tracked.
func (t *Tracker) Len() int { return len(t.byID) }

// Add tracks a session that was opened, with its full TTL from now. One that is
// tracked already is left as it is.
func (t *Tracker) Add(id quorum.Zxid, ttl time.Duration, now uint64) {
	t.add(id, uint64(ttl/time.Millisecond), now)
}

func (t *Tracker) add(id quorum.Zxid, ttlMs, now uint64) {
	if t.byID[id] != nil {
		return
	}
	e := &tracked{id: id, ttlMs: ttlMs, deadline: now + ttlMs}
	e.key = e.due()
	t.byID[id] = e
	heap.Push(&t.heap, e)
}

// Touch renews a session that lives and says how long it has from now.
func (t *Tracker) Touch(id quorum.Zxid, now uint64) (remaining time.Duration, state TouchState) {
	e := t.byID[id]
	switch {
	case e == nil:
		return 0, TouchUnknown
	case e.index < 0:
		return 0, TouchClosing
	}
	// The heap keeps the older key; Due puts it right when the key comes up.
	e.deadline = max(e.deadline, now+e.ttlMs)
	return e.remaining(now), TouchAlive
}

// Remaining says how long a session has, without renewing it.
func (t *Tracker) Remaining(id quorum.Zxid, now uint64) (time.Duration, TouchState) {
	e := t.byID[id]
	switch {
	case e == nil:
		return 0, TouchUnknown
	case e.index < 0:
		return 0, TouchClosing
	}
	return e.remaining(now), TouchAlive
}

func (e *tracked) remaining(now uint64) time.Duration {
	if now >= e.deadline {
		return 0
	}
	return time.Duration(e.deadline-now) * time.Millisecond
}

// SetTTL gives a session another TTL, all of it from now. A closing session
// takes it for the case that it is reopened.
func (t *Tracker) SetTTL(id quorum.Zxid, ttl time.Duration, now uint64) {
	e := t.byID[id]
	if e == nil {
		return
	}
	e.ttlMs = uint64(ttl / time.Millisecond)
	e.deadline = now + e.ttlMs
	if e.index >= 0 {
		e.key = e.due()
		heap.Fix(&t.heap, e.index)
	}
}

// Remove forgets a session that has ended.
func (t *Tracker) Remove(id quorum.Zxid) {
	e := t.byID[id]
	if e == nil {
		return
	}
	if e.index >= 0 {
		heap.Remove(&t.heap, e.index)
	}
	delete(t.byID, id)
}

// Due takes up to limit sessions whose time is over, longest ago first, and
// marks them as closing. The caller proposes their expiry; they stay closing
// until Remove, Reopen, Reset or Forget.
func (t *Tracker) Due(now uint64, limit int) []quorum.Zxid {
	var ids []quorum.Zxid
	for len(t.heap) > 0 && len(ids) < limit {
		e := t.heap[0]
		if e.key > now {
			break
		}
		if due := e.due(); due != e.key { // touched since
			e.key = due
			heap.Fix(&t.heap, 0)
			continue
		}
		heap.Pop(&t.heap)
		ids = append(ids, e.id)
	}
	return ids
}

// Next is the lease clock at which Due may have something; false when nothing
// is tracked that could become due.
func (t *Tracker) Next() (uint64, bool) {
	if len(t.heap) == 0 {
		return 0, false
	}
	return t.heap[0].key, true
}

// Reopen gives a closing session, whose expiry will not be committed, its full
// TTL from now.
func (t *Tracker) Reopen(id quorum.Zxid, now uint64) {
	e := t.byID[id]
	if e == nil || e.index >= 0 {
		return
	}
	e.deadline = now + e.ttlMs
	e.key = e.due()
	heap.Push(&t.heap, e)
}

// dueHeap is a heap by key; equal keys by id, so that the order is that of no
// map.
type dueHeap []*tracked

func (h dueHeap) Len() int { return len(h) }

func (h dueHeap) Less(i, j int) bool {
	if h[i].key != h[j].key {
		return h[i].key < h[j].key
	}
	return h[i].id < h[j].id
}

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for package heap.
func (h *dueHeap) Push(x any) {
	e := x.(*tracked)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop is for package heap.
func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}
