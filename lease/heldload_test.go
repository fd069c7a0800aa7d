package lease

import (
	"fmt"
	"runtime"
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// crowd is a state with a holder of a lock and n who wait for it.
func crowd(t testing.TB, n int) (b *bench, places []quorum.Zxid) {
	set := DefaultSettings()
	set.EventBytes = 1 << 20
	b = newHeldBenchWith(t, set)
	b.holds(lock("holder", "l", false))
	for i := range n {
		places = append(places, b.queues(lock(fmt.Sprint("waiter ", i), "l", true)).ID)
	}
	return b, places
}

// Ten thousand waiters are granted one after the other, in their order.
func TestTenThousandWaiters(t *testing.T) {
	const n = 10_000
	b, places := crowd(t, n)
	b.restart()
	last := "holder"
	for i, id := range places {
		r := b.must(unlock(last, "l"))
		if len(r.Outcomes) != 1 || r.Outcomes[0].Place != id || r.Outcomes[0].Hold.Token != r.Zxid || len(r.Ended) != 1 {
			t.Fatalf("waiter %d: %+v", i, r.Outcomes)
		}
		last = fmt.Sprint("waiter ", i)
	}
	b.must(unlock(last, "l"))
	if b.s.things.Len()+b.s.holds.Len()+b.s.places.Len()+b.s.loads.Len()+b.s.askers.Len()+b.s.queue.Len()+b.s.waits.Len()+b.s.sessions.Len() != 0 {
		t.Error("something is left")
	}
}

// Ten thousand hold a lock together, and one command breaks them.
func TestTenThousandHolders(t *testing.T) {
	const n = 10_000
	b := newHeldBench(t)
	for i := range n {
		b.holds(lockShared(fmt.Sprint("reader ", i), "l", false))
	}
	p := b.queues(lock("writer", "l", true))
	r := b.must(breaking(kindLock, "l"))
	if len(r.Ended) != n || len(r.Outcomes) != 1 || r.Outcomes[0].Place != p.ID {
		t.Fatal(len(r.Ended), r.Outcomes)
	}
}

// A release with the grant that it makes, and the waiter that comes for it, with
// many waiting.
func BenchmarkReleaseAndGrant(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n, " waiting"), func(b *testing.B) {
			before := heapBytes()
			h, _ := crowd(b, n)
			perWaiter := float64(heapBytes()-before) / float64(n)
			entries := make([][2][]byte, n+1)
			for i := range entries {
				token := "holder"
				if i > 0 {
					token = fmt.Sprint("waiter ", i-1)
				}
				entries[i] = [2][]byte{marshal(b, unlock(token, "l")), marshal(b, lock(token, "l", true))}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				for _, data := range entries[i%len(entries)] {
					h.zxid++
					e := quorum.Entry{Zxid: h.zxid, Kind: quorum.EntryCommand, Data: data, Stamp: quorum.Stamp{Wall: 1000, Age: uint64(i)}}
					if r, _, err := h.s.Apply(&e); r.Code != tree.OK || err != nil {
						b.Fatal(r, err)
					}
				}
				h.s.View()
			}
			b.ReportMetric(perWaiter, "B/waiter")
		})
	}
}

// heapBytes is what is in use, in bytes.
func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A lock that nobody else wants, taken and given back.
func BenchmarkLockCycle(b *testing.B) {
	h := newHeldBench(b)
	cycle := []*commandpb.Command{lock("a", "l", false), unlock("a", "l")}
	b.ReportAllocs()
	for i := range b.N {
		for _, c := range cycle {
			h.zxid++
			e := quorum.Entry{Zxid: h.zxid, Kind: quorum.EntryCommand, Data: marshal(b, c), Stamp: quorum.Stamp{Wall: 1000, Age: uint64(i)}}
			if r, _, err := h.s.Apply(&e); r.Code != tree.OK || err != nil {
				b.Fatal(r, err)
			}
		}
	}
}
