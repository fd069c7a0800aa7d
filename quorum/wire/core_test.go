package wire_test

import (
	"fmt"
	"reflect"
	"testing"

	"perch/quorum"
	"perch/quorum/wire"
)

// Everything that real cores say while they form, elect, write, read and lose
// a leader is a frame that Decode takes and gives back unchanged: the limits
// here and the habits there agree.
func TestCoresSpeakFrames(t *testing.T) {
	const nodes = 3
	c := newCores(t, nodes)
	c.run(30)
	for i, core := range c.cores {
		for id := uint64(1); id <= 20; id++ {
			if err := core.Submit(id, fmt.Appendf(nil, "%d.%d", i, id)); err != nil {
				t.Fatal(err)
			}
		}
		core.Read(1)
	}
	c.run(10)
	for _, core := range c.cores {
		if core.Soft().State == quorum.StateLeading {
			core.StepDown()
			break
		}
	}
	c.run(60)
	for _, typ := range []quorum.MsgType{
		quorum.MsgNotify, quorum.MsgJoin, quorum.MsgLeaderInfo, quorum.MsgAckEpoch, quorum.MsgSync, quorum.MsgNewLeader,
		quorum.MsgAckLD, quorum.MsgUpToDate, quorum.MsgPropose, quorum.MsgAck, quorum.MsgPing, quorum.MsgPong,
		quorum.MsgRequest, quorum.MsgRead, quorum.MsgReadPos,
	} {
		if c.seen[typ] == 0 {
			t.Errorf("no message of type %d was sent", typ)
		}
	}
	if got := c.applied; got < nodes*20 {
		t.Errorf("%d entries applied", got)
	}
}

// cores is a cluster without faults whose messages all pass through frames.
type cores struct {
	t       *testing.T
	cores   []*quorum.Core
	gates   []quorum.Gate
	seen    map[quorum.MsgType]int
	applied int // by the first
}

func newCores(t *testing.T, n int) *cores {
	c := &cores{t: t, gates: make([]quorum.Gate, n), seen: map[quorum.MsgType]int{}}
	var peers []quorum.Peer
	for i := 1; i <= n; i++ {
		peers = append(peers, quorum.Peer{ID: quorum.NodeID(i), Addr: fmt.Sprint("node", i), Role: quorum.RoleVoter})
	}
	for i := 1; i <= n; i++ {
		id := quorum.NodeID(i)
		boot := quorum.Boot{Incarnation: quorum.Incarnation{15: byte(i)}, Counter: 1, Nonce: uint64(i)}
		core, err := quorum.New(quorum.Config{ID: id, Peers: peers, ConfigHash: 7, Seed: uint64(i), MinEpoch: 7000},
			quorum.Restored{Control: quorum.Control{Node: id, Boot: boot}})
		if err != nil {
			t.Fatal(err)
		}
		c.cores = append(c.cores, core)
	}
	return c
}

func (c *cores) run(ticks int) {
	for range ticks {
		for _, core := range c.cores {
			core.SetWall(1_800_000_000_000)
			core.Tick(10)
		}
		for c.round() {
		}
	}
}

// round takes every core's output, as if its disk answered at once.
func (c *cores) round() (busy bool) {
	for i, core := range c.cores {
		for core.HasReady() {
			busy = true
			r := core.Ready()
			if r.Halt != nil {
				c.t.Fatal(r.Halt)
			}
			if i == 0 {
				c.applied += len(r.Committed)
			}
			msgs := c.gates[i].Push(r.Msgs)
			if r.Seq > 0 {
				core.Stable(r.Seq)
				msgs = append(msgs, c.gates[i].Release(r.Seq)...)
			}
			for j := range msgs {
				c.deliver(&msgs[j])
			}
		}
	}
	return busy
}

func (c *cores) deliver(m *quorum.Message) {
	c.seen[m.Type]++
	for i, core := range c.cores {
		if id := quorum.NodeID(i + 1); id == m.From || m.To != 0 && m.To != id {
			continue
		}
		got, err := wire.Decode(wire.Append(nil, m))
		if err != nil {
			c.t.Fatalf("%+v: %v", m, err)
		}
		if want := travelled(m); !reflect.DeepEqual(got, want) {
			c.t.Fatalf("got  %+v\nwant %+v", got, want)
		}
		core.Step(got)
	}
}

// travelled is m as it arrives: without chain hashes of entries, empty lists
// nil.
func travelled(m *quorum.Message) quorum.Message {
	w := *m
	w.Entries = nil
	for _, e := range m.Entries {
		e.Chain = 0
		w.Entries = append(w.Entries, e)
	}
	v := reflect.ValueOf(&w).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice && f.Len() == 0 {
			f.SetZero()
		}
	}
	return w
}
