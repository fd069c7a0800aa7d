package quorum

import (
	"slices"
	"testing"
)

// standing is a cluster of three in which node one has just been elected; it
// gives the two that it waits for.
func standing(t *testing.T) (b *bench, one, two, three int) {
	t.Helper()
	b, leader, one, other := settled(t)
	b.elect(one)
	return b, one, leader, other
}

func (b *bench) elect(i int) {
	b.t.Helper()
	b.cores[i].leadElected()
	if _, err := b.hear(i); err != nil {
		b.t.Fatal(err)
	}
}

// joinAt opens a session of from at the one that was elected, and gives the
// LEADERINFO that it gets.
func (b *bench) joinAt(from, elected int, accepted Epoch) *Message {
	b.t.Helper()
	b.joined++
	m := Message{Type: MsgJoin, Session: b.joined, Seq: 1<<40 + b.joined, Cred: b.cores[from].credentials(), Table: b.cores[from].log.hist.Table()}
	m.Cred.AcceptedEpoch = max(m.Cred.AcceptedEpoch, accepted)
	said, err := b.tell(from, elected, m)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range said {
		if said[i].Type == MsgLeaderInfo && int(said[i].To) == from+1 {
			return &said[i]
		}
	}
	return nil
}

// ZOOKEEPER-335: the new epoch is above every epoch that one of the quorum has
// promised, not only above the leader's own.
func TestTheEpochIsAboveEveryPromise(t *testing.T) {
	b, one, two, _ := standing(t)
	if m := b.joinAt(two, one, 50); m == nil || m.Epoch <= 50 {
		t.Fatalf("epoch 50 was promised: %+v", m)
	}
}

// answer lets from promise, or not, what LEADERINFO tells it, and gives what the
// leader says to that.
func (b *bench) answer(from, elected int, info *Message, counts bool, cred Credentials, table []EpochEnd) []Message {
	b.t.Helper()
	if info == nil {
		b.t.Fatalf("node %d got no LEADERINFO", from+1)
	}
	said, err := b.tell(from, elected, Message{Type: MsgAckEpoch, Session: info.Session, Epoch: info.Epoch, Counts: counts, Cred: cred, Table: table})
	if err != nil {
		b.t.Fatal(err)
	}
	return said
}

// promise is the answer of one whose log is whole.
func (b *bench) promise(from, elected int, info *Message, counts bool) []Message {
	b.t.Helper()
	return b.answer(from, elected, info, counts, b.cores[from].credentials(), b.cores[from].log.hist.Table())
}

func syncTo(said []Message, i int) bool {
	return slices.ContainsFunc(said, func(m Message) bool { return m.Type == MsgSync && int(m.To) == i+1 })
}

// ZAB.md 2.3, step 5: who has promised the epoch to somebody else follows, but
// is no vote for it.
func TestDiscoveryNeedsPromises(t *testing.T) {
	b, one, two, three := standing(t)
	if said := b.promise(two, one, b.joinAt(two, one, 0), false); syncTo(said, two) {
		t.Fatalf("no promise but its own, and %+v", said)
	}
	if said := b.promise(three, one, b.joinAt(three, one, 0), true); !syncTo(said, three) {
		t.Fatalf("a quorum has promised, and there is no SYNC: %+v", said)
	}
}

// RULES.md R1: who joins anew has promised nothing any more.
func TestARejoinVoidsThePromise(t *testing.T) {
	b, leader := settledOf(t, 5)
	one, two, three := (leader+1)%5, (leader+2)%5, (leader+3)%5
	b.elect(one)
	b.joinAt(two, one, 0)
	info := b.joinAt(three, one, 0) // the third: a quorum has joined
	b.promise(three, one, info, true)
	stale := info
	b.joinAt(three, one, 0)
	info = b.joinAt(two, one, 0)
	if said := b.promise(two, one, info, true); syncTo(said, two) {
		t.Fatalf("one has promised, one had and joined anew: %+v", said)
	}
	if said := b.promise(three, one, stale, true); syncTo(said, three) || syncTo(said, two) {
		t.Fatalf("a promise of a former session: %+v", said)
	}
}

// RULES.md R1: … and a pull from it is over.
func TestARejoinEndsThePull(t *testing.T) {
	b, one, two, three := standing(t)
	cred, table := b.cores[two].credentials(), b.cores[two].log.hist.Table()
	cred.Last += 5
	table[0].Last += 5
	info := b.joinAt(two, one, 0)
	if said := b.answer(two, one, info, true, cred, table); only(t, said, MsgFetch) == nil {
		t.Fatalf("nothing is pulled from one that is ahead: %+v", said)
	}
	b.joinAt(two, one, 0)
	if said := b.promise(three, one, b.joinAt(three, one, 0), true); !syncTo(said, three) {
		t.Fatalf("the one to pull from has joined anew: %+v", said)
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

// RULES.md R11: once a cluster is formed its members come from the log, and what
// a node was started with matters no more.
func TestAFormedClusterIgnoresTheList(t *testing.T) {
	b, leader, one, _ := settled(t)
	b.cores[one].cfg.ConfigHash++
	b.reborn(one, nil)
	b.run(60)
	if s := b.cores[one].Soft(); !s.Established || b.leads() != leader {
		t.Fatalf("with another list: %+v, leader %d", s, b.leads()+1)
	}
}

// ZAB.md 2.2: whoever follows a candidate has elected it, in whatever round, and
// need not be asked again.
func TestWhoFollowsACandidateAgrees(t *testing.T) {
	b, leader, _, _ := settled(t)
	c := b.cores[leader]
	c.stepDown()
	c.standAt = 0
	for _, p := range c.peers {
		p.heard = c.tick
		p.note = note{at: c.tick, msg: Message{Type: MsgNotify, Forming: Formed, State: StateFollowing, Round: c.round + 3, Vote: Vote{Leader: c.cfg.ID + 1}}}
	}
	if c.ballot(); c.r.state != StateLooking {
		t.Fatal("others follow another node, and this one leads")
	}
	for _, p := range c.peers {
		p.note.msg.Vote.Leader = c.cfg.ID
	}
	for range c.tun.FinalizeTicks + 2 {
		c.Tick(10)
	}
	if c.r.state != StateLeading {
		t.Fatalf("both others follow this node, and it is %v", c.r.state)
	}
}
