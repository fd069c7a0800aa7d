package handlers

import (
	"bytes"
	"context"
	"net/http"
	"strconv"

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
		return api.ReadNode304Response{Headers: api.ReadNode304ResponseHeaders{
			ETag: quoted(got.tag), PerchZxid: int64(got.Zxid)}}, nil
	}
	return api.ReadNode200ApplicationOctetStreamResponse{
		Body: bytes.NewReader(got.Node.Data), ContentLength: int64(len(got.Node.Data)),
		Headers: api.ReadNode200ResponseHeaders{
			ETag: quoted(got.tag), PerchZxid: int64(got.Zxid), PerchDataVersion: got.Node.Stat.Version},
	}, nil
}

// HeadNode implements HEAD /v1/nodes/{path}: GET without the body.
func (e *edge) HeadNode(ctx context.Context, q api.HeadNodeRequestObject) (api.HeadNodeResponseObject, error) {
	p := &q.Params
	got, err := e.pollNode(ctx, q.Path, readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
	if err != nil {
		return nil, err
	}
	if got.notModified {
		return api.HeadNode304Response{Headers: api.HeadNode304ResponseHeaders{
			ETag: quoted(got.tag), PerchZxid: int64(got.Zxid)}}, nil
	}
	return headNode{length: len(got.Node.Data), HeadNode200Response: api.HeadNode200Response{
		Headers: api.HeadNode200ResponseHeaders{
			ETag: quoted(got.tag), PerchZxid: int64(got.Zxid), PerchDataVersion: got.Node.Stat.Version},
	}}, nil
}

// headNode adds what GET would say of the body.
type headNode struct {
	api.HeadNode200Response
	length int
}

func (h headNode) VisitHeadNodeResponse(w http.ResponseWriter) error {
	w.Header()["Content-Type"] = []string{"application/octet-stream"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(h.length)}
	return h.HeadNode200Response.VisitHeadNodeResponse(w)
}

func (e *edge) pollNode(ctx context.Context, path string, o readOptions) (polled, error) {
	p, err := e.newPoll(lease.ReadNode, path, o)
	if err != nil {
		return polled{}, err
	}
	p.tag, p.scopes = nodeTag, []tree.Scope{tree.ScopeNode}
	return e.run(ctx, &p)
}
