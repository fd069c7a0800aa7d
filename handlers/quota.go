package handlers

import (
	"context"
	"math"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// GetQuota implements GET /v1/quota/{path}.
func (e *edge) GetQuota(ctx context.Context, q api.GetQuotaRequestObject) (api.GetQuotaResponseObject, error) {
	p := &q.Params
	read, err := e.nodeRead(ctx, lease.ReadQuota, q.Path, p.Consistency, p.MinZxid, p.PerchSession)
	if err != nil {
		return nil, err
	}
	answer, err := e.read(ctx, read)
	if err != nil {
		return nil, err
	}
	return api.GetQuota200JSONResponse{Body: renderQuota(&answer.Quota),
		Headers: api.GetQuota200ResponseHeaders{PerchZxid: int64(answer.Zxid)}}, nil
}

// SetQuota implements PUT /v1/quota/{path}.
func (e *edge) SetQuota(ctx context.Context, q api.SetQuotaRequestObject) (api.SetQuotaResponseObject, error) {
	if err := e.checkPath(q.Path); err != nil {
		return nil, err
	}
	set := &commandpb.SetQuota{Path: q.Path, MaxNodes: q.Body.MaxNodes, MaxBytes: q.Body.MaxBytes}
	for field, bound := range map[string]*int64{"/max_nodes": set.MaxNodes, "/max_bytes": set.MaxBytes} {
		if bound != nil && *bound < 0 {
			return nil, outOfRange(field, 0, math.MaxInt64)
		}
	}
	if set.MaxNodes == nil && set.MaxBytes == nil {
		return nil, badArgument("", "a quota has max_nodes, max_bytes or both")
	}
	res, err := e.writeAs(ctx, q.Params.PerchSession,
		&commandpb.Command{Op: &commandpb.Command_SetQuota{SetQuota: set}})
	if err != nil {
		return nil, err
	}
	return api.SetQuota200JSONResponse{Body: renderQuota(&res.Quota),
		Headers: api.SetQuota200ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// DeleteQuota implements DELETE /v1/quota/{path}.
func (e *edge) DeleteQuota(ctx context.Context, q api.DeleteQuotaRequestObject) (api.DeleteQuotaResponseObject, error) {
	if err := e.checkPath(q.Path); err != nil {
		return nil, err
	}
	res, err := e.writeAs(ctx, q.Params.PerchSession,
		&commandpb.Command{Op: &commandpb.Command_SetQuota{SetQuota: &commandpb.SetQuota{Path: q.Path, Remove: true}}})
	if err != nil {
		return nil, err
	}
	return api.DeleteQuota204Response{Headers: api.DeleteQuota204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

func renderQuota(q *tree.Quota) api.Quota {
	return api.Quota{MaxNodes: q.MaxNodes, MaxBytes: q.MaxBytes, Nodes: q.Nodes, Bytes: q.Bytes}
}
