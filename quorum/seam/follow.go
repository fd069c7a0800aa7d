package seam

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// following is one interest of a gateway at a node (RULES.md R25). Only the
// goroutine of the gate touches what is not atomic, once it is in the gate's ids.
type following struct {
	gate  *gate
	id    uint64
	link  uint64
	what  lease.Interest
	reply func([]byte) error

	path  string      // in the whole tree
	told  quorum.Zxid // nothing happened up to here but what was pushed
	dirty atomic.Bool
	stop  func()
}

// follow begins to follow an interest, once the node has reached its since.
func (g *gate) follow(ctx context.Context, in *seampb.Follow, reply func([]byte) error) {
	f := &following{gate: g, id: in.GetId(), link: in.GetLink(), what: fromInterest(in.GetInterest()), reply: reply}
	g.hello(f.link) // one that was to come before may be late
	switch err := g.server.node.Reach(ctx, f.what.Since, followWithin); {
	case errors.Is(err, lease.ErrNotCaughtUp):
		f.refuse(seampb.Untaken_UNTAKEN_BEHIND)
		return
	case err != nil:
		f.fail(err)
		return
	}
	g.mu.Lock()
	full := len(g.ids)+len(g.queued) >= interestsMax
	if !full {
		g.queued = append(g.queued, f)
	}
	g.mu.Unlock()
	if full {
		f.fail(lease.ErrTooManyWaiters)
		return
	}
	g.signal(false)
}

func (f *following) refuse(why seampb.Untaken) { f.gate.server.untaken(f.reply, why) }
func (f *following) fail(err error) {
	f.gate.server.answer(f.reply, &seampb.Answer{Error: toError(err)})
}

func (g *gate) unfollow(in *seampb.Unfollow) {
	g.mu.Lock()
	var stops []func()
	for _, id := range in.GetIds() {
		if f := g.ids[id]; f != nil && in.GetLink() == g.link {
			stops = append(stops, f.stop)
			delete(g.ids, id)
		}
	}
	g.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
}

// pass pushes what has happened, and beats. What it claims in a beat was settled
// before it looks: up to Woken every interest that was concerned is dirty.
func (g *gate) pass(beat bool) {
	p := &push{gate: g, woken: g.server.node.Woken(), wall: time.Now().UnixMilli()}
	var queued []*following
	queued, p.list = g.take(p)
	p.view, p.err = g.server.node.State()
	for _, f := range queued {
		p.begin(f)
	}
	for _, f := range p.list {
		p.look(f, beat)
	}
	p.flush()
	if beat {
		p.beat()
	}
}

// push is one pass over the interests of a gateway.
type push struct {
	gate  *gate
	link  uint64
	life  uint64
	list  []*following
	woken quorum.Zxid
	wall  int64
	view  *lease.View
	err   error // instead of view

	batches []*seampb.Batch
	bytes   int
}

// take returns the interests that are to be followed from now on, and those that
// are already.
func (g *gate) take(p *push) (queued, list []*following) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.link, p.life = g.link, g.life
	queued, g.queued = g.queued, nil
	list = make([]*following, 0, len(g.ids))
	for _, f := range g.ids {
		list = append(list, f)
	}
	return queued, list
}

// begin follows an interest from the present state on. What happened between its
// since and that is in the answer.
func (p *push) begin(f *following) {
	g, node := f.gate, f.gate.server.node
	view, err := node.State()
	if err != nil {
		f.fail(err)
		return
	}
	path, code := view.Resolve(f.what.Caller, f.what.Path, p.wall)
	if code != tree.OK {
		f.fail(code)
		return
	}
	f.path = path
	if f.stop, err = node.Follow(path, f.what.Scope, f.changed); err != nil {
		f.fail(err)
		return
	}
	if view, err = node.State(); err != nil { // whatever comes after is told by changed
		f.stop()
		f.fail(err)
		return
	}
	f.told = f.what.Since
	first, err := f.batch(view, p.wall)
	if err != nil {
		f.stop()
		f.fail(err)
		return
	}
	first.Through = uint64(max(f.told, view.Zxid()))
	f.told = quorum.Zxid(first.Through)
	if !g.enter(f, p.life) {
		f.stop()
		f.refuse(seampb.Untaken_UNTAKEN_LINK)
		return
	}
	f.gate.server.answer(f.reply, &seampb.Answer{
		Answer: &seampb.Answer_Followed{Followed: &seampb.Followed{Life: p.life, First: first}},
	})
}

// enter lists f, unless the link has another number by now.
func (g *gate) enter(f *following, life uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended || f.link != g.link || life != g.life || g.ids[f.id] != nil {
		return false
	}
	g.ids[f.id] = f
	return true
}

