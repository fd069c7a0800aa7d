package quorum

import (
	"fmt"
	"slices"
)

// log is the core's view of its log: the index of everything retained, the
// entries that are still in memory, and how far they are durable, committed and
// handed out.
//
// Invariants: tail holds the entries after tailStart up to hist.Last, without a
// hole; emitted ≤ commit ≤ last; emitted ≤ max(durable, snapshot).
type log struct {
	hist      History
	snap      SnapMeta
	tail      []Entry
	tailStart Zxid
	tailBytes int
	durable   Zxid
	commit    Zxid
	emitted   Zxid
	hint      Zxid // known to be committed, from this life or the disk
	marks     []walMark
	fresh     int             // bytes appended since the last mark
	unstable  int             // bytes on their way to the disk
	backlog   int             // bytes handed out and not applied
	configs   []Configuration // of the snapshot and of the entries after it, by version
}

// walMark says that the log ends at last once group seq is durable.
type walMark struct {
	seq  uint64
	last Zxid
	tick uint64 // when the group was handed out
	size int    // bytes of its entries
}

func (l *log) restore(st *Restored) error {
	l.hist, l.snap, l.tail = st.History.Clone(), st.Snapshot, slices.Clip(st.Tail)
	l.tailStart, l.hint = st.Snapshot.Zxid, max(st.CommitHint, st.Snapshot.Zxid)
	if err := l.configureFrom(&l.snap); err != nil {
		return err
	}
	chain, ok := l.hist.Chain(l.snap.Zxid)
	if !ok || chain != l.snap.Chain {
		return fmt.Errorf("quorum: the log does not continue the snapshot at %v", l.snap.Zxid)
	}
	at := l.snap.Zxid
	for i := range l.tail {
		e := &l.tail[i]
		next, ok := l.hist.Next(at)
		chain = ChainHash(chain, e)
		if want, _ := l.hist.Chain(e.Zxid); !ok || next != e.Zxid || want != chain {
			return fmt.Errorf("quorum: the log is broken at %v", e.Zxid)
		}
		e.Chain, at = chain, e.Zxid
		l.tailBytes += e.Size()
		if err := l.configure(e); err != nil {
			return err
		}
	}
	if at != l.hist.Last() {
		return fmt.Errorf("quorum: the log ends at %v, its index at %v", at, l.hist.Last())
	}
	l.durable, l.commit, l.emitted = at, l.snap.Zxid, l.snap.Zxid
	return nil
}

func (l *log) last() Zxid { return l.hist.Last() }

// append adds an entry whose chain hash is computed here. It reports false when
// the entry does not follow.
func (l *log) append(e *Entry) bool {
	e.Chain = ChainHash(l.hist.LastChain(), e)
	if !l.hist.Append(e.Zxid, e.Chain) {
		return false
	}
	l.tail = append(l.tail, *e)
	l.tailBytes += e.Size()
	l.fresh += e.Size()
	return true
}

// configure takes note of an entry that changes the members.
func (l *log) configure(e *Entry) error {
	if e.Kind != EntryConfig {
		return nil
	}
	cf, err := DecodeConfiguration(e.Data)
	if err != nil {
		return fmt.Errorf("%w at %v", err, e.Zxid)
	}
	cf.Version = e.Zxid
	l.configs = append(l.configs, cf)
	return nil
}

// activated is the version of the newest configuration in the log that is known
// to be committed; 0 when that is the founding one.
func (l *log) activated() Zxid {
	for i := len(l.configs) - 1; i >= 0; i-- {
		if v := l.configs[i].Version; v <= l.hint || i+1 < len(l.configs) {
			return v
		}
	}
	return 0
}

// configureFrom begins with the members that a snapshot holds.
func (l *log) configureFrom(s *SnapMeta) error {
	l.configs = nil
	if s.Config == "" {
		return nil
	}
	cf, err := DecodeConfiguration([]byte(s.Config))
	if err != nil || cf.Version > s.Zxid {
		return fmt.Errorf("%w in the snapshot at %v", ErrConfiguration, s.Zxid)
	}
	l.configs = append(l.configs, cf)
	return nil
}

// index is the place in tail of the first entry after z.
func (l *log) index(z Zxid) int {
	i, found := slices.BinarySearchFunc(l.tail, z, func(e Entry, z Zxid) int {
		if e.Zxid < z {
			return -1
		} else if e.Zxid > z {
			return 1
		}
		return 0
	})
	if found {
		i++
	}
	return i
}

