package quorum

import (
	"errors"
	"slices"
	"testing"
)

// Directed tests of checks that other checks mask: whatever a cluster of sound
// nodes does, it never comes to them, so no seed can tell whether they are
// there. Here one node is told what no sound peer would say (ZAB.md 10).

// tell gives m to node to as if from had sent it, and returns what the node
// says and whether it stops. Its disk is fast.
func (b *bench) tell(from, to int, m Message) (said []Message, halt error) {
	b.t.Helper()
	c := b.cores[to]
	m.From, m.FromBoot = NodeID(from+1), b.cores[from].ctl.Boot
	m.To, m.ToBoot, m.Cluster = NodeID(to+1), c.ctl.Boot, c.ctl.Cluster
	c.Step(m)
	return b.hear(to)
}

// hear is what node i says now.
func (b *bench) hear(i int) (said []Message, halt error) {
	c := b.cores[i]
	for c.HasReady() && halt == nil {
		r := c.Ready()
		halt = r.Halt
		said = append(said, b.gates[i].Push(r.Msgs)...)
		b.reads[i] = append(b.reads[i], r.Reads...)
		if r.Seq > 0 {
			c.Stable(r.Seq)
			said = append(said, b.gates[i].Release(r.Seq)...)
		}
	}
	return said, halt
}

// only is the one message of a type; nil when there is none.
func only(t *testing.T, said []Message, want MsgType) *Message {
	t.Helper()
	var found *Message
	for i := range said {
		if said[i].Type == want {
			if found != nil {
				t.Fatalf("two messages of type %d: %+v", want, said)
			}
			found = &said[i]
		}
	}
	return found
}

// settled is a cluster of three in its second epoch, with a base of four
// entries and two more; it gives the leader and the followers.
func settled(t *testing.T) (b *bench, leader, one, other int) {
	t.Helper()
	b, leader = settledOf(t, 3)
	return b, leader, (leader + 1) % 3, (leader + 2) % 3
}

// settledOf is such a cluster of n.
func settledOf(t *testing.T, n int) (b *bench, leader int) {
	t.Helper()
	b = newBench(t, n)
	write := func(first, n uint64) {
		t.Helper()
		for id := first; id < first+n; id++ {
			if err := b.cores[b.leads()].Submit(id, []byte("a")); err != nil {
				t.Fatal(err)
			}
		}
		b.run(8)
	}
	b.run(20)
	write(1, 4)
	for i := range b.cores {
		b.reborn(i, nil)
	}
	b.run(60)
	write(1, 2)
	return b, b.leads()
}

// joins opens a session of peer from at the leader, as one whose log ends as
// told, and gives the SYNC that it gets.
func (b *bench) joins(from, leader int, cred Credentials, table []EpochEnd) *Message {
	b.t.Helper()
	const session = 4711
	e := b.cores[leader].r.epoch
	cred.AcceptedEpoch, cred.CurrentEpoch = e, e-1
	join := Message{Type: MsgJoin, Session: session, Seq: 1 << 40, Cred: cred, Table: table}
	if _, err := b.tell(from, leader, join); err != nil {
		b.t.Fatal(err)
	}
	said, err := b.tell(from, leader, Message{Type: MsgAckEpoch, Session: session, Epoch: e, Counts: true, Cred: cred, Table: table})
	sync := only(b.t.(*testing.T), said, MsgSync)
	if err != nil || sync == nil || sync.Session != session {
		b.t.Fatalf("no SYNC for the one that joined: %+v, %v", said, err)
	}
	return sync
}

// ZOOKEEPER-3104: NEWLEADER is told to a learner whose log holds the base, and
// not before.
func TestNewLeaderAfterTheBase(t *testing.T) {
	b, leader, one, _ := settled(t)
	c := b.cores[leader]
	sync := b.joins(one, leader, Credentials{}, []EpochEnd{{}})
	fetch := Message{Type: MsgFetch, Session: sync.Session, Epoch: c.r.epoch}
	said, _ := b.tell(one, leader, fetch)
	if only(t, said, MsgEntries) == nil || only(t, said, MsgNewLeader) != nil {
		t.Fatalf("to a learner that holds nothing: %+v", said)
	}
	fetch.Prev = c.r.base
	said, _ = b.tell(one, leader, fetch)
	if only(t, said, MsgNewLeader) == nil {
		t.Fatalf("to a learner that holds the base: %+v", said)
	}
}

