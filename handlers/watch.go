package handlers

import (
	"context"
	"errors"
	"strconv"
	"time"

	"perch/gen/api"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// WatchNode implements GET /v1/watch/{path}.
func (e *edge) WatchNode(ctx context.Context, q api.WatchNodeRequestObject) (api.WatchNodeResponseObject, error) {
	p := &q.Params
	wait, err := e.patience("wait_ms", p.WaitMs, p.Prefer)
	if err != nil {
		return nil, err
	}
	query, err := e.eventQuery(ctx, q.Path, p.Scope, p.Since, "since", p.PerchSession)
	if err != nil {
		return nil, err
	}
	if query.Limit, _, err = paging(p.Limit, nil); err != nil {
		return nil, err
	}
	w := &watch{edge: e, query: query, wait: wait}
	return w.begin(ctx)
}

// eventQuery checks what watch and stream share. cursor comes from the named
// parameter or header; without one the query is for the present.
func (e *edge) eventQuery(ctx context.Context, path string, scope *api.Scope, cursor *string, field string, token *string) (q lease.EventQuery, err error) {
	if err = e.checkPath(path); err != nil {
		return q, err
	}
	q = lease.EventQuery{Path: path, Limit: limitMax}
	if q.Scope, err = parseScope(scope); err != nil {
		return q, err
	}
	if q.Since, q.Now, err = parseCursor(field, cursor); err != nil {
		return q, err
	}
	q.Token, err = e.session(ctx, token)
	return q, err
}

func parseScope(scope *api.Scope) (tree.Scope, error) {
	if scope == nil {
		return tree.ScopeNode, nil
	}
	switch *scope {
	case api.WatchScopeNode:
		return tree.ScopeNode, nil
	case api.WatchScopeChildren:
		return tree.ScopeChildren, nil
	case api.WatchScopeSubtree:
		return tree.ScopeSubtree, nil
	}
	return 0, badArgument("scope", "it is node, children or subtree")
}

// parseCursor reads a cursor, which is a zxid; now when there is none.
func parseCursor(field string, cursor *string) (z quorum.Zxid, now bool, err error) {
	if cursor == nil {
		return 0, true, nil
	}
	n, err := strconv.ParseUint(*cursor, 10, 63)
	if err != nil {
		return 0, false, badArgument(field, "it is not a cursor")
	}
	return quorum.Zxid(n), false, nil
}

// watch is one poll of the event history. It parks when that holds nothing
// new; a time-out answers an empty batch with the cursor as far as it came.
type watch struct {
	edge  *edge
	query lease.EventQuery
	wait  time.Duration
}

func (w *watch) begin(ctx context.Context) (written, error) {
	x, now := exchangeOf(ctx), w.query.Now
	w.query.Floor = w.wait
	batch, err := w.edge.events(ctx, &w.query)
	if err != nil {
		return nil, err
	}
	w.query.Floor = 0
	if len(batch.Events) > 0 || w.wait == 0 || w.edge.drained.Err() != nil {
		return watchAnswer(&batch), nil
	}
	if !now && time.Since(x.begun) >= w.wait {
		return watchAnswer(&batch), nil // all the time went into reaching the cursor
	}
	x.tail = w
	return later, nil
}

// run waits for an event after the cursor of the query.
func (w *watch) run(x *exchange) error {
	waiting, leave, err := w.edge.park(x, x.begun.Add(w.wait))
	if err != nil {
		return err
	}
	defer leave()
	for {
		happened, err := w.edge.await(x, waiting, interestsOf(&w.query))
		if err != nil {
			return decided(err, w.query.Since)
		}
		w.query.Parked = true
		if over, err := w.resume(x, happened); over {
			return err
		}
	}
}

// resume answers after a wait, unless there is still nothing.
func (w *watch) resume(x *exchange, happened bool) (over bool, err error) {
	batch := lease.EventBatch{Cursor: w.query.Since}
	if happened || w.edge.drained.Err() == nil {
		next, err := w.edge.events(x, &w.query)
		switch {
		case err == nil:
			batch = next
		case !errors.Is(err, lease.ErrShuttingDown):
			return true, err
		default:
			happened = false // the node drains: the cursor as it was
		}
	}
	if len(batch.Events) == 0 && happened {
		return false, nil
	}
	return true, watchAnswer(&batch)(x)
}

func watchAnswer(batch *lease.EventBatch) written {
	return api.WatchNode200JSONResponse{
		Body: api.EventBatch{
			Events: renderEvents(batch.Events), Cursor: formatZxid(batch.Cursor), More: batch.More},
		Headers: api.WatchNode200ResponseHeaders{PerchZxid: int64(batch.Cursor)},
	}.VisitWatchNodeResponse
}

func interestsOf(q *lease.EventQuery) interests {
	return interests{path: q.Path, since: q.Since, scopes: scopesOf[q.Scope]}
}

// scopesOf has each scope as a slice that nobody has to make.
var scopesOf = [...][]tree.Scope{
	tree.ScopeNode: scopeNode, tree.ScopeChildren: scopeChildren, tree.ScopeSubtree: {tree.ScopeSubtree},
}

// events asks once and moves the query to the cursor of the answer, which never
// goes back.
func (e *edge) events(ctx context.Context, q *lease.EventQuery) (lease.EventBatch, error) {
	q.Caller = callerOf(ctx)
	batch, err := e.svc.Events(ctx, *q)
	if errors.Is(err, lease.ErrNotCaughtUp) {
		// This node has not reached the cursor: the same one again (R24).
		batch, err = lease.EventBatch{Cursor: q.Since}, nil
	}
	if err != nil {
		f := asFailure(err)
		if f.code == codeCursorExpired {
			f.oldest = batch.Oldest
		}
		return batch, decided(f, batch.Cursor)
	}
	batch.Cursor = max(batch.Cursor, q.Since)
	q.Since, q.Now = batch.Cursor, false
	return batch, nil
}