func (f *following) changed() {
	f.dirty.Store(true)
	f.gate.signal(false)
}

// batch is what happened to f after told, in view; at least From is filled in.
// An error says that it cannot be followed any more.
func (f *following) batch(view *lease.View, wall int64) (*seampb.Batch, error) {
	b := &seampb.Batch{Id: f.id, From: uint64(f.told)}
	if view.Zxid() <= f.told {
		return b, nil
	}
	if f.what.State {
		i := f.what
		i.Since = f.told
		b.Happened = view.Happened(i, wall)
		return b, nil
	}
	q := lease.EventQuery{Caller: f.what.Caller, Path: f.what.Path, Scope: f.what.Scope, Since: f.told}
	batch, err := view.Events(q, tree.Bounds{Events: pushEvents, Bytes: pushBytes}, wall)
	if err != nil {
		return nil, err
	}
	b.Events = each(batch.Events, toEvent)
	if batch.More || proto.Size(b) > pushBytes {
		b.Events, b.Happened = nil, true
	}
	return b, nil
}

// look pushes what happened to f. With a beat it also sees to it that f may still
// be told of anything.
func (p *push) look(f *following, beat bool) {
	if p.err != nil {
		return // it stays dirty; the beat says that nothing is known
	}
	if beat && f.refused(p.view, p.wall) {
		p.end(f)
		return
	}
	if !f.dirty.Swap(false) {
		return
	}
	view, err := p.gate.server.node.State() // not the one from before the swap
	if err != nil {
		f.dirty.Store(true)
		return
	}
	b, err := f.batch(view, p.wall)
	switch {
	case err != nil:
		p.end(f)
	case len(b.Events) > 0 || b.Happened:
		f.told = max(f.told, view.Zxid())
		b.Through = uint64(f.told)
		p.add(b)
	}
}

// refused says whether the caller may not follow f any more, or not by the same
// path: he was disabled, his grants have gone, his root is another.
func (f *following) refused(view *lease.View, wall int64) bool {
	path, code := view.Resolve(f.what.Caller, f.what.Path, wall)
	if code != tree.OK || path != f.path {
		return true
	}
	if f.what.State {
		return false
	}
	q := lease.EventQuery{Caller: f.what.Caller, Path: f.what.Path, Scope: f.what.Scope, Since: view.Zxid()}
	_, err := view.Events(q, tree.Bounds{Events: 1}, wall)
	return err != nil
}

// end tells the gateway that f is not followed any more.
func (p *push) end(f *following) {
	g := p.gate
	g.mu.Lock()
	own := g.ids[f.id] == f
	if own {
		delete(g.ids, f.id)
	}
	g.mu.Unlock()
	if own {
		f.stop()
		p.add(&seampb.Batch{Id: f.id, From: uint64(f.told), Through: uint64(f.told), Over: true})
	}
}

func (p *push) add(b *seampb.Batch) {
	p.batches = append(p.batches, b)
	if p.bytes += proto.Size(b); p.bytes >= pushGather {
		p.flush()
	}
}

// flush sends the batches that have gathered.
func (p *push) flush() {
	if len(p.batches) == 0 {
		return
	}
	out := &seampb.ToGateway{Link: p.link, Life: p.life, Batches: p.batches}
	p.batches, p.bytes = nil, 0
	if p.number(out, true) {
		p.send(out)
	}
}

// number gives a push its place in the life that it is of; false when that is
// over.
func (p *push) number(out *seampb.ToGateway, batches bool) bool {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.life != p.life || g.link != p.link {
		return false
	}
	if batches {
		g.pushed++
	}
	out.Seq = g.pushed
	return true
}

func (p *push) send(out *seampb.ToGateway) {
	body, err := proto.Marshal(out)
	if err == nil {
		err = p.gate.server.port.Push(p.gate.id, body)
	}
	if err != nil { // the gateway finds that a number is missing
		p.gate.server.log.Debug("a push was lost", "error", err)
	}
}

// beat tells how the node is, and moves all interests.
func (p *push) beat() {
	node := p.gate.server.node
	status := node.Status()
	out := &seampb.ToGateway{Link: p.link, Life: p.life, Beat: &seampb.Beat{
		Status: toStatus(&status), Auth: node.Auth(), Draining: node.Draining(),
	}}
	if p.err == nil {
		out.Beat.Through = uint64(p.woken)
		for _, f := range p.list {
			f.told = max(f.told, p.woken)
		}
	}
	if p.number(out, false) {
		p.send(out)
	}
}
