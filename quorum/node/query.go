package node

import (
	"context"
	"errors"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// floorPatience is the least time that a request waits for its floor.
const floorPatience = 2 * time.Second

// cursorPatience is the least time that a query waits for its cursor: a node
// that is only a little behind catches up, and a lost history is found.
const cursorPatience = 250 * time.Millisecond

// batchBytes ends a batch of events (API.md rule 9).
const batchBytes = 1 << 20

// Read implements lease.Service.
func (n *Node) Read(ctx context.Context, q lease.Read) (lease.Answer, error) {
	if err := n.inDoubt(); err != nil {
		return lease.Answer{Zxid: n.positions.now()}, err
	}
	answer, err := n.read(ctx, q)
	if doubt := n.inDoubt(); doubt != nil {
		return lease.Answer{Zxid: n.positions.now()}, doubt // it has come up meanwhile
	}
	return answer, err
}

func (n *Node) read(ctx context.Context, q lease.Read) (lease.Answer, error) {
	if q.PageToken != "" {
		return n.readPage(ctx, q)
	}
	view, err := n.viewAt(ctx, q.At)
	if err != nil {
		return lease.Answer{Zxid: n.positions.now()}, err
	}
	if q.Token != "" {
		var info lease.Info
		if view, info, err = n.sessionAt(ctx, view, q.Caller, q.Token); err != nil {
			return lease.Answer{Zxid: view.Zxid()}, n.lost(view, q, err)
		}
		if q.Session == 0 {
			q.Session = info.ID
		}
	}
	answer, err := n.evaluate(view, view, q, lease.Cursor{})
	if err == nil && q.At.Linearizable && q.Kind == lease.ReadHeld {
		n.fillHeld(ctx, &answer.Held[0]) // lists do not tell: their later pages are of the past
	}
	return answer, err
}

// lost is why q cannot be answered to a session, given why that session was not
// found: one that was opened for a hold ends when that is broken, and what its
// holder wants to know is that.
func (n *Node) lost(view *lease.View, q lease.Read, why error) error {
	if q.Kind != lease.ReadHold || !errors.Is(why, tree.ErrSessionExpired) {
		return why
	}
	if ref, err := n.tokens().Resolve(q.Token); err == nil && ref != nil && view.Lost(q, ref, wall()) {
		return tree.ErrHoldLost
	}
	return why
}

// evaluate answers q from view. A list that goes on has the view pinned.
func (n *Node) evaluate(view, now *lease.View, q lease.Read, from lease.Cursor) (lease.Answer, error) {
	answer, more, err := view.Continue(now, q, from, wall())
	if err == nil && more {
		answer.NextPage = n.pages.pin(view, q, lease.After(q.Kind, answer))
	}
	return answer, err
}

// viewAt returns a View that is as fresh as at demands. A node that serves at all
// knows every gap (inPast).
func (n *Node) viewAt(ctx context.Context, at lease.At) (*lease.View, error) {
	if n.view().InGap(at.Floor) {
		return nil, tree.ErrHistoryLost
	}
	if at.Floor > n.positions.now() {
		if err := n.floor(ctx, at.Floor, max(at.Wait, floorPatience)); err != nil {
			return nil, err
		}
	}
	if !at.Linearizable {
		return n.view(), n.outside()
	}
	return n.linearizable(ctx)
}

// floor waits until z has been applied here. Every zxid that anybody was ever
// told is at most the position of a read round begun after, so a floor above
// that names a history that is no longer: ErrHistoryLost, at once (RULES.md
// R24). ErrNotCaughtUp after patience.
func (n *Node) floor(ctx context.Context, z quorum.Zxid, patience time.Duration) error {
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lost := make(chan struct{})
	n.spawn(func(context.Context) {
		if last, err := n.position(wait); err == nil && last < z {
			close(lost)
			cancel()
		}
	})
	if n.positions.await(wait, z) == nil {
		return nil
	}
	select {
	case <-lost:
		return tree.ErrHistoryLost
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return lease.ErrNotCaughtUp
}

// Events implements lease.Service.
func (n *Node) Events(ctx context.Context, q lease.EventQuery) (lease.EventBatch, error) {
	if err := n.inDoubt(); err != nil {
		return lease.EventBatch{Cursor: q.Since}, err
	}
	batch, err := n.events(ctx, q)
	if doubt := n.inDoubt(); doubt != nil {
		return lease.EventBatch{Cursor: q.Since}, doubt
	}
	return batch, err
}

func (n *Node) events(ctx context.Context, q lease.EventQuery) (lease.EventBatch, error) {
	if q.Now {
		return n.eventsNow(ctx, q)
	}
	view := n.view()
	if q.Since > view.Zxid() {
		err := n.floor(ctx, q.Since, max(q.Floor, cursorPatience))
		if errors.Is(err, lease.ErrNotCaughtUp) {
			return lease.EventBatch{Cursor: q.Since}, nil // a cursor never goes back
		}
		if err != nil {
			return lease.EventBatch{Cursor: n.positions.now()}, err // q.Since may be nowhere in history
		}
		view = n.view()
	}
	if q.Token != "" {
		var err error
		if view, _, err = n.sessionAt(ctx, view, q.Caller, q.Token); err != nil {
			return lease.EventBatch{Cursor: view.Zxid()}, err
		}
	}
	return view.Events(q, tree.Bounds{Events: q.Limit, Bytes: batchBytes}, wall())
}

// hasEvent says whether view holds an event of the interest after its Since, or
// can no longer tell. If not, the interest moves on to the view's position.
func hasEvent(view *lease.View, i *lease.Interest) bool {
	if view.Zxid() <= i.Since {
		return false
	}
	if !view.Happened(*i, wall()) {
		i.Since = view.Zxid()
		return false
	}
	return true
}

// eventsNow starts a watch at a linearizable position.
func (n *Node) eventsNow(ctx context.Context, q lease.EventQuery) (lease.EventBatch, error) {
	view, err := n.linearizable(ctx)
	if err != nil {
		return lease.EventBatch{}, err
	}
	if q.Token != "" {
		if view, _, err = n.sessionAt(ctx, view, q.Caller, q.Token); err != nil {
			return lease.EventBatch{Cursor: view.Zxid()}, err
		}
	}
	q.Since = view.Zxid()
	return view.Events(q, tree.Bounds{}, wall())
}
