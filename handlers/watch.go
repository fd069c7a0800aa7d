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
	wait, err := e.patience(p.WaitMs, p.Prefer)
	if err != nil {
		return nil, err
	}
	query, err := e.eventQuery(q.Path, p.Scope, p.Since, "since", p.PerchSession)
	if err != nil {
		return nil, err
	}
	if query.Limit, _, err = paging(p.Limit, nil); err != nil {
		return nil, err
	}
	batch, err := e.watch(ctx, query, wait)
	if err != nil {
		return nil, err
	}
	return api.WatchNode200JSONResponse{
		Body: api.EventBatch{
			Events: renderEvents(batch.Events), Cursor: formatZxid(batch.Cursor), More: batch.More},
		Headers: api.WatchNode200ResponseHeaders{PerchZxid: int64(batch.Cursor)},
	}, nil
}

// eventQuery checks what watch and stream share. cursor comes from the named
// parameter or header; without one the query is for the present.
func (e *edge) eventQuery(path string, scope *api.Scope, cursor *string, field string, token *string) (q lease.EventQuery, err error) {
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
	q.Token, err = e.session(token)
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

// watch answers from the history, and parks when it holds nothing new. A
// time-out answers an empty batch with the cursor as far as it came.
func (e *edge) watch(ctx context.Context, q lease.EventQuery, wait time.Duration) (lease.EventBatch, error) {
	deadline := time.Now().Add(wait)
	now := q.Now
	q.Floor = wait
	batch, err := e.events(ctx, &q)
	if err != nil || len(batch.Events) > 0 || wait == 0 || e.drained.Err() != nil {
		return batch, err
	}
	if !now && !time.Now().Before(deadline) {
		return batch, nil // all the time went into reaching the cursor
	}
	waiting, leave, err := e.park(ctx, deadline)
	if err != nil {
		return batch, err
	}
	defer leave()
	for {
		happened, err := e.await(ctx, waiting, lease.Interest{Path: q.Path, Scope: q.Scope, Since: q.Since})
		if err != nil {
			return batch, refuse(err, q.Since)
		}
		if !happened && e.drained.Err() != nil {
			return batch, nil
		}
		q.Floor = 0
		next, err := e.events(ctx, &q)
		if errors.Is(err, lease.ErrShuttingDown) {
			return batch, nil
		}
		batch = next
		if err != nil || len(batch.Events) > 0 || !happened {
			return batch, err
		}
	}
}

// events asks once and moves the query to the cursor of the answer, which never
// goes back.
func (e *edge) events(ctx context.Context, q *lease.EventQuery) (lease.EventBatch, error) {
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
		return batch, refuse(f, batch.Cursor)
	}
	batch.Cursor = max(batch.Cursor, q.Since)
	q.Since, q.Now = batch.Cursor, false
	return batch, nil
}
