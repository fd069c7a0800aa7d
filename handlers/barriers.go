package handlers

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// ListBarriers implements GET /v1/barriers.
func (e *edge) ListBarriers(ctx context.Context, q api.ListBarriersRequestObject) (api.ListBarriersResponseObject, error) {
	p := &q.Params
	page, err := e.names(ctx, commandpb.Kind_KIND_BARRIER,
		listOptions{p.Prefix, pageOptions{p.Limit, p.PageToken, p.Consistency, p.MinZxid, p.PerchSession}})
	if err != nil {
		return nil, err
	}
	return api.ListBarriers200JSONResponse{Body: page, Headers: api.ListBarriers200ResponseHeaders{PerchZxid: page.Zxid}}, nil
}

// GetBarrier implements GET /v1/barriers/{name}.
func (e *edge) GetBarrier(ctx context.Context, q api.GetBarrierRequestObject) (api.GetBarrierResponseObject, error) {
	p := &q.Params
	read, err := e.thingPoll(ctx, lease.ReadBarrier, commandpb.Kind_KIND_BARRIER, q.Name,
		readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
	if err != nil {
		return nil, err
	}
	read.tag = func(a *lease.Answer) string { return barrierTag(&a.Barrier) }
	read.answer = func(got *polled) written {
		return api.GetBarrier200JSONResponse{Body: renderBarrier(&got.Barrier), Headers: api.GetBarrier200ResponseHeaders{
			ETag: quoted(got.tag), PerchZxid: int64(got.Zxid)}}.VisitGetBarrierResponse
	}
	return read.begin(ctx)
}

func barrierTag(b *lease.Barrier) string { return thingTag(commandpb.Kind_KIND_BARRIER, b.Tag) }

func renderBarrier(b *lease.Barrier) api.BarrierState {
	tag, leaving := barrierTag(b), clampInt32(b.Leaving)
	return api.BarrierState{
		Name: b.Name, Entered: clampInt32(b.Entered), Count: clampInt32(b.Count), Leaving: &leaving, Open: b.Open,
		Generation: b.Generation, Etag: &tag,
	}
}

// CloseBarrier implements PUT /v1/barriers/{name}.
func (e *edge) CloseBarrier(ctx context.Context, q api.CloseBarrierRequestObject) (api.CloseBarrierResponseObject, error) {
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{
		Op: &commandpb.Command_CloseBarrier{CloseBarrier: &commandpb.CloseBarrier{Name: q.Name}}})
	if err != nil {
		return nil, err
	}
	return api.CloseBarrier200JSONResponse{Body: renderBarrier(&res.Barrier),
		Headers: api.CloseBarrier200ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// OpenBarrier implements DELETE /v1/barriers/{name}.
func (e *edge) OpenBarrier(ctx context.Context, q api.OpenBarrierRequestObject) (api.OpenBarrierResponseObject, error) {
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{
		Op: &commandpb.Command_OpenBarrier{OpenBarrier: &commandpb.OpenBarrier{Name: q.Name}}})
	if err != nil {
		return nil, err
	}
	return api.OpenBarrier204Response{Headers: api.OpenBarrier204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// entry is a request to enter or to leave a barrier, and what has come of it.
type entry struct {
	name    string
	token   string
	wait    time.Duration
	cmd     *commandpb.Command
	result  lease.Result
	barrier lease.Answer // as it was seen last
}

// EnterBarrier implements POST /v1/barriers/{name}/enter.
func (e *edge) EnterBarrier(ctx context.Context, q api.EnterBarrierRequestObject) (api.EnterBarrierResponseObject, error) {
	enter := &commandpb.Enter{Name: q.Name}
	n, err := e.newEntry(q.Name, q.Body.WaitMs, q.Params.Prefer)
	if err != nil {
		return nil, err
	}
	count, err := within("/count", &q.Body.Count, 1, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	if enter.Generation, err = generation(q.Body.Generation); err != nil {
		return nil, err
	}
	if enter.Owner, err = checkLine("/owner", q.Body.Owner, ownerBytesMax); err != nil {
		return nil, err
	}
	enter.Count, n.cmd = uint64(count), &commandpb.Command{Op: &commandpb.Command_Enter{Enter: enter}}
	if n.token, err = e.opener(ctx, q.Params.PerchSession, q.Body.TTLMs, n.cmd); err != nil {
		return nil, err
	}
	work := &doing[api.EnterBarrierResponseObject]{
		wait: n.wait, visit: api.EnterBarrierResponseObject.VisitEnterBarrierResponse,
		do: func(x *exchange) (api.EnterBarrierResponseObject, error) {
			body, err := e.enter(x, n)
			if err != nil {
				return nil, err
			}
			return api.EnterBarrier200JSONResponse{Body: body, Headers: api.EnterBarrier200ResponseHeaders{
				PerchZxid: int64(n.barrier.Zxid), PerchSessionRemainingMs: body.RemainingMs}}, nil
		},
	}
	return work.begin(ctx, later)
}

func (e *edge) newEntry(name string, waitMs *int32, prefer *string) (*entry, error) {
	if err := checkThing("name", name); err != nil {
		return nil, err
	}
	wait, err := e.patience("/wait_ms", waitMs, prefer)
	return &entry{name: name, wait: wait}, err
}

func generation(n *int64) (*uint64, error) {
	if n == nil {
		return nil, nil
	}
	if *n < 0 {
		return nil, outOfRange("/generation", 0, math.MaxInt64)
	}
	g := uint64(*n)
	return &g, nil
}

// enter joins the coming generation and waits until it has opened.
func (e *edge) enter(x *exchange, n *entry) (body api.BarrierState, err error) {
	if err := e.propose(x, n); err != nil {
		return body, err
	}
	mine := n.result.Barrier.Mine
	if err := e.gather(x, n); err != nil {
		e.giveUp(x, n)
		return body, err
	}
	if err := e.noteThrough(x, n); err != nil {
		return body, err
	}
	body = renderBarrier(&n.barrier.Barrier)
	body.Open = true
	if mine != 0 {
		body.Generation = mine
	}
	waited := milliseconds(time.Since(x.begun))
	body.SessionToken, body.WaitedMs, body.Replayed = some(n.result.Token), &waited, some(n.result.Replayed)
	if n.token == "" {
		return body, nil // an earlier request with the key was told its session
	}
	return body, e.tellSession(x, n, &body)
}

// gather waits until the generation of an entry has opened. Where the request
// may have opened the session, that does not expire meanwhile.
func (e *edge) gather(x *exchange, n *entry) error {
	mine := n.result.Barrier.Mine
	through := func(a *lease.Answer) bool { return a.Barrier.Open || mine != 0 && a.Barrier.Generation >= mine }
	opens, ttl := n.cmd.Session.GetOpenTtlMs() != 0, n.result.Session.TTL
	if opens && n.token != "" && ttl > 0 && n.wait > ttl/keptAlive {
		defer e.keepAlive(x.caller, n.token, ttl)()
	}
	return e.stand(x, n, n.token, through)
}

// keptAlive is how often a session is renewed in its TTL while it is kept alive.
const keptAlive = 3

// keepAlive renews a session at best effort until stop is called.
func (e *edge) keepAlive(caller *commandpb.Caller, token string, ttl time.Duration) (stop func()) {
	var stopped atomic.Bool
	var beat *time.Timer
	beat = time.AfterFunc(ttl, func() {
		if !stopped.Load() {
			e.svc.TouchLater(caller, token)
			beat.Reset(ttl / keptAlive)
		}
	})
	beat.Reset(ttl / keptAlive) // from here on, and with it: beat is known
	return func() {
		stopped.Store(true)
		beat.Stop()
	}
}

// noteThrough has the state know that the session is told now that it is
// through, where that has come out while it waited: its next entry is then one
// into the next generation. The generation is named, so that it may be done
// twice. The session of an entry that an earlier request with the key has made
// is found by the key alone.
func (e *edge) noteThrough(x *exchange, n *entry) error {
	if n.result.Barrier.Open {
		return nil // its own apply has noted it
	}
	cmd := n.cmd
	if n.token != "" {
		enter, mine := cmd.GetEnter(), uint64(n.result.Barrier.Mine)
		cmd = &commandpb.Command{Caller: x.caller, Op: &commandpb.Command_Enter{Enter: &commandpb.Enter{
			Name: enter.Name, Count: enter.Count, Owner: enter.Owner, Generation: &mine}}}
	}
	res, err := e.svc.Write(x, cmd, n.token)
	switch {
	case err != nil:
		return decided(err, res.Zxid)
	case res.Code != tree.OK:
		return e.refused(cmd, &res)
	}
	return nil
}

// propose has the command of an entry done.
func (e *edge) propose(x *exchange, n *entry) error {
	e.sign(x, n.cmd)
	var err error
	n.result, err = e.svc.Write(x, n.cmd, n.token)
	if err := e.judge(x, n.cmd, &n.result, err); err != nil {
		return err
	}
	if n.token == "" {
		n.token = n.result.Token // what the server drew speaks for the rest of the request
	}
	n.barrier = lease.Answer{Zxid: n.result.Zxid, Barrier: n.result.Barrier}
	return nil
}

// stand waits until the barrier is as the entry wants it to be; with a token, as
// long as that session lives.
func (e *edge) stand(x *exchange, n *entry, token string, enough func(*lease.Answer) bool) (err error) {
	n.barrier, err = e.awaitThing(x, n.wait, n.barrier,
		lease.Read{Kind: lease.ReadBarrier, Of: commandpb.Kind_KIND_BARRIER, Name: n.name, Token: token}, enough)
	if err != nil || enough(&n.barrier) {
		return err
	}
	f := fail(codeBarrierWaiting, "").at(n.barrier.Zxid)
	f.about = &inTheWay{name: n.name, waiting: int(n.barrier.Barrier.Entered)}
	return f
}

// departPatience is how long it may take to give up an entry for a client that
// has gone.
const departPatience = 5 * time.Second

// giveUp ends what an entry whose wait has failed leaves to nobody: a session
// whose token the client has never been told. If that fails too, the session
// expires.
func (e *edge) giveUp(x *exchange, n *entry) {
	if !n.result.Opened || n.result.Token == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x), departPatience)
	defer cancel()
	_, _ = e.svc.Write(ctx, &commandpb.Command{Caller: x.caller, Op: &commandpb.Command_Depart{
		Depart: &commandpb.Depart{Name: n.name, Failed: true}}}, n.token)
}

// tellSession adds the session of an entry, and what it has left, which needs a
// confirmation.
func (e *edge) tellSession(x *exchange, n *entry, body *api.BarrierState) error {
	session, err := e.svc.Touch(x, x.caller, n.token, 0)
	if err != nil {
		return decided(err, session.Zxid)
	}
	body.SessionID, body.RemainingMs = some(int64(session.ID)), some(milliseconds(session.Remaining))
	return nil
}

// LeaveBarrier implements POST /v1/barriers/{name}/leave.
func (e *edge) LeaveBarrier(ctx context.Context, q api.LeaveBarrierRequestObject) (api.LeaveBarrierResponseObject, error) {
	spec := deref(q.Body)
	depart := &commandpb.Depart{Name: q.Name}
	n, err := e.newEntry(q.Name, spec.WaitMs, q.Params.Prefer)
	if err != nil {
		return nil, err
	}
	if depart.Generation, err = generation(spec.Generation); err != nil {
		return nil, err
	}
	if q.Params.PerchSession == nil {
		return nil, badArgument("Perch-Session", "only the session that has entered leaves")
	}
	if n.token, err = e.session(ctx, q.Params.PerchSession); err != nil {
		return nil, err
	}
	n.cmd = &commandpb.Command{Op: &commandpb.Command_Depart{Depart: depart}}
	work := &doing[api.LeaveBarrierResponseObject]{
		wait: n.wait, visit: api.LeaveBarrierResponseObject.VisitLeaveBarrierResponse,
		do: func(x *exchange) (api.LeaveBarrierResponseObject, error) {
			body, err := e.depart(x, n)
			if err != nil {
				return nil, err
			}
			return api.LeaveBarrier200JSONResponse{Body: body,
				Headers: api.LeaveBarrier200ResponseHeaders{PerchZxid: int64(n.barrier.Zxid)}}, nil
		},
	}
	return work.begin(ctx, later)
}

// depart takes the session out and waits until all of its generation have left.
// A later generation that has opened means that, too. The session may have ended
// with its entry.
func (e *edge) depart(x *exchange, n *entry) (body api.BarrierState, err error) {
	if err := e.propose(x, n); err != nil {
		return body, err
	}
	mine := n.result.Barrier.Generation
	gone := func(a *lease.Answer) bool { return a.Barrier.Leaving == 0 || a.Barrier.Generation > mine }
	if err := e.stand(x, n, "", gone); err != nil {
		return body, err
	}
	return renderBarrier(&n.barrier.Barrier), nil
}
