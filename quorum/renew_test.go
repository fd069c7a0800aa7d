package quorum

import "testing"

// limited is a bench whose epochs end at a counter; 0: at the default one.
func limited(t testing.TB, n int, limit uint32) *bench {
	b := newBench(t, n)
	for _, c := range b.cores {
		if limit != 0 {
			c.tun.CounterLimit = limit
		}
	}
	b.run(20)
	return b
}

// ZAB.md 2.7: the counter never passes its limit, the leader stays, and every
// request of every node is applied once and in order.
func TestRenewalAtTheLimit(t *testing.T) {
	for _, tc := range []struct {
		nodes int
		limit uint32
	}{{1, 1}, {1, 16}, {2, 3}, {3, 1}, {3, 16}, {5, 16}} {
		b := limited(t, tc.nodes, tc.limit)
		leader, first := b.leads(), b.cores[0].Soft().Epoch
		const each = 50
		for id := uint64(1); id <= each; id++ {
			for _, c := range b.cores {
				if err := c.Submit(id, []byte{byte(id)}); err != nil {
					t.Fatal(err)
				}
				c.Read(id)
			}
			if id%5 == 0 {
				b.run(1)
			}
		}
		b.run(40)
		total := each * tc.nodes
		for i := range b.cores {
			if len(b.applied[i]) != total || len(b.fails[i]) != 0 {
				t.Fatalf("%d nodes, limit %d: node %d applied %d of %d, failures %v", tc.nodes, tc.limit, i+1, len(b.applied[i]), total, b.fails[i])
			}
			if n := len(b.reads[i]); n == 0 || b.reads[i][n-1].ID != each {
				t.Fatalf("%d nodes, limit %d: reads of node %d: %v", tc.nodes, tc.limit, i+1, b.reads[i])
			}
			last := map[NodeID]uint64{}
			for _, e := range b.applied[i] {
				if e.Zxid.Counter() > tc.limit || e.Origin.ID != last[e.Origin.Node]+1 {
					t.Fatalf("node %d applies %v of node %d, request %d after %d", i+1, e.Zxid, e.Origin.Node, e.Origin.ID, last[e.Origin.Node])
				}
				last[e.Origin.Node] = e.Origin.ID
			}
		}
		s := b.cores[leader].Soft()
		if b.leads() != leader || s.Epoch < first+Epoch(total/int(tc.limit)-1) {
			t.Fatalf("%d nodes, limit %d: node %d leads epoch %d after node %d led %d", tc.nodes, tc.limit, b.leads()+1, s.Epoch, leader+1, first)
		}
	}
}

// ZAB.md 2.7: voters that promised higher epochs are let in by the leader that
// there is, also when a higher promise shows while the renewal is under way.
func TestRenewalForHigherPromises(t *testing.T) {
	b := limited(t, 5, 0)
	leader, first := b.leads(), b.cores[0].Soft().Epoch
	one, two := (leader+1)%5, (leader+2)%5
	promise := func(i int, above Epoch) {
		b.reborn(i, func(ctl *Control) {
			ctl.AcceptedEpoch, ctl.AcceptedFrom = first+above, Promise{Leader: NodeID(i + 1), Boot: ctl.Boot}
		})
	}
	promise(one, 10)
	// Whom it counts the leader knows durably (RULES.md R3), before its disk hangs.
	c := b.cores[leader]
	c.Step(Message{Type: MsgNack, From: NodeID(one + 1), FromBoot: b.cores[one].Control().Boot})
	seq := c.Ready().Seq
	c.Stable(seq)
	b.queue = append(b.queue, b.gates[leader].Release(seq)...)
	b.stick(leader)
	b.run(10)
	if s := b.cores[leader].Soft(); s.Epoch != first || !s.Established || b.cores[leader].Control().AcceptedEpoch != first+11 {
		t.Fatalf("before its promise is durable, the leader of epoch %d: %+v", first, s)
	}
	promise(two, 20)
	b.run(2)
	b.unstick()
	b.run(30)
	for i, c := range b.cores {
		if s := c.Soft(); !s.Established || s.Leader != NodeID(leader+1) || s.Epoch != first+21 {
			t.Fatalf("node %d: %+v", i+1, s)
		}
	}
}

// An observer that promised a higher epoch is let in as well, though it counts
// in nothing.
func TestRenewalForAnObserver(t *testing.T) {
	b := limited(t, 4, 0)
	leader, first := b.leads(), b.cores[0].Soft().Epoch
	one := (leader + 1) % 4
	if err := b.cores[leader].SubmitChange(1, Change{Set: []MemberChange{{ID: NodeID(one + 1), Role: RoleObserver}}}); err != nil {
		t.Fatal(err)
	}
	b.run(10)
	b.reborn(one, func(ctl *Control) {
		ctl.AcceptedEpoch, ctl.AcceptedFrom = first+10, Promise{Leader: NodeID(one + 1), Boot: ctl.Boot}
	})
	b.run(40)
	for i, c := range b.cores {
		if s := c.Soft(); !s.Established || s.Leader != NodeID(leader+1) || s.Epoch != first+11 || (s.State == StateObserving) != (i == one) {
			t.Fatalf("node %d: %+v", i+1, s)
		}
	}
}