// ACK-LD counts of one that was told NEWLEADER and holds the base.
func TestAckLDHoldsTheBase(t *testing.T) {
	b, leader, one, _ := settled(t)
	c := b.cores[leader]
	before := c.r.base - 1
	chain, _ := c.log.hist.Chain(before)
	sync := b.joins(one, leader, Credentials{Last: before}, []EpochEnd{{Epoch: before.Epoch(), Last: before.Counter(), Chain: chain}})
	ack := func(durable Zxid) *Message {
		said, err := b.tell(one, leader, Message{Type: MsgAckLD, Session: sync.Session, Epoch: c.r.epoch, Durable: durable})
		if err != nil {
			t.Fatal(err)
		}
		return only(t, said, MsgUpToDate)
	}
	if m := ack(c.r.base); m != nil {
		t.Fatalf("before NEWLEADER: %+v", m)
	}
	_, _ = b.tell(one, leader, Message{Type: MsgFetch, Session: sync.Session, Epoch: c.r.epoch, Prev: c.r.base})
	if m := ack(before); m != nil {
		t.Fatalf("without the base: %+v", m)
	}
	if m := ack(c.r.base); m == nil {
		t.Fatal("with the base: no UPTODATE")
	}
}

// ZAB.md 2.4, third hole of the paper: UPTODATE tells the commit position of now.
func TestUpToDateIsUpToDate(t *testing.T) {
	b, leader, one, _ := settled(t)
	c := b.cores[leader]
	chain, _ := c.log.hist.Chain(c.r.base)
	sync := b.joins(one, leader, Credentials{Last: c.r.base}, []EpochEnd{{Epoch: c.r.base.Epoch(), Last: c.r.base.Counter(), Chain: chain}})
	_, _ = b.tell(one, leader, Message{Type: MsgFetch, Session: sync.Session, Epoch: c.r.epoch, Prev: c.r.base})
	said, _ := b.tell(one, leader, Message{Type: MsgAckLD, Session: sync.Session, Epoch: c.r.epoch, Durable: c.r.base})
	up := only(t, said, MsgUpToDate)
	if up == nil || up.Commit != c.log.commit || up.Commit <= c.r.base {
		t.Fatalf("base %v, commit %v: %+v", c.r.base, c.log.commit, said)
	}
}

// ZOOKEEPER-4837: a learner whose snapshot lies above the common point cannot
// cut back to it.
func TestNoCutBelowASnapshot(t *testing.T) {
	b, leader, one, _ := settled(t)
	base := b.cores[leader].r.base
	ahead := base + 3
	table := []EpochEnd{{Epoch: ahead.Epoch(), Last: ahead.Counter(), Chain: 1}}
	if s := b.joins(one, leader, Credentials{Last: ahead}, table); s.Mode != SyncTrunc || s.Common != base {
		t.Fatalf("without a snapshot: %+v", s)
	}
	b, leader, one, _ = settled(t)
	if s := b.joins(one, leader, Credentials{Last: ahead, SnapZxid: ahead - 1}, table); s.Mode != SyncSnap {
		t.Fatalf("with a snapshot above the common point: %+v", s)
	}
}

// led lets node one follow the leader into a new epoch, up to where it waits for
// SYNC, and gives what the leader's messages carry.
func led(t *testing.T) (b *bench, leader, one int, head Message) {
	t.Helper()
	b, leader, one, _ = settled(t)
	c := b.cores[one]
	c.followLeader(c.peer(NodeID(leader + 1)))
	head = Message{Session: c.r.follow.session, Epoch: c.ctl.AcceptedEpoch + 1}
	info := head
	info.Type = MsgLeaderInfo
	said, err := b.tell(leader, one, info)
	if ack := only(t, said, MsgAckEpoch); err != nil || ack == nil || !ack.Counts {
		t.Fatalf("no promise: %+v, %v", said, err)
	}
	return b, leader, one, head
}

// ZOOKEEPER-3104, 4785: a learner accepts NEWLEADER only when its log holds the
// base.
func TestNewLeaderNeedsTheBase(t *testing.T) {
	b, leader, one, m := led(t)
	c := b.cores[one]
	m.Type, m.Mode, m.Common, m.Chain, m.Base = MsgSync, SyncDiff, c.log.last(), c.log.hist.LastChain(), c.log.last()+2
	if said, err := b.tell(leader, one, m); err != nil || only(t, said, MsgFetch) == nil {
		t.Fatalf("after SYNC: %+v, %v", said, err)
	}
	m.Type, m.Chain = MsgNewLeader, 1
	if said, err := b.tell(leader, one, m); err != nil || only(t, said, MsgAckLD) != nil || c.ctl.CurrentEpoch == m.Epoch {
		t.Fatalf("a learner without the base: cE %d, %+v, %v", c.ctl.CurrentEpoch, said, err)
	}
}

