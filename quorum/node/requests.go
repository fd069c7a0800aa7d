package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/tracing"
	"perch/tree"
)

// How long a write waits (DESIGN.md, life of a write).
const (
	leaderPatience = 2 * time.Second // for a leader to appear
	commitPatience = 5 * time.Second // for an outcome
)

// requests are the commands of this node's clients that have no outcome yet.
// Ids rise in the order in which the loop submits them.
type requests struct {
	maxCount int
	maxBytes int

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]*request
	queued  []*request // not submitted yet
	spare   []*request
	order   []*request // by age, for the sweep; may hold ended ones
	bytes   int
}

// request is one command on its way.
type request struct {
	id        uint64
	data      []byte
	size      int            // bytes that count until it ends
	change    *quorum.Change // of the members, instead of data
	place     *placed        // waits for the end of the place that the command may take
	began     time.Time
	trace     tracing.Parent // of whoever waits for it
	submitted time.Time      // to the core; of traced ones
	ended     bool           // guarded by requests.mu
	done      chan outcome
}

// outcome is how a request ended.
type outcome struct {
	result lease.Result
	err    error
}

func newRequests(maxCount, maxBytes int) *requests {
	return &requests{maxCount: maxCount, maxBytes: maxBytes, waiting: make(map[uint64]*request)}
}

// add registers a command and queues it for the loop. ErrOverloaded when too
// many are in flight.
func (q *requests) add(data []byte) (*request, error) {
	return q.enter(newRequest(data))
}

func newRequest(data []byte) *request { return &request{data: data, size: len(data)} }

func (q *requests) enter(r *request) (*request, error) {
	r.began, r.done = time.Now(), make(chan outcome, 1)
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= q.maxCount || q.bytes+r.size > q.maxBytes {
		return nil, lease.ErrOverloaded
	}
	q.last++
	r.id = q.last
	q.waiting[r.id] = r
	q.bytes += r.size
	q.queued = append(q.queued, r)
	q.order = append(q.order, r)
	return r, nil
}

// take hands the queued requests to the loop.
func (q *requests) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queued) == 0 {
		return nil
	}
	out := q.queued
	q.queued, q.spare = q.spare[:0], out
	return out
}

// end gives the request id its outcome; unknown and ended ones are passed over.
func (q *requests) end(id uint64, o outcome) {
	if r := q.finish(id); r != nil {
		r.done <- o
	}
}

// finish takes the request id off the books; nil when it is not there.
func (q *requests) finish(id uint64) *request {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.waiting[id]
	if r != nil {
		delete(q.waiting, id)
		q.bytes -= r.size
		r.ended, r.data = true, nil
	}
	return r
}

// older returns the requests without an outcome that began before t, oldest
// first.
func (q *requests) older(t time.Time) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(q.order) && q.order[n].ended {
		n++
	}
	q.order = q.order[n:]
	var out []*request
	for _, r := range q.order {
		if !r.began.Before(t) {
			break
		}
		if !r.ended {
			out = append(out, r)
		}
	}
	return out
}

// count is the number of requests without an outcome.
func (q *requests) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// Write implements lease.Service.
func (n *Node) Write(ctx context.Context, cmd *commandpb.Command, token string) (lease.Result, error) {
	began := time.Now()
	r, at, err := n.send(ctx, cmd, token, nil)
	if err != nil {
		return lease.Result{Zxid: at}, err
	}
	select {
	case o := <-r.done:
		if o.err != nil {
			return lease.Result{}, o.err
		}
		return n.finish(ctx, cmd, o.result, began)
	case <-ctx.Done():
		return lease.Result{}, ctx.Err() // the request ends by itself in the sweep
	case <-n.ctx.Done():
		return lease.Result{}, lease.ErrCommitTimeout
	}
}

// send has cmd proposed and returns at once. If it takes a place, w waits for the
// end of that. An error that was decided on state comes with its position.
func (n *Node) send(ctx context.Context, cmd *commandpb.Command, token string, w *placed) (r *request, at quorum.Zxid, err error) {
	if err := n.admit(cmd); err != nil {
		return nil, 0, err
	}
	if err := n.speak(ctx, cmd); err != nil {
		return nil, 0, err
	}
	if err := n.identify(cmd, token); err != nil {
		return nil, n.positions.now(), err
	}
	data, err := proto.Marshal(cmd)
	if err != nil {
		return nil, 0, tree.ErrInvalidArgument
	}
	if len(data) > n.cfg.CommandBytes {
		return nil, 0, tree.ErrTooLarge
	}
	r = newRequest(data)
	r.place = w
	if n.stages != nil {
		r.trace = tracing.From(ctx)
	}
	if r, err = n.requests.enter(r); err != nil {
		return nil, 0, err
	}
	signal(n.loop.wake)
	return r, 0, nil
}

