package lease

import (
	"fmt"
	"strings"
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

func TestSemaphore(t *testing.T) {
	b := newHeldBench(t)
	b.refused(tree.ErrInvalidArgument, semaphore("a", "s", 4, 3, false))
	b.holds(semaphore("a", "s", 2, 3, false))
	b.refused(tree.ErrLimitMismatch, semaphore("b", "s", 1, 4, false))
	b.refused(tree.ErrNoPermits, semaphore("b", "s", 2, 3, false))
	big := b.queues(semaphore("b", "s", 2, 3, true))
	b.refused(tree.ErrNoPermits, semaphore("c", "s", 1, 3, false))
	small := b.queues(semaphore("c", "s", 1, 3, true))
	b.restart()
	r := b.must(release("a", &commandpb.Release{Kind: kindSemaphore, Names: []string{"s"}}))
	if len(r.Outcomes) != 2 || r.Outcomes[0].Place != big.ID || r.Outcomes[1].Place != small.ID || r.Outcomes[0].Hold.Permits != 2 {
		t.Fatalf("%+v", r.Outcomes)
	}
	b.answers(tree.ErrFenceStale, fenced(put(&commandpb.Put{Path: "/w"}), fenceOf(kindSemaphore, "s", r.Zxid)))
	b.must(fenced(with(byToken("c"), put(&commandpb.Put{Path: "/w"})), fenceOf(kindSemaphore, "s", r.Zxid)))
	if s := b.state(kindSemaphore, "s", ""); s.Held != 2 || s.Limit != 3 {
		t.Fatalf("%+v", s)
	}
}

func TestElection(t *testing.T) {
	b := newHeldBench(t)
	h := b.holds(campaign("a", "e", "host-a", false))
	p := b.queues(campaign("b", "e", "host-b", true))
	b.refused(tree.ErrNotLeader, proclaiming("b", &commandpb.Proclaim{Name: "e", Value: "x"}))
	if r := b.must(proclaiming("a", &commandpb.Proclaim{Name: "e", Value: "v2"})); r.Held.Value != "v2" {
		t.Fatalf("%+v", r.Held)
	}
	b.must(held(&commandpb.Command{Op: &commandpb.Command_Proclaim{Proclaim: &commandpb.Proclaim{Name: "e", Value: "v3", Token: uint64(h.Token)}}}))
	b.restart()
	r := b.must(release("a", &commandpb.Release{Kind: kindElection, Names: []string{"e"}}))
	if len(r.Outcomes) != 1 || r.Outcomes[0].Place != p.ID || b.state(kindElection, "e", "").Value != "host-b" {
		t.Fatalf("%+v", r)
	}
	b.refused(tree.ErrNotLeader, held(&commandpb.Command{Op: &commandpb.Command_Proclaim{Proclaim: &commandpb.Proclaim{Name: "e", Value: "v3", Token: uint64(h.Token)}}}))
}

func TestOnce(t *testing.T) {
	b := newHeldBench(t)
	run := &commandpb.Run{Key: "2026/1", MaxAttempts: 3}
	h := b.holds(beginRun("a", "job", run, false))
	r := b.refused(tree.ErrOnceRunning, beginRun("b", "job", run, false))
	if r.Held.Run.State != "running" || len(r.Held.Holders) != 1 {
		t.Fatalf("%+v", r.Held)
	}
	p, q := b.queues(beginRun("b", "job", run, true)), b.queues(beginRun("c", "job", run, true))
	b.restart()
	r = b.must(release("a", &commandpb.Release{Kind: kindOnce, Names: []string{"job"}}))
	if len(r.Outcomes) != 1 || r.Outcomes[0].Place != p.ID || r.Outcomes[0].Hold.Attempt != 2 || r.Outcomes[0].Hold.Key != "2026/1" {
		t.Fatalf("%+v", r.Outcomes)
	}
	b.must(release("a", &commandpb.Release{Kind: kindOnce, Names: []string{"job"}, Run: run}))
	b.answers(tree.ErrSessionExpired, completing("a", &commandpb.Complete{Name: "job"}))
	b.answers(tree.ErrHoldLost, held(&commandpb.Command{Op: &commandpb.Command_Complete{Complete: &commandpb.Complete{Name: "job", Token: uint64(h.Token)}}}))
	b.must(fenced(put(&commandpb.Put{Path: "/w"}), fenceOf(kindOnce, "job", r.Zxid), fenceOf(kindOnce, "job/2026/1", r.Zxid)))
	r = b.must(completing("b", &commandpb.Complete{Name: "job", Data: []byte("42")}))
	if len(r.Outcomes) != 1 || r.Outcomes[0].Place != q.ID || r.Outcomes[0].Code != tree.ErrOnceDone || string(r.Outcomes[0].Held.Run.Data) != "42" {
		t.Fatalf("%+v", r.Outcomes)
	}
	if len(r.Ended) != 2 || r.Held.Run.State != "done" || r.Held.Run.Completed != b.wall {
		t.Fatalf("%+v", r)
	}
	if r = b.must(completing("b", &commandpb.Complete{Name: "job"})); !r.Replayed || string(r.Held.Run.Data) != "42" {
		t.Fatalf("%+v", r)
	}
	r = b.refused(tree.ErrOnceDone, beginRun("a", "job", run, true))
	if string(r.Held.Run.Data) != "42" || r.Held.Run.Attempts != 2 {
		t.Fatalf("%+v", r.Held)
	}
	b.age += keepDefault
	b.restart()
	b.must(lapsing())
	if b.has("/perch/once/job") || b.s.things.Len() != 0 {
		t.Fatal("it is remembered for ever")
	}
	for attempt := int64(1); attempt <= 3; attempt++ {
		if h = b.holds(beginRun("a", "job", run, false)); h.Attempt != attempt {
			t.Fatalf("%+v", h)
		}
		b.must(completing("a", &commandpb.Complete{Name: "job", Failed: true, Data: []byte("oops")}))
	}
	r = b.refused(tree.ErrOnceFailed, beginRun("a", "job", run, true))
	if r.Held.Run.State != "failed" || string(r.Held.Run.Data) != "oops" {
		t.Fatalf("%+v", r.Held)
	}
	b.must(forgetting("job", ""))
	b.holds(beginRun("a", "job", run, false))
	b.refused(tree.ErrOnceRunning, forgetting("job", "2026/1"))
}

// Any key names a run, and is one segment of a path.
func TestOnceKeys(t *testing.T) {
	b := newHeldBench(t)
	for i, key := range []string{".", "..", "a/b", "%41", "A", "ü ", "...x", strings.Repeat("%", nameBytes), strings.Repeat("/", nameBytes)} {
		h := b.holds(beginRun(fmt.Sprint("s", i), "job", &commandpb.Run{Key: key}, false))
		if s := b.state(kindOnce, "job", key); h.Key != key || s.Run.Key != key || s.Held != 1 || unescapeKey(escapeKey(key)) != key {
			t.Errorf("%q: %+v %+v", key, h, s)
		}
		b.must(fenced(put(&commandpb.Put{Path: "/w"}), fenceOf(kindOnce, "job/"+key, h.Token)))
	}
	b.restart()
	b.refused(tree.ErrInvalidArgument, beginRun("s", "job", &commandpb.Run{Key: strings.Repeat("a", nameBytes+1)}, false))
}

// Sessions that hold much are ended in several commands.
func TestExpireCommandsCountHolds(t *testing.T) {
	set := DefaultSettings()
	set.TxnNodes = 3
	b := newHeldBenchWith(t, set)
	var ids []quorum.Zxid
	for i := range 3 {
		for j := range 2 {
			r := b.must(lock(fmt.Sprint("s", i), fmt.Sprintf("l%d-%d", i, j), false))
			if r.Opened {
				ids = append(ids, r.Session.ID)
			}
		}
	}
	if list := b.s.View().ExpireCommands(ids, 1); len(list) != 3 {
		t.Errorf("%v", list)
	}
}
