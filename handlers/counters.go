package handlers

import (
	"context"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
)

// ListCounters implements GET /v1/counters.
func (e *edge) ListCounters(ctx context.Context, q api.ListCountersRequestObject) (api.ListCountersResponseObject, error) {
	p := &q.Params
	page, err := e.names(ctx, commandpb.Kind_KIND_COUNTER,
		listOptions{p.Prefix, pageOptions{p.Limit, p.PageToken, p.Consistency, p.MinZxid, p.PerchSession}})
	if err != nil {
		return nil, err
	}
	return api.ListCounters200JSONResponse{Body: page, Headers: api.ListCounters200ResponseHeaders{PerchZxid: page.Zxid}}, nil
}

// GetCounter implements GET /v1/counters/{name}.
func (e *edge) GetCounter(ctx context.Context, q api.GetCounterRequestObject) (api.GetCounterResponseObject, error) {
	p := &q.Params
	read, err := e.thingPoll(ctx, lease.ReadCounter, commandpb.Kind_KIND_COUNTER, q.Name,
		readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
	if err != nil {
		return nil, err
	}
	read.tag = func(a *lease.Answer) string { return counterTag(&a.Counter) }
	read.answer = func(got *polled) written {
		got.Counter.Name = q.Name
		return api.GetCounter200JSONResponse{Body: renderCounter(&got.Counter), Headers: api.GetCounter200ResponseHeaders{
			ETag: quoted(got.tag), PerchZxid: int64(got.Zxid)}}.VisitGetCounterResponse
	}
	return read.begin(ctx)
}

func counterTag(c *lease.Counter) string { return thingTag(commandpb.Kind_KIND_COUNTER, c.Tag) }

func renderCounter(c *lease.Counter) api.Counter {
	return api.Counter{Name: c.Name, Value: c.Value, Etag: counterTag(c)}
}

// changedCounter shows a counter and what it was before.
func changedCounter(c *lease.Counter) api.Counter {
	out := renderCounter(c)
	out.Previous = &c.Previous
	return out
}

// DeleteCounter implements DELETE /v1/counters/{name}.
func (e *edge) DeleteCounter(ctx context.Context, q api.DeleteCounterRequestObject) (api.DeleteCounterResponseObject, error) {
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{
		Op: &commandpb.Command_DeleteCounter{DeleteCounter: &commandpb.DeleteCounter{Name: q.Name}}})
	if err != nil {
		return nil, err
	}
	return api.DeleteCounter204Response{Headers: api.DeleteCounter204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// AddCounter implements POST /v1/counters/{name}/add.
func (e *edge) AddCounter(ctx context.Context, q api.AddCounterRequestObject) (api.AddCounterResponseObject, error) {
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{Op: &commandpb.Command_AddCounter{
		AddCounter: &commandpb.AddCounter{Name: q.Name, Add: q.Body.Add, Expect: q.Body.Expect}}})
	if err != nil {
		return nil, err
	}
	return api.AddCounter200JSONResponse{Body: changedCounter(&res.Counter), Headers: api.AddCounter200ResponseHeaders{
		ETag: quoted(counterTag(&res.Counter)), PerchZxid: int64(res.Zxid)}}, nil
}

// SetCounter implements POST /v1/counters/{name}/set.
func (e *edge) SetCounter(ctx context.Context, q api.SetCounterRequestObject) (api.SetCounterResponseObject, error) {
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{Op: &commandpb.Command_SetCounter{
		SetCounter: &commandpb.SetCounter{Name: q.Name, Value: q.Body.Value, Expect: q.Body.Expect}}})
	if err != nil {
		return nil, err
	}
	return api.SetCounter200JSONResponse{Body: changedCounter(&res.Counter), Headers: api.SetCounter200ResponseHeaders{
		ETag: quoted(counterTag(&res.Counter)), PerchZxid: int64(res.Zxid)}}, nil
}
