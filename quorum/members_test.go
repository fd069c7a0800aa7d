package quorum

import "testing"

// changing is a cluster of five whose leader has proposed to go on without the
// two that are given last.
func changing(t *testing.T) (b *bench, leader int, stays, goes [2]int) {
	t.Helper()
	b, leader = settledOf(t, 5)
	at := func(i int) int { return (leader + i) % 5 }
	stays, goes = [2]int{at(1), at(2)}, [2]int{at(3), at(4)}
	change := Change{Remove: []NodeID{NodeID(goes[0] + 1), NodeID(goes[1] + 1)}}
	if err := b.cores[leader].SubmitChange(9, change); err != nil {
		t.Fatal(err)
	}
	if _, err := b.hear(leader); err != nil {
		t.Fatal(err)
	}
	if _, pending := b.cores[leader].inForce(); pending == nil || pending.Voters() != 3 {
		t.Fatalf("nothing is proposed: %+v", pending)
	}
	return b, leader, stays, goes
}

// answers lets a learner say to the leader what it says when it is up to date.
func (b *bench) answers(from, leader int, typ MsgType) {
	b.t.Helper()
	c := b.cores[leader]
	m := Message{Type: typ, Session: c.learner(NodeID(from + 1)).session, Epoch: c.r.epoch, Durable: c.log.last()}
	if typ == MsgPong {
		m.Seq, m.Cred, m.Durable = c.r.lead.pingSeq, Credentials{AcceptedEpoch: c.r.epoch, CurrentEpoch: c.r.epoch}, 0
	}
	if _, err := b.tell(from, leader, m); err != nil {
		b.t.Fatal(err)
	}
}

// ZAB.md 2.9: a change is committed by a majority of the old voters and one of
// the new.
func TestBothQuorumsCommitAChange(t *testing.T) {
	b, leader, stays, goes := changing(t)
	l := &b.cores[leader].log
	before := l.commit
	b.answers(goes[0], leader, MsgAck)
	b.answers(goes[1], leader, MsgAck)
	if l.commit != before {
		t.Fatalf("three of five old voters hold it, one of three new ones, and %v is committed after %v", l.commit, before)
	}
	b.answers(stays[0], leader, MsgAck)
	if l.commit != l.last() {
		t.Fatalf("both majorities hold %v, committed is %v", l.last(), l.commit)
	}
}

// … and so is every read that is answered meanwhile confirmed.
func TestBothQuorumsConfirmARead(t *testing.T) {
	b, leader, stays, goes := changing(t)
	b.cores[leader].Read(1)
	if _, err := b.hear(leader); err != nil {
		t.Fatal(err)
	}
	b.answers(goes[0], leader, MsgPong)
	b.answers(goes[1], leader, MsgPong)
	if n := len(b.reads[leader]); n != 0 {
		t.Fatalf("three of five old voters echo, one of three new ones, and %d reads are answered", n)
	}
	b.answers(stays[0], leader, MsgPong)
	if n := len(b.reads[leader]); n != 1 {
		t.Fatalf("both majorities echo, and %d reads are answered", n)
	}
}

// ZAB.md 2.9: cutting the log takes back the change that was in it.
func TestACutTakesAChangeBack(t *testing.T) {
	b, leader, one, _ := settled(t)
	c, from := b.cores[one], b.cores[leader]
	before, chain := c.log.last(), c.log.hist.LastChain()
	change := Change{Set: []MemberChange{{ID: 1, Role: RoleVoter, Addr: "elsewhere:1"}}}
	if err := from.SubmitChange(9, change); err != nil {
		t.Fatal(err)
	}
	said, _ := b.hear(leader)
	if _, err := b.tell(leader, one, *only(t, said, MsgPropose)); err != nil {
		t.Fatal(err)
	}
	if _, pending := c.inForce(); pending == nil || c.log.last() == before {
		t.Fatal("the change is not in force at the follower")
	}
	c.followLeader(c.peer(NodeID(leader + 1)))
	m := Message{Type: MsgLeaderInfo, Session: c.r.follow.session, Epoch: c.ctl.AcceptedEpoch + 1}
	_, err := b.tell(leader, one, m)
	m.Type, m.Mode, m.Common, m.Chain, m.Base = MsgSync, SyncTrunc, before, chain, before
	_, err2 := b.tell(leader, one, m)
	if _, pending := c.inForce(); err != nil || err2 != nil || c.log.last() != before || pending != nil {
		t.Fatalf("after the cut to %v: the log ends at %v, pending %+v, %v, %v", before, c.log.last(), pending, err, err2)
	}
}

// ZAB.md 3, condition (3): a store is granted its vote when every other voter has
// answered a ping that was begun after the store held the history.
func TestAGrantWaitsForEveryAnswer(t *testing.T) {
	b, leader := settledOf(t, 5)
	c := b.cores[leader]
	l, late := c.learner(NodeID((leader+1)%5+1)), c.learner(NodeID((leader+2)%5+1))
	active, _ := c.inForce()
	l.rebuild = rebuild{measured: true, held: true, pinged: c.r.lead.pingSeq}
	for i := range c.r.lead.learners {
		c.r.lead.learners[i].pongSeq = l.rebuild.pinged + 1
	}
	for _, tc := range []struct {
		name   string
		change func(*learner)
		all    bool
	}{
		{"all have answered", func(*learner) {}, true},
		{"an earlier ping", func(q *learner) { q.pongSeq = l.rebuild.pinged }, false},
		{"not in sync", func(q *learner) { q.synced = false }, false},
		{"on another disk", func(q *learner) { q.boot.Incarnation[0]++ }, false},
	} {
		was := *late
		tc.change(late)
		if got := c.answered(active, l); got != tc.all {
			t.Errorf("%s: answered %v", tc.name, got)
		}
		*late = was
	}
}

// RULES.md R3: a configuration names no voter whose disk is not remembered yet.
func TestNobodyVotesOnADiskThatIsNotRemembered(t *testing.T) {
	b, leader, one, _ := settled(t)
	c := b.cores[leader]
	l := c.learner(NodeID(one + 1))
	kept := l.keptAt
	l.keptAt = c.stable + 1 // the record of it is not durable
	change := Change{Set: []MemberChange{{ID: l.id, Role: RoleVoter, Replace: true}}}
	if _, why := c.reconfigure(Origin{}, change.Encode()); why.cause != CauseBehind {
		t.Errorf("the change ends with %v, want %v", why.cause, CauseBehind)
	}
	l.keptAt = kept
	if _, why := c.reconfigure(Origin{}, change.Encode()); why.cause != 0 {
		t.Errorf("the same change, once it is remembered, ends with %v", why.cause)
	}
}
