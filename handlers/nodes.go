package handlers

import (
	"context"

	"perch/gen/api"
	"perch/lease"
)

// ReadNode implements GET /v1/nodes/{path}.
func (e *edge) ReadNode(ctx context.Context, q api.ReadNodeRequestObject) (api.ReadNodeResponseObject, error) {
	p := &q.Params
	return e.readNode(ctx, q.Path,
		readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
}

// HeadNode implements HEAD /v1/nodes/{path}: GET without the body.
func (e *edge) HeadNode(ctx context.Context, q api.HeadNodeRequestObject) (api.HeadNodeResponseObject, error) {
	p := &q.Params
	return e.readNode(ctx, q.Path,
		readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
}

func (e *edge) readNode(ctx context.Context, path string, o readOptions) (written, error) {
	p, err := e.newPoll(ctx, lease.ReadNode, path, o)
	if err != nil {
		return nil, err
	}
	head := exchangeOf(ctx).head
	p.tag, p.scopes = nodeTagOf, scopeNode
	p.answer = func(got *polled) written { return nodeAnswer(got, head) }
	return p.begin(ctx)
}
