package lease

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// million is a state of n nodes in directories of a thousand, with bytes of
// data each; the events of the load have aged out.
func million(b testing.TB, n, bytes int) *bench {
	h := newBench(b, DefaultSettings())
	for i := range n {
		h.age++
		if i%1000 == 0 {
			h.must(put(&commandpb.Put{Path: fmt.Sprintf("/load/%04d", i/1000), Parents: true}))
		}
		h.must(put(&commandpb.Put{Path: fmt.Sprintf("/load/%04d/%06d", i/1000, i), Data: make([]byte, bytes)}))
	}
	h.age += 600_000
	h.must(put(&commandpb.Put{Path: "/loaded"}))
	return h
}

// A put of 256 bytes among 100 000 nodes; a view is taken after every batch.
func BenchmarkApplyPut(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprint("view after ", batch), func(b *testing.B) {
			h := million(b, 100_000, 100)
			entries := make([]quorum.Entry, 1000)
			for i := range entries {
				n := i * 97 % 100_000
				path := fmt.Sprintf("/load/%04d/%06d", n/1000, n)
				entries[i] = quorum.Entry{Kind: quorum.EntryCommand, Data: marshal(b, put(&commandpb.Put{Path: path, Data: make([]byte, 256)}))}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				h.zxid++
				e := entries[i%len(entries)]
				e.Zxid, e.Stamp.Age = h.zxid, h.age+uint64(i)
				if r, _, err := h.s.Apply(&e); r.Code != tree.OK || err != nil {
					b.Fatal(r, err)
				}
				if i%batch == 0 {
					h.s.View()
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	v := million(b, 100_000, 100).s.View()
	paths := make([]string, 1000)
	for i := range paths {
		n := i * 97
		paths[i] = fmt.Sprintf("/load/%04d/%06d", n/1000, n)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, ok := v.tree.Get(paths[i%len(paths)]); !ok {
			b.Fatal(paths[i%len(paths)])
		}
	}
}

// A million nodes of 100 bytes: the live heap, writing a snapshot, restoring.
func BenchmarkMillionNodes(b *testing.B) {
	h := million(b, 1_000_000, 100)
	b.Run("heap", func(b *testing.B) {
		var m runtime.MemStats
		for range b.N {
			runtime.GC()
			runtime.ReadMemStats(&m)
		}
		b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB")
		runtime.KeepAlive(h)
	})
	b.Run("write", func(b *testing.B) {
		for range b.N {
			n, err := h.s.View().WriteTo(io.Discard)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(n)
		}
	})
	var snap bytes.Buffer
	if _, err := h.s.View().WriteTo(&snap); err != nil {
		b.Fatal(err)
	}
	b.Run("restore", func(b *testing.B) {
		for range b.N {
			if _, err := Restore(bytes.NewReader(snap.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A query of a quiet interest over a whole history.
func BenchmarkEventsOverHistory(b *testing.B) {
	h := newBench(b, DefaultSettings())
	for i := range 200_000 {
		h.must(put(&commandpb.Put{Path: fmt.Sprintf("/busy/%d", i%100), Parents: true}))
	}
	v := h.s.View()
	b.ResetTimer()
	for range b.N {
		if batch, err := eventsOf(v, "/quiet", tree.ScopeSubtree, 0, tree.Bounds{}); err != nil || batch.Events != nil {
			b.Fatal(batch, err)
		}
	}
}
