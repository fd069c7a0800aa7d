package seam

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/tracing"
	"perch/tree"
)

// gate is one gateway, as a node knows it. Its goroutine alone pushes, so that
// pushes have an order.
type gate struct {
	server *Server
	id     natsnet.GatewayID
	born   time.Time
	spoke  atomic.Int64  // nanoseconds from born to the last word
	wake   chan struct{} // holds one when there is something to do
	beat   atomic.Bool   // a beat is due

	mu      sync.Mutex
	ctx     context.Context // of the questions; replaced when they are ended
	cancel  context.CancelCauseFunc
	ended   bool
	seen    window
	running map[uint64]context.CancelFunc
	bytes   int
	queued  []*following // to be followed from now on
	link    uint64       // of the gateway; the highest that it has named
	life    uint64       // drawn whenever interests were dropped
	ids     map[uint64]*following
	pushed  uint64 // number of the last push with batches
}

func newGate(s *Server, id natsnet.GatewayID) *gate {
	g := &gate{
		server: s, id: id, born: time.Now(), wake: make(chan struct{}, 1), running: make(map[uint64]context.CancelFunc),
		ids: make(map[uint64]*following), life: newLife(),
	}
	g.ctx, g.cancel = context.WithCancelCause(s.ctx)
	return g
}

// newLife is a number that no other life has.
func newLife() uint64 { return rand.Uint64() | 1 }

func (g *gate) heard() { g.spoke.Store(int64(time.Since(g.born))) }

// silence is how long nothing was heard of the gateway.
func (g *gate) silence() time.Duration { return time.Since(g.born) - time.Duration(g.spoke.Load()) }

// signal wakes the goroutine, to beat too if that is due.
func (g *gate) signal(beat bool) {
	if beat {
		g.beat.Store(true)
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *gate) run() {
	defer g.end()
	for {
		select {
		case <-g.wake:
			if g.over() {
				return
			}
			g.pass(g.beat.Swap(false))
		case <-g.server.ctx.Done():
			return
		}
	}
}

func (g *gate) over() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended
}

// end is for a gateway that is forgotten.
func (g *gate) end() {
	g.drop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
}

// drop ends all that the gateway has under way.
func (g *gate) drop() {
	g.mu.Lock()
	g.cancel(ErrSilent)
	g.ctx, g.cancel = context.WithCancelCause(g.server.ctx)
	stops := g.forget()
	g.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
}

// forget begins a new life without interests, and returns what stops following
// the present ones; the caller holds mu.
func (g *gate) forget() (stops []func()) {
	if len(g.ids)+len(g.queued) == 0 && g.pushed == 0 {
		return nil
	}
	for _, f := range g.ids {
		stops = append(stops, f.stop)
	}
	for _, f := range g.queued {
		f.refuse(seampb.Untaken_UNTAKEN_LINK)
	}
	g.ids, g.queued, g.pushed, g.life = make(map[uint64]*following), nil, 0, newLife()
	return stops
}

// hello takes the number of the link. The first word of a gateway, and of a new
// link, is answered by a beat.
func (g *gate) hello(link uint64) {
	g.mu.Lock()
	var stops []func()
	news := link > g.link
	if news {
		g.link, stops = link, g.forget()
	}
	g.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	if news {
		g.signal(true)
	}
}

func (g *gate) count() (questions, interests int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.running), len(g.ids)
}

// question serves a question in a goroutine of its own.
func (g *gate) question(id uint64, q *seampb.Question, size int, reply func([]byte) error) {
	ctx, why, first := g.begin(id, size)
	if !first {
		return // the first one is answered
	}
	if why == seampb.Untaken_UNTAKEN_NO && !g.server.spawn(func() {
		defer g.done(id, size)
		if f := q.GetFollow(); f != nil {
			g.follow(ctx, f, reply)
			return
		}
		g.server.answer(reply, g.serve(tracing.With(ctx, tracing.Decode(q.GetTrace())), q))
	}) {
		g.done(id, size)
		why = seampb.Untaken_UNTAKEN_FULL
	}
	if why != seampb.Untaken_UNTAKEN_NO {
		g.server.untaken(reply, why)
	}
}

// begin admits a question, unless it has come before.
func (g *gate) begin(id uint64, size int) (ctx context.Context, why seampb.Untaken, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !g.seen.first(id):
		return nil, seampb.Untaken_UNTAKEN_NO, false
	case g.ended || len(g.running) >= questionsMax || g.bytes+size > questionsMem:
		return nil, seampb.Untaken_UNTAKEN_FULL, true
	}
	ctx, cancel := context.WithCancel(g.ctx)
	g.running[id] = cancel
	g.bytes += size
	return ctx, seampb.Untaken_UNTAKEN_NO, true
}