// A learner that is told to drop what it knows to be committed stops.
func TestNoCutOfCommitted(t *testing.T) {
	b, leader, one, m := led(t)
	m.Type, m.Mode, m.Base = MsgSync, SyncTrunc, b.cores[one].log.last()
	if said, err := b.tell(leader, one, m); !errors.Is(err, ErrViolation) {
		t.Fatalf("told to cut its whole log: %+v, %v", said, err)
	}
}

// … also when a snapshot would drop it.
func TestNoSnapshotOfThePast(t *testing.T) {
	b, leader, one, m := led(t)
	m.Type, m.Mode, m.Base = MsgSync, SyncSnap, b.cores[one].log.last()
	m.Snap = SnapMeta{Zxid: b.cores[one].log.last() - 1}
	if said, err := b.tell(leader, one, m); !errors.Is(err, ErrViolation) {
		t.Fatalf("told to install a snapshot of the past: %+v, %v", said, err)
	}
}

// Two histories at one position stop a node, wherever it meets them.
func TestOtherHistoryHalts(t *testing.T) {
	for _, tc := range []struct {
		name string
		meet func(b *bench, leader, one int, m Message) error
	}{
		{"in SYNC", func(b *bench, leader, one int, m Message) error {
			m.Type, m.Mode, m.Common, m.Chain = MsgSync, SyncDiff, b.cores[one].log.last(), 1
			_, err := b.tell(leader, one, m)
			return err
		}},
		{"in NEWLEADER", func(b *bench, leader, one int, m Message) error {
			l := &b.cores[one].log
			m.Type, m.Mode, m.Common, m.Chain, m.Base = MsgSync, SyncDiff, l.last(), l.hist.LastChain(), l.last()
			if _, err := b.tell(leader, one, m); err != nil {
				return nil
			}
			m.Type, m.Chain = MsgNewLeader, 1
			_, err := b.tell(leader, one, m)
			return err
		}},
		{"before a proposal", func(b *bench, leader, _ int, _ Message) error {
			third := 0
			for third == leader || !b.cores[third].r.est {
				third++
			}
			l := &b.cores[third].log
			m := Message{Type: MsgPropose, Epoch: b.cores[third].r.epoch, Prev: l.last(), Chain: 1, Counts: true,
				Entries: []Entry{{Zxid: l.last() + 1, Kind: EntryCommand}}}
			_, err := b.tell(leader, third, m)
			return err
		}},
		{"in a known proposal", func(b *bench, leader, _ int, _ Message) error {
			third := 0
			for third == leader || !b.cores[third].r.est {
				third++
			}
			l := &b.cores[third].log
			before, _ := l.hist.Chain(l.last() - 1)
			m := Message{Type: MsgPropose, Epoch: b.cores[third].r.epoch, Prev: l.last() - 1, Chain: before, Counts: true,
				Entries: []Entry{{Zxid: l.last(), Kind: EntryCommand, Data: []byte("another")}}}
			_, err := b.tell(leader, third, m)
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, leader, one, m := led(t)
			if err := tc.meet(b, leader, one, m); !errors.Is(err, ErrViolation) {
				t.Fatalf("the node goes on: %v", err)
			}
		})
	}
}

