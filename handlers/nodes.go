package handlers

import (
	"context"

	"perch/gen/api"
	"perch/lease"
	"perch/tree"
)

// ReadNode implements GET /v1/nodes/{path}.
func (e *edge) ReadNode(ctx context.Context, q api.ReadNodeRequestObject) (api.ReadNodeResponseObject, error) {
	p := &q.Params
	got, err := e.pollNode(ctx, q.Path, readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
	if err != nil {
		return nil, err
	}
	if got.notModified {
		return sameAnswer{&got}, nil
	}
	return nodeAnswer{got: &got}, nil
}

// HeadNode implements HEAD /v1/nodes/{path}: GET without the body.
func (e *edge) HeadNode(ctx context.Context, q api.HeadNodeRequestObject) (api.HeadNodeResponseObject, error) {
	p := &q.Params
	got, err := e.pollNode(ctx, q.Path, readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
	if err != nil {
		return nil, err
	}
	if got.notModified {
		return sameAnswer{&got}, nil
	}
	return nodeAnswer{got: &got, head: true}, nil
}

func (e *edge) pollNode(ctx context.Context, path string, o readOptions) (polled, error) {
	p, err := e.newPoll(lease.ReadNode, path, o)
	if err != nil {
		return polled{}, err
	}
	p.tag, p.scopes = nodeTag, []tree.Scope{tree.ScopeNode}
	return e.run(ctx, &p)
}