func (g *gate) done(id uint64, size int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running[id]()
	delete(g.running, id)
	g.bytes -= size
}

// abandon ends a question, also one that is still to come.
func (g *gate) abandon(id uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if cancel := g.running[id]; cancel != nil {
		cancel()
		return
	}
	g.seen.first(id)
}

// serve answers a question.
func (g *gate) serve(ctx context.Context, q *seampb.Question) *seampb.Answer {
	node := g.server.node
	if floor := quorum.Zxid(q.GetFloor()); floor != 0 {
		switch err := node.Reach(ctx, floor, floorWithin); {
		case errors.Is(err, lease.ErrNotCaughtUp):
			return &seampb.Answer{Untaken: seampb.Untaken_UNTAKEN_BEHIND}
		case err != nil:
			return &seampb.Answer{Error: toError(err)}
		}
	}
	switch ask := q.GetAsk().(type) {
	case *seampb.Question_Write:
		res, err := node.Write(ctx, ask.Write.GetCommand(), string(ask.Write.GetToken()))
		return resulting(&res, err)
	case *seampb.Question_Acquire:
		b := Behalf{Gateway: g.id, Drawn: ask.Acquire.GetDrawn()}
		res, err := node.AcquireFor(ctx, b, ask.Acquire.GetCommand(), string(ask.Acquire.GetToken()),
			time.Duration(ask.Acquire.GetWaitNs()))
		return resulting(&res, err)
	case *seampb.Question_Read:
		a, err := node.Read(ctx, fromRead(ask.Read))
		return &seampb.Answer{Error: toError(err), Answer: &seampb.Answer_Reading{Reading: toReading(&a)}}
	case *seampb.Question_Events:
		b, err := node.Events(ctx, fromEventQuery(ask.Events))
		return &seampb.Answer{Error: toError(err), Answer: &seampb.Answer_Events{Events: toEventBatch(&b)}}
	case *seampb.Question_Touch:
		h, err := node.Touch(ctx, ask.Touch.GetCaller(), string(ask.Touch.GetToken()), time.Duration(ask.Touch.GetTtlNs()))
		return &seampb.Answer{Error: toError(err), Answer: &seampb.Answer_Held{Held: toHeld(&h)}}
	}
	return g.govern(ctx, q)
}

func resulting(res *lease.Result, err error) *seampb.Answer {
	return &seampb.Answer{Error: toError(err), Answer: &seampb.Answer_Result{Result: toResult(res)}}
}

// govern answers questions about the cluster and who may use it.
func (g *gate) govern(ctx context.Context, q *seampb.Question) *seampb.Answer {
	node := g.server.node
	switch ask := q.GetAsk().(type) {
	case *seampb.Question_Transfer:
		err := node.Transfer(ctx, ask.Transfer.GetCaller(), quorum.NodeID(ask.Transfer.GetTo()))
		return &seampb.Answer{Error: toError(err)}
	case *seampb.Question_Members:
		z, err := node.ChangeMembers(ctx, fromMembersChange(ask.Members))
		return &seampb.Answer{Error: toError(err), Answer: &seampb.Answer_Zxid{Zxid: uint64(z)}}
	case *seampb.Question_Snapshot:
		piece, err := node.Snapshot(ctx, fromSnapshotQuery(ask.Snapshot))
		return &seampb.Answer{Error: toError(err), Answer: &seampb.Answer_Snapshot{Snapshot: toSnapshotPiece(&piece)}}
	case *seampb.Question_Authenticate:
		secret, ok := hash(ask.Authenticate.GetSecretSha256())
		if !ok {
			return &seampb.Answer{Error: toError(tree.ErrInvalidArgument)}
		}
		id, err := node.Authenticate(ctx, secret)
		return &seampb.Answer{Error: toError(err), Answer: &seampb.Answer_Identity{Identity: toIdentity(&id)}}
	case *seampb.Question_EnableAuth:
		secret, ok := hash(ask.EnableAuth.GetSecretSha256())
		if !ok {
			return &seampb.Answer{Error: toError(tree.ErrInvalidArgument)}
		}
		turned, err := node.EnableAuth(ctx, ask.EnableAuth.GetAdmin(), secret)
		return &seampb.Answer{Error: toError(err), Answer: &seampb.Answer_Turned{Turned: turned}}
	}
	return &seampb.Answer{Untaken: seampb.Untaken_UNTAKEN_UNKNOWN}
}
