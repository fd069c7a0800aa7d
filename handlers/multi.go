package handlers

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// Multi implements POST /v1/multi.
func (e *edge) Multi(ctx context.Context, q api.MultiRequestObject) (api.MultiResponseObject, error) {
	include, err := parseInclude(q.Params.Include)
	if err != nil {
		return nil, err
	}
	m := &multi{edge: e, asked: q.Body.Ops, caller: callerOf(ctx), owned: q.Params.PerchSession != nil, include: include}
	if err := m.parse(); err != nil {
		return nil, err
	}
	token, err := e.session(ctx, q.Params.PerchSession)
	if err != nil {
		return nil, err
	}
	x := exchangeOf(ctx)
	if i := slices.IndexFunc(m.ops, func(op *commandpb.Op) bool { return op.GetGet() != nil }); i >= 0 && x.key != nil {
		return nil, m.failed(badArgument("/ops/"+strconv.Itoa(i)+"/op", "with an Idempotency-Key there is no get"), i)
	}
	if m.reads() && x.key == nil && len(x.fences) == 0 {
		return m.read(ctx, token)
	}
	x.concerns(changedPaths(m.ops)...)
	res, err := e.write(ctx, owner{token: token}, &commandpb.Command{
		Op: &commandpb.Command_Multi{Multi: &commandpb.Multi{Ops: m.ops}}})
	if err != nil && res.Code != tree.OK && res.Failed >= 0 {
		return nil, m.failed(err, res.Failed)
	}
	if err != nil {
		return nil, err
	}
	return m.answer(int64(res.Zxid), res.Ops), nil
}

// multi is one request and what becomes of it.
type multi struct {
	edge    *edge
	asked   []api.Op
	ops     []*commandpb.Op
	caller  *commandpb.Caller
	owned   bool // the request has a session
	include detail
	bytes   int
}

// failed says that it was operation i that failed.
func (m *multi) failed(err error, i int) *failure {
	f := asFailure(err)
	index := int32(i)
	f.failed = &index
	asked := &m.asked[i]
	if f.path == "" && f.decided {
		f.path = pathOf(asked)
	}
	if name := cmp.Or(deref(asked.Counter), deref(asked.Queue), deref(asked.Lock)); name != "" && f.decided && f.about == nil {
		f.about = &inTheWay{name: name}
	}
	if f.code == codeETagMismatch && asked.Op == api.CheckAbsent {
		f.detail = "the node exists"
	}
	return f
}

// reads says whether the multi writes nothing.
func (m *multi) reads() bool {
	return !slices.ContainsFunc(m.ops, func(op *commandpb.Op) bool { return op.GetCheck() == nil && op.GetGet() == nil })
}

// read answers a multi that writes nothing from one state. A get of a node that
// is missing is a result; anything else that is not as it was asked for fails.
func (m *multi) read(ctx context.Context, token string) (api.MultiResponseObject, error) {
	answer, err := m.edge.read(ctx, lease.Read{
		Kind: lease.ReadMulti, Ops: m.ops, Token: token, At: lease.At{Linearizable: true, Wait: floorPatience}})
	if err != nil {
		return nil, err
	}
	for i := range answer.Ops {
		code := answer.Ops[i].Code
		if code == tree.OK || code == tree.ErrNoNode && m.asked[i].Op == api.Get {
			continue
		}
		f := m.failed(decided(code, answer.Zxid), i)
		if code == tree.ErrTooLarge {
			f.detail, f.limit = answerTooLarge, multiBytesMax
		}
		return nil, f
	}
	return m.answer(int64(answer.Zxid), answer.Ops), nil
}

func (m *multi) answer(zxid int64, results []lease.OpResult) api.Multi200JSONResponse {
	body := api.TxnResult{Zxid: zxid, Results: make([]api.OpOutcome, len(results))}
	for i := range results {
		body.Results[i] = m.render(m.asked[i].Op, &results[i])
	}
	return api.Multi200JSONResponse{Body: body, Headers: api.Multi200ResponseHeaders{PerchZxid: zxid}}
}

func (m *multi) render(op api.OpOp, r *lease.OpResult) api.OpOutcome {
	out := api.OpOutcome{Op: string(op), Path: some(r.Path)}
	if r.Code != tree.OK {
		out.Code = some(r.Code.String())
		return out
	}
	if r.Node.Path != "" {
		stat := renderStat(&r.Node.Stat)
		out.Stat = &stat
		if r.Tagged {
			out.Etag = some(nodeTag(&r.Node.Stat))
		}
	}
	switch op {
	case api.Get:
		show := m.include
		show.data = show.data || !show.text
		out.Data, out.Text = show.value(r.Node.Data)
	case api.Put:
		out.Created = &r.Created
	case api.Add:
		out.Value = &r.Value
	case api.Enqueue:
		out.ID = &r.ID
	}
	return out
}
