package node

import (
	"time"

	"perch/gen/nodepb"
	"perch/lease"
	"perch/quorum"
)

// This file carries what lists of things that are held and queued show.

func toHeld(h *lease.HeldState) *nodepb.Held {
	out := &nodepb.Held{
		Kind: h.Kind, Name: h.Name, Tag: uint64(h.Tag), Held: uint64(h.Held), Waiting: uint64(h.Waiting), Limit: h.Limit,
		Value: h.Value, Revoked: h.Revoked, Reason: h.Reason, Run: &nodepb.Run{
			Key: h.Run.Key, State: h.Run.State, Attempts: h.Run.Attempts, Data: h.Run.Data, Completed: h.Run.Completed, Next: h.Run.Next,
		},
	}
	for _, at := range h.Holders {
		out.Holders = append(out.Holders, &nodepb.Holder{
			Owner: at.Owner, Session: uint64(at.Session), Token: uint64(at.Token), Shared: at.Shared, Permits: at.Permits,
			Since: at.Since, RemainingMs: at.Remaining.Milliseconds(),
		})
	}
	return out
}

func fromHeld(in *nodepb.Held) lease.HeldState {
	run := in.GetRun()
	h := lease.HeldState{
		Kind: in.GetKind(), Name: in.GetName(), Tag: quorum.Zxid(in.GetTag()), Held: int(in.GetHeld()), Waiting: int(in.GetWaiting()),
		Limit: in.GetLimit(), Value: in.GetValue(), Revoked: in.GetRevoked(), Reason: in.GetReason(), Run: lease.RunState{
			Key: run.GetKey(), State: run.GetState(), Attempts: run.GetAttempts(), Data: run.GetData(),
			Completed: run.GetCompleted(), Next: run.GetNext(),
		},
	}
	for _, at := range in.GetHolders() {
		h.Holders = append(h.Holders, lease.Holder{
			Owner: at.GetOwner(), Session: quorum.Zxid(at.GetSession()), Token: quorum.Zxid(at.GetToken()), Shared: at.GetShared(),
			Permits: at.GetPermits(), Since: at.GetSince(), Remaining: time.Duration(at.GetRemainingMs()) * time.Millisecond,
		})
	}
	return h
}

func toMessage(m *lease.Message) *nodepb.Message {
	return &nodepb.Message{
		Id: m.ID, Receipt: m.Receipt, Data: m.Data, State: m.State, Attempts: m.Attempts, Priority: m.Priority,
		Token: uint64(m.Token), Enqueued: m.Enqueued, DeadFrom: m.DeadFrom, RemainingMs: m.Remaining.Milliseconds(),
	}
}

func fromMessage(in *nodepb.Message) lease.Message {
	return lease.Message{
		ID: in.GetId(), Receipt: in.GetReceipt(), Data: in.GetData(), State: in.GetState(), Attempts: in.GetAttempts(),
		Priority: in.GetPriority(), Token: quorum.Zxid(in.GetToken()), Enqueued: in.GetEnqueued(), DeadFrom: in.GetDeadFrom(),
		Remaining: time.Duration(in.GetRemainingMs()) * time.Millisecond,
	}
}
