package handlers

import (
	"context"
	"slices"

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
	if m.reads() {
		return m.read(ctx, token)
	}
	exchangeOf(ctx).concerns(changedPaths(m.ops)...)
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
	if f.path == "" && f.decided {
		f.path = pathOf(&m.asked[i])
	}
	if f.code == codeETagMismatch && m.asked[i].Op == api.CheckAbsent {
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
	out := api.OpOutcome{Op: string(op), Path: r.Path}
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
	}
	return out
}
