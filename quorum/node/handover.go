package node

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/nodepb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/tree"
)

const (
	transferPatience = 5 * time.Second       // for another leader
	syncPatience     = time.Second           // for a voter to be in sync
	transferPoll     = 20 * time.Millisecond // between two looks, when nothing turns
)

// Transfer implements lease.Service. Whatever happens on the way, what counts is
// who leads in the end: a leader that dies of it has given way too.
func (n *Node) Transfer(ctx context.Context, caller *commandpb.Caller, to quorum.NodeID) error {
	if n.draining() {
		return lease.ErrShuttingDown
	}
	ctx, cancel := context.WithTimeoutCause(ctx, transferPatience, lease.ErrNotCaughtUp)
	defer cancel()
	if err := n.governs(ctx, caller); err != nil {
		return err
	}
	if err := n.mayLead(to); err != nil {
		return err
	}
	old := quorum.NodeID(0) // who led when this began
	for {
		turned := n.turns.wait()
		soft := n.Soft()
		if soft.Established && soft.Leader != 0 {
			if old == 0 {
				old = soft.Leader
			}
			if soft.Leader == to || to == 0 && soft.Leader != old {
				return nil
			}
			if why := n.askToGive(ctx, soft, to); why != nil {
				return why
			}
		}
		if !pause(ctx, turned, transferPoll) {
			return n.whyNoTransfer(ctx)
		}
	}
}

// mayLead says whether a member can be asked to lead; 0 is any.
func (n *Node) mayLead(to quorum.NodeID) error {
	if to == 0 {
		return nil
	}
	for _, m := range n.members.Load().all {
		switch {
		case m.ID != to:
		case m.Role == quorum.RoleVoter:
			return nil
		default:
			return tree.ErrInvalidArgument
		}
	}
	return lease.ErrNoMember
}

func (n *Node) whyNoTransfer(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, lease.ErrNotCaughtUp) && n.Soft().Leader == 0 {
		return lease.ErrNoLeader
	}
	return cause
}

// askToGive asks the leader of soft to give way. An error is a reason that will
// not pass; whether it has given way shows in who leads.
func (n *Node) askToGive(ctx context.Context, soft quorum.Soft, to quorum.NodeID) error {
	if soft.Leader == n.cfg.ID {
		_, err := n.give(ctx, soft.Epoch, to)
		return err
	}
	body, err := proto.Marshal(&nodepb.GiveRequest{Epoch: uint32(soft.Epoch), To: uint32(to)})
	if err != nil {
		return err
	}
	raw, err := n.net.Ask(ctx, soft.Leader, natsnet.KindGive, body)
	answer := new(nodepb.GiveAnswer)
	if err != nil || proto.Unmarshal(raw, answer) != nil || answer.GetUnavailable() == "" {
		return nil
	}
	return lease.Unavailable(answer.GetUnavailable())
}

// serveGive answers askToGive of another node.
func (n *Node) serveGive(_ quorum.NodeID, body []byte) ([]byte, error) {
	req := new(nodepb.GiveRequest)
	if err := proto.Unmarshal(body, req); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(n.ctx, transferPatience)
	defer cancel()
	answer := new(nodepb.GiveAnswer)
	led, err := n.give(ctx, quorum.Epoch(req.GetEpoch()), quorum.NodeID(req.GetTo()))
	answer.NotLeader = !led
	if err != nil {
		answer.Unavailable = string(lease.ErrNotCaughtUp)
	}
	return proto.Marshal(answer)
}

// give has this node, as the leader of an epoch, give way. It reports whether it
// led, and ErrNotCaughtUp when it goes on leading. A voter that is about to be in
// sync, as after a change of leaders, is waited for while this node serves on.
func (n *Node) give(ctx context.Context, epoch quorum.Epoch, to quorum.NodeID) (led bool, err error) {
	began, due := time.Now(), true
	for {
		turned := n.turns.wait()
		soft, refusal := n.tellCore(ctx, epoch, to, due)
		switch {
		case !leads(soft) || soft.Epoch != epoch:
			return !due, nil
		case errors.Is(refusal, quorum.ErrNotSynced) && time.Since(began) > syncPatience:
			return true, lease.ErrNotCaughtUp
		case !due && soft.Heir == 0:
			return true, lease.ErrNotCaughtUp // it was given up
		}
		due = due && refusal != nil
		if !pause(ctx, turned, transferPoll) {
			return true, nil
		}
	}
}

// tellCore looks at the core between two of its outputs, and tells it to give
// way if it leads the epoch and that is due.
func (n *Node) tellCore(ctx context.Context, epoch quorum.Epoch, to quorum.NodeID, due bool) (soft quorum.Soft, err error) {
	type look struct {
		soft quorum.Soft
		err  error
	}
	seen := make(chan look, 1)
	n.loop.call(func(core machine) {
		l := look{soft: core.Soft()}
		if due && leads(l.soft) && l.soft.Epoch == epoch {
			l.err = core.Transfer(to)
		}
		seen <- l
	})
	select {
	case l := <-seen:
		return l.soft, l.err
	case <-ctx.Done():
	case <-n.loop.done:
	}
	return quorum.Soft{}, nil
}
