package handlers

import (
	"context"
	"math"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/tree"
)

// The bounds of a run, as in apply.
const (
	onceKeyBytesMax = 255
	oncePeriodMin   = 1_000
	onceSpanMax     = 366 * 86_400_000 // of a period, and of how long a result is kept
)

// ListOnce implements GET /v1/once.
func (e *edge) ListOnce(ctx context.Context, q api.ListOnceRequestObject) (api.ListOnceResponseObject, error) {
	p := &q.Params
	page, err := e.names(ctx, commandpb.Kind_KIND_ONCE,
		listOptions{p.Prefix, pageOptions{p.Limit, p.PageToken, p.Consistency, p.MinZxid, p.PerchSession}})
	if err != nil {
		return nil, err
	}
	return api.ListOnce200JSONResponse{Body: page, Headers: api.ListOnce200ResponseHeaders{PerchZxid: page.Zxid}}, nil
}

// GetOnce implements GET /v1/once/{name}. Every run has a node of its own below
// that of the name.
func (e *edge) GetOnce(ctx context.Context, q api.GetOnceRequestObject) (api.GetOnceResponseObject, error) {
	p := &q.Params
	show, err := showValue(p.Include)
	if err != nil {
		return nil, err
	}
	key, err := onceKey("key", p.Key)
	if err != nil {
		return nil, err
	}
	read, err := e.heldPoll(ctx, commandpb.Kind_KIND_ONCE, q.Name,
		readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
	if err != nil {
		return nil, err
	}
	read.query.Key, read.scopes = key, scopeSubtree
	read.answer = func(got *polled) written {
		return api.GetOnce200JSONResponse{Body: renderOnce(heldOf(&got.Answer), show), Headers: api.GetOnce200ResponseHeaders{
			ETag: quoted(got.tag), PerchZxid: int64(got.Zxid)}}.VisitGetOnceResponse
	}
	return read.begin(ctx)
}

// showValue is include where there is always a value to show.
func showValue(include *api.Include) (detail, error) {
	show, err := parseInclude(include)
	show.data = show.data || !show.text
	return show, err
}

// onceKey reads the key of a run; "" when it is absent.
func onceKey(field string, key *string) (string, error) {
	if key != nil && !validOnceKey(*key) {
		return "", badArgument(field, "a key has 1 to 255 bytes, on one line").met(onceKeyBytesMax)
	}
	return deref(key), nil
}

func validOnceKey(key string) bool {
	return len(key) > 0 && len(key) <= onceKeyBytesMax && checkText("", key) == nil
}

// ForgetOnce implements DELETE /v1/once/{name}.
func (e *edge) ForgetOnce(ctx context.Context, q api.ForgetOnceRequestObject) (api.ForgetOnceResponseObject, error) {
	key, err := onceKey("key", q.Params.Key)
	if err != nil {
		return nil, err
	}
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{
		Op: &commandpb.Command_Forget{Forget: &commandpb.Forget{Name: q.Name, Key: key}}})
	if err != nil {
		return nil, err
	}
	return api.ForgetOnce204Response{Headers: api.ForgetOnce204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// BeginOnce implements POST /v1/once/{name}/begin.
func (e *edge) BeginOnce(ctx context.Context, q api.BeginOnceRequestObject) (api.BeginOnceResponseObject, error) {
	run, err := parseRun(q.Body)
	if err != nil {
		return nil, err
	}
	asked, err := e.asking(ctx, ask{q.Params.PerchSession, &q.Body.TTLMs, q.Body.WaitMs, q.Params.Prefer, nil, q.Body.Owner}, &commandpb.Acquire{
		Kind: commandpb.Kind_KIND_ONCE, Wants: []*commandpb.Want{{Name: q.Name}}, Run: run})
	if err != nil {
		return nil, err
	}
	work := &doing[api.BeginOnceResponseObject]{
		wait: asked.wait, visit: api.BeginOnceResponseObject.VisitBeginOnceResponse,
		do: func(x *exchange) (api.BeginOnceResponseObject, error) {
			g, err := e.acquire(x, asked)
			if err != nil {
				return nil, err
			}
			return api.BeginOnce200JSONResponse{Body: g.renderRun(), Headers: api.BeginOnce200ResponseHeaders{
				PerchZxid: int64(g.zxid), PerchSessionRemainingMs: g.left()}}, nil
		},
	}
	return work.begin(ctx, later)
}

func parseRun(spec *api.OnceSpec) (run *commandpb.Run, err error) {
	run = &commandpb.Run{}
	if (spec.Key == nil) == (spec.PeriodMs == nil) {
		return nil, badArgument("/key", "a run has a key or a period_ms")
	}
	if run.Key, err = onceKey("/key", spec.Key); err != nil {
		return nil, err
	}
	for _, number := range []struct {
		field string
		value *int64
		least int64
		most  int64
		into  *uint64
	}{
		{"/period_ms", spec.PeriodMs, oncePeriodMin, onceSpanMax, &run.PeriodMs},
		{"/offset_ms", spec.OffsetMs, 0, max(deref(spec.PeriodMs)-1, 0), &run.OffsetMs},
		{"/keep_ms", spec.KeepMs, oncePeriodMin, onceSpanMax, &run.KeepMs},
	} {
		n, err := within(number.field, number.value, number.least, number.most)
		if err != nil {
			return nil, err
		}
		*number.into = uint64(n)
	}
	attempts, err := within("/max_attempts", spec.MaxAttempts, 1, math.MaxInt32)
	run.MaxAttempts = uint64(attempts)
	return run, err
}

func (g *grant) renderRun() api.OnceRun {
	return api.OnceRun{
		Name: g.first(), Key: g.Key, Owner: some(g.Owner), Attempt: clampInt32(g.Attempt), SessionID: int64(g.Session),
		SessionToken: some(g.token), FencingToken: int64(g.Token), ExpiresAt: expiry(g.remaining),
		RemainingMs: milliseconds(g.remaining), WaitedMs: milliseconds(g.waited), Replayed: some(g.replayed),
	}
}

// CompleteOnce implements POST /v1/once/{name}/complete.
func (e *edge) CompleteOnce(ctx context.Context, q api.CompleteOnceRequestObject) (api.CompleteOnceResponseObject, error) {
	p := &q.Params
	complete := &commandpb.Complete{Name: q.Name, Failed: is(p.Failed), Token: runToken(exchangeOf(ctx).fences, q.Name)}
	if complete.Token == 0 && p.PerchSession == nil {
		return nil, badArgument(queryFence, "without Perch-Session it tells which run, as once/NAME:TOKEN")
	}
	var err error
	if complete.Data, err = readAll(q.Body, bodyLength(ctx)); err != nil {
		return nil, err
	}
	res, err := e.aboutThing(ctx, q.Name, p.PerchSession, &commandpb.Command{Op: &commandpb.Command_Complete{Complete: complete}})
	if err != nil {
		return nil, err
	}
	return api.CompleteOnce200JSONResponse{Body: renderOnce(&res.Held, detail{data: true}),
		Headers: api.CompleteOnce200ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// runToken is the token of the fence that names the run to be completed.
func runToken(fences []*commandpb.Fence, name string) uint64 {
	for _, f := range fences {
		if f.Kind == commandpb.Kind_KIND_ONCE && (f.Name == name || tree.Under(f.Name, name)) {
			return f.Token
		}
	}
	return 0
}

// AbandonOnce implements POST /v1/once/{name}/abandon.
func (e *edge) AbandonOnce(ctx context.Context, q api.AbandonOnceRequestObject) (api.AbandonOnceResponseObject, error) {
	ref := deref(q.Body)
	key, err := onceKey("/key", ref.Key)
	if err != nil {
		return nil, err
	}
	release := &commandpb.Release{Kind: commandpb.Kind_KIND_ONCE, Names: []string{q.Name}}
	if key != "" {
		release.Run = &commandpb.Run{Key: key}
	}
	res, err := e.release(ctx, q.Params.PerchSession, release, ref.FencingToken)
	if err != nil {
		return nil, err
	}
	return api.AbandonOnce204Response{Headers: api.AbandonOnce204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}
