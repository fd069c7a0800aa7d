package lease

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// tally counts records that belong together. Tallies are made of those, and are
// no state of their own.
type tally struct {
	what tallyKind
	name string
	id   uint64
	n    int64
}

// tallyKind says what a tally counts.
type tallyKind uint8

const (
	tallyAllRecords tallyKind = 1 // bytes of idempotency records
	tallyRecords    tallyKind = 2 // those of a principal
	tallyWaiters    tallyKind = 3 // claims that wait for a queue
	tallyRoots      tallyKind = 4 // principals with a root
	tallyEntries    tallyKind = 5 // sessions inside of a barrier
	tallyClosed     tallyKind = 6 // 1 for a barrier that is closed
)

func tallyLess(a, b tally) bool {
	switch {
	case a.what != b.what:
		return a.what < b.what
	case a.name != b.name:
		return a.name < b.name
	}
	return a.id < b.id
}

// tally is how many there are.
func (s *State) tally(what tallyKind, name string, id uint64) int64 {
	t, _ := s.tallies.Get(tally{what: what, name: name, id: id})
	return t.n
}

// count adds to a tally.
func (s *State) count(what tallyKind, name string, id uint64, more int64) {
	t := tally{what: what, name: name, id: id, n: s.tally(what, name, id) + more}
	if t.n == 0 {
		s.tallies.Delete(t)
	} else {
		s.tallies.Set(t)
	}
}

// Leading bytes of the digests of what heldLevel counts, queues and remembers;
// each is that of its frames in snapshots with the highest bit set.
const (
	digestRecord  = 0x80 | frameRecord
	digestQueue   = 0x80 | frameQueue
	digestMessage = 0x80 | frameMessage
	digestReceipt = 0x80 | frameReceipt
	digestWaiter  = 0x80 | frameWaiter
	digestBarrier = 0x80 | frameBarrier
	digestEntry   = 0x80 | frameEntry
)

// sumOf is the digest of a record: its kind, its numbers and its texts.
func sumOf(kind byte, numbers []uint64, texts ...string) uint64 {
	b := make([]byte, 1, 256)
	b[0] = kind
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	for _, t := range texts {
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
	}
	return xxhash.Sum64(b)
}
