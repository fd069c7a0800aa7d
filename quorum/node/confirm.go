package node

import (
	"context"

	"perch/gen/commandpb"
	"perch/gen/nodepb"
	"perch/lease"
	"perch/quorum"
)

// touch answers a TouchRequest: note the touches, then confirm in a round begun
// after them that this node still leads, then tell what the sessions are.
func (k *keeper) touch(ctx context.Context, req *nodepb.TouchRequest) *nodepb.TouchAnswer {
	no := &nodepb.TouchAnswer{NotLeader: true}
	epoch := quorum.Epoch(req.GetEpoch())
	if len(req.GetGrants()) > 0 && (len(req.GetGrants()) != len(req.GetIds()) || k.reach(ctx, req.GetGrants()) != nil) {
		return no
	}
	for {
		at, ok := k.note(epoch, req)
		switch {
		case !ok:
			return no
		case req.GetQuick():
			return k.quick(req, at.now)
		case !req.GetConfirm():
			return new(nodepb.TouchAnswer)
		case at.ending == nil:
			return k.confirm(ctx, epoch, req)
		}
		// Some are closing. What becomes of them is known when their end is
		// applied; if it could not be proposed, they are touched after all.
		select {
		case <-at.ending:
		case <-ctx.Done():
			return no
		}
	}
}

// reach waits until this node has applied the grants, and the keeper knows them.
func (k *keeper) reach(ctx context.Context, refs []*nodepb.Grant) error {
	last := uint64(0)
	for _, g := range refs {
		last = max(last, g.GetZxid())
	}
	return k.node.positions.await(ctx, quorum.Zxid(last))
}

// noted is how the touches of a question were met.
type noted struct {
	ending <-chan struct{} // what to wait for when some of the sessions or grants are closing
	now    []bool          // of each grant: it was confirmed by this question, in the epoch that it was made in
}

// note registers touches and confirmations that have arrived now.
func (k *keeper) note(epoch quorum.Epoch, req *nodepb.TouchRequest) (at noted, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reign == 0 || k.reign != epoch {
		return at, false
	}
	at.now = make([]bool, len(req.GetGrants()))
	now := k.now()
	for i, id := range req.GetIds() {
		_, state := k.tracker.Touch(quorum.Zxid(id), now)
		if state == lease.TouchClosing {
			at.ending = k.ending
		}
		if i >= len(at.now) || req.GetGrants()[i].GetToken() == 0 {
			continue
		}
		switch k.grants.confirm(quorum.Zxid(id), grantOf(req.GetGrants()[i])) {
		case confirmedGoing:
			at.ending = k.ending
		case confirmedNow:
			at.now[i] = state == lease.TouchAlive
		}
	}
	return at, true
}

func grantOf(g *nodepb.Grant) grantRef {
	return grantRef{place: quorum.Zxid(g.GetPlace()), token: quorum.Zxid(g.GetToken()), zxid: quorum.Zxid(g.GetZxid())}
}

// quick answers without a round. That is as good as one for a session whose home
// counts its time from before a command that this leader has had committed: were
// there another leader by now, it would have begun after that, and given the
// session its whole time from then on.
func (k *keeper) quick(req *nodepb.TouchRequest, now []bool) *nodepb.TouchAnswer {
	answer := describe(k.node.view(), req)
	for i, at := range answer.Touched {
		if i >= len(now) || !now[i] || !at.Alive {
			answer.Touched[i] = &nodepb.Touched{Round: true}
		}
	}
	return answer
}

// confirm ends a question whose touches are noted.
func (k *keeper) confirm(ctx context.Context, epoch quorum.Epoch, req *nodepb.TouchRequest) *nodepb.TouchAnswer {
	no := &nodepb.TouchAnswer{NotLeader: true}
	if k.makeWhole(epoch, req.GetIds()) != nil {
		return no
	}
	view, err := k.node.linearizable(ctx)
	if err != nil || !k.reigns(epoch) {
		return no
	}
	return describe(view, req)
}

func describe(view *lease.View, req *nodepb.TouchRequest) *nodepb.TouchAnswer {
	ids, refs := req.GetIds(), req.GetGrants()
	answer := &nodepb.TouchAnswer{Zxid: uint64(view.Zxid()), Touched: make([]*nodepb.Touched, len(ids))}
	for i, id := range ids {
		at := new(nodepb.Touched)
		if info, ok := view.Session(quorum.Zxid(id)); ok {
			at.Alive, at.TtlMs, at.Ephemerals = true, uint64(info.TTL.Milliseconds()), uint64(info.Ephemerals)
		}
		if len(refs) > 0 && refs[i].GetToken() != 0 {
			at.Lost = !view.Holds(quorum.Zxid(id), quorum.Zxid(refs[i].GetToken()))
		}
		answer.Touched[i] = at
	}
	return answer
}

// makeWhole has the log say that sessions of which it says less have their whole
// TTL, since they are touched now (RULES.md R22).
func (k *keeper) makeWhole(epoch quorum.Epoch, ids []uint64) error {
	k.mu.Lock()
	below := k.saved.below(ids)
	if len(below) == 0 {
		k.mu.Unlock()
		return nil
	}
	turns := make([]uint64, len(below))
	op := &commandpb.Checkpoint{Epoch: uint32(epoch)}
	for i, c := range below {
		turns[i] = c.turn
		op.Ids, op.LeftMs = append(op.Ids, uint64(c.id)), append(op.LeftMs, 0)
	}
	waits, err := k.propose(k.checkpoint(op)) // in the order of the turns: under mu
	k.mu.Unlock()
	if err != nil {
		return err
	}
	if err := k.outcomes(waits); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, c := range below {
		if c.turn == turns[i] {
			c.left = c.ttl
		}
	}
	return nil
}

func (k *keeper) checkpoint(op *commandpb.Checkpoint) *commandpb.Command {
	return &commandpb.Command{Format: k.node.view().Level(), Op: &commandpb.Command_Checkpoint{Checkpoint: op}}
}

// save proposes what long sessions have left, where the log says too much.
func (k *keeper) save(epoch quorum.Epoch) {
	k.mu.Lock()
	var due []*checkpoint
	if k.reign == epoch && k.soft.LeaseMs >= k.saved.next {
		if due = k.saved.due(k.tracker, k.soft.LeaseMs); len(due) < saveMost {
			k.saved.next = k.soft.LeaseMs + saveEvery
		}
	}
	if len(due) == 0 {
		k.mu.Unlock()
		return
	}
	op := &commandpb.Checkpoint{Epoch: uint32(epoch)}
	for _, c := range due {
		op.Ids, op.LeftMs = append(op.Ids, uint64(c.id)), append(op.LeftMs, c.left)
	}
	waits, err := k.propose(k.checkpoint(op)) // in the order of the turns: under mu
	k.mu.Unlock()
	if err == nil {
		err = k.outcomes(waits)
	}
	if err != nil {
		k.log.Warn("what long sessions have left could not be logged yet", "count", len(due), keyError, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range due {
		c.going--
	}
}
