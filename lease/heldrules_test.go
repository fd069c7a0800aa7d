package lease

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

const (
	kindLock      = commandpb.Kind_KIND_LOCK
	kindSemaphore = commandpb.Kind_KIND_SEMAPHORE
	kindElection  = commandpb.Kind_KIND_ELECTION
	kindOnce      = commandpb.Kind_KIND_ONCE
)

// R14: shared holds of one period have one token, and a fence of one needs the
// session; conflicting holds have rising tokens.
func TestR14SharedHolds(t *testing.T) {
	b := newHeldBench(t)
	a := b.holds(lockShared("a-------------------------", "l", false))
	other := b.holds(lockShared("b-------------------------", "l", false))
	if a.Token != other.Token {
		t.Fatalf("tokens %v and %v of one period", a.Token, other.Token)
	}
	write := func(token string, fence quorum.Zxid) *commandpb.Command {
		return fenced(with(byToken(token), put(&commandpb.Put{Path: "/w"})), fenceOf(kindLock, "l", fence))
	}
	b.must(write("a-------------------------", a.Token))
	b.must(write("a-------------------------", 0))
	b.answers(tree.ErrFenceStale, fenced(put(&commandpb.Put{Path: "/w"}), fenceOf(kindLock, "l", a.Token)))
	b.must(held(openSessionBy("c-------------------------")))
	b.must(unlock("a-------------------------", "l"))
	for _, token := range []string{"c-------------------------"} {
		b.refused(tree.ErrFenceStale, write(token, a.Token))
		b.refused(tree.ErrFenceStale, write(token, 0))
	}
	third := b.holds(lockShared("a-------------------------", "l", false))
	if third.Token != a.Token {
		t.Fatal("the period goes on while one of it holds")
	}
	b.must(unlock("a-------------------------", "l"))
	b.must(unlock("b-------------------------", "l"))
	next := b.holds(lock("d-------------------------", "l", false))
	if next.Token <= a.Token {
		t.Fatalf("token %v after %v", next.Token, a.Token)
	}
	b.must(fenced(put(&commandpb.Put{Path: "/w"}), fenceOf(kindLock, "l", next.Token)))
	b.refused(tree.ErrFenceStale, fenced(put(&commandpb.Put{Path: "/w"}), fenceOf(kindLock, "l", a.Token)))
	b.must(held(multi(&commandpb.Op{Op: &commandpb.Op_CheckLock{CheckLock: fenceOf(kindLock, "l", next.Token)}}, opPut(&commandpb.Put{Path: "/x"}))))
	r := b.refused(tree.ErrFenceStale, held(multi(
		opPut(&commandpb.Put{Path: "/x"}), &commandpb.Op{Op: &commandpb.Op_CheckLock{CheckLock: fenceOf(kindLock, "l", a.Token)}},
	)))
	if r.Failed != 1 {
		t.Error(r.Failed)
	}
}

func openSessionBy(token string) *commandpb.Command { return with(byToken(token), openSession(10_000)) }

// R15: an acquisition is (session, key), else (session, owner).
func TestR15WhoIsAskingAgain(t *testing.T) {
	b := newHeldBench(t)
	b.must(held(openSessionBy("s")))
	first := b.holds(owned("one", lock("s", "l", false)))
	again := b.must(owned("one", lock("s", "l", false)))
	if again.Hold.Token != first.Token || !again.Replayed {
		t.Fatalf("%+v", again)
	}
	b.refused(tree.ErrModeMismatch, owned("one", lockShared("s", "l", false)))
	b.refused(tree.ErrLockHeld, owned("two", lock("s", "l", false)))
	keyed := func(key string) *commandpb.Command {
		c := lock("s", "k", false)
		c.Key = &commandpb.Key{Hash: secretOf(key), Digest: secretOf("d")}
		return c
	}
	k := b.holds(keyed("one"))
	b.refused(tree.ErrLockHeld, keyed("two"))
	b.refused(tree.ErrLockHeld, lock("s", "k", false))

	// With a token it is that hold, without one the present ones.
	b.answers(tree.ErrHoldLost, release("s", &commandpb.Release{Names: []string{"k"}, Token: uint64(first.Token)}))
	b.must(release("s", &commandpb.Release{Names: []string{"k"}, Token: uint64(k.Token)}))
	b.must(release("s", &commandpb.Release{Names: []string{"k"}, Token: uint64(k.Token)}))
	b.must(unlock("s", "l"))
	b.must(unlock("s", "l"))
	second := b.holds(owned("one", lock("s", "l", false)))
	b.must(release("s", &commandpb.Release{Names: []string{"l"}, Token: uint64(first.Token)}))
	if got := b.tokens("l"); !slices.Equal(got, []quorum.Zxid{second.Token}) {
		t.Fatalf("the release of an older hold has ended %v", got)
	}
	b.answers(tree.ErrHoldLost, unlock("s", "never"))
	b.answers(tree.ErrSessionExpired, unlock("nobody", "l"))
}

