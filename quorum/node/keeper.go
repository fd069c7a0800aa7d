package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

const (
	expireSessions = 1000 // taken up at once
	leaseJump      = 100  // most that the lease clock moves in one tick, in milliseconds
)

// keeper watches the sessions' deadlines while this node leads. It acts only on
// what is applied: at the start of a reign, once the initial history is applied,
// every session there is gets its whole TTL. Expiry is a proposal like any
// other, and what it finds in apply decides.
type keeper struct {
	node *Node
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex
	soft    quorum.Soft
	at      time.Time    // up to where the lease clock of soft has counted
	reign   quorum.Epoch // epoch that tracker serves; 0 while it serves none
	tracker *lease.Tracker
	grants  *grants
	homes   *homes
	saved   *checkpoints
	ending  chan struct{} // closed when it is decided what becomes of the closing sessions or grants
	raised  uint32        // feature level that was last proposed; of run alone
	seeded  quorum.Epoch  // reign that has set the first settings; of run alone
}

func newKeeper(n *Node) *keeper {
	return &keeper{
		node: n, log: n.log, wake: make(chan struct{}, 1), tracker: lease.NewTracker(),
		grants: newGrants(), homes: newHomes(), saved: newCheckpoints(),
	}
}

// tick is told the lease clock as it was at at; the loop calls it.
func (k *keeper) tick(s quorum.Soft, at time.Time) {
	if !leads(s) {
		return
	}
	k.mu.Lock()
	k.soft, k.at = s, at
	k.mu.Unlock()
	signal(k.wake)
}

// turn ends a reign when the leadership turns; the loop calls it. The lease
// clock is the one at at.
func (k *keeper) turn(s quorum.Soft, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.soft, k.at = s, at
	if k.reign != 0 && (!leads(s) || s.Epoch != k.reign) {
		k.reign = 0
		k.tracker.Forget()
	}
}

func leads(s quorum.Soft) bool { return s.State == quorum.StateLeading && s.Established }

// now is an upper bound of the lease clock: counting a touch from a little
// later than it came only lets the session live longer. The caller holds mu.
func (k *keeper) now() uint64 {
	return k.soft.LeaseMs + uint64(min(max(0, time.Since(k.at).Milliseconds()), leaseJump))
}

// applied follows the sessions and the grants through results of a leader's own
// apply. The View that shows them must have been published: a reign that begins
// meanwhile takes them from there.
func (k *keeper) applied(results []lease.Result) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reign == 0 {
		return
	}
	now := k.now()
	for i := range results {
		k.follow(&results[i], now)
	}
}

// follow is applied for one result; the caller holds mu.
func (k *keeper) follow(r *lease.Result, now uint64) {
	switch {
	case r.Replayed: // its session is as it was then
	case r.Opened:
		k.tracker.Add(r.Session.ID, r.Session.TTL, now)
		k.saved.add(r.Session.ID, r.Session.TTL, 0, now)
	case r.Session.ID != 0:
		k.tracker.SetTTL(r.Session.ID, r.Session.TTL, now)
		if _, state := k.tracker.Remaining(r.Session.ID, now); state != lease.TouchUnknown {
			k.saved.setTTL(r.Session.ID, r.Session.TTL, now)
		}
	}
	for _, id := range r.Touched {
		k.tracker.Touch(id, now)
	}
	for i := range r.Outcomes {
		if o := &r.Outcomes[i]; o.Code == tree.OK && o.Hold.Token != 0 {
			k.grants.add(o.Place, o.Hold.Session, o.Hold.Token, now)
		}
	}
	for _, id := range r.Ended {
		k.tracker.Remove(id)
		k.saved.remove(id)
	}
}

// concerns says whether applied wants to see r.
func concerns(r *lease.Result) bool {
	return r.Session.ID != 0 || len(r.Ended) > 0 || len(r.Touched) > 0 || len(r.Outcomes) > 0
}

// run begins reigns and expires sessions until ctx ends.
func (k *keeper) run(ctx context.Context) {
	for {
		select {
		case <-k.wake:
		case <-ctx.Done():
			return
		}
		epoch, due := k.look()
		if epoch != 0 {
			k.upkeep(ctx, epoch)
		}
		if due {
			k.expire(ctx, epoch)
		}
	}
}

// look has the tracker serve the present reign, as soon as the epoch's initial
// history is applied, and says whether a deadline may have passed.
func (k *keeper) look() (epoch quorum.Epoch, due bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !leads(k.soft) {
		return 0, false
	}
	if k.reign != k.soft.Epoch {
		view := k.node.view() // taken under mu, see applied
		if view.Zxid() < k.soft.Base {
			return 0, false
		}
		k.begin(view)
	}
	next, ok := k.tracker.Next()
	return k.reign, ok && next <= k.soft.LeaseMs
}

