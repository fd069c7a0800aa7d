package lease

import (
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// newHeldBench is a bench at heldLevel.
func newHeldBench(t testing.TB) *bench { return newHeldBenchWith(t, DefaultSettings()) }

func newHeldBenchWith(t testing.TB, set Settings) *bench {
	b := newBench(t, set)
	b.must(raise(heldLevel))
	return b
}

// held gives c the format of what is held.
func held(c *commandpb.Command) *commandpb.Command {
	c.Format = heldLevel
	return c
}

// taker is a session, by the token that a client drew, that opens by what it
// takes.
func taker(token string) *commandpb.SessionRef { return opening(byToken(token), 10_000) }

func acquire(token string, op *commandpb.Acquire) *commandpb.Command {
	return held(with(taker(token), &commandpb.Command{Op: &commandpb.Command_Acquire{Acquire: op}}))
}

func wants(names ...string) (list []*commandpb.Want) {
	for _, n := range names {
		list = append(list, &commandpb.Want{Name: n})
	}
	return list
}

// lock and its kin ask for something, waiting for it or not.
func lock(token, name string, wait bool) *commandpb.Command {
	return acquire(token, &commandpb.Acquire{Wants: wants(name), Wait: wait, Home: &commandpb.Home{Node: 1, Instance: 7}})
}

func lockShared(token, name string, wait bool) *commandpb.Command {
	c := lock(token, name, wait)
	c.GetAcquire().Wants[0].Shared = true
	return c
}

func lockSet(token string, wait bool, names ...string) *commandpb.Command {
	return acquire(token, &commandpb.Acquire{Wants: wants(names...), Wait: wait, Set: true})
}

func semaphore(token, name string, permits, limit int64, wait bool) *commandpb.Command {
	return acquire(token, &commandpb.Acquire{
		Kind: commandpb.Kind_KIND_SEMAPHORE, Wants: wants(name), Permits: permits, Limit: limit, Wait: wait,
	})
}

func campaign(token, name, value string, wait bool) *commandpb.Command {
	return acquire(token, &commandpb.Acquire{Kind: commandpb.Kind_KIND_ELECTION, Wants: wants(name), Value: value, Wait: wait})
}

func beginRun(token, name string, run *commandpb.Run, wait bool) *commandpb.Command {
	return acquire(token, &commandpb.Acquire{Kind: commandpb.Kind_KIND_ONCE, Wants: wants(name), Run: run, Wait: wait})
}

func owned(owner string, c *commandpb.Command) *commandpb.Command {
	c.GetAcquire().Owner = owner
	return c
}

func staying(ms uint64, c *commandpb.Command) *commandpb.Command {
	c.GetAcquire().StayMs = ms
	return c
}

func release(token string, op *commandpb.Release) *commandpb.Command {
	return held(with(byToken(token), &commandpb.Command{Op: &commandpb.Command_Release{Release: op}}))
}

func unlock(token, name string) *commandpb.Command {
	return release(token, &commandpb.Release{Names: []string{name}})
}

func leaving(p Place, gone bool) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Leave{Leave: &commandpb.Leave{
		Place: uint64(p.ID), Attach: p.Attach, Gone: gone,
	}}})
}

func breaking(kind commandpb.Kind, name string) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Break{Break: &commandpb.Break{Kind: kind, Name: name}}})
}

func revoking(op *commandpb.Revoke) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Revoke{Revoke: op}})
}

func proclaiming(token string, op *commandpb.Proclaim) *commandpb.Command {
	return held(with(byToken(token), &commandpb.Command{Op: &commandpb.Command_Proclaim{Proclaim: op}}))
}

func completing(token string, op *commandpb.Complete) *commandpb.Command {
	return held(with(byToken(token), &commandpb.Command{Op: &commandpb.Command_Complete{Complete: op}}))
}

func forgetting(name, key string) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Forget{Forget: &commandpb.Forget{Name: name, Key: key}}})
}

func withdrawing(op *commandpb.Withdraw) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Withdraw{Withdraw: op}})
}

func lapsing() *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Lapse{Lapse: &commandpb.Lapse{}}})
}

func checkpointing(op *commandpb.Checkpoint) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Checkpoint{Checkpoint: op}})
}

func fenced(c *commandpb.Command, fences ...*commandpb.Fence) *commandpb.Command {
	c.Fences = fences
	return held(c)
}

func fenceOf(kind commandpb.Kind, name string, token quorum.Zxid) *commandpb.Fence {
	return &commandpb.Fence{Kind: kind, Name: name, Token: uint64(token)}
}

// answers applies a command that ends with the code, whether it changes the
// state or not.
func (b *bench) answers(code tree.Code, c *commandpb.Command) Result {
	b.t.Helper()
	r, _ := b.apply(c)
	if r.Code != code {
		b.t.Fatalf("%v: %v, want %v %s", c, r.Code, code, r.Fault)
	}
	return r
}

// holds applies an acquisition that is granted at once.
func (b *bench) holds(c *commandpb.Command) Hold {
	b.t.Helper()
	r := b.must(c)
	if r.Hold.Token == 0 {
		b.t.Fatalf("%v: not granted: %+v", c, r)
	}
	return r.Hold
}

// queues applies an acquisition that gets a place.
func (b *bench) queues(c *commandpb.Command) Place {
	b.t.Helper()
	r := b.must(c)
	if r.Hold.Token != 0 || r.Place.ID == 0 || r.Place.Attach == 0 {
		b.t.Fatalf("%v: no place: %+v", c, r)
	}
	return r.Place
}

// state is what others are told.
func (b *bench) state(kind commandpb.Kind, name, key string) HeldState {
	b.t.Helper()
	a, err := b.read(nil, Read{Kind: ReadHeld, Of: kind, Name: name, Key: key})
	if err != nil {
		b.t.Fatal(err)
	}
	return a.Held[0]
}

// tokens are those of the holders of a lock.
func (b *bench) tokens(name string) (list []quorum.Zxid) {
	b.t.Helper()
	for _, h := range b.state(0, name, "").Holders {
		list = append(list, h.Token)
	}
	return list
}

// restart has the state be written and read again.
func (b *bench) restart() {
	b.t.Helper()
	next := restoredState(b.t, b.s)
	if next.View().Digest() != b.s.View().Digest() {
		b.t.Fatal("a restored state differs")
	}
	b.s = next
}

// hookHolding is armFault for the tables of what is held.
func hookHolding(h *holding, hook func()) {
	h.things.Hook, h.holds.Hook, h.places.Hook, h.overs.Hook = hook, hook, hook, hook
	h.holdsOf.Hook, h.granted.Hook, h.queue.Hook, h.askers.Hook = hook, hook, hook, hook
	h.loads.Hook, h.waits.Hook, h.runs.Hook, h.oversOld.Hook = hook, hook, hook, hook
}