// R16: leaving a place, against the grant and against whoever asks again.
func TestR16Leave(t *testing.T) {
	for _, gone := range []bool{false, true} {
		b := newHeldBench(t)
		h := b.holds(lock("a", "l", false))
		p := b.queues(lock("b", "l", true))
		again := b.must(lock("b", "l", true))
		if again.Place.ID != p.ID || again.Place.Attach != p.Attach+1 {
			t.Fatalf("%+v after %+v", again.Place, p)
		}
		if o := again.Outcomes; len(o) != 1 || o[0].Code != tree.ErrSuperseded || o[0].Attach != p.Attach || o[0].Home != 7 {
			t.Fatalf("%+v", o)
		}
		b.refused(tree.ErrSuperseded, leaving(p, gone))
		b.restart()
		r := b.answers(tree.ErrLockHeld, leaving(again.Place, gone))
		if len(r.Ended) != 1 || r.Place.Position != 1 || len(r.Held.Holders) != 1 || r.Held.Holders[0].Token != h.Token {
			t.Fatalf("%+v", r)
		}
		b.refused(tree.ErrHoldLost, leaving(again.Place, gone))

		p = b.queues(lock("b", "l", true)) // the token was forgotten with the wait
		got := b.must(unlock("a", "l"))
		if len(got.Outcomes) != 1 || got.Outcomes[0].Hold.Token != got.Zxid || got.Outcomes[0].TTL == 0 {
			t.Fatalf("%+v", got.Outcomes)
		}
		b.restart()
		b.refused(tree.ErrSuperseded, leaving(Place{ID: p.ID, Attach: p.Attach + 1}, gone))
		r = b.must(leaving(p, gone))
		if left := len(b.tokens("l")); gone == (left == 1) || gone == (r.Hold.Token == got.Zxid) || gone == (r.Session.ID != 0) {
			t.Fatalf("gone %v: %d hold it, answer %+v", gone, left, r)
		}
	}
}

// A place is kept for whoever comes again in time, and passed over meanwhile.
func TestR16Stay(t *testing.T) {
	b := newHeldBench(t)
	b.holds(lock("a", "l", false))
	p := b.queues(staying(500, lock("b", "l", true)))
	c := b.queues(lock("c", "l", true))
	r := b.answers(tree.ErrLockHeld, leaving(p, true))
	if len(r.Ended) != 0 || b.state(kindLock, "l", "").Waiting != 2 {
		t.Fatalf("%+v", r)
	}
	if at, ok := b.s.View().NextLapse(); !ok || at != 500 {
		t.Fatal(at, ok)
	}
	r = b.must(unlock("a", "l"))
	if len(r.Outcomes) != 1 || r.Outcomes[0].Place != c.ID {
		t.Fatalf("%+v", r.Outcomes)
	}
	again := b.queues(staying(500, lock("b", "l", true)))
	if again.ID != p.ID || again.Attach != p.Attach+1 {
		t.Fatalf("%+v", again)
	}
	b.answers(tree.ErrLockHeld, leaving(again, false))
	b.restart()
	b.age += 500
	if r = b.must(lapsing()); len(r.Ended) != 1 || b.state(kindLock, "l", "").Waiting != 0 {
		t.Fatalf("%+v", r)
	}
	b.refused(tree.ErrHoldLost, leaving(again, false))
}

