package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/nodepb"
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
	ending  chan struct{} // closed when it is decided what becomes of the closing ones
	raised  uint32        // feature level that was last proposed; of run alone
}

func newKeeper(n *Node) *keeper {
	return &keeper{node: n, log: n.log, wake: make(chan struct{}, 1), tracker: lease.NewTracker()}
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

// applied follows the sessions through results of a leader's own apply. The
// View that shows them must have been published: a reign that begins meanwhile
// takes them from there.
func (k *keeper) applied(results []lease.Result) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reign == 0 {
		return
	}
	now := k.now()
	for i := range results {
		r := &results[i]
		switch {
		case r.Opened:
			k.tracker.Add(r.Session.ID, r.Session.TTL, now)
		case r.Session.ID != 0:
			k.tracker.SetTTL(r.Session.ID, r.Session.TTL, now)
		}
		for _, id := range r.Ended {
			k.tracker.Remove(id)
		}
	}
}

// concerns says whether applied wants to see r.
func concerns(r *lease.Result) bool { return r.Session.ID != 0 || len(r.Ended) > 0 }

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
			k.upkeep()
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
		k.tracker.Reset(view, k.now())
		k.reign = k.soft.Epoch
	}
	next, ok := k.tracker.Next()
	return k.reign, ok && next <= k.soft.LeaseMs
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
		if _, alive := view.Session(id); alive {
			ids = append(ids, id)
		} else {
			k.tracker.Remove(id) // it has ended by a command of its own
		}
	}
	if len(ids) > 0 {
		k.ending = make(chan struct{})
	}
	return ids, k.ending
}

// submit proposes the leader's own commands and waits until they are applied.
func (k *keeper) submit(cmds ...*commandpb.Command) error {
	var waits []*request
	var faults []error
	for _, cmd := range cmds {
		data, err := proto.Marshal(cmd)
		if err != nil {
			return err
		}
		r, err := k.node.requests.add(data)
		if err != nil {
			faults = append(faults, err)
			break
		}
		waits = append(waits, r)
	}
	signal(k.node.loop.wake)
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

// touch answers a TouchRequest: note the touches, then confirm in a round begun
// after them that this node still leads, then tell what the sessions are.
func (k *keeper) touch(ctx context.Context, req *nodepb.TouchRequest) *nodepb.TouchAnswer {
	no := &nodepb.TouchAnswer{NotLeader: true}
	epoch := quorum.Epoch(req.GetEpoch())
	for {
		ending, ok := k.note(epoch, req.GetIds())
		if !ok {
			return no
		}
		if ending == nil || !req.GetConfirm() {
			break
		}
		// Some are closing. What becomes of them is known when their end is
		// applied; if it could not be proposed, they are touched after all.
		select {
		case <-ending:
		case <-ctx.Done():
			return no
		}
	}
	if !req.GetConfirm() {
		return &nodepb.TouchAnswer{}
	}
	view, err := k.node.linearizable(ctx)
	if err != nil || !k.reigns(epoch) {
		return no
	}
	return describe(view, req.GetIds())
}

// note registers touches that have arrived now. It returns what to wait for
// when some of the sessions are closing.
func (k *keeper) note(epoch quorum.Epoch, ids []uint64) (ending <-chan struct{}, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reign == 0 || k.reign != epoch {
		return nil, false
	}
	now := k.now()
	for _, id := range ids {
		if _, state := k.tracker.Touch(quorum.Zxid(id), now); state == lease.TouchClosing {
			ending = k.ending
		}
	}
	return ending, true
}

// reigns says whether this node still leads epoch. Since a node never leads one
// epoch twice, it has led it ever since it did before.
func (k *keeper) reigns(epoch quorum.Epoch) bool {
	s := k.node.Soft()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reign == epoch && leads(s) && s.Epoch == epoch
}

func describe(view *lease.View, ids []uint64) *nodepb.TouchAnswer {
	answer := &nodepb.TouchAnswer{Zxid: uint64(view.Zxid()), Touched: make([]*nodepb.Touched, len(ids))}
	for i, id := range ids {
		at := new(nodepb.Touched)
		if info, ok := view.Session(quorum.Zxid(id)); ok {
			at.Alive, at.TtlMs, at.Ephemerals = true, uint64(info.TTL.Milliseconds()), uint64(info.Ephemerals)
		}
		answer.Touched[i] = at
	}
	return answer
}
