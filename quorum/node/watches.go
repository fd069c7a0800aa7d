package node

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// watches is the registry of parked interests. Interests in one path and scope
// share one bucket, and a bucket is one channel: a parked request costs nothing
// here but a count, and waking ten thousand of them is one close. A change
// looks up only the buckets that it concerns (one by path, two by parent, one
// for every ancestor).
//
// No wake-up is lost, since both sides keep an order: a request first joins its
// bucket and then looks at the newest View; apply first publishes the View and
// then wakes the buckets.
type watches struct {
	limit int
	woken atomic.Uint64 // everybody concerned was woken for changes up to this zxid

	mu      sync.Mutex
	buckets map[interestKey]*bucket
	follows map[interestKey]map[*follower]struct{}
	parked  int
	closed  bool
	shut    chan struct{} // closed with it
}

type interestKey struct {
	scope tree.Scope
	path  string
}

// follower is called for every change that concerns an interest.
type follower struct{ changed func() }

// bucket is everybody who waits for one interest.
type bucket struct {
	key     interestKey
	waiters int
	wake    chan struct{} // closed by the change
	zxid    quorum.Zxid   // of that change; written before wake is closed
}

func newWatches(limit int) *watches {
	return &watches{limit: limit, buckets: make(map[interestKey]*bucket), follows: make(map[interestKey]map[*follower]struct{}), shut: make(chan struct{})}
}

// park counts a request that waits for something else than an event. Whoever
// parked must unpark.
func (w *watches) park() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.admit()
}

func (w *watches) unpark() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parked--
}

// admit counts one more request; the caller holds mu.
func (w *watches) admit() error {
	switch {
	case w.closed:
		return lease.ErrShuttingDown
	case w.parked >= w.limit:
		return lease.ErrTooManyWaiters
	}
	w.parked++
	return nil
}

// join enters the bucket of (path, scope). Whoever joined must leave.
func (w *watches) join(path string, scope tree.Scope) (*bucket, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(); err != nil {
		return nil, err
	}
	key := interestKey{scope: scope, path: path}
	b := w.buckets[key]
	if b == nil {
		b = &bucket{key: key, wake: make(chan struct{})}
		w.buckets[key] = b
	}
	b.waiters++
	return b, nil
}

// leave ends a join.
func (w *watches) leave(b *bucket) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parked--
	b.waiters--
	if b.waiters == 0 && w.buckets[b.key] == b {
		delete(w.buckets, b.key)
	}
}

// follow has changed called, with the lock held, for every change of (path,
// scope) until stop.
func (w *watches) follow(path string, scope tree.Scope, changed func()) (stop func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(); err != nil {
		return nil, err
	}
	key, f := interestKey{scope: scope, path: path}, &follower{changed: changed}
	if w.follows[key] == nil {
		w.follows[key] = make(map[*follower]struct{})
	}
	w.follows[key][f] = struct{}{}
	return func() { w.unfollow(key, f) }, nil
}

func (w *watches) unfollow(key interestKey, f *follower) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parked--
	if delete(w.follows[key], f); len(w.follows[key]) == 0 {
		delete(w.follows, key)
	}
}

// wake wakes everybody whom one of events concerns. The View that shows the
// events must have been published.
func (w *watches) wake(events []tree.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buckets)+len(w.follows) == 0 {
		return
	}
	for i := range events {
		e := &events[i]
		w.fire(tree.ScopeNode, e.Path, e.Zxid)
		if e.Type != tree.EventChanged {
			if e.Path != "/" {
				w.fire(tree.ScopeChildren, parentOf(e.Path), e.Zxid)
			}
			if e.Type == tree.EventDeleted {
				w.fire(tree.ScopeChildren, e.Path, e.Zxid)
			}
		}
		for p := e.Path; ; p = parentOf(p) {
			w.fire(tree.ScopeSubtree, p, e.Zxid)
			if p == "/" {
				break
			}
		}
	}
}

// fire wakes one bucket; the caller holds mu.
func (w *watches) fire(scope tree.Scope, path string, z quorum.Zxid) {
	key := interestKey{scope: scope, path: path}
	for f := range w.follows[key] {
		f.changed()
	}
	b := w.buckets[key]
	if b == nil {
		return
	}
	delete(w.buckets, key)
	b.zxid = z
	close(b.wake)
}

// wakeAll wakes everybody, as after a snapshot replaced the state; each looks
// at the new state itself.
func (w *watches) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, b := range w.buckets {
		delete(w.buckets, key)
		close(b.wake)
	}
	for _, all := range w.follows {
		for f := range all {
			f.changed()
		}
	}
}

// close refuses joins from now on and wakes everybody.
func (w *watches) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.shut)
	}
	w.mu.Unlock()
	w.wakeAll()
}

// count is the number of parked requests.
func (w *watches) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.parked
}

// parentOf is the path above p; the root is its own.
func parentOf(p string) string {
	i := strings.LastIndexByte(p, '/')
	if i <= 0 {
		return "/"
	}
	return p[:i]
}

// Await implements lease.Service.
func (n *Node) Await(ctx context.Context, i lease.Interest) error {
	for {
		if err := n.inDoubt(); err != nil {
			return err
		}
		done, err := n.awaitOnce(ctx, &i)
		if done || err != nil {
			return err
		}
	}
}

// awaitOnce parks until the interest's bucket is woken or an event is there. It
// reports false when the wake-up was for a change that the interest has already
// seen or may not see, or for a snapshot: then the caller parks again.
func (n *Node) awaitOnce(ctx context.Context, i *lease.Interest) (bool, error) {
	path, code := n.view().Resolve(i.Caller, i.Path, wall())
	if code != tree.OK {
		return true, nil // whoever asks for the events is told why
	}
	b, err := n.watches.join(path, i.Scope)
	if err != nil {
		return false, err
	}
	defer n.watches.leave(b)
	if hasEvent(n.view(), i) {
		return true, nil
	}
	select {
	case <-b.wake:
		return b.zxid > i.Since && hasEvent(n.view(), i), nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