// RULES.md R3, R11: a message for another life of this node, or of another
// cluster, is not for it.
func TestMessagesOfOtherLives(t *testing.T) {
	b, leader, one, _ := settled(t)
	c, from := b.cores[one], b.cores[leader].ctl.Boot
	sound := Message{Type: MsgPing, From: NodeID(leader + 1), FromBoot: from, To: NodeID(one + 1), ToBoot: c.ctl.Boot, Cluster: c.ctl.Cluster}
	for _, tc := range []struct {
		name   string
		change func(*Message)
		heard  bool
	}{
		{"a sound one", func(*Message) {}, true},
		{"for any life", func(m *Message) { m.ToBoot = Boot{} }, true},
		{"for an earlier life", func(m *Message) { m.ToBoot.Counter-- }, false},
		{"for a clone", func(m *Message) { m.ToBoot.Nonce++ }, false},
		{"for another disk", func(m *Message) { m.ToBoot.Incarnation[0]++ }, false},
		{"for another node", func(m *Message) { m.To++ }, false},
		{"of another cluster", func(m *Message) { m.Cluster[0]++ }, false},
		{"of no cluster", func(m *Message) { m.Cluster = ClusterID{} }, false},
		{"of nobody", func(m *Message) { m.From = 9 }, false},
	} {
		m := sound
		if tc.change(&m); (c.admit(&m) != nil) != tc.heard {
			t.Errorf("%s: heard %v", tc.name, !tc.heard)
		}
	}
}

// RULES.md R4: an echo confirms a read only when it comes from a voter whose
// disk is in this epoch and in no other.
func TestAPongProvesItsEpoch(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Message)
		proof  bool
	}{
		{"a sound one", func(*Message) {}, true},
		{"promised to another", func(m *Message) { m.Cred.AcceptedEpoch++ }, false},
		{"behind", func(m *Message) { m.Cred.CurrentEpoch-- }, false},
		{"to be rebuilt", func(m *Message) { m.Cred.NeedsRebuild = true }, false},
		{"of a ping to come", func(m *Message) { m.Seq++ }, false},
		{"of an earlier ping", func(m *Message) { m.Seq-- }, false},
		{"of another session", func(m *Message) { m.Session++ }, false},
		{"of another epoch", func(m *Message) { m.Epoch-- }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, leader, one, _ := settled(t)
			c := b.cores[leader]
			c.Read(1)
			if _, err := b.hear(leader); err != nil || len(b.reads[leader]) != 0 {
				t.Fatalf("reads %v before any echo, %v", b.reads[leader], err)
			}
			l, e := c.learner(NodeID(one+1)), c.r.epoch
			m := Message{Type: MsgPong, Session: l.session, Epoch: e, Seq: c.r.lead.pingSeq,
				Cred: Credentials{AcceptedEpoch: e, CurrentEpoch: e}, Durable: l.durable}
			tc.change(&m)
			if _, err := b.tell(one, leader, m); err != nil || (len(b.reads[leader]) == 1) != tc.proof {
				t.Fatalf("reads %v, %v", b.reads[leader], err)
			}
		})
	}
}

// A read position counts in the epoch in which it was asked for: a former leader
// may have noted it before others committed more.
func TestAReadPositionOfItsEpoch(t *testing.T) {
	b, leader, one, _ := settled(t)
	c := b.cores[one]
	c.Read(1)
	said, err := b.hear(one)
	ask := only(t, said, MsgRead)
	if err != nil || ask == nil {
		t.Fatalf("no question: %+v, %v", said, err)
	}
	m := Message{Type: MsgReadPos, Epoch: ask.Epoch - 1, Seq: ask.Seq, Last: c.r.base}
	if _, err = b.tell(leader, one, m); err != nil || len(b.reads[one]) != 0 {
		t.Fatalf("answered by a former epoch: %v, %v", b.reads[one], err)
	}
	m.Epoch, m.Last = ask.Epoch, c.log.commit
	if _, err = b.tell(leader, one, m); err != nil || !slices.Equal(b.reads[one], []ReadDone{{ID: 1, Zxid: m.Last}}) {
		t.Fatalf("the answer: %v, %v", b.reads[one], err)
	}
}

// ZOOKEEPER-3829, RULES.md R11: stores that were given different lists of peers
// form nothing, and say why.
func TestOtherPeersDoNotForm(t *testing.T) {
	b := newBench(t, 3)
	b.cores[2].cfg.ConfigHash++
	b.reborn(2, nil)
	b.run(200)
	for i, c := range b.cores {
		if len(c.ctl.Founding) != 0 || c.Soft().Refusal == "" {
			t.Errorf("node %d: founders %v, refusal %q", i+1, c.ctl.Founding, c.Soft().Refusal)
		}
	}
}

