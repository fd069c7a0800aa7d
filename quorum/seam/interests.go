package seam

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// This is the gateway's side of R25. All who wait for one interest share one
// record of it, and one channel to be woken by, so that a wait costs no more than
// its own goroutine.

const (
	runAge        = 2 * time.Second  // events are kept so long for those whom they have woken
	runBytes      = 1 << 20          // of one interest
	runsBytes     = 64 << 20         // of all
	lingerFor     = 10 * time.Second // an interest that nobody waits for is followed on: who was answered comes back
	followPause   = 50 * time.Millisecond
	followPauseTo = time.Second
	eventBytes    = 200 // of a kept event, besides its path
)

// interestKey is what makes two waits the same interest.
type interestKey struct {
	path   string
	scope  tree.Scope
	state  bool
	caller string // encoded
}

// interest is what is known of one interest. The client's mu guards it.
//
// Invariant: while it is live, every event in (start, through] is in events, in
// order, and last is the position of the newest.
type interest struct {
	key    interestKey
	caller *commandpb.Caller

	id      uint64
	opening bool // a goroutine asks nodes to follow it
	live    bool // followed at a node, and up to date as of its last beat
	over    bool // not followed any more; err is why, for those who wait
	err     error
	early   []*seampb.Batch // pushed before the answer that begins it

	start, through, last quorum.Zxid
	events               []tree.Event
	bytes                int
	came                 time.Time // the newest of events

	wake    chan struct{} // closed and replaced when there is something to look at
	waiting int
	idle    time.Time   // since when nobody waits
	floor   quorum.Zxid // of the gateway, when the last of those came who wait
}

// Await implements lease.Service.
func (c *Client) Await(ctx context.Context, i lease.Interest) error {
	in, err := c.join(&i)
	if err != nil {
		return err
	}
	defer c.leave(in)
	for {
		wake, err := c.look(in, i.Since)
		if wake == nil {
			return err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look says what there is for who has seen all up to since: without a channel to
// wait for, that is over.
func (c *Client) look(in *interest, since quorum.Zxid) (<-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case in.over:
		return nil, in.err
	case in.live && (since < in.start || since < in.last):
		c.raise(max(in.start, in.last)) // so that whoever looks finds it, at any node
		return nil, nil
	}
	return in.wake, nil
}

// join adds one who waits. The first has the interest followed.
func (c *Client) join(i *lease.Interest) (*interest, error) {
	key, err := keyOf(i.Path, i.Scope, i.State, i.Caller)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, lease.ErrShuttingDown
	}
	in := c.interests[key]
	if in == nil {
		if len(c.interests) >= interestsMax && !c.evict() {
			return nil, lease.ErrTooManyWaiters
		}
		in = &interest{key: key, caller: i.Caller, wake: make(chan struct{}), start: i.Since, through: i.Since}
		c.interests[key] = in
		c.refollow(in)
	}
	in.waiting++
	in.floor = max(in.floor, quorum.Zxid(c.told.Load()))
	return in, nil
}

func keyOf(path string, scope tree.Scope, state bool, caller *commandpb.Caller) (interestKey, error) {
	who, err := proto.MarshalOptions{Deterministic: true}.Marshal(caller)
	if err != nil {
		return interestKey{}, tree.ErrInvalidArgument
	}
	return interestKey{path: path, scope: scope, state: state, caller: string(who)}, nil
}

// Waiting is the number of calls of Await under way.
func (c *Client) Waiting() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, in := range c.interests {
		n += in.waiting
	}
	return n
}

func (c *Client) leave(in *interest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.waiting--; in.waiting == 0 {
		in.idle = time.Now()
	}
}

// evict ends the interest that nobody waits for the longest; false when there is
// none. The caller holds mu.
func (c *Client) evict() bool {
	var oldest *interest
	for _, in := range c.interests {
		if in.waiting == 0 && (oldest == nil || in.idle.Before(oldest.idle)) {
			oldest = in
		}
	}
	if oldest != nil {
		c.finish(oldest, nil)
	}
	return oldest != nil
}

// finish ends an interest and wakes whoever waits for it. The node is told that
// it pushes in vain when it does. The caller holds mu.
func (c *Client) finish(in *interest, err error) {
	if in.over {
		return
	}
	in.over, in.err, in.live = true, err, false
	delete(c.interests, in.key)
	c.trim(in)
	close(in.wake)
}

