package node

import (
	"container/heap"
	"context"
	"sync"
	"sync/atomic"

	"perch/quorum"
)

// positions lets requests wait until a zxid has been applied here.
type positions struct {
	applied atomic.Uint64 // what everybody may read; rises

	mu      sync.Mutex
	waiting ordered[*positionWaiter]
}

// positionWaiter waits for one position. Done is closed at the position.
type positionWaiter struct {
	zxid  quorum.Zxid
	done  chan struct{}
	index int // place in the heap; -1 once woken
}

func (w *positionWaiter) order() uint64 { return uint64(w.zxid) }
func (w *positionWaiter) stand() *int   { return &w.index }

func (p *positions) now() quorum.Zxid { return quorum.Zxid(p.applied.Load()) }

// advance says that everything up to z has been applied and its View published.
func (p *positions) advance(z quorum.Zxid) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied.Store(uint64(z))
	for len(p.waiting) > 0 && p.waiting[0].zxid <= z {
		w := heap.Pop(&p.waiting).(*positionWaiter)
		close(w.done)
	}
}

// await returns nil once z has been applied, and ctx's error when ctx ends
// before.
func (p *positions) await(ctx context.Context, z quorum.Zxid) error {
	if p.now() >= z {
		return nil
	}
	w := p.enter(z)
	if w == nil {
		return nil
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		p.leave(w)
		return ctx.Err()
	}
}

// enter registers a waiter for z; nil when z has been applied.
func (p *positions) enter(z quorum.Zxid) *positionWaiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now() >= z {
		return nil
	}
	w := &positionWaiter{zxid: z, done: make(chan struct{})}
	heap.Push(&p.waiting, w)
	return w
}

// leave removes a waiter that has lost its patience.
func (p *positions) leave(w *positionWaiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.index >= 0 {
		heap.Remove(&p.waiting, w.index)
	}
}
