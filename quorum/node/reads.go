package node

import (
	"context"
	"sync"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/tracing"
)

// rounds gathers linearizable reads: all that come in while the loop is busy
// share one question to the leader, and one channel to be woken by.
type rounds struct {
	mu   sync.Mutex
	next *round // not asked yet; nil when nobody waits

	asked []*round // the loop's: by id
	last  uint64
}

// round is one question for a read position and everybody who waits for it.
// zxid and err are written before done is closed.
type round struct {
	id    uint64
	began time.Time
	done  chan struct{}
	zxid  quorum.Zxid
	err   error
}

// join enters the next round to be asked. A round that was asked before a
// request came in would not do: its position may be older than a write that
// the client has heard of.
func (q *rounds) join() *round {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == nil {
		q.next = &round{began: time.Now(), done: make(chan struct{})}
	}
	return q.next
}

func (r *round) end(z quorum.Zxid, err error) {
	r.zxid, r.err = z, err
	close(r.done)
}

// position returns a zxid z such that the state at z or later is linearizable
// for a request that came in before the call.
func (n *Node) position(ctx context.Context) (quorum.Zxid, error) {
	r := n.rounds.join()
	signal(n.loop.wake)
	select {
	case <-r.done:
		return r.zxid, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-n.ctx.Done():
		return 0, lease.ErrShuttingDown
	}
}

// linearizable waits until the newest View is linearizable for a request that
// came in before the call, and returns it.
func (n *Node) linearizable(ctx context.Context) (*lease.View, error) {
	began := n.stages.now()
	z, err := n.position(ctx)
	if err != nil {
		return nil, err
	}
	confirmed := n.stages.now()
	if err := n.caughtUp(ctx, z, commitPatience); err != nil {
		return nil, err
	}
	if n.stages != nil {
		n.stages.read(tracing.From(ctx), began, confirmed)
	}
	return n.view(), nil
}

// caughtUp waits until z has been applied here, at most for patience.
func (n *Node) caughtUp(ctx context.Context, z quorum.Zxid, patience time.Duration) error {
	if n.positions.now() >= z {
		return nil
	}
	wait, cancel := context.WithTimeoutCause(ctx, patience, lease.ErrNotCaughtUp)
	defer cancel()
	if err := n.positions.await(wait, z); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return lease.ErrNotCaughtUp
	}
	return nil
}

// beginReads asks the core about the round that has gathered.
func (l *loop) beginReads() {
	q := &l.node.rounds
	q.mu.Lock()
	r := q.next
	q.next = nil
	q.mu.Unlock()
	if r == nil {
		return
	}
	q.last++
	r.id = q.last
	q.asked = append(q.asked, r)
	l.core.Read(r.id)
}

// endReads wakes the rounds that have their position. An answer holds for every
// earlier question too.
func (l *loop) endReads(done []quorum.ReadDone) {
	q := &l.node.rounds
	for _, d := range done {
		for len(q.asked) > 0 && q.asked[0].id <= d.ID {
			l.node.metrics.rounds.Observe(time.Since(q.asked[0].began).Seconds())
			q.asked[0].end(d.Zxid, nil)
			q.asked = q.asked[1:]
		}
	}
}

// sweepReads ends rounds that have found no leader or no quorum in time, and all
// while the state is in doubt.
func (l *loop) sweepReads(now time.Time) {
	q := &l.node.rounds
	doubt := l.soft.Doubt != quorum.DoubtNone
	for len(q.asked) > 0 && (doubt || now.Sub(q.asked[0].began) >= leaderPatience) {
		err := lease.ErrNoQuorum
		switch {
		case doubt:
			err = lease.ErrStateInDoubt
		case l.soft.Leader == 0:
			err = lease.ErrNoLeader
		}
		q.asked[0].end(0, err)
		q.asked = q.asked[1:]
	}
}