// R17: what a dead home waits for goes, and grants that nobody has received.
func TestR17Withdraw(t *testing.T) {
	b := newHeldBench(t)
	b.holds(lock("a", "l", false))
	at := func(home uint64, c *commandpb.Command) *commandpb.Command {
		c.GetAcquire().Home = &commandpb.Home{Node: 2, Instance: home}
		return c
	}
	b.queues(at(1, lock("b", "l", true)))
	p := b.queues(at(2, lock("c", "l", true)))
	b.queues(at(1, staying(1000, lock("d", "l", true))))
	last := b.queues(at(2, lock("e", "l", true)))
	v := b.s.View()
	if homes := v.Homes(); !slices.Equal(homes, []HomeRef{{2, 1}, {2, 2}}) || v.WaitsAt(homes[0]) != 2 {
		t.Fatal(homes)
	}
	b.refused(tree.ErrInvalidArgument, withdrawing(&commandpb.Withdraw{Epoch: 2, Homes: []*commandpb.Home{{Node: 2, Instance: 1}}}))
	r := b.must(withdrawing(&commandpb.Withdraw{Epoch: 1, Homes: []*commandpb.Home{{Node: 2, Instance: 1}, {Node: 9}}}))
	if len(r.Ended) != 2 || len(b.s.View().Homes()) != 1 || b.state(kindLock, "l", "").Waiting != 2 {
		t.Fatalf("%+v", r)
	}
	if v = b.s.View(); !v.Waits(v.sessionOf(t, "c")) || v.Waits(v.sessionOf(t, "a")) || v.Waits(5) {
		t.Error("c waits, and nobody else")
	}
	b.must(unlock("a", "l"))
	r = b.must(withdrawing(&commandpb.Withdraw{Epoch: 1, Places: []uint64{uint64(p.ID), 5}}))
	if len(r.Outcomes) != 1 || r.Outcomes[0].Place != last.ID || r.Outcomes[0].Hold.Token != r.Zxid {
		t.Fatalf("%+v", r.Outcomes)
	}
	b.answers(tree.ErrSessionExpired, with(byToken("c"), held(put(&commandpb.Put{Path: "/x"}))))
	b.answers(tree.ErrHoldLost, unlock("c", "l"))
	b.must(lock("e", "l", false)) // it has the hold by another request now
	b.must(withdrawing(&commandpb.Withdraw{Epoch: 1, Places: []uint64{uint64(last.ID)}}))
	if len(b.tokens("l")) != 1 {
		t.Fatal("a hold that somebody knows of was withdrawn")
	}
	if b.s.View().Waits(b.state(kindLock, "l", "").Holders[0].Session) {
		t.Error("who holds does not wait")
	}
}

// R18: all ends come first, then one pass; sets are granted whole at one zxid.
func TestR18OrderInOneTransaction(t *testing.T) {
	b := newHeldBench(t)
	a, c := b.must(lock("a", "l", false)), b.must(lock("c", "m", false))
	p := b.queues(lock("b", "l", true))         // b waits for l, and ends in the same transaction
	d := b.queues(lockSet("d", true, "m", "l")) // d wants both
	e := b.queues(lock("e", "m", true))
	bSession := b.s.View().sessionOf(t, "b")
	r := b.must(held(expire(a.Session.ID, c.Session.ID, bSession)))
	if len(r.Outcomes) != 2 || r.Outcomes[0].Place != p.ID || r.Outcomes[0].Code != tree.ErrSessionExpired ||
		r.Outcomes[1].Place != d.ID || r.Outcomes[1].Hold.Token != r.Zxid || !slices.Equal(r.Outcomes[1].Hold.Names, []string{"l", "m"}) {
		t.Fatalf("%+v", r.Outcomes)
	}
	if !slices.Equal(b.tokens("l"), []quorum.Zxid{r.Zxid}) || !slices.Equal(b.tokens("m"), []quorum.Zxid{r.Zxid}) {
		t.Fatal("a set is granted at one zxid")
	}
	b.restart()
	b.must(fenced(put(&commandpb.Put{Path: "/w"}), fenceOf(kindLock, "l", r.Zxid), fenceOf(kindLock, "m", r.Zxid)))
	r = b.must(release("d", &commandpb.Release{Set: true}))
	if len(r.Outcomes) != 1 || r.Outcomes[0].Place != e.ID {
		t.Fatalf("%+v", r.Outcomes)
	}
	b.must(release("d", &commandpb.Release{Set: true}))
}

func (v *View) sessionOf(t testing.TB, token string) quorum.Zxid {
	t.Helper()
	info, known := v.Lookup(byToken(token), "")
	if known != KnownAlive {
		t.Fatal(token, known)
	}
	return info.ID
}

