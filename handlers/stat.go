package handlers

import (
	"context"

	"perch/gen/api"
	"perch/lease"
)

// StatNode implements GET /v1/stat/{path}.
func (e *edge) StatNode(ctx context.Context, q api.StatNodeRequestObject) (api.StatNodeResponseObject, error) {
	p := &q.Params
	include, err := parseInclude(p.Include)
	if err != nil {
		return nil, err
	}
	read, err := e.newPoll(ctx, lease.ReadStat, q.Path,
		readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
	if err != nil {
		return nil, err
	}
	read.query.WithData = include.data || include.text
	read.tag, read.scopes = statTagOf, scopeStat
	read.answer = func(got *polled) written {
		body := renderNode(&got.Node)
		body.Data, body.Text = include.value(got.Node.Data)
		return api.StatNode200JSONResponse{Body: body, Headers: api.StatNode200ResponseHeaders{
			ETag: quoted(got.tag), PerchZxid: int64(got.Zxid)}}.VisitStatNodeResponse
	}
	return read.begin(ctx)
}
