// Package node runs one member: the loop around the core of package quorum, its
// log, its snapshots, the replicated state, and lease.Service for the edge.
//
// It guarantees that nothing leaves the node before the records that it vouches
// for are fsynced; that a client hears of a write only after this node has
// applied it; that a linearizable answer comes from a state at or after a
// position that a quorum confirmed after the question; that no wake-up of a
// parked interest is lost; and that a session is acknowledged as alive only by
// the leader, in a quorum round begun after the touch came in, or, for a grant, by
// a commit that a round would add nothing to. The end of a wait for a place is
// not lost either, and a grant is answered only once the leader knows that it was
// received. After a failed write or fsync it stops.
//
// Gateways in other processes are served the same, where the transport lets them
// in (package seam); the places of their clients belong to node and gateway.
//
// It does not promise an answer: without a quorum requests end in
// lease.Unavailable errors, whose values tell whether the outcome is known. It
// does not authenticate anybody.
//
// Goroutines and what they own: the loop owns the core, the disk goroutine the
// log, apply the replicated state. They meet in queues; none waits for another.
package node

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/seam"
)

// Node is one member. Make it with Open, then Run it. The methods of
// lease.Service may be called concurrently, from Open on.
type Node struct {
	cfg Config
	log *slog.Logger
	own quorum.Origin // this node and this life; no ID

	net      Transport // nil for a quorum of one
	wal      Log
	gateways *seam.Server // nil where none are let in

	loop      *loop
	disk      *disk
	apply     *applier
	keeper    *keeper
	touches   *touches
	snaps     *snapshots
	pull      *puller
	pages     *pages
	watches   *watches
	places    *places
	space     *space
	metrics   *metrics
	stages    *stages // nil: nothing is traced
	positions positions
	rounds    rounds
	requests  *requests
	turns     turns
	fetches   *queue[quorum.FetchJob]

	soft    atomic.Pointer[quorum.Soft]
	members atomic.Pointer[membership]
	peers   atomic.Pointer[[]quorum.Progress]
	control atomic.Pointer[quorum.Control]
	drawn   atomic.Pointer[clusterTokens]
	archive atomic.Pointer[func() lease.ArchiveStatus]
	reign   atomic.Pointer[reign]
	began   time.Time

	ctx    context.Context // ends when the node has stopped; for its goroutines only
	cancel context.CancelFunc
	fatal  chan error // holds the first error that must stop the node

	mu      sync.Mutex // guards the next two
	ran     bool
	stopped bool // nothing is spawned any more
	drain   atomic.Bool
	work    sync.WaitGroup
}

var _ lease.Service = (*Node)(nil)

// view is the newest published state.
func (n *Node) view() *lease.View { return n.apply.now().view }

// outside is the error of a node that is no member (any more): what it holds
// ages, and nobody may be served from it.
func (n *Node) outside() error {
	if s := n.Soft(); s.Outside {
		return &lease.Refused{Why: lease.ErrNoQuorum, Text: s.Refusal}
	}
	return nil
}

// draining says that the node takes nothing new.
func (n *Node) draining() bool { return n.drain.Load() }

// spawn runs fn in a goroutine that the stop of the node waits for; its context
// ends then. After the stop nothing is run.
func (n *Node) spawn(fn func(context.Context)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return
	}
	n.work.Go(func() { fn(n.ctx) })
}

// fail notes an error that must stop the node; the first one counts.
func (n *Node) fail(err error) {
	select {
	case n.fatal <- err:
	default:
	}
}

// admit says whether a write may be taken now.
func (n *Node) admit(cmd *commandpb.Command) error {
	switch {
	case n.draining():
		return lease.ErrShuttingDown
	case n.Soft().Doubt != quorum.DoubtNone:
		return lease.ErrStateInDoubt
	case n.outside() != nil:
		return n.outside()
	case n.apply.backlog.Load() > int64(n.cfg.Backlog):
		return lease.ErrOverloaded
	case n.space.full.Load() && !frees(cmd):
		return lease.ErrStorageFull
	}
	return nil
}
