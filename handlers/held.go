package handlers

import (
	"context"
	"time"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
)

// This file shows locks, semaphores, elections and runs of once.

// modeName is the mode of a hold, which locks alone have.
func modeName(kind commandpb.Kind, shared bool) *string {
	switch {
	case kind != commandpb.Kind_KIND_LOCK:
		return nil
	case shared:
		return some(string(api.Shared))
	}
	return some(string(api.Exclusive))
}

// permitsOf are the permits of a hold, which semaphores alone have.
func permitsOf(kind commandpb.Kind, n int64) *int32 {
	if kind != commandpb.Kind_KIND_SEMAPHORE {
		return nil
	}
	return some(clampInt32(n))
}

func renderHolder(kind commandpb.Kind, h *lease.Holder) api.Holder {
	out := api.Holder{
		SessionID: int64(h.Session), FencingToken: some(int64(h.Token)), Owner: some(h.Owner), Mode: modeName(kind, h.Shared),
		Permits: permitsOf(kind, h.Permits), RemainingMs: some(milliseconds(h.Remaining)),
	}
	if h.Since != 0 {
		since := renderTime(h.Since)
		out.Since = &since
	}
	return out
}

func renderHeld(h *lease.HeldState) api.LockState {
	held := clampInt32(h.Held)
	out := api.LockState{
		Name: h.Name, Holders: make([]api.Holder, len(h.Holders)), Held: &held, Waiting: clampInt32(h.Waiting), Limit: some(h.Limit),
		Etag: thingTag(h.Kind, h.Tag), RevokeRequested: some(h.Revoked), RevokeReason: some(h.Reason),
	}
	for i := range h.Holders {
		out.Holders[i] = renderHolder(h.Kind, &h.Holders[i])
	}
	return out
}

func renderLeadership(h *lease.HeldState) api.Leadership {
	out := api.Leadership{Name: h.Name, Candidates: clampInt32(h.Waiting), Etag: thingTag(h.Kind, h.Tag)}
	if len(h.Holders) == 0 {
		return out
	}
	leader := renderHolder(h.Kind, &h.Holders[0])
	value := h.Value
	out.Leader, out.LeaderSessionID, out.FencingToken, out.Since = &leader, &leader.SessionID, leader.FencingToken, leader.Since
	out.Value = &value
	return out
}

// renderOnce shows a run, and its result once there is one.
func renderOnce(h *lease.HeldState, show detail) api.OnceState {
	run := &h.Run
	out := api.OnceState{
		Name: h.Name, Key: run.Key, State: run.State, Attempts: clampInt32(run.Attempts), Etag: thingTag(h.Kind, h.Tag),
	}
	if out.State == "" {
		out.State = "idle"
	}
	if len(h.Holders) > 0 {
		holder := renderHolder(h.Kind, &h.Holders[0])
		out.Holder = &holder
	}
	if run.Completed != 0 {
		completed := renderTime(run.Completed)
		out.CompletedAt = &completed
		out.Data, out.Text = show.value(run.Data)
	}
	if run.Next != 0 {
		next := renderTime(run.Next)
		out.NextAt = &next
	}
	return out
}

// heldPoll is a read of something that can be held, which may wait.
func (e *edge) heldPoll(ctx context.Context, kind commandpb.Kind, name string, o readOptions) (*poll, error) {
	p, err := e.thingPoll(ctx, lease.ReadHeld, kind, name, o)
	if err != nil {
		return nil, err
	}
	p.tag = func(a *lease.Answer) string { return thingTag(kind, heldOf(a).Tag) }
	return p, nil
}

// heldOf is the one thing of an answer to ReadHeld.
func heldOf(a *lease.Answer) *lease.HeldState {
	if len(a.Held) == 0 {
		return &lease.HeldState{}
	}
	return &a.Held[0]
}

// heldList is a page of locks or of semaphores.
func (e *edge) heldList(ctx context.Context, kind commandpb.Kind, o listOptions) (api.LockPage, error) {
	answer, err := e.readList(ctx, lease.ReadHelds, kind, o)
	if err != nil {
		return api.LockPage{}, err
	}
	page := api.LockPage{
		Locks: make([]api.LockState, len(answer.Held)), NextPageToken: some(answer.NextPage), Zxid: int64(answer.Zxid),
	}
	for i := range answer.Held {
		page.Locks[i] = renderHeld(&answer.Held[i])
	}
	return page, nil
}

// expiry is when a session ends by the clock of this node, if it is not renewed.
func expiry(remaining time.Duration) *time.Time {
	at := time.Now().Add(remaining).UTC()
	return &at
}