// A waiting exclusive stops later shared ones; who does not ask stops nobody.
func TestFairness(t *testing.T) {
	b := newHeldBench(t)
	b.holds(lockShared("a", "l", false))
	x := b.queues(lock("x", "l", true))
	b.refused(tree.ErrLockHeld, lockShared("b", "l", false))
	s1, s2 := b.queues(lockShared("b", "l", true)), b.queues(lockShared("c", "l", true))
	y := b.queues(lock("y", "l", true))
	if y.Position != 4 {
		t.Fatalf("position %d", y.Position)
	}
	r := b.answers(tree.ErrLockHeld, leaving(x, false))
	if len(r.Outcomes) != 2 || r.Outcomes[0].Place != s1.ID || r.Outcomes[1].Place != s2.ID || r.Outcomes[0].Hold.Token >= r.Zxid {
		t.Fatalf("they join the period of a: %+v", r.Outcomes)
	}
	for _, token := range []string{"a", "b"} {
		if r = b.must(unlock(token, "l")); len(r.Outcomes) != 0 {
			t.Fatalf("%+v", r)
		}
	}
	if r = b.must(unlock("c", "l")); len(r.Outcomes) != 1 || r.Outcomes[0].Place != y.ID {
		t.Fatalf("%+v", r)
	}
}

// R19: no token enters a snapshot, whoever drew it.
func TestR19NoSecretOfHolds(t *testing.T) {
	const secret = "a-secret-that-nobody-must-find"
	b := newHeldBench(t)
	b.holds(lock(secret, "l", false))
	b.queues(owned("other", lock(secret, "l", true)))
	b.must(release(secret, &commandpb.Release{Set: true}))
	b.holds(lock(secret, "l", false))
	for _, c := range []*commandpb.Command{lock(secret, "l", true), unlock(secret, "l")} {
		if strings.Contains(string(marshal(t, c)), secret) {
			t.Error("a token in a command")
		}
	}
	if strings.Contains(string(snapshotBytes(t, b.s.View())), secret) {
		t.Error("a token in a snapshot")
	}
}

// R20: a window far ahead of replicated time is not begun.
func TestR20OnceWindow(t *testing.T) {
	b := newHeldBench(t)
	daily := &commandpb.Run{PeriodMs: 86_400_000, OffsetMs: 3_600_000}
	b.wall = 10*86_400_000 + 3_600_000 - 2
	b.must(lapsing())
	b.wall--
	h := b.holds(beginRun("a", "job", daily, false))
	if h.Key != "9" || h.Attempt != 1 || h.Names[0] != "job" {
		t.Fatalf("%+v", h)
	}
	if next := b.state(kindOnce, "job", "").Run.Next; next != 10*86_400_000+3_600_000 {
		t.Fatal(next)
	}
	if h = b.holds(beginRun("b", "job", daily, false)); h.Key != "10" {
		t.Fatalf("%+v", h)
	}
	b.wall += 86_400_000
	b.refused(tree.ErrOverloaded, beginRun("c", "job", daily, false))
	b.wall -= 86_400_000 // time goes back
	b.refused(tree.ErrOnceRunning, beginRun("c", "job", daily, false))
	b.wall, b.age = b.wall+86_400_000, b.age+86_400_000-4999
	b.restart()
	if h = b.holds(beginRun("c", "job", daily, false)); h.Key != "11" {
		t.Fatalf("%+v", h)
	}
}

// R22: what a long session has left is noted for the next leader.
func TestR22Checkpoint(t *testing.T) {
	b := newHeldBench(t)
	long := b.must(with(byToken("long"), openSession(600_000))).Session.ID
	short := b.must(with(byToken("short"), openSession(30_000))).Session.ID
	plain := b.s.View().Digest()
	b.refused(tree.ErrInvalidArgument, checkpointing(&commandpb.Checkpoint{Epoch: 2, Ids: []uint64{uint64(long)}, LeftMs: []uint64{5}}))
	b.must(checkpointing(&commandpb.Checkpoint{
		Epoch: 1, Ids: []uint64{uint64(long), uint64(short), 99}, LeftMs: []uint64{1000, 1000, 1},
	}))
	b.restart()
	v := b.s.View()
	if v.Left(long) != 1000 || v.Left(99) != 0 || v.Digest() == plain {
		t.Fatal(v.Left(long))
	}
	tr := NewTracker()
	tr.Reset(v, 0)
	if left, _ := tr.Remaining(long, 0); left.Milliseconds() != 1000 {
		t.Error(left)
	}
	if left, _ := tr.Remaining(short, 0); left.Milliseconds() != 30_000 {
		t.Error(left)
	}
	if due := tr.Due(1500, 9); !slices.Equal(due, []quorum.Zxid{long}) {
		t.Error(due)
	}
	b.must(checkpointing(&commandpb.Checkpoint{Epoch: 1, Ids: []uint64{uint64(long)}, LeftMs: []uint64{600_000}}))
	if b.s.View().Left(long) != 0 {
		t.Error("all of it")
	}
}