// begin starts a reign at view; the caller holds mu. Holds count as confirmed: who
// has them may have been told so (RULES.md R17).
func (k *keeper) begin(view *lease.View) {
	now := k.now()
	k.tracker.Reset(view, now)
	k.grants = newGrants()
	k.homes.begin()
	k.saved = newCheckpoints()
	view.EachLong(func(id quorum.Zxid, ttl, left time.Duration) { k.saved.add(id, ttl, left, now) })
	k.reign = k.soft.Epoch
}

// expire proposes the end of the sessions that are due, as RULES.md R23 orders
// it: the deadline has passed; then a confirmed round, begun by a loop that has
// drained its inbox; and only who is still due after that goes.
func (k *keeper) expire(ctx context.Context, epoch quorum.Epoch) {
	wait, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	view, err := k.node.linearizable(wait)
	if err != nil {
		return
	}
	ids, ending := k.shut(epoch, view)
	if len(ids) == 0 {
		return
	}
	err = k.submit(view.ExpireCommands(ids, epoch)...)
	if err != nil {
		k.log.Warn("sessions could not be expired yet", "count", len(ids), keyError, err)
	}
	if errors.Is(err, lease.ErrCommitTimeout) {
		k.settle(ctx, epoch)
	}
	k.decided(ids, ending, err == nil)
}

// settle waits until this leader has applied everything that it has proposed so
// far, or its reign is over. A proposal that was given up may be committed all
// the same, and a session must not be touched in between: the touch would be
// acknowledged, and the session end before its time.
func (k *keeper) settle(ctx context.Context, epoch quorum.Epoch) {
	last := k.node.Soft().Last
	for ctx.Err() == nil {
		turned := k.node.turns.wait()
		if !k.reigns(epoch) {
			return
		}
		wait, cancel := context.WithCancel(ctx)
		stop := cancelOn(turned, wait, cancel)
		err := k.node.positions.await(wait, last)
		stop()
		cancel()
		if err == nil {
			return
		}
	}
}

// shut takes the sessions that are due; from here on their touches wait for the
// outcome.
func (k *keeper) shut(epoch quorum.Epoch, view *lease.View) (ids []quorum.Zxid, ending chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reign != epoch {
		return nil, nil
	}
	for _, id := range k.tracker.Due(k.soft.LeaseMs, expireSessions) {
		_, alive := view.Session(id)
		switch {
		case !alive:
			k.tracker.Remove(id) // it has ended by a command of its own
		case view.Waits(id):
			k.tracker.Reopen(id, k.now()) // its time begins with its grant (RULES.md R17)
		default:
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 {
		k.ending = make(chan struct{})
	}
	return ids, k.ending
}

// submit proposes the leader's own commands and waits until they are applied.
func (k *keeper) submit(cmds ...*commandpb.Command) error {
	waits, err := k.propose(cmds...)
	return errors.Join(err, k.outcomes(waits))
}

// propose proposes commands, in their order. It does not wait for anything.
func (k *keeper) propose(cmds ...*commandpb.Command) (waits []*request, err error) {
	defer func() { signal(k.node.loop.wake) }()
	for _, cmd := range cmds {
		data, err := proto.Marshal(cmd)
		if err != nil {
			return waits, err
		}
		r, err := k.node.requests.add(data)
		if err != nil {
			return waits, err
		}
		waits = append(waits, r)
	}
	return waits, nil
}

// outcomes waits until what was proposed is applied.
func (k *keeper) outcomes(waits []*request) error {
	var faults []error
	for _, r := range waits {
		select {
		case o := <-r.done:
			faults = append(faults, o.err)
			if o.err == nil && o.result.Code != tree.OK {
				faults = append(faults, o.result.Code)
			}
		case <-k.node.ctx.Done():
			return lease.ErrShuttingDown
		}
	}
	return errors.Join(faults...)
}

// decided lets the touches go on that waited for the end of ids. Those whose
// end was not applied live on, as far as this reign knows.
func (k *keeper) decided(ids []quorum.Zxid, ending chan struct{}, gone bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		if gone {
			k.tracker.Remove(id)
		} else {
			k.tracker.Reopen(id, k.now())
		}
	}
	close(ending)
	k.ending = nil
}

// reigns says whether this node still leads epoch. Since a node never leads one
// epoch twice, it has led it ever since it did before.
func (k *keeper) reigns(epoch quorum.Epoch) bool {
	s := k.node.Soft()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reign == epoch && leads(s) && s.Epoch == epoch
}
