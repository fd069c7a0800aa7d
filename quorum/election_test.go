package quorum

import "testing"

// standing is a cluster of three in which node one has just been elected; it
// gives the two that it waits for.
func standing(t *testing.T) (b *bench, one, two, three int) {
	t.Helper()
	b, leader, one, other := settled(t)
	b.cores[one].leadElected()
	if _, err := b.hear(one); err != nil {
		t.Fatal(err)
	}
	return b, one, leader, other
}

// joinAt opens a session of from at the one that was elected, and gives the
// LEADERINFO that it gets.
func (b *bench) joinAt(from, elected int, accepted Epoch) *Message {
	b.t.Helper()
	m := Message{Type: MsgJoin, Session: uint64(4711 + from), Seq: 1 << 40, Cred: b.cores[from].credentials(), Table: b.cores[from].log.hist.Table()}
	m.Cred.AcceptedEpoch = max(m.Cred.AcceptedEpoch, accepted)
	said, err := b.tell(from, elected, m)
	if err != nil {
		b.t.Fatal(err)
	}
	return only(b.t.(*testing.T), said, MsgLeaderInfo)
}

// ZOOKEEPER-335: the new epoch is above every epoch that one of the quorum has
// promised, not only above the leader's own.
func TestTheEpochIsAboveEveryPromise(t *testing.T) {
	b, one, two, _ := standing(t)
	if m := b.joinAt(two, one, 50); m == nil || m.Epoch <= 50 {
		t.Fatalf("epoch 50 was promised: %+v", m)
	}
}

// ZAB.md 2.3, step 5: who has promised the epoch to somebody else follows, but
// is no vote for it.
func TestDiscoveryNeedsPromises(t *testing.T) {
	b, one, two, three := standing(t)
	answer := func(from int, counts bool) *Message {
		info := b.joinAt(from, one, 0)
		if info == nil {
			t.Fatalf("node %d gets no LEADERINFO", from+1)
		}
		said, err := b.tell(from, one, Message{Type: MsgAckEpoch, Session: info.Session, Epoch: info.Epoch, Counts: counts,
			Cred: b.cores[from].credentials(), Table: b.cores[from].log.hist.Table()})
		if err != nil {
			t.Fatal(err)
		}
		for i := range said {
			if said[i].Type == MsgSync && int(said[i].To) == from+1 {
				return &said[i]
			}
		}
		return nil
	}
	if m := answer(two, false); m != nil {
		t.Fatalf("no promise but its own, and %+v", m)
	}
	if m := answer(three, true); m == nil {
		t.Fatal("a quorum has promised, and there is no SYNC")
	}
}

// ZOOKEEPER-3109: a leader that is not established gives up as soon as one that
// had joined it looks for a leader again, instead of waiting for it.
func TestALeaderElectGivesUpWithItsElector(t *testing.T) {
	b, one, two, three := standing(t)
	c := b.cores[one]
	b.joinAt(two, one, 0)
	look := Message{Type: MsgNotify, State: StateLooking, Round: c.round + 1, Seq: 1 << 40, Forming: Formed, Founding: c.ctl.Founding}
	if _, err := b.tell(three, one, look); err != nil || c.r.state != StateLeading {
		t.Fatalf("given up for one that had not joined: state %d, %v", c.r.state, err)
	}
	if _, err := b.tell(two, one, look); err != nil || c.r.state != StateLooking {
		t.Fatalf("its elector has left, and it goes on: state %d, %v", c.r.state, err)
	}
}

// ZAB.md 2.2: only the newest notification of a peer is kept, whatever the order
// in which they come.
func TestAnEarlierNotificationIsPassedOver(t *testing.T) {
	b, leader, one, _ := settled(t)
	c, p := b.cores[leader], b.cores[leader].peer(NodeID(one+1))
	for _, seq := range []uint64{1 << 40, 1<<40 - 1, 1 << 40} {
		m := Message{Type: MsgNotify, State: StateFollowing, Round: seq, Seq: seq, Forming: Formed, Founding: c.ctl.Founding}
		if _, err := b.tell(one, leader, m); err != nil || p.note.msg.Round != 1<<40 {
			t.Fatalf("after number %d: %+v, %v", seq, p.note.msg, err)
		}
	}
}

// RULES.md R8: whoever hears of a founding list that is not the one it would
// record records none.
func TestNothingIsFoundedOverAnotherList(t *testing.T) {
	for _, other := range []bool{false, true} {
		b := newBench(t, 3)
		list := b.cores[0].founders()
		for i := range list {
			list[i].Incarnation = b.cores[i].ctl.Boot.Incarnation
		}
		if other {
			list[0].Incarnation[5]++
		}
		note := Message{Type: MsgNotify, State: StateLooking, Seq: 1 << 40, ConfigHash: 7}
		_, err2 := b.tell(1, 0, note)
		note.Forming, note.Founding = Founding, list
		_, err3 := b.tell(2, 0, note)
		if got := len(b.cores[0].ctl.Founding); err2 != nil || err3 != nil || (got == 0) != other {
			t.Errorf("heard of another list: %v; founders recorded: %d, %v, %v", other, got, err2, err3)
		}
	}
}
