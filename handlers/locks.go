package handlers

import (
	"context"

	"perch/gen/api"
	"perch/gen/commandpb"
)

const (
	lockDelayMax   = 60_000
	reasonBytesMax = 255
	breakAfterMax  = 86_400_000
)

// ListLocks implements GET /v1/locks.
func (e *edge) ListLocks(ctx context.Context, q api.ListLocksRequestObject) (api.ListLocksResponseObject, error) {
	p := &q.Params
	page, err := e.heldList(ctx, commandpb.Kind_KIND_LOCK,
		listOptions{p.Prefix, pageOptions{p.Limit, p.PageToken, p.Consistency, p.MinZxid, p.PerchSession}})
	if err != nil {
		return nil, err
	}
	return api.ListLocks200JSONResponse{Body: page, Headers: api.ListLocks200ResponseHeaders{PerchZxid: page.Zxid}}, nil
}

// GetLock implements GET /v1/locks/{name}.
func (e *edge) GetLock(ctx context.Context, q api.GetLockRequestObject) (api.GetLockResponseObject, error) {
	p := &q.Params
	read, err := e.heldPoll(ctx, commandpb.Kind_KIND_LOCK, q.Name,
		readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
	if err != nil {
		return nil, err
	}
	read.answer = func(got *polled) written {
		return api.GetLock200JSONResponse{Body: renderHeld(heldOf(&got.Answer)), Headers: api.GetLock200ResponseHeaders{
			ETag: quoted(got.tag), PerchZxid: int64(got.Zxid)}}.VisitGetLockResponse
	}
	return read.begin(ctx)
}

// BreakLock implements DELETE /v1/locks/{name}.
func (e *edge) BreakLock(ctx context.Context, q api.BreakLockRequestObject) (api.BreakLockResponseObject, error) {
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{
		Op: &commandpb.Command_Break{Break: &commandpb.Break{Kind: commandpb.Kind_KIND_LOCK, Name: q.Name}}})
	if err != nil {
		return nil, err
	}
	return api.BreakLock204Response{Headers: api.BreakLock204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// AcquireLock implements POST /v1/locks/{name}/acquire.
func (e *edge) AcquireLock(ctx context.Context, q api.AcquireLockRequestObject) (api.AcquireLockResponseObject, error) {
	spec := deref(q.Body)
	shared, err := parseHoldMode("/mode", spec.Mode)
	if err != nil {
		return nil, err
	}
	delay, err := within("/lock_delay_ms", spec.LockDelayMs, 0, lockDelayMax)
	if err != nil {
		return nil, err
	}
	asked, err := e.asking(ctx, ask{q.Params.PerchSession, spec.TTLMs, spec.WaitMs, q.Params.Prefer, spec.StayMs, spec.Owner}, &commandpb.Acquire{
		Wants: []*commandpb.Want{{Name: q.Name, Shared: shared}}, LockDelayMs: uint64(delay)})
	if err != nil {
		return nil, err
	}
	work := &doing[api.AcquireLockResponseObject]{
		wait: asked.wait, visit: api.AcquireLockResponseObject.VisitAcquireLockResponse,
		do: func(x *exchange) (api.AcquireLockResponseObject, error) {
			g, err := e.acquire(x, asked)
			if err != nil {
				return nil, err
			}
			return api.AcquireLock200JSONResponse{Body: g.render(), Headers: api.AcquireLock200ResponseHeaders{
				PerchZxid: int64(g.zxid), PerchSessionRemainingMs: g.left()}}, nil
		},
	}
	return work.begin(ctx, later)
}

// parseHoldMode says whether a lock is asked for together with others.
func parseHoldMode(field string, mode *api.HoldMode) (shared bool, err error) {
	if mode != nil && !mode.Valid() {
		return false, badArgument(field, "it is exclusive or shared")
	}
	return mode != nil && *mode == api.Shared, nil
}

// RenewLock implements POST /v1/locks/{name}/renew.
func (e *edge) RenewLock(ctx context.Context, q api.RenewLockRequestObject) (api.RenewLockResponseObject, error) {
	g, err := e.renew(ctx, renewal{commandpb.Kind_KIND_LOCK, q.Name, q.Params.PerchSession, q.Body})
	if err != nil {
		return nil, err
	}
	return api.RenewLock200JSONResponse{Body: g.render(), Headers: api.RenewLock200ResponseHeaders{
		PerchZxid: int64(g.zxid), PerchSessionRemainingMs: g.left()}}, nil
}

// ReleaseLock implements POST /v1/locks/{name}/release.
func (e *edge) ReleaseLock(ctx context.Context, q api.ReleaseLockRequestObject) (api.ReleaseLockResponseObject, error) {
	release := &commandpb.Release{Kind: commandpb.Kind_KIND_LOCK, Names: []string{q.Name}}
	res, err := e.release(ctx, q.Params.PerchSession, release, deref(q.Body).FencingToken)
	if err != nil {
		return nil, err
	}
	return api.ReleaseLock204Response{Headers: api.ReleaseLock204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// RevokeLock implements POST /v1/locks/{name}/revoke.
func (e *edge) RevokeLock(ctx context.Context, q api.RevokeLockRequestObject) (api.RevokeLockResponseObject, error) {
	spec := deref(q.Body)
	revoke := &commandpb.Revoke{Name: q.Name}
	var err error
	if revoke.Reason, err = checkLine("/reason", spec.Reason, reasonBytesMax); err != nil {
		return nil, err
	}
	if spec.BreakAfterMs != nil {
		after, err := within("/break_after_ms", spec.BreakAfterMs, 0, breakAfterMax)
		if err != nil {
			return nil, err
		}
		ms := uint64(after)
		revoke.BreakAfterMs = &ms
	}
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{Op: &commandpb.Command_Revoke{Revoke: revoke}})
	if err != nil {
		return nil, err
	}
	return api.RevokeLock200JSONResponse{Body: renderHeld(&res.Held),
		Headers: api.RevokeLock200ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}