// rouse wakes whoever waits for an interest; the caller holds mu.
func (in *interest) rouse() {
	close(in.wake)
	in.wake = make(chan struct{})
}

// trim lets go of the events of an interest: who has not seen them asks a node.
// The caller holds mu.
func (c *Client) trim(in *interest) {
	c.kept -= in.bytes
	in.start, in.events, in.bytes = max(in.start, in.last), nil, 0
}

// known answers a query from what has woken it, or from the knowledge that
// nothing has happened. Only a request that has parked meanwhile is answered so:
// what it has been told before it came is not above floor.
func (c *Client) known(q *lease.EventQuery) (lease.EventBatch, bool) {
	if !q.Parked || q.Now || q.Token != "" {
		return lease.EventBatch{}, false
	}
	key, err := keyOf(q.Path, q.Scope, false, q.Caller)
	if err != nil {
		return lease.EventBatch{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.interests[key]
	if in == nil || !in.live || q.Since < in.start || q.Since > in.through || in.through < in.floor {
		return lease.EventBatch{}, false
	}
	first, _ := slices.BinarySearchFunc(in.events, q.Since, func(e tree.Event, since quorum.Zxid) int {
		if e.Zxid > since {
			return 1
		}
		return -1
	})
	events := in.events[first:len(in.events):len(in.events)]
	if q.Limit > 0 && len(events) > q.Limit {
		return lease.EventBatch{}, false
	}
	return lease.EventBatch{Events: events, Cursor: in.through}, true
}

// refollow has an interest followed at some node, from its through on. The caller
// holds mu.
func (c *Client) refollow(in *interest) {
	in.live, in.early = false, nil
	if !in.over && !in.opening && !c.closed {
		in.opening = true
		c.work.Go(func() { c.follow(in) })
	}
}

// follow asks nodes to follow an interest, until one does or says why it must
// not.
func (c *Client) follow(in *interest) {
	for pause := followPause; !c.followAt(in); pause = min(2*pause, followPauseTo) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// followAt asks one node. It reports false when the interest is to be asked for
// again.
func (c *Client) followAt(in *interest) (done bool) {
	ctx, cancel := context.WithTimeout(c.ctx, nodePatience+followWithin)
	defer cancel()
	r, lost, changed := c.pick(0, nil)
	if r == nil {
		select {
		case <-changed:
		case <-ctx.Done():
		}
		return false
	}
	select {
	case c.paces <- struct{}{}:
		defer func() { <-c.paces }()
	case <-ctx.Done():
		return false
	}
	q := c.begin(in, r)
	if q == nil {
		return true
	}
	a := asking{client: c, build: always(&seampb.Question{Ask: &seampb.Question_Follow{Follow: q}})}
	answer, err := a.put(ctx, r.id, lost)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && answer.GetFollowed() != nil {
		return c.followed(in, r, q, answer.GetFollowed())
	}
	if r.followed[q.GetId()] == in {
		c.vain(r, q.GetId())
	}
	if err == nil && answer.GetUntaken() == seampb.Untaken_UNTAKEN_NO {
		err = fromError(answer.GetError())
	}
	return in.over || c.refused(in, err)
}

// refused ends an interest that no node would follow; false when another may. The
// caller holds mu.
func (c *Client) refused(in *interest, err error) bool {
	switch {
	case errors.As(err, new(tree.Code)):
		c.finish(in, nil) // whoever looks is told why
	case errors.Is(err, lease.ErrTooManyWaiters):
		c.finish(in, err)
	default:
		return false
	}
	return true
}

// begin lists an interest with a node, so that pushes for it are not lost, and
// makes the question; nil when the interest is over.
func (c *Client) begin(in *interest, r *remote) *seampb.Follow {
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.over || c.closed {
		return nil
	}
	c.follows++
	in.id, in.early = c.follows, nil
	r.followed[in.id] = in
	what := lease.Interest{
		State: in.key.state, Caller: in.caller, Path: in.key.path, Scope: in.key.scope, Since: in.through,
	}
	return &seampb.Follow{Interest: toInterest(&what), Link: r.link, Id: in.id}
}
