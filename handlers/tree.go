package handlers

import (
	"context"

	"perch/gen/api"
	"perch/lease"
)

// ListTree implements GET /v1/tree/{path}.
func (e *edge) ListTree(ctx context.Context, q api.ListTreeRequestObject) (api.ListTreeResponseObject, error) {
	p := &q.Params
	include, err := parseInclude(p.Include)
	if err != nil {
		return nil, err
	}
	read, err := e.nodeRead(ctx, lease.ReadTree, q.Path, p.Consistency, p.MinZxid, p.PerchSession)
	if err != nil {
		return nil, err
	}
	if read.Limit, read.PageToken, err = paging(p.Limit, p.PageToken); err != nil {
		return nil, err
	}
	if p.Depth != nil {
		if read.Depth = int(*p.Depth); read.Depth < 1 {
			return nil, badArgument("depth", "it is less than 1")
		}
	}
	read.WithData = include.data || include.text
	answer, err := e.read(ctx, read)
	if err != nil {
		return nil, err
	}
	return api.ListTree200JSONResponse{Body: renderNodes(&answer, include),
		Headers: api.ListTree200ResponseHeaders{PerchZxid: int64(answer.Zxid)}}, nil
}

// nodeRead checks what the reads share that are about a node and do not wait.
func (e *edge) nodeRead(
	ctx context.Context, kind lease.ReadKind, path string, level *api.ReadLevel, minZxid *int64, session *string,
) (q lease.Read, err error) {
	if err = e.checkPath(path); err != nil {
		return q, err
	}
	q = lease.Read{Kind: kind, Path: path}
	if q.At, err = readAt(level, minZxid); err != nil {
		return q, err
	}
	q.Token, err = e.session(ctx, session)
	return q, err
}