// What expires with its session is not granted for the lock delay.
func TestLockDelay(t *testing.T) {
	b := newHeldBench(t)
	delayed := func(token string) *commandpb.Command {
		c := lock(token, "l", false)
		c.GetAcquire().LockDelayMs = 200
		return c
	}
	b.holds(delayed("a"))
	b.must(unlock("a", "l"))
	id := b.must(delayed("a")).Session.ID
	b.must(held(expire(id)))
	b.refused(tree.ErrLockDelayed, lock("b", "l", false))
	p := b.queues(lock("b", "l", true))
	b.age += 199
	b.restart()
	if r := b.must(lapsing()); len(r.Outcomes) != 0 {
		t.Fatalf("%+v", r)
	}
	b.age++
	if r := b.must(lapsing()); len(r.Outcomes) != 1 || r.Outcomes[0].Place != p.ID {
		t.Fatalf("%+v", r)
	}
	b.answers(tree.ErrHoldLost, unlock("a", "l"))
	b.must(unlock("b", "l"))
	if b.has("/perch/locks/l") || b.s.things.Len() != 0 || b.s.dues.Len() != 0 {
		t.Error("something is left of it")
	}
}

// A holder is asked to give a lock up, and after a while it is taken from him.
func TestRevokeAndBreak(t *testing.T) {
	b := newHeldBench(t)
	b.holds(lockShared("a", "l", false))
	b.must(revoking(&commandpb.Revoke{Name: "l", Reason: "deploy", BreakAfterMs: proto.Uint64(100)}))
	if r := b.must(lockShared("a", "l", false)); !r.Hold.Revoked || r.Hold.Reason != "deploy" {
		t.Fatalf("%+v", r.Hold)
	}
	if r := b.must(lockShared("b", "l", false)); r.Hold.Revoked {
		t.Fatal("b came later")
	}
	b.restart()
	b.age += 100
	if r := b.must(lapsing()); len(r.Ended) != 1 {
		t.Fatalf("%+v", r)
	}
	if s := b.state(kindLock, "l", ""); s.Held != 1 || s.Revoked {
		t.Fatalf("%+v", s)
	}
	b.answers(tree.ErrHoldLost, unlock("a", "l"))
	if r := b.must(breaking(kindLock, "l")); len(r.Ended) != 1 || r.Held.Held != 0 {
		t.Fatalf("%+v", r)
	}
	b.answers(tree.ErrHoldLost, unlock("b", "l"))
	b.must(breaking(kindLock, "l"))
	if len(b.must(revoking(&commandpb.Revoke{Name: "l"})).Held.Holders) != 0 {
		t.Error("nobody is asked")
	}
}

