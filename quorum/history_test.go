package quorum

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestHistoryAgainstList compares the index with the obvious list of positions.
func TestHistoryAgainstList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type at struct {
			z     Zxid
			chain uint64
		}
		list := []at{{0, 0}} // list[0] is the start
		h := NewHistory(0, 0)
		epoch := Epoch(1)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			last := list[len(list)-1]
			switch rapid.IntRange(0, 9).Draw(t, "op") {
			case 0:
				epoch += Epoch(rapid.IntRange(1, 3).Draw(t, "jump"))
			case 1:
				i := rapid.IntRange(0, len(list)-1).Draw(t, "cut")
				if !h.Truncate(list[i].z) {
					t.Fatalf("cannot cut at %v", list[i].z)
				}
				list = list[:i+1]
			case 2:
				i := rapid.IntRange(0, len(list)-1).Draw(t, "forget")
				if !h.Forget(list[i].z) {
					t.Fatalf("cannot forget %v", list[i].z)
				}
				list = list[i:]
			default:
				z := MakeZxid(epoch, 1)
				if last.z.Epoch() == epoch {
					z = last.z + 1
				} else if last.z.Epoch() > epoch {
					continue
				}
				if h.Append(z+1, 1) {
					t.Fatalf("appended %v after %v", z+1, last.z)
				}
				chain := rapid.Uint64().Draw(t, "chain")
				if !h.Append(z, chain) {
					t.Fatalf("cannot append %v after %v", z, last.z)
				}
				list = append(list, at{z, chain})
			}
			if h.Start() != list[0].z || h.Last() != list[len(list)-1].z || h.Len() != len(list)-1 {
				t.Fatalf("%v..%v (%d), want %v..%v (%d)", h.Start(), h.Last(), h.Len(), list[0].z, list[len(list)-1].z, len(list)-1)
			}
			for i, e := range list {
				if c, ok := h.Chain(e.z); !ok || c != e.chain {
					t.Fatalf("chain at %v: %x %v", e.z, c, ok)
				}
				next, ok := h.Next(e.z)
				if ok != (i+1 < len(list)) || ok && next != list[i+1].z {
					t.Fatalf("after %v: %v %v", e.z, next, ok)
				}
			}
			c := h.Clone()
			if !slices.Equal(c.Table(), h.Table()) {
				t.Fatal("a clone differs")
			}
			checkTable(t, h.Table(), func(e Epoch) (last Zxid) {
				for _, x := range list {
					if x.z.Epoch() == e {
						last = x.z
					}
				}
				return last
			})
		}
	})
}

func checkTable(t *rapid.T, table []EpochEnd, last func(Epoch) Zxid) {
	for i, e := range table {
		if i > 0 && table[i-1].Epoch <= e.Epoch {
			t.Fatalf("the table does not fall: %v", table)
		}
		if got := MakeZxid(e.Epoch, e.Last); got != last(e.Epoch) {
			t.Fatalf("epoch %d ends at %v, not %v", e.Epoch, last(e.Epoch), got)
		}
	}
}

// TestCommonPoint has the example of ZAB.md 2.4 for which comparing bare zxids
// goes wrong: (1,5) is below (2,10), but the peer never had (1,4) and (1,5).
func TestCommonPoint(t *testing.T) {
	for _, tc := range []struct {
		name       string
		a, b       []EpochEnd
		want       Zxid
		haveCommon bool
	}{
		{"across epochs", []EpochEnd{{3, 1, 0}, {1, 5, 0}, {0, 0, 0}}, []EpochEnd{{2, 10, 0}, {1, 3, 0}, {0, 0, 0}}, MakeZxid(1, 3), true},
		{"prefix", []EpochEnd{{1, 5, 0}, {0, 0, 0}}, []EpochEnd{{1, 3, 0}, {0, 0, 0}}, MakeZxid(1, 3), true},
		{"empty peer", []EpochEnd{{4, 9, 0}, {0, 0, 0}}, []EpochEnd{{0, 0, 0}}, 0, true},
		{"compacted", []EpochEnd{{4, 9, 0}, {3, 7, 0}}, []EpochEnd{{0, 0, 0}}, 0, false},
	} {
		got, ok := commonPoint(tc.a, tc.b)
		back, _ := commonPoint(tc.b, tc.a)
		if got != tc.want || ok != tc.haveCommon || back != got {
			t.Errorf("%s: %v %v, back %v", tc.name, got, ok, back)
		}
	}
}

// TestPatience: the time-out follows the gaps between pings, and a suspicion
// that proves false raises it for a minute (RULES.md part D).
func TestPatience(t *testing.T) {
	p := patience{base: 20}
	now := uint64(1)
	for range 100 {
		now += 4
		p.ping(now)
	}
	if got := p.ticks(0); got != 20 {
		t.Fatalf("quiet: %d ticks", got)
	}
	for range 2 {
		now += 30
		p.ping(now)
	}
	if got := p.ticks(0); got != 120 {
		t.Fatalf("after two gaps of 30 ticks: %d", got)
	}
	p = patience{base: 20}
	p.suspect(2, Boot{Counter: 1})
	p.rejoin(2, Boot{Counter: 2}, now)
	if got := p.ticks(0); got != 20 {
		t.Fatalf("another life is no false suspicion: %d", got)
	}
	p.suspect(2, Boot{Counter: 2})
	p.rejoin(2, Boot{Counter: 2}, now)
	if got := p.ticks(0); got != 30 {
		t.Fatalf("after a false suspicion: %d", got)
	}
	for range 2*halfMinute + 1 {
		now++
		p.tick(now)
	}
	if got := p.ticks(0); got != 20 {
		t.Fatalf("a minute later: %d", got)
	}
}

// TestGate: a message leaves when what it vouches for is stable, in order.
func TestGate(t *testing.T) {
	var g Gate
	m := func(seq uint64) Message { return Message{Seq: seq} }
	now := g.Push([]Outbound{{m(1), 2}, {m(2), 0}, {m(3), 1}, {m(4), 3}})
	if len(now) != 1 || now[0].Seq != 2 {
		t.Fatalf("left at once: %v", now)
	}
	if out := g.Release(2); len(out) != 2 || out[0].Seq != 1 || out[1].Seq != 3 {
		t.Fatalf("released: %v", out)
	}
	if out := g.Push([]Outbound{{m(5), 2}}); len(out) != 1 {
		t.Fatalf("already stable: %v", out)
	}
	if out := g.Release(9); len(out) != 1 || out[0].Seq != 4 {
		t.Fatalf("released: %v", out)
	}
}
