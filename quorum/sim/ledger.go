package sim

import (
	"sort"

	"perch/quorum"
)

// ledger is the observer's append-only list of committed transactions.
// Positions count from 1; 0 stands before the first.
type ledger struct {
	start  quorum.Zxid // of the state at 0; not 0 in a cluster that was restored
	chain  uint64      // chain hash there
	zxids  []quorum.Zxid
	chains []uint64
	folds  []uint64 // appState.fold after each
	level  uint32   // after the last
	age    uint64   // cluster age of the last
	runs   []ledgerRun
}

type ledgerRun struct {
	epoch quorum.Epoch
	first int // position of counter 1
}

func (l *ledger) len() int { return len(l.zxids) }

// beginAt has position 0 be what a cluster is restored from.
func (l *ledger) beginAt(p quorum.Past) {
	if l.start, l.chain = p.Zxid, 0; p.Zxid != 0 {
		l.chain = p.Chain()
	}
}

// at gives what is committed at a position.
func (l *ledger) at(pos int) (quorum.Zxid, uint64) {
	if pos == 0 {
		return l.start, l.chain
	}
	return l.zxids[pos-1], l.chains[pos-1]
}

func (l *ledger) fold(pos int) uint64 {
	if pos == 0 {
		return 0
	}
	return l.folds[pos-1]
}

func (l *ledger) last() quorum.Zxid {
	z, _ := l.at(l.len())
	return z
}

// find gives the position of a committed zxid.
func (l *ledger) find(z quorum.Zxid) (int, bool) {
	if z == 0 || z == l.start {
		return 0, true
	}
	i := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].epoch > z.Epoch() }) - 1
	if i < 0 || l.runs[i].epoch != z.Epoch() {
		return 0, false
	}
	pos := l.runs[i].first + int(z.Counter()) - 1
	if pos > l.len() || pos < 1 || l.zxids[pos-1] != z {
		return 0, false
	}
	return pos, true
}

// before counts what is committed of epochs below e.
func (l *ledger) before(e quorum.Epoch) int {
	i := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].epoch >= e })
	if i == len(l.runs) {
		return l.len()
	}
	return l.runs[i].first - 1
}

// has says whether z is committed with that chain hash.
func (l *ledger) has(z quorum.Zxid, chain uint64) bool {
	pos, ok := l.find(z)
	return ok && (pos == 0 || l.chains[pos-1] == chain)
}

// add appends; the caller has checked that e follows.
func (l *ledger) add(z quorum.Zxid, chain uint64) {
	if n := len(l.runs); n == 0 || l.runs[n-1].epoch != z.Epoch() {
		l.runs = append(l.runs, ledgerRun{epoch: z.Epoch(), first: l.len() + 1})
	}
	a := appState{pos: l.len(), fold: l.fold(l.len()), level: l.level}
	a.apply(&quorum.Entry{Zxid: z, Chain: chain})
	l.zxids = append(l.zxids, z)
	l.chains = append(l.chains, chain)
	l.folds = append(l.folds, a.fold)
}

// contained counts how many committed transactions an image holds. Logs match
// as prefixes, so a binary search finds it.
func (l *ledger) contained(im *image) int {
	return sort.Search(l.len(), func(i int) bool { return !im.holds(l.zxids[i], l.chains[i]) })
}

// reign is what the observer knows of one epoch.
type reign struct {
	epoch       quorum.Epoch
	leader      quorum.NodeID
	boot        quorum.Boot
	established bool
	base        quorum.Zxid
	baseChain   uint64
	proposed    []proposal // by counter - 1
}

// proposal is an entry as its leader first wrote it.
type proposal struct {
	chain  uint64
	origin quorum.Origin
	age    uint64
	write  int // number of the client's write; -1: none
	kind   quorum.EntryKind
	config *quorum.Configuration // that the entry makes; nil: it makes none
}
