package tree

import (
	"slices"
	"sort"

	"perch/quorum"
)

// blockEvents is the number of events in a block of the history.
const blockEvents = 512

// eventOverhead is what an event counts against EventBytes besides its path:
// about what it takes in memory.
const eventOverhead = 128

// History is the replicated history of events: everything younger than some
// age, up to some size (DESIGN.md, "Life of a long poll"). A copy of the value
// is an immutable snapshot for any number of readers; only the owner of the
// newest copy may call Append and Trim.
//
// It guarantees that a query returns every kept event of its interest, in
// order, a transaction never split; that what is kept depends only on the calls
// of Append and Trim, not on where a history was restored.
//
// Invariants: every block holds blockEvents events; skip < blockEvents unless
// there are no blocks; events rise by zxid; every event at or before trimmed is
// gone, every later one is there.
type History struct {
	blocks  []*block
	tail    []kept // fewer than blockEvents; never written below its length
	skip    int    // events at the front that are gone already
	trimmed quorum.Zxid
	bytes   int64
	sum     uint64
}

type kept struct {
	Event
	age uint64 // cluster age at the event
}

type block struct {
	events []kept
	filter filter
}

// NewHistory is an empty history whose events up to trimmed are gone.
func NewHistory(trimmed quorum.Zxid) History { return History{trimmed: trimmed} }

// Len is the number of events.
func (h *History) Len() int { return len(h.blocks)*blockEvents + len(h.tail) - h.skip }

// Sum is the sum, modulo 2^64, of a hash of every event: the history's part of
// the digest.
func (h *History) Sum() uint64 { return h.sum }

// Oldest is the least position that Query answers as since: 0 while nothing
// was trimmed, else the position of the last event that is gone.
func (h *History) Oldest() quorum.Zxid { return h.trimmed }

// Bytes is what the events count against the bound of Trim.
func (h *History) Bytes() int64 { return h.bytes }

// First is the cluster age at the oldest event, in milliseconds; false when there
// is none.
func (h *History) First() (age uint64, ok bool) {
	if h.Len() == 0 {
		return 0, false
	}
	return h.at(0).age, true
}

func (h *History) at(i int) *kept {
	i += h.skip
	if b := i / blockEvents; b < len(h.blocks) {
		return &h.blocks[b].events[i%blockEvents]
	}
	return &h.tail[i-len(h.blocks)*blockEvents]
}

// Append adds the events of one transaction, which is later than all before.
func (h *History) Append(events []Event, age uint64) {
	for i := range events {
		if h.tail == nil {
			h.tail = make([]kept, 0, blockEvents)
		}
		k := kept{events[i], age}
		h.tail = append(h.tail, k)
		h.bytes += k.size()
		h.sum += k.digest(i)
		if len(h.tail) == blockEvents {
			h.blocks = append(h.blocks, &block{events: h.tail, filter: newFilter(h.tail)})
			h.tail = nil
		}
	}
}

// Trim removes whole transactions, oldest first: those that are as old as
// maxAge at the cluster age now or older, and more until maxBytes hold the rest. The
// newest transaction stays for its age, whatever its size.
func (h *History) Trim(now, maxAge uint64, maxBytes int64) {
	for h.Len() > 0 {
		first := h.at(0)
		last := h.at(h.Len() - 1).Zxid
		old := now >= first.age && now-first.age >= maxAge
		if !old && (h.bytes <= maxBytes || first.Zxid == last) {
			return
		}
		h.trimFirst(first.Zxid)
	}
}

// trimFirst removes the events of z, the first transaction.
func (h *History) trimFirst(z quorum.Zxid) {
	n := h.Len()
	i := 0
	for ; i < n && h.at(i).Zxid == z; i++ {
		k := h.at(i)
		h.bytes -= k.size()
		h.sum -= k.digest(i)
	}
	h.skip += i
	h.trimmed = z
	if gone := min(h.skip/blockEvents, len(h.blocks)); gone > 0 {
		h.blocks = slices.Clone(h.blocks[gone:]) // a copy lets go of the blocks
		h.skip -= gone * blockEvents
	}
}

// Interest is whose events a query wants.
type Interest struct {
	Path  string
	Scope Scope
	ACL   bool // changes of the ACL of Path too
}

// Wants says whether e is of the interest.
func (i Interest) Wants(e *Event) bool {
	if e.Type == EventACL {
		return i.ACL && e.Path == i.Path
	}
	switch i.Scope {
	case ScopeNode:
		return e.Path == i.Path
	case ScopeChildren:
		return e.Type != EventChanged && Parent(e.Path) == i.Path ||
			e.Type == EventDeleted && e.Path == i.Path
	case ScopeSubtree:
		return Under(e.Path, i.Path)
	}
	return false
}