// after returns entries after z up to maxBytes, at least one if there is any;
// false when they are not in memory.
func (l *log) after(z Zxid, maxBytes int) ([]Entry, bool) {
	if z < l.tailStart {
		return nil, false
	}
	i := l.index(z)
	j, size := i, 0
	for j < len(l.tail) && (j == i || size+l.tail[j].Size() <= maxBytes) {
		size += l.tail[j].Size()
		j++
	}
	return l.tail[i:j:j], true
}

// truncate removes every entry after z. It reports false when z is not in the
// log or something after z was handed out or is known to be committed.
func (l *log) truncate(z Zxid) bool {
	if z < l.emitted || z < l.hint || z < l.commit || !l.hist.Truncate(z) {
		return false
	}
	i := l.index(z)
	for k := i; k < len(l.tail); k++ {
		l.tailBytes -= l.tail[k].Size()
	}
	l.tail = l.tail[:i:i] // what was cut may still be on its way out
	l.durable = min(l.durable, z)
	l.configs = slices.DeleteFunc(l.configs, func(cf Configuration) bool { return cf.Version > z })
	for k := range l.marks {
		l.marks[k].last = min(l.marks[k].last, z)
	}
	return true
}

// install replaces the log by a snapshot.
func (l *log) install(m SnapMeta) error {
	l.hist, l.snap = NewHistory(m.Zxid, m.Chain), m
	l.tail, l.tailStart, l.tailBytes = nil, m.Zxid, 0
	l.durable = min(l.durable, m.Zxid)
	l.marks, l.fresh, l.unstable = nil, 0, 0
	l.commit, l.emitted, l.hint = max(l.commit, m.Zxid), m.Zxid, max(l.hint, m.Zxid)
	return l.configureFrom(&m)
}

func (l *log) mark(seq, tick uint64) {
	l.marks = append(l.marks, walMark{seq, l.last(), tick, l.fresh})
	l.unstable += l.fresh
	l.fresh = 0
}

// stall is for how long, in ticks, the oldest group has been waiting for the
// disk.
func (l *log) stall(now uint64) uint32 {
	if len(l.marks) == 0 {
		return 0
	}
	return uint32(now - l.marks[0].tick)
}

// saturated says whether more than limit bytes are on their way to the disk, or
// were handed out and are not applied.
func (l *log) saturated(limit int) bool { return max(l.unstable+l.fresh, l.backlog) > limit }

// stable moves durable to where the log ended with group seq.
func (l *log) stable(seq uint64) {
	n := 0
	for n < len(l.marks) && l.marks[n].seq <= seq {
		l.durable = l.marks[n].last
		l.unstable -= l.marks[n].size
		n++
	}
	l.marks = l.marks[n:]
}

func (l *log) emittable() bool { return min(l.commit, l.durable) > l.emitted }

// emit returns the next entries to apply: committed and durable here.
func (l *log) emit() []Entry {
	if !l.emittable() {
		return nil
	}
	i, j := l.index(l.emitted), l.index(min(l.commit, l.durable))
	if i == j {
		return nil
	}
	l.emitted = l.tail[j-1].Zxid
	return l.tail[i:j:j]
}

// prune forgets handed-out entries beyond the cache, in steps that are worth
// copying the rest for.
func (l *log) prune(cacheBytes int) {
	if l.tailBytes <= cacheBytes+cacheBytes/4 {
		return
	}
	n := 0
	for n < len(l.tail) && l.tail[n].Zxid <= l.emitted && l.tailBytes > cacheBytes {
		l.tailBytes -= l.tail[n].Size()
		l.tailStart = l.tail[n].Zxid
		n++
	}
	if n > 0 {
		l.tail = slices.Clone(l.tail[n:])
	}
}

// advance moves commit up to z, as far as the log reaches.
func (l *log) advance(z Zxid) bool {
	z = min(z, l.last())
	if z <= l.commit {
		return false
	}
	l.commit, l.hint = z, max(l.hint, z)
	return true
}

// commonPoint is the newest position that both logs hold: the highest epoch in
// both tables and the lower of the two last counters there. It is exact because
// an epoch has one proposer whose entries are contiguous (ZAB.md 2.4).
func commonPoint(a, b []EpochEnd) (Zxid, bool) {
	for _, x := range a {
		for _, y := range b {
			if x.Epoch == y.Epoch {
				return MakeZxid(x.Epoch, min(x.Last, y.Last)), true
			}
		}
	}
	return 0, false
}
