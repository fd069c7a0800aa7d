package handlers

import (
	"context"
	"math"

	"perch/gen/api"
	"perch/gen/commandpb"
)

// ListSemaphores implements GET /v1/semaphores.
func (e *edge) ListSemaphores(ctx context.Context, q api.ListSemaphoresRequestObject) (api.ListSemaphoresResponseObject, error) {
	p := &q.Params
	page, err := e.heldList(ctx, commandpb.Kind_KIND_SEMAPHORE,
		listOptions{p.Prefix, pageOptions{p.Limit, p.PageToken, p.Consistency, p.MinZxid, p.PerchSession}})
	if err != nil {
		return nil, err
	}
	return api.ListSemaphores200JSONResponse{Body: page, Headers: api.ListSemaphores200ResponseHeaders{PerchZxid: page.Zxid}}, nil
}

// GetSemaphore implements GET /v1/semaphores/{name}.
func (e *edge) GetSemaphore(ctx context.Context, q api.GetSemaphoreRequestObject) (api.GetSemaphoreResponseObject, error) {
	p := &q.Params
	read, err := e.heldPoll(ctx, commandpb.Kind_KIND_SEMAPHORE, q.Name,
		readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
	if err != nil {
		return nil, err
	}
	read.answer = func(got *polled) written {
		return api.GetSemaphore200JSONResponse{Body: renderHeld(heldOf(&got.Answer)), Headers: api.GetSemaphore200ResponseHeaders{
			ETag: quoted(got.tag), PerchZxid: int64(got.Zxid)}}.VisitGetSemaphoreResponse
	}
	return read.begin(ctx)
}

// BreakSemaphore implements DELETE /v1/semaphores/{name}.
func (e *edge) BreakSemaphore(ctx context.Context, q api.BreakSemaphoreRequestObject) (api.BreakSemaphoreResponseObject, error) {
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{
		Op: &commandpb.Command_Break{Break: &commandpb.Break{Kind: commandpb.Kind_KIND_SEMAPHORE, Name: q.Name}}})
	if err != nil {
		return nil, err
	}
	return api.BreakSemaphore204Response{Headers: api.BreakSemaphore204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// AcquireSemaphore implements POST /v1/semaphores/{name}/acquire.
func (e *edge) AcquireSemaphore(ctx context.Context, q api.AcquireSemaphoreRequestObject) (api.AcquireSemaphoreResponseObject, error) {
	spec := q.Body
	limit, err := within("/limit", &spec.Limit, 1, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	permits, err := within("/permits", spec.Permits, 1, limit)
	if err != nil {
		return nil, err
	}
	asked, err := e.asking(ctx, ask{q.Params.PerchSession, spec.TTLMs, spec.WaitMs, q.Params.Prefer, spec.StayMs, spec.Owner}, &commandpb.Acquire{
		Kind: commandpb.Kind_KIND_SEMAPHORE, Wants: []*commandpb.Want{{Name: q.Name}}, Limit: limit, Permits: permits})
	if err != nil {
		return nil, err
	}
	work := &doing[api.AcquireSemaphoreResponseObject]{
		wait: asked.wait, visit: api.AcquireSemaphoreResponseObject.VisitAcquireSemaphoreResponse,
		do: func(x *exchange) (api.AcquireSemaphoreResponseObject, error) {
			g, err := e.acquire(x, asked)
			if err != nil {
				return nil, err
			}
			return api.AcquireSemaphore200JSONResponse{Body: g.render(), Headers: api.AcquireSemaphore200ResponseHeaders{
				PerchZxid: int64(g.zxid), PerchSessionRemainingMs: g.left()}}, nil
		},
	}
	return work.begin(ctx, later)
}

// RenewSemaphore implements POST /v1/semaphores/{name}/renew.
func (e *edge) RenewSemaphore(ctx context.Context, q api.RenewSemaphoreRequestObject) (api.RenewSemaphoreResponseObject, error) {
	g, err := e.renew(ctx, renewal{commandpb.Kind_KIND_SEMAPHORE, q.Name, q.Params.PerchSession, q.Body})
	if err != nil {
		return nil, err
	}
	return api.RenewSemaphore200JSONResponse{Body: g.render(), Headers: api.RenewSemaphore200ResponseHeaders{
		PerchZxid: int64(g.zxid), PerchSessionRemainingMs: g.left()}}, nil
}

// ReleaseSemaphore implements POST /v1/semaphores/{name}/release.
func (e *edge) ReleaseSemaphore(ctx context.Context, q api.ReleaseSemaphoreRequestObject) (api.ReleaseSemaphoreResponseObject, error) {
	release := &commandpb.Release{Kind: commandpb.Kind_KIND_SEMAPHORE, Names: []string{q.Name}}
	res, err := e.release(ctx, q.Params.PerchSession, release, deref(q.Body).FencingToken)
	if err != nil {
		return nil, err
	}
	return api.ReleaseSemaphore204Response{Headers: api.ReleaseSemaphore204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}
