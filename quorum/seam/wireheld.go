package seam

import (
	"time"

	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// This file carries what is told of things that are held, counted and queued.

func toHeldState(h *lease.HeldState) *seampb.HeldState {
	return &seampb.HeldState{
		Kind: h.Kind, Name: h.Name, Tag: uint64(h.Tag), Holders: each(h.Holders, toHolder), Held: int64(h.Held),
		Waiting: int64(h.Waiting), Limit: h.Limit, Value: h.Value, Revoked: h.Revoked, Reason: h.Reason, Run: toRunState(&h.Run),
	}
}

func fromHeldState(in *seampb.HeldState) lease.HeldState {
	return lease.HeldState{
		Kind: in.GetKind(), Name: in.GetName(), Tag: quorum.Zxid(in.GetTag()), Holders: back(in.GetHolders(), fromHolder),
		Held: int(in.GetHeld()), Waiting: int(in.GetWaiting()), Limit: in.GetLimit(), Value: in.GetValue(),
		Revoked: in.GetRevoked(), Reason: in.GetReason(), Run: fromRunState(in.GetRun()),
	}
}

func toHolder(h *lease.Holder) *seampb.Holder {
	return &seampb.Holder{
		Owner: h.Owner, Session: uint64(h.Session), Token: uint64(h.Token), Shared: h.Shared, Permits: h.Permits,
		Since: h.Since, RemainingNs: int64(h.Remaining),
	}
}

func fromHolder(in *seampb.Holder) lease.Holder {
	return lease.Holder{
		Owner: in.GetOwner(), Session: quorum.Zxid(in.GetSession()), Token: quorum.Zxid(in.GetToken()), Shared: in.GetShared(),
		Permits: in.GetPermits(), Since: in.GetSince(), Remaining: time.Duration(in.GetRemainingNs()),
	}
}

func toRunState(r *lease.RunState) *seampb.RunState {
	return &seampb.RunState{
		Key: r.Key, State: r.State, Attempts: r.Attempts, Data: r.Data, Completed: r.Completed, Next: r.Next,
	}
}

func fromRunState(in *seampb.RunState) lease.RunState {
	return lease.RunState{
		Key: in.GetKey(), State: in.GetState(), Attempts: in.GetAttempts(), Data: in.GetData(), Completed: in.GetCompleted(),
		Next: in.GetNext(),
	}
}

func toHold(h *lease.Hold) *seampb.Hold {
	return &seampb.Hold{
		Kind: h.Kind, Names: h.Names, Key: h.Key, Owner: h.Owner, Session: uint64(h.Session), Token: uint64(h.Token),
		Shared: h.Shared, Permits: h.Permits, Attempt: h.Attempt, Revoked: h.Revoked, Reason: h.Reason,
	}
}

func fromHold(in *seampb.Hold) lease.Hold {
	return lease.Hold{
		Kind: in.GetKind(), Names: in.GetNames(), Key: in.GetKey(), Owner: in.GetOwner(), Session: quorum.Zxid(in.GetSession()),
		Token: quorum.Zxid(in.GetToken()), Shared: in.GetShared(), Permits: in.GetPermits(), Attempt: in.GetAttempt(),
		Revoked: in.GetRevoked(), Reason: in.GetReason(),
	}
}

func toPlace(p *lease.Place) *seampb.Place {
	return &seampb.Place{Id: uint64(p.ID), Attach: p.Attach, Position: int64(p.Position)}
}

func fromPlace(in *seampb.Place) lease.Place {
	return lease.Place{ID: quorum.Zxid(in.GetId()), Attach: in.GetAttach(), Position: int(in.GetPosition())}
}

func toOutcome(o *lease.Outcome) *seampb.Outcome {
	return &seampb.Outcome{
		Place: uint64(o.Place), Attach: o.Attach, Node: uint32(o.Node), Home: o.Home, Code: uint32(o.Code), Hold: toHold(&o.Hold),
		TtlNs: int64(o.TTL), Claimed: each(o.Claimed, toMessage), Held: toHeldState(&o.Held),
	}
}

func fromOutcome(in *seampb.Outcome) lease.Outcome {
	return lease.Outcome{
		Place: quorum.Zxid(in.GetPlace()), Attach: in.GetAttach(), Node: quorum.NodeID(in.GetNode()), Home: in.GetHome(),
		Code: tree.Code(in.GetCode()), Hold: fromHold(in.GetHold()), TTL: time.Duration(in.GetTtlNs()),
		Claimed: back(in.GetClaimed(), fromMessage), Held: fromHeldState(in.GetHeld()),
	}
}

func toQueueState(q *lease.QueueState) *seampb.QueueState {
	return &seampb.QueueState{
		Name: q.Name, Tag: uint64(q.Tag), Ready: q.Ready, Leased: q.Leased, Delayed: q.Delayed, MaxAttempts: q.MaxAttempts,
		DeadLetter: q.DeadLetter, OldestNs: int64(q.Oldest),
	}
}

func fromQueueState(in *seampb.QueueState) lease.QueueState {
	return lease.QueueState{
		Name: in.GetName(), Tag: quorum.Zxid(in.GetTag()), Ready: in.GetReady(), Leased: in.GetLeased(),
		Delayed: in.GetDelayed(), MaxAttempts: in.GetMaxAttempts(), DeadLetter: in.GetDeadLetter(),
		Oldest: time.Duration(in.GetOldestNs()),
	}
}

func toMessage(m *lease.Message) *seampb.Message {
	return &seampb.Message{
		Id: m.ID, Receipt: m.Receipt, Data: m.Data, State: m.State, Attempts: m.Attempts, Priority: m.Priority,
		Token: uint64(m.Token), Enqueued: m.Enqueued, DeadFrom: m.DeadFrom, RemainingNs: int64(m.Remaining),
	}
}

func fromMessage(in *seampb.Message) lease.Message {
	return lease.Message{
		ID: in.GetId(), Receipt: in.GetReceipt(), Data: in.GetData(), State: in.GetState(), Attempts: in.GetAttempts(),
		Priority: in.GetPriority(), Token: quorum.Zxid(in.GetToken()), Enqueued: in.GetEnqueued(), DeadFrom: in.GetDeadFrom(),
		Remaining: time.Duration(in.GetRemainingNs()),
	}
}

func toCounter(c *lease.Counter) *seampb.Counter {
	return &seampb.Counter{Name: c.Name, Value: c.Value, Previous: c.Previous, Tag: uint64(c.Tag)}
}

func fromCounter(in *seampb.Counter) lease.Counter {
	return lease.Counter{
		Name: in.GetName(), Value: in.GetValue(), Previous: in.GetPrevious(), Tag: quorum.Zxid(in.GetTag()),
	}
}

func toBarrier(b *lease.Barrier) *seampb.Barrier {
	return &seampb.Barrier{
		Name: b.Name, Tag: uint64(b.Tag), Entered: b.Entered, Leaving: b.Leaving, Count: b.Count, Open: b.Open,
		Generation: b.Generation, Mine: b.Mine,
	}
}

func fromBarrier(in *seampb.Barrier) lease.Barrier {
	return lease.Barrier{
		Name: in.GetName(), Tag: quorum.Zxid(in.GetTag()), Entered: in.GetEntered(), Leaving: in.GetLeaving(),
		Count: in.GetCount(), Open: in.GetOpen(), Generation: in.GetGeneration(), Mine: in.GetMine(),
	}
}
