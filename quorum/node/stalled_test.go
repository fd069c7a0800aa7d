package node

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"perch/gen/nodepb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// hungLog is a log whose disk hangs until free is closed.
type hungLog struct {
	Log
	free chan struct{}
}

func (l *hungLog) Append(records []quorum.Record) error {
	<-l.free
	return l.Log.Append(records)
}

// An expiry that was proposed may be committed late. Until that is decided no
// touch is acknowledged, however long it takes (RULES.md R12, R23).
func TestAnExpiryWithoutAnOutcomeIsNotTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		leader := c.leader()
		opened := must(t, leader.Node, openCommand(time.Second), clientToken)
		until(t, "at the highest level", func() bool { return leader.view().Level() == lease.Format })
		c.agree()
		free := make(chan struct{})
		for _, n := range c.nodes {
			if n != leader {
				n.disk.queue.put(diskJob{do: func() { n.disk.log = &hungLog{Log: n.wal, free: free} }})
			}
		}
		time.Sleep(2*time.Second + commitPatience) // the proposal has lost the keeper's patience
		if c.leader() != leader {
			t.Fatal("the leader gave way")
		}
		if _, ok := leader.view().Session(opened.Session.ID); !ok {
			t.Fatal("gone without a quorum")
		}
		if held, err := leader.Touch(t.Context(), nil, clientToken, 0); !errors.Is(err, lease.ErrNoLeader) {
			t.Errorf("a touch of a session whose end is proposed: %+v, %v", held, err)
		}
		close(free)
		goneAfter(leader.Node, opened.Session.ID, time.Now())
		if _, err := leader.Touch(t.Context(), nil, clientToken, 0); !errors.Is(err, tree.ErrSessionExpired) {
			t.Errorf("a touch after the end: %v", err)
		}
	})
}

// A loop that was busy for long tells the lease clock late. A touch that came
// meanwhile must not count from before it came (RULES.md R23).
func TestATouchCountsFromNoEarlierThanItCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = time.Second
		k := newKeeper(&Node{})
		s := quorum.Soft{State: quorum.StateLeading, Established: true, Epoch: 1, LeaseMs: 5000}
		counted := time.Now()
		time.Sleep(60 * time.Millisecond) // the loop drains its inbox
		k.tick(s, counted)
		k.tracker.Add(1, ttl, k.now())
		time.Sleep(ttl)
		s.LeaseMs += uint64(time.Since(counted).Milliseconds())
		k.tick(s, time.Now())
		if due := k.tracker.Due(s.LeaseMs, 1); len(due) != 0 {
			t.Fatalf("due %v after it was touched", ttl)
		}
	})
}

// What is left of a TTL counts from the sending of the question: the leader may
// have counted it from then on.
func TestWhatIsLeftCountsFromTheQuestion(t *testing.T) {
	b := &touchBatch{
		index: map[renewal]int{{session: 7}: 0}, sent: time.Now().Add(-time.Hour),
		touched: []*nodepb.Touched{{Alive: true, TtlMs: uint64(2 * time.Hour / time.Millisecond)}},
	}
	held, err := b.held(renewal{session: 7})
	if err != nil || held.Remaining > time.Hour || held.Info.TTL != 2*time.Hour {
		t.Fatalf("%+v, %v", held, err)
	}
}
