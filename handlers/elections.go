package handlers

import (
	"context"

	"perch/gen/api"
	"perch/gen/commandpb"
)

// ListElections implements GET /v1/elections.
func (e *edge) ListElections(ctx context.Context, q api.ListElectionsRequestObject) (api.ListElectionsResponseObject, error) {
	p := &q.Params
	page, err := e.names(ctx, commandpb.Kind_KIND_ELECTION,
		listOptions{p.Prefix, pageOptions{p.Limit, p.PageToken, p.Consistency, p.MinZxid, p.PerchSession}})
	if err != nil {
		return nil, err
	}
	return api.ListElections200JSONResponse{Body: page, Headers: api.ListElections200ResponseHeaders{PerchZxid: page.Zxid}}, nil
}

// GetLeader implements GET /v1/elections/{name}.
func (e *edge) GetLeader(ctx context.Context, q api.GetLeaderRequestObject) (api.GetLeaderResponseObject, error) {
	p := &q.Params
	read, err := e.heldPoll(ctx, commandpb.Kind_KIND_ELECTION, q.Name,
		readOptions{p.Consistency, p.MinZxid, p.WaitMs, p.Prefer, p.IfNoneMatch, p.PerchSession})
	if err != nil {
		return nil, err
	}
	read.answer = func(got *polled) written {
		return api.GetLeader200JSONResponse{Body: renderLeadership(heldOf(&got.Answer)), Headers: api.GetLeader200ResponseHeaders{
			ETag: quoted(got.tag), PerchZxid: int64(got.Zxid)}}.VisitGetLeaderResponse
	}
	return read.begin(ctx)
}

// Campaign implements POST /v1/elections/{name}/campaign.
func (e *edge) Campaign(ctx context.Context, q api.CampaignRequestObject) (api.CampaignResponseObject, error) {
	spec := deref(q.Body)
	value, err := leaderValue(deref(spec.Value))
	if err != nil {
		return nil, err
	}
	asked, err := e.asking(ctx, ask{q.Params.PerchSession, spec.TTLMs, spec.WaitMs, q.Params.Prefer, spec.StayMs, spec.Owner}, &commandpb.Acquire{
		Kind: commandpb.Kind_KIND_ELECTION, Wants: []*commandpb.Want{{Name: q.Name}}, Value: value})
	if err != nil {
		return nil, err
	}
	work := &doing[api.CampaignResponseObject]{
		wait: asked.wait, visit: api.CampaignResponseObject.VisitCampaignResponse,
		do: func(x *exchange) (api.CampaignResponseObject, error) {
			g, err := e.acquire(x, asked)
			if err != nil {
				return nil, err
			}
			return api.Campaign200JSONResponse{Body: g.render(), Headers: api.Campaign200ResponseHeaders{
				PerchZxid: int64(g.zxid), PerchSessionRemainingMs: g.left()}}, nil
		},
	}
	return work.begin(ctx, later)
}

// leaderValue checks what a leader tells everybody.
func leaderValue(value string) (string, error) {
	if len(value) > leaderValueMax {
		return "", badArgument("/value", "it is too long").met(leaderValueMax)
	}
	return value, checkText("/value", value)
}

// RenewLeadership implements POST /v1/elections/{name}/renew.
func (e *edge) RenewLeadership(ctx context.Context, q api.RenewLeadershipRequestObject) (api.RenewLeadershipResponseObject, error) {
	g, err := e.renew(ctx, renewal{commandpb.Kind_KIND_ELECTION, q.Name, q.Params.PerchSession, q.Body})
	if err != nil {
		return nil, err
	}
	return api.RenewLeadership200JSONResponse{Body: g.render(), Headers: api.RenewLeadership200ResponseHeaders{
		PerchZxid: int64(g.zxid), PerchSessionRemainingMs: g.left()}}, nil
}

// Proclaim implements POST /v1/elections/{name}/proclaim.
func (e *edge) Proclaim(ctx context.Context, q api.ProclaimRequestObject) (api.ProclaimResponseObject, error) {
	value, err := leaderValue(q.Body.Value)
	if err != nil {
		return nil, err
	}
	token, err := fencingToken("/fencing_token", q.Body.FencingToken)
	if err != nil {
		return nil, err
	}
	if token == 0 && q.Params.PerchSession == nil {
		return nil, badArgument("/fencing_token", "without Perch-Session it tells who leads")
	}
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{Op: &commandpb.Command_Proclaim{
		Proclaim: &commandpb.Proclaim{Name: q.Name, Value: value, Token: token}}})
	if err != nil {
		return nil, err
	}
	return api.Proclaim200JSONResponse{Body: renderLeadership(&res.Held),
		Headers: api.Proclaim200ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// Resign implements POST /v1/elections/{name}/resign.
func (e *edge) Resign(ctx context.Context, q api.ResignRequestObject) (api.ResignResponseObject, error) {
	release := &commandpb.Release{Kind: commandpb.Kind_KIND_ELECTION, Names: []string{q.Name}}
	res, err := e.release(ctx, q.Params.PerchSession, release, deref(q.Body).FencingToken)
	if err != nil {
		return nil, err
	}
	return api.Resign204Response{Headers: api.Resign204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}
