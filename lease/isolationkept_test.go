package lease

import (
	"fmt"
	"strings"

	"perch/gen/commandpb"
)

// keptCommand is one on what is counted, queued or gathered, often with a key.
func (n *tenant) keptCommand() *commandpb.Command {
	name, other := pickOne(n, heldNames...), pickOne(n, heldNames...)
	receipt := receiptOf(uint64(n.rng.IntN(3)+1), n.position())
	c := pickOne(n,
		addCounter(name, int64(n.rng.IntN(5))), setCounter(name, 3, 2), deleteCounter(name),
		enqueue(name, n.name, 0, uint64(n.rng.IntN(2)*900)), enqueue(name, n.name, 1, 0),
		claim(name, 2, 1000, n.flag()), claim(name, 1, 1000, true), ack(name, receipt), settle(name, commandpb.Settle_HOW_NACK, 0, receipt),
		configureQueue(name, 1, ""), deleteQueue(name, n.flag()), redrive(name, other, 0),
		with(n.session(), enter(name, 2)), with(n.session(), depart(name, n.flag())), closeBarrier(name), openBarrier(name),
		held(multi(opAdd(name, 1), &commandpb.Op{Op: &commandpb.Op_Enqueue{Enqueue: &commandpb.Enqueue{Queue: other}}})))
	if n.flag() {
		c.Caller = n.caller()
		return withKey(fmt.Sprint(n.rng.IntN(3)), c)
	}
	return c
}

// kept is what a result tells of those.
func (w *world) kept(r Result) string {
	var b strings.Builder
	q := r.Queue
	fmt.Fprint(&b, r.Replayed, r.Receipts.OK == nil, r.Receipts.Lost == nil, r.Message, r.Moved, r.Place.Position, w.rank(r.Place.ID, true),
		[...]any{q.Name, q.Ready, q.Leased, q.Delayed, q.MaxAttempts, q.DeadLetter, q.Oldest})
	w.messages(&b, r.Claimed)
	fmt.Fprint(&b, w.counted(r.Counter), w.gathered(r.Barrier))
	return b.String()
}

func (w *world) messages(b *strings.Builder, list []Message) {
	for _, m := range list {
		fmt.Fprint(b, "; ", m.ID, string(m.Data), m.State, m.Attempts, m.Enqueued, m.DeadFrom, m.Remaining, w.rank(m.Token, true))
	}
}

func (w *world) counted(c Counter) string {
	return fmt.Sprint(c.Name, c.Value, c.Previous, w.rank(c.Tag, true))
}

func (w *world) gathered(g Barrier) string {
	tag := g.Tag
	g.Tag = 0
	return fmt.Sprint(g, w.rank(tag, true))
}

// keptAnswer is what an answer tells of them, but for how long ago something was
// at its position.
func (w *world) keptAnswer(a Answer) string {
	var b strings.Builder
	q := a.Queue
	fmt.Fprint(&b, q.Name, q.Ready, q.Leased, q.Delayed, w.rank(q.Tag, true), w.counted(a.Counter), w.gathered(a.Barrier))
	for i := range a.Messages {
		a.Messages[i].Remaining = 0
	}
	w.messages(&b, a.Messages)
	return b.String()
}
