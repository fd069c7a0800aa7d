package quorum

import (
	"fmt"
	"testing"
)

// bench is a cluster without faults: messages arrive in order and at once,
// every record is durable as soon as it was handed out.
type bench struct {
	t       testing.TB
	cores   []*Core
	gates   []Gate
	queue   []Message
	applied [][]Entry
	reads   [][]ReadDone
	fails   [][]Failure
	stuck   int    // number of the node whose disk hangs; 0: none
	cut     int    // number of the node that nobody reaches; 0: none
	joined  uint64 // sessions that tests opened by hand
}

func newBench(t testing.TB, n int) *bench {
	b := &bench{t: t, gates: make([]Gate, n), applied: make([][]Entry, n), reads: make([][]ReadDone, n), fails: make([][]Failure, n)}
	var peers []Peer
	for i := 1; i <= n; i++ {
		peers = append(peers, Peer{ID: NodeID(i), Addr: fmt.Sprint("n", i), Role: RoleVoter})
	}
	for i := 1; i <= n; i++ {
		boot := Boot{Incarnation: Incarnation{byte(i)}, Counter: 1, Nonce: uint64(100 + i)}
		c, err := New(Config{ID: NodeID(i), Peers: peers, ConfigHash: 7, Seed: uint64(i), MinEpoch: 3}, Restored{Control: Control{Node: NodeID(i), Boot: boot}})
		if err != nil {
			t.Fatal(err)
		}
		b.cores = append(b.cores, c)
	}
	return b
}

func (b *bench) settle() {
	for again := true; again; {
		again = false
		for i, c := range b.cores {
			for c.HasReady() {
				again = true
				r := c.Ready()
				if r.Halt != nil {
					b.t.Fatal(r.Halt)
				}
				b.queue = append(b.queue, b.gates[i].Push(r.Msgs)...)
				b.applied[i] = append(b.applied[i], r.Committed...)
				b.reads[i] = append(b.reads[i], r.Reads...)
				b.fails[i] = append(b.fails[i], r.Failed...)
				if r.Seq > 0 && b.stuck != i+1 {
					c.Stable(r.Seq)
					b.queue = append(b.queue, b.gates[i].Release(r.Seq)...)
				}
				if err := c.Check(); err != nil {
					b.t.Fatal(err)
				}
			}
		}
		for len(b.queue) > 0 {
			again = true
			m := b.queue[0]
			b.queue = b.queue[1:]
			for i, c := range b.cores {
				if id := NodeID(i + 1); id != m.From && (m.To == 0 || m.To == id) && b.reach(m.From, id) {
					c.Step(m)
				}
			}
		}
	}
}

func (b *bench) reach(from, to NodeID) bool { return b.cut != int(from) && b.cut != int(to) }

func (b *bench) run(ticks int) {
	for range ticks {
		for _, c := range b.cores {
			c.Tick(10)
		}
		b.settle()
	}
}

func TestFormsElectsAndCommits(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b := newBench(t, n)
			b.run(20)
			leaders := 0
			for i, c := range b.cores {
				s := c.Soft()
				if !s.Established || s.Epoch != 3 {
					t.Fatalf("node %d: %+v", i+1, s)
				}
				if s.State == StateLeading {
					leaders++
				}
				for id := uint64(1); id <= 50; id++ {
					if err := c.Submit(id, []byte{byte(i), byte(id)}); err != nil {
						t.Fatal(err)
					}
				}
				c.Read(9)
			}
			b.run(8)
			if leaders != 1 {
				t.Fatalf("%d leaders", leaders)
			}
			for i := range b.cores {
				if len(b.applied[i]) != 50*n {
					t.Fatalf("node %d applied %d of %d", i+1, len(b.applied[i]), 50*n)
				}
				if len(b.reads[i]) == 0 || b.reads[i][len(b.reads[i])-1].ID != 9 {
					t.Fatalf("node %d: reads %v", i+1, b.reads[i])
				}
				if len(b.fails[i]) > 0 {
					t.Fatalf("node %d: failures %v", i+1, b.fails[i])
				}
				if b.cores[i].log.hist.LastChain() != b.cores[0].log.hist.LastChain() {
					t.Fatal("logs differ")
				}
			}
		})
	}
}