// What was on its way to the disk when the log was cut is not durable after the
// cut, however late the disk says so.
func TestACutOfWhatIsOnItsWay(t *testing.T) {
	var l log
	for i := range uint32(3) {
		l.append(&Entry{Zxid: MakeZxid(1, i+1)})
		l.mark(uint64(i)+1, 0)
	}
	l.stable(1)
	if !l.truncate(MakeZxid(1, 2)) || l.durable != MakeZxid(1, 1) {
		t.Fatalf("after the cut: durable %v", l.durable)
	}
	l.stable(3)
	if l.durable != MakeZxid(1, 2) || l.durable != l.last() {
		t.Fatalf("durable %v, last %v", l.durable, l.last())
	}
}

// An ack counts when it is of its session and epoch, and of no more than there
// is.
func TestAnAckIsOfItsSession(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Message)
		counts bool
	}{
		{"a sound one", func(*Message) {}, true},
		{"of another session", func(m *Message) { m.Session++ }, false},
		{"of another epoch", func(m *Message) { m.Epoch-- }, false},
		{"of another life", func(m *Message) { m.FromBoot.Counter-- }, false},
		{"of more than there is", func(m *Message) { m.Durable += 5 }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, leader, one, _ := settled(t)
			c := b.cores[leader]
			before := c.log.commit
			if err := c.Submit(9, []byte("a")); err != nil {
				t.Fatal(err)
			}
			if _, err := b.hear(leader); err != nil || c.log.last() == before || c.log.commit != before {
				t.Fatalf("proposed %v, committed %v after %v, %v", c.log.last(), c.log.commit, before, err)
			}
			m := Message{Type: MsgAck, From: NodeID(one + 1), FromBoot: b.cores[one].ctl.Boot, Cluster: c.ctl.Cluster,
				Session: c.learner(NodeID(one + 1)).session, Epoch: c.r.epoch, Durable: c.log.last()}
			tc.change(&m)
			c.Step(m)
			if err := c.Submit(10, []byte("b")); err != nil {
				t.Fatal(err)
			}
			if _, err := b.hear(leader); err != nil || (c.log.commit != before) != tc.counts || c.log.commit == c.log.last() {
				t.Fatalf("committed %v of %v after %v, %v", c.log.commit, c.log.last(), before, err)
			}
		})
	}
}

// A leader is believed to be established when it says so, not when it is heard.
func TestAnUnconfirmedLeaderCommitsNothing(t *testing.T) {
	b, leader, one, m := led(t)
	l := &b.cores[one].log
	m.Type, m.Mode, m.Common, m.Chain, m.Base = MsgSync, SyncDiff, l.last(), l.hist.LastChain(), l.last()
	_, err := b.tell(leader, one, m)
	m.Type = MsgNewLeader
	said, err2 := b.tell(leader, one, m)
	if err != nil || err2 != nil || only(t, said, MsgAckLD) == nil {
		t.Fatalf("no ACK-LD: %+v, %v, %v", said, err, err2)
	}
	for _, established := range []bool{false, true} {
		_, err := b.tell(leader, one, Message{Type: MsgPing, Epoch: m.Epoch, Seq: 1, Last: l.last(), Commit: l.commit, Counts: established})
		if err != nil || b.cores[one].Soft().Established != established {
			t.Fatalf("established %v when the leader says %v, %v", !established, established, err)
		}
	}
}

// ZOOKEEPER-4643: what makes a learner count as one that holds the history of an
// epoch is written after that history, also when both come in one stretch.
func TestTheEpochIsWrittenAfterItsHistory(t *testing.T) {
	b, leader, one, m := led(t)
	c := b.cores[one]
	l := &c.log
	m.From, m.FromBoot, m.Cluster = NodeID(leader+1), b.cores[leader].ctl.Boot, c.ctl.Cluster
	e := Entry{Zxid: l.last() + 1, Kind: EntryCommand, Data: []byte("a")}
	prev, chain := l.last(), l.hist.LastChain()
	m.Type, m.Mode, m.Common, m.Chain, m.Base = MsgSync, SyncDiff, prev, chain, e.Zxid
	c.Step(m)
	m.Type, m.Prev, m.Entries = MsgEntries, prev, []Entry{e}
	c.Step(m)
	m.Type, m.Chain, m.Entries = MsgNewLeader, ChainHash(chain, &e), nil
	c.Step(m)
	var types []RecordType
	for _, r := range c.Ready().WAL {
		types = append(types, r.Type)
	}
	if !slices.Equal(types, []RecordType{RecordEntry, RecordControl}) || c.ctl.CurrentEpoch != m.Epoch {
		t.Fatalf("records %v, cE %d of %d", types, c.ctl.CurrentEpoch, m.Epoch)
	}
}