// finish adds what only the node that took the request may say. A session that
// the command opened was touched by the commit (RULES.md R12), and at the
// leader not before the request came in; so its time counts from there. One
// that was open already may be expiring behind the command, so that only a
// touch of its own can acknowledge it.
func (n *Node) finish(ctx context.Context, cmd *commandpb.Command, res lease.Result, began time.Time) (lease.Result, error) {
	if res.Session.ID != 0 && cmd.GetSession().GetRef() == nil {
		res.Token = n.tokens().Draw(res.Session.ID)
	}
	switch {
	case res.Opened && !res.Replayed:
		res.Remaining = max(0, res.Session.TTL-time.Since(began))
	case res.Code == tree.OK && (cmd.GetOpenSession() != nil || res.Opened):
		held, err := n.hold(ctx, res.Session.ID)
		if errors.Is(err, tree.ErrSessionExpired) && cmd.GetOpenSession() == nil {
			return res, nil // the record of a command that opened it tells of it all the same
		}
		if err != nil {
			return lease.Result{}, err
		}
		held.Principal = res.Session.Principal
		res.Session, res.Remaining = held.Info, held.Remaining
	}
	return res, nil
}

// submit hands queued requests to the core.
func (l *loop) submit() {
	for _, r := range l.node.requests.take() {
		if r.trace.Valid() {
			r.submitted = l.node.stages.now()
		}
		var err error
		if r.change != nil {
			err = l.core.SubmitChange(r.id, *r.change)
		} else {
			err = l.core.Submit(r.id, r.data)
		}
		switch {
		case err == nil:
		case errors.Is(err, quorum.ErrTooLarge):
			l.node.requests.end(r.id, outcome{err: tree.ErrTooLarge})
		case errors.Is(err, quorum.ErrDoubt):
			l.node.requests.end(r.id, outcome{err: lease.ErrStateInDoubt})
		default:
			l.node.requests.end(r.id, outcome{err: lease.ErrOverloaded})
		}
	}
}

// endOwn gives requests the results of their commands. Those that have only a
// place are registered first. Of a state in doubt no result is told: then the
// outcome is unknown.
func (n *Node) endOwn(ids []uint64, results []lease.Result, doubt error) {
	for i, id := range ids {
		r := n.requests.finish(id)
		if r != nil {
			n.metrics.writes.Observe(time.Since(r.began).Seconds())
		}
		switch {
		case r == nil:
		case doubt != nil:
			r.done <- outcome{err: lease.ErrCommitTimeout}
		default:
			if r.place != nil && queued(&results[i]) {
				n.places.add(results[i].Place, r.place)
			}
			n.stages.done(r, results[i].Zxid)
			r.done <- outcome{result: results[i]}
		}
	}
}

// endAll gives every request the same outcome.
func (q *requests) endAll(o outcome) {
	q.mu.Lock()
	ids := make([]uint64, 0, len(q.waiting))
	for id := range q.waiting {
		ids = append(ids, id)
	}
	q.mu.Unlock()
	for _, id := range ids {
		q.end(id, o)
	}
}

// sweep ends requests that have waited long enough. One that began under no
// leader and saw none has not left this node. Of any other it is not known.
func (l *loop) sweep(now time.Time) {
	for _, r := range l.node.requests.older(now.Add(-leaderPatience)) {
		late := now.Sub(r.began) >= commitPatience
		stranded := !l.leaderSince(r.began)
		if !late && !stranded {
			continue
		}
		// That the core no longer has it does not say that it never left: its
		// entry may wait for apply.
		left := l.core.Forget(r.id)
		switch {
		case stranded && !left:
			l.node.requests.end(r.id, outcome{err: lease.ErrNoLeader})
		case late:
			l.node.requests.end(r.id, outcome{err: lease.ErrCommitTimeout})
		}
	}
}

// fail ends requests that the core gave up.
func (l *loop) fail(failures []quorum.Failure) {
	for _, f := range failures {
		var err error
		switch f.Cause {
		case quorum.CauseRefused:
			err = lease.ErrOverloaded
		case quorum.CauseJumped:
			err = lease.ErrCommitTimeout
		default:
			err = &changeRefused{cause: f.Cause, node: f.Node}
		}
		l.node.requests.end(f.ID, outcome{err: err})
	}
}
