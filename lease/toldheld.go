package lease

import (
	"reflect"

	"perch/gen/commandpb"
	"perch/gen/snapshotpb"
	"perch/quorum"
)

// toldHeld is what is told of a lock, semaphore, election or run; nil for none.
// The result of a run is that of the command which completes it.
func toldHeld(h *HeldState) *snapshotpb.ToldHeld {
	if reflect.ValueOf(h).Elem().IsZero() {
		return nil
	}
	m := &snapshotpb.ToldHeld{
		Kind: h.Kind, Name: h.Name, Tag: uint64(h.Tag), Held: uint64(h.Held), Waiting: uint64(h.Waiting), Limit: h.Limit,
		Value: h.Value, Revoked: h.Revoked, Reason: h.Reason,
		RunKey: h.Run.Key, RunState: h.Run.State, RunAttempts: h.Run.Attempts, RunData: h.Run.Data != nil,
		RunCompletedMs: h.Run.Completed, RunNextMs: h.Run.Next,
	}
	for i := range h.Holders {
		o := &h.Holders[i]
		m.Holders = append(m.Holders, &snapshotpb.ToldHolder{
			Owner: o.Owner, Session: uint64(o.Session), Token: uint64(o.Token), Shared: o.Shared, Permits: o.Permits, SinceMs: o.Since,
		})
	}
	return m
}

func heldTold(m *snapshotpb.ToldHeld, cmd *commandpb.Command) HeldState {
	if m == nil {
		return HeldState{}
	}
	h := HeldState{
		Kind: m.Kind, Name: m.Name, Tag: quorum.Zxid(m.Tag), Held: int(m.Held), Waiting: int(m.Waiting), Limit: m.Limit,
		Value: m.Value, Revoked: m.Revoked, Reason: m.Reason,
		Run: RunState{
			Key: m.RunKey, State: m.RunState, Attempts: m.RunAttempts, Completed: m.RunCompletedMs, Next: m.RunNextMs,
		},
	}
	if m.RunData {
		h.Run.Data = cmd.GetComplete().GetData()
	}
	for _, o := range m.Holders {
		h.Holders = append(h.Holders, Holder{
			Owner: o.Owner, Session: quorum.Zxid(o.Session), Token: quorum.Zxid(o.Token), Shared: o.Shared, Permits: o.Permits, Since: o.SinceMs,
		})
	}
	return h
}
