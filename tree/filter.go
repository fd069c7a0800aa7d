package tree

import "github.com/cespare/xxhash/v2"

// filterWords is the size of a block's filter. A block of 512 events with
// paths of five segments sets about a third of its bits.
const filterWords = 512

// filter is a Bloom filter over the interests that the events of a block
// concern. It lets a query pass over blocks; it is derived, and no part of the
// replicated state.
type filter [filterWords]uint64

func newFilter(events []kept) (f filter) {
	for i := range events {
		e := &events[i].Event
		f.add(interestKey(e.Path, ScopeNode))
		if e.Type != EventChanged {
			f.add(interestKey(Parent(e.Path), ScopeChildren))
		}
		if e.Type == EventDeleted {
			f.add(interestKey(e.Path, ScopeChildren))
		}
		for p := e.Path; p != ""; p = Parent(p) {
			f.add(interestKey(p, ScopeSubtree))
		}
	}
	return f
}

// key is what a block with events of the interest has in its filter.
func (i Interest) key() uint64 { return interestKey(i.Path, i.Scope) }

func interestKey(path string, s Scope) uint64 {
	const odd = 0x9E3779B97F4A7C15
	h := (xxhash.Sum64String(path) ^ uint64(s)) * odd
	return h ^ h>>32
}

// bits are the three places of key.
func (f *filter) add(key uint64) {
	for range 3 {
		f[key>>6%filterWords] |= 1 << (key & 63)
		key >>= 15
	}
}

func (f *filter) mayHave(key uint64) bool {
	for range 3 {
		if f[key>>6%filterWords]&(1<<(key&63)) == 0 {
			return false
		}
		key >>= 15
	}
	return true
}