// Under says whether path is top or below it.
func Under(path, top string) bool {
	if top == Root || path == top {
		return true
	}
	return len(path) > len(top) && path[len(top)] == '/' && path[:len(top)] == top
}

// Bounds end a batch of events; each is soft: whole transactions, at least one.
type Bounds struct {
	Events int // 0: no bound
	Bytes  int // of the events in an answer; 0: no bound
}

// answerOverhead is about what an event takes in an answer besides its path.
const answerOverhead = 384

// Query returns the events of the interest after since. More says that the
// bounds cut the batch off; then it is complete up to its last zxid, else up to
// the newest event. ErrCursorExpired when events after since are gone.
func (h *History) Query(want Interest, since quorum.Zxid, b Bounds) (events []Event, more bool, code Code) {
	i, n := h.after(since), h.Len()
	if i < 0 {
		return nil, false, ErrCursorExpired
	}
	size, whole := 0, 0 // whole: events of complete transactions
	key := want.key()
	for ; i < n; i++ {
		if end := h.passOver(i, key); end > i {
			i = end - 1
			continue
		}
		e := &h.at(i).Event
		if !want.Wants(e) {
			continue
		}
		if len(events) > 0 && events[len(events)-1].Zxid != e.Zxid {
			if b.full(len(events), size) {
				return events, true, OK
			}
			whole = len(events)
		}
		events = append(events, *e)
		size += answerOverhead + len(e.Path)
		if whole > 0 && b.exceeded(len(events), size) {
			return slices.Clone(events[:whole]), true, OK
		}
	}
	return events, false, OK
}

// after is the place of the first event after since; −1 when some are gone.
func (h *History) after(since quorum.Zxid) int {
	if since < h.trimmed {
		return -1
	}
	return sort.Search(h.Len(), func(i int) bool { return h.at(i).Zxid > since })
}

func (b Bounds) full(n, size int) bool {
	return b.Events > 0 && n >= b.Events || b.Bytes > 0 && size >= b.Bytes
}

func (b Bounds) exceeded(n, size int) bool {
	return b.Events > 0 && n > b.Events || b.Bytes > 0 && size > b.Bytes
}

// passOver is the end of the block of event i when its filter says that it
// holds no event of key; else i.
func (h *History) passOver(i int, key uint64) int {
	b := (i + h.skip) / blockEvents
	if b >= len(h.blocks) || h.blocks[b].filter.mayHave(key) {
		return i
	}
	return (b+1)*blockEvents - h.skip
}

// After returns the events of all transactions after since, also those that no
// watcher is told of: whole transactions, about limit events. More says that
// there are later ones. ErrCursorExpired when events after since are gone.
func (h *History) After(since quorum.Zxid, limit int) (events []Event, more bool, code Code) {
	i, n := h.after(since), h.Len()
	if i < 0 {
		return nil, false, ErrCursorExpired
	}
	for ; i < n; i++ {
		e := &h.at(i).Event
		if len(events) >= limit && events[len(events)-1].Zxid != e.Zxid {
			return events, true, OK
		}
		events = append(events, *e)
	}
	return events, false, OK
}

// Scan calls f for every event with its cluster age, oldest first, until f says
// false.
func (h *History) Scan(f func(e *Event, age uint64) bool) {
	for i, n := 0, h.Len(); i < n; i++ {
		if k := h.at(i); !f(&k.Event, k.age) {
			return
		}
	}
}

func (k *kept) size() int64 { return eventOverhead + int64(len(k.Path)) }

// digest is the event's part of the sum over the state; i is its place in its
// transaction.
func (k *kept) digest(i int) uint64 {
	var h hasher
	s := &k.Stat
	if k.ACL == nil && s.Mode <= ModeEphemeral {
		h.byte(digestEvent)
	} else {
		h.byte(digestGuarded)
		h.byte(byte(s.Mode))
		h.u64(uint64(s.TTLMs))
		h.u64(k.ACL.digest())
	}
	h.byte(byte(k.Type))
	h.byte(byte(k.Cause))
	h.u64(uint64(i))
	h.u64(k.age)
	for _, v := range [...]quorum.Zxid{k.Zxid, s.Czxid, s.Mzxid, s.Pzxid, s.EphemeralOwner} {
		h.u64(uint64(v))
	}
	for _, v := range [...]int64{s.Ctime, s.Mtime, s.Version, s.Cversion, s.Aversion, int64(s.DataLength), int64(s.NumChildren)} {
		h.u64(uint64(v))
	}
	return h.sum(k.Path)
}
