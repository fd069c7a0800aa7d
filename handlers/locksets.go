package handlers

import (
	"context"
	"slices"
	"strconv"

	"perch/gen/api"
	"perch/gen/commandpb"
)

// setNamesMax bounds a lock set, as in apply.
const setNamesMax = 32

// AcquireLockSet implements POST /v1/lock-sets/acquire.
func (e *edge) AcquireLockSet(ctx context.Context, q api.AcquireLockSetRequestObject) (api.AcquireLockSetResponseObject, error) {
	wants, err := parseWants(q.Body.Locks)
	if err != nil {
		return nil, err
	}
	for _, want := range wants {
		exchangeOf(ctx).concerns(want.Name)
	}
	asked, err := e.asking(ctx, ask{q.Params.PerchSession, q.Body.TTLMs, q.Body.WaitMs, q.Params.Prefer, q.Body.StayMs, q.Body.Owner},
		&commandpb.Acquire{Wants: wants, Set: true})
	if err != nil {
		return nil, err
	}
	work := &doing[api.AcquireLockSetResponseObject]{
		wait: asked.wait, visit: api.AcquireLockSetResponseObject.VisitAcquireLockSetResponse,
		do: func(x *exchange) (api.AcquireLockSetResponseObject, error) {
			g, err := e.acquire(x, asked)
			if err != nil {
				return nil, err
			}
			return api.AcquireLockSet200JSONResponse{Body: g.renderSet(), Headers: api.AcquireLockSet200ResponseHeaders{
				PerchZxid: int64(g.zxid), PerchSessionRemainingMs: g.left()}}, nil
		},
	}
	return work.begin(ctx, later)
}

func parseWants(locks []api.LockRef) ([]*commandpb.Want, error) {
	if len(locks) == 0 || len(locks) > setNamesMax {
		return nil, outOfRange("/locks", 1, setNamesMax)
	}
	wants := make([]*commandpb.Want, len(locks))
	for i := range locks {
		at := "/locks/" + strconv.Itoa(i)
		if err := checkThing(at+"/name", locks[i].Name); err != nil {
			return nil, err
		}
		shared, err := parseHoldMode(at+"/mode", locks[i].Mode)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(wants[:i], func(w *commandpb.Want) bool { return w.Name == locks[i].Name }) {
			return nil, badArgument(at+"/name", "it is there already")
		}
		wants[i] = &commandpb.Want{Name: locks[i].Name, Shared: shared}
	}
	return wants, nil
}

func (g *grant) renderSet() api.LockSetGrant {
	return api.LockSetGrant{
		Names: append([]string{}, g.Names...), Owner: some(g.Owner), SessionID: int64(g.Session), SessionToken: some(g.token),
		FencingToken: int64(g.Token), ExpiresAt: expiry(g.remaining), RemainingMs: milliseconds(g.remaining),
		WaitedMs: milliseconds(g.waited), Replayed: some(g.replayed),
	}
}

// ReleaseLockSet implements POST /v1/lock-sets/release.
func (e *edge) ReleaseLockSet(ctx context.Context, q api.ReleaseLockSetRequestObject) (api.ReleaseLockSetResponseObject, error) {
	release := &commandpb.Release{Set: true}
	if names := deref(q.Body).Names; names != nil {
		if len(*names) == 0 || len(*names) > setNamesMax {
			return nil, outOfRange("/names", 1, setNamesMax)
		}
		release.Names = *names
		exchangeOf(ctx).concerns(*names...)
	}
	res, err := e.release(ctx, q.Params.PerchSession, release, nil)
	if err != nil {
		return nil, err
	}
	return api.ReleaseLockSet204Response{Headers: api.ReleaseLockSet204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}
