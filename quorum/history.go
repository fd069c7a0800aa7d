package quorum

import "sort"

// EpochEnd is one line of an epoch table: the last counter a log holds in an
// epoch and the chain hash there (ZAB.md 1).
type EpochEnd struct {
	Epoch Epoch
	Last  uint32
	Chain uint64
}

// History is the index of a retained log: for every entry its chain hash, and
// the point after which the log begins. It never holds payloads. The zero
// History is an empty log that begins at zxid 0.
//
// Invariant: runs rise by epoch; inside a run counters are contiguous; every
// run but the first starts at counter 1.
type History struct {
	start      Zxid   // the log holds entries after start
	startChain uint64 // chain hash at start
	runs       []run
}

type run struct {
	epoch  Epoch
	first  uint32
	chains []uint64 // chain hash at first, first+1, …
}

func (r *run) last() uint32 { return r.first + uint32(len(r.chains)) - 1 }

// NewHistory is an empty log that continues after start.
func NewHistory(start Zxid, chain uint64) History {
	return History{start: start, startChain: chain}
}

// Start is the position after which the log begins.
func (h *History) Start() Zxid { return h.start }

// Last is the position of the last entry, or Start when there is none.
func (h *History) Last() Zxid {
	if len(h.runs) == 0 {
		return h.start
	}
	r := &h.runs[len(h.runs)-1]
	return MakeZxid(r.epoch, r.last())
}

// LastChain is the chain hash at Last.
func (h *History) LastChain() uint64 {
	if len(h.runs) == 0 {
		return h.startChain
	}
	r := &h.runs[len(h.runs)-1]
	return r.chains[len(r.chains)-1]
}

// Len is the number of entries.
func (h *History) Len() int {
	n := 0
	for i := range h.runs {
		n += len(h.runs[i].chains)
	}
	return n
}

// Follows says whether z may be appended: the next counter of the last epoch,
// or counter 1 of a higher one.
func (h *History) Follows(z Zxid) bool {
	last := h.Last()
	if z.Epoch() == last.Epoch() {
		return z.Counter() != 0 && z == last+1
	}
	return z.Epoch() > last.Epoch() && z.Counter() == 1
}

// Append adds the position z with its chain hash. It reports false, and changes
// nothing, when z does not follow the last entry.
func (h *History) Append(z Zxid, chain uint64) bool {
	if !h.Follows(z) {
		return false
	}
	if n := len(h.runs); n > 0 && h.runs[n-1].epoch == z.Epoch() {
		h.runs[n-1].chains = append(h.runs[n-1].chains, chain)
		return true
	}
	h.runs = append(h.runs, run{epoch: z.Epoch(), first: z.Counter(), chains: []uint64{chain}})
	return true
}

// Chain is the chain hash at z; false when z is neither Start nor in the log.
func (h *History) Chain(z Zxid) (uint64, bool) {
	if z == h.start {
		return h.startChain, true
	}
	i := sort.Search(len(h.runs), func(i int) bool { return h.runs[i].epoch >= z.Epoch() })
	if i == len(h.runs) || h.runs[i].epoch != z.Epoch() {
		return 0, false
	}
	r := &h.runs[i]
	if z.Counter() < r.first || z.Counter() > r.last() {
		return 0, false
	}
	return r.chains[z.Counter()-r.first], true
}

// Next is the position of the first entry after z; false when there is none or
// z itself is not in the log.
func (h *History) Next(z Zxid) (Zxid, bool) {
	if _, ok := h.Chain(z); !ok {
		return 0, false
	}
	if _, ok := h.Chain(z + 1); ok {
		return z + 1, true
	}
	i := sort.Search(len(h.runs), func(i int) bool { return h.runs[i].epoch > z.Epoch() })
	if i == len(h.runs) {
		return 0, false
	}
	return MakeZxid(h.runs[i].epoch, h.runs[i].first), true
}

// Count is the number of entries after one position and up to another, of those
// that are in the log.
func (h *History) Count(after, upTo Zxid) (n int) {
	for i := range h.runs {
		r := &h.runs[i]
		first, last := MakeZxid(r.epoch, r.first), MakeZxid(r.epoch, r.last())
		if first, last = max(first, after+1), min(last, upTo); first <= last {
			n += int(last-first) + 1
		}
	}
	return n
}

// Truncate removes every entry after z. It reports false, and changes nothing,
// when z is not in the log.
func (h *History) Truncate(z Zxid) bool {
	if _, ok := h.Chain(z); !ok {
		return false
	}
	for n := len(h.runs); n > 0; n-- {
		r := &h.runs[n-1]
		if r.epoch == z.Epoch() && z.Counter() >= r.first {
			keep := int(z.Counter()-r.first) + 1
			r.chains = r.chains[:keep:keep]
			return true
		}
		h.runs = h.runs[:n-1]
	}
	return true
}

// Forget drops what is at or before z, which becomes the new Start. It reports
// false, and changes nothing, when z is not in the log.
func (h *History) Forget(z Zxid) bool {
	chain, ok := h.Chain(z)
	if !ok {
		return false
	}
	kept := h.runs[:0:0]
	for _, r := range h.runs {
		switch {
		case MakeZxid(r.epoch, r.last()) <= z:
		case r.epoch == z.Epoch() && z.Counter() >= r.first:
			n := z.Counter() - r.first + 1
			kept = append(kept, run{epoch: r.epoch, first: r.first + n, chains: append([]uint64(nil), r.chains[n:]...)})
		default:
			kept = append(kept, r)
		}
	}
	h.start, h.startChain, h.runs = z, chain, kept
	return true
}

// Table is the epoch table, newest epoch first, Start included.
func (h *History) Table() []EpochEnd {
	var t []EpochEnd
	for i := len(h.runs) - 1; i >= 0; i-- {
		r := &h.runs[i]
		t = append(t, EpochEnd{Epoch: r.epoch, Last: r.last(), Chain: r.chains[len(r.chains)-1]})
	}
	if n := len(t); n == 0 || t[n-1].Epoch != h.start.Epoch() {
		t = append(t, EpochEnd{Epoch: h.start.Epoch(), Last: h.start.Counter(), Chain: h.startChain})
	}
	return t
}

// Clone copies h so that the two share nothing.
func (h *History) Clone() History {
	c := History{start: h.start, startChain: h.startChain}
	for _, r := range h.runs {
		c.runs = append(c.runs, run{epoch: r.epoch, first: r.first, chains: append([]uint64(nil), r.chains...)})
	}
	return c
}