// A session that an acquisition opens ends with what it has taken, and is
// forgotten.
func TestTransientSessions(t *testing.T) {
	b := newHeldBench(t)
	r := b.must(lock("a", "l", false))
	if !r.Opened || r.Session.ID != r.Zxid {
		t.Fatalf("%+v", r)
	}
	r = b.refused(tree.ErrLockHeld, lock("b", "l", false))
	if r.Opened || len(r.Held.Holders) != 1 {
		t.Fatalf("%+v", r)
	}
	if r = b.must(unlock("a", "l")); len(r.Ended) != 1 || b.s.sessions.Len() != 0 || b.s.ended.Len() != 0 {
		t.Fatalf("%+v", r)
	}
	b.must(unlock("a", "l"))
	drawn := &commandpb.SessionRef{OpenTtlMs: 5000}
	r = b.must(held(with(drawn, lock("a", "l", false))))
	if !r.Opened || r.Session.ID != r.Zxid {
		t.Fatalf("%+v", r)
	}
	id := byID(r.Session.ID)
	b.must(held(with(id, unlock("", "l"))))
	b.must(held(with(id, unlock("", "l"))))
	b.refused(tree.ErrSessionExpired, held(with(id, lock("", "l", false))))
	b.refused(tree.ErrInvalidArgument, held(with(nil, lock("", "l", false))))
	b.refused(tree.ErrSessionExpired, held(with(byToken("new"), lock("", "l", false))))

	r = b.must(lock("a", "l", false))
	b.must(held(expire(r.Session.ID)))
	b.answers(tree.ErrHoldLost, unlock("a", "l"))
	b.refused(tree.ErrSessionExpired, lock("a", "l", false))
	b.must(held(openSessionBy("own")))
	b.must(lock("own", "l", false))
	b.must(lock("mine", "n", false))
	b.must(held(openSessionBy("mine")))
	if r = b.must(unlock("mine", "n")); len(r.Ended) != 0 {
		t.Error("a session that was created has ended with a hold")
	}
	if r = b.must(unlock("own", "l")); len(r.Ended) != 0 {
		t.Error("a session that was there before is not transient")
	}
	b.must(lock("own", "l", false))
	b.must(held(with(byToken("own"), closeSession(0))))
	b.must(unlock("own", "l"))
}

// Whoever holds permits may not ask for them again under another limit.
func TestHolderOfAnotherLimit(t *testing.T) {
	b := newHeldBench(t)
	first := b.holds(semaphore("h", "s", 1, 2, false))
	r := b.refused(tree.ErrLimitMismatch, semaphore("h", "s", 1, 3, false))
	if r.Held.Limit != 2 || len(r.Held.Holders) != 1 {
		t.Errorf("%+v", r.Held)
	}
	if again := b.must(semaphore("h", "s", 1, 2, false)); !again.Replayed || again.Hold.Token != first.Token {
		t.Errorf("%+v", again)
	}
}

// A fenced write of a session that has ended with its hold, or its hold with it,
// says that the hold is gone; of what it never held, that the session is.
func TestFenceOfEndedSession(t *testing.T) {
	b := newHeldBench(t)
	broken, expired := b.holds(lock("a", "l", false)), b.holds(lock("e", "m", false))
	b.holds(lock("r", "n", false))
	b.must(breaking(kindLock, "l"))
	b.must(expire(expired.Session))
	b.must(unlock("r", "n"))
	write := func(token, name string, fence quorum.Zxid) *commandpb.Command {
		return fenced(with(byToken(token), put(&commandpb.Put{Path: "/w"})), fenceOf(kindLock, name, fence))
	}
	b.restart()
	for _, c := range []*commandpb.Command{
		write("a", "l", 0), write("a", "l", broken.Token), write("e", "m", 0), write("e", "m", expired.Token), write("r", "n", 0),
	} {
		b.refused(tree.ErrFenceStale, c)
	}
	for _, c := range []*commandpb.Command{
		write("a", "m", 0), write("a", "l", 1), write("x", "l", broken.Token), with(byToken("a"), put(&commandpb.Put{Path: "/w"})),
	} {
		b.refused(tree.ErrSessionExpired, c)
	}
	lost := func(token, name string, fence quorum.Zxid) bool {
		return b.s.View().Lost(Read{Kind: ReadHold, Of: kindLock, Name: name, Fencing: fence}, byToken(token), b.wall)
	}
	if !lost("a", "l", 0) || !lost("a", "l", broken.Token) || lost("a", "l", 1) || lost("e", "m", 0) || lost("r", "n", 0) || lost("a", "", 0) {
		t.Error("what was broken is lost, and nothing else")
	}
}

// Whoever may use a lock may ask its holders, and not break their holds.
func TestRevokeNeedsAdmin(t *testing.T) {
	b := newPolicyBench(t)
	b.must(raise(heldLevel))
	b.principal("user", "", granting("/", PermUse)[0])
	b.principal("chief", "", granting("/", PermAdmin)[0])
	ask, end := &commandpb.Revoke{Name: "l"}, &commandpb.Revoke{Name: "l", BreakAfterMs: proto.Uint64(0)}
	b.must(held(by(named("user"), revoking(ask))))
	b.refused(tree.ErrPermissionDenied, held(by(named("user"), revoking(end))))
	b.must(held(by(named("chief"), revoking(end))))
	b.refused(tree.ErrPermissionDenied, held(by(named("chief"), revoking(ask))))
}
