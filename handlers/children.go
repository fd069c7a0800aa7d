package handlers

import (
	"context"

	"perch/gen/api"
	"perch/lease"
	"perch/tree"
)

const (
	limitDefault      = 100
	limitMax          = 1000
	pageTokenBytesMax = 512
)

// ListChildren implements GET /v1/children/{path}.
func (e *edge) ListChildren(ctx context.Context, q api.ListChildrenRequestObject) (api.ListChildrenResponseObject, error) {
	p := &q.Params
	include, err := parseInclude(p.Include)
	if err != nil {
		return nil, err
	}
	read, err := e.newPoll(ctx, lease.ReadChildren, q.Path,
		readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
	if err != nil {
		return nil, err
	}
	if read.query.Limit, read.query.PageToken, err = paging(p.Limit, p.PageToken); err != nil {
		return nil, err
	}
	plain := include == detail{}
	if read.wait > 0 && (!plain || p.PageToken != nil) {
		return nil, badArgument("wait_ms", "with include or page_token there is no tag to wait on")
	}
	if !plain || p.PageToken != nil {
		read.match = tagMatch{} // the tag is that of a list from its beginning
	}
	read.query.WithData = include.data || include.text
	read.tag, read.scopes = childrenTagOf, scopeChildren
	read.answer = func(got *polled) written {
		return renderPage(got, include, plain).VisitListChildrenResponse
	}
	return read.begin(ctx)
}

func renderPage(got *polled, include detail, plain bool) api.ListChildren200JSONResponse {
	page := api.ListChildren200JSONResponse{Body: renderNodes(&got.Answer, include)}
	page.Headers.PerchZxid = int64(got.Zxid)
	if plain {
		page.Body.Etag = &got.tag
		page.Headers.ETag = some(quoted(got.tag))
	}
	return page
}

// renderNodes is a page of nodes.
func renderNodes(answer *lease.Answer, include detail) api.NodePage {
	page := api.NodePage{
		Nodes: make([]api.Child, len(answer.Children)), Zxid: int64(answer.Zxid),
		Cursor: formatZxid(answer.Zxid), NextPageToken: some(answer.NextPage),
	}
	for i := range answer.Children {
		page.Nodes[i] = renderChild(&answer.Children[i], include)
	}
	return page
}

// renderChild is a bare path unless more was asked for.
func renderChild(n *tree.Node, include detail) api.Child {
	child := api.Child{Path: n.Path}
	if include == (detail{}) {
		return child
	}
	child.Etag = some(nodeTag(&n.Stat))
	if include.stat {
		stat := renderStat(&n.Stat)
		child.Stat = &stat
	}
	if len(n.Data) > 0 || n.Stat.DataLength == 0 { // else he may not read it
		child.Data, child.Text = include.value(n.Data)
	}
	return child
}

// paging checks limit and page_token.
func paging(limit *int32, token *string) (int, string, error) {
	n := limitDefault
	if limit != nil {
		if n = int(*limit); n < 1 || n > limitMax {
			return 0, "", outOfRange("limit", 1, limitMax)
		}
	}
	if token == nil {
		return n, "", nil
	}
	if len(*token) > pageTokenBytesMax {
		return 0, "", badArgument("page_token", "it is not a page token")
	}
	return n, *token, nil
}
