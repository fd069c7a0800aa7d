package handlers

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// CreateSession implements POST /v1/sessions.
func (e *edge) CreateSession(ctx context.Context, q api.CreateSessionRequestObject) (api.CreateSessionResponseObject, error) {
	token, err := parseToken(q.Params.PerchSession)
	if err != nil {
		return nil, err
	}
	ttl := uint64(ttlMsDefault)
	if q.Body != nil && q.Body.TTLMs != nil {
		if ttl, err = checkTTL("/ttl_ms", q.Body.TTLMs); err != nil {
			return nil, err
		}
	}
	res, err := e.write(ctx, owner{token: token, openTTL: ttl}, &commandpb.Command{
		Op: &commandpb.Command_OpenSession{OpenSession: &commandpb.OpenSession{TtlMs: ttl}}})
	if err != nil {
		return nil, err
	}
	if !res.Opened || res.Replayed {
		// The session was there already: a repeated request. What it has left is
		// known to the leader only.
		held, err := e.svc.Touch(ctx, callerOf(ctx), cmp.Or(token, res.Token), 0)
		if err != nil {
			return nil, decided(err, held.Zxid)
		}
		res.Session, res.Remaining = held.Info, held.Remaining
	}
	body := renderSession(res.Session, res.Remaining)
	body.Token = some(res.Token)
	return api.CreateSession201JSONResponse{Body: body, Headers: api.CreateSession201ResponseHeaders{
		PerchZxid: int64(res.Zxid), PerchSessionRemainingMs: body.RemainingMs,
		Location: "/v1/sessions/" + formatZxid(res.Session.ID)}}, nil
}

// ListSessions implements GET /v1/sessions.
func (e *edge) ListSessions(ctx context.Context, q api.ListSessionsRequestObject) (api.ListSessionsResponseObject, error) {
	p := &q.Params
	answer, err := e.readPage(ctx, lease.ReadSessions,
		pageOptions{p.Limit, p.PageToken, p.Consistency, p.MinZxid, p.PerchSession})
	if err != nil {
		return nil, err
	}
	body := api.SessionPage{
		Sessions: make([]api.Session, len(answer.Sessions)), Zxid: int64(answer.Zxid), NextPageToken: some(answer.NextPage),
	}
	for i := range answer.Sessions {
		body.Sessions[i] = renderSession(answer.Sessions[i], 0)
	}
	return api.ListSessions200JSONResponse{Body: body,
		Headers: api.ListSessions200ResponseHeaders{PerchZxid: int64(answer.Zxid)}}, nil
}

// GetSession implements GET /v1/sessions/{id}. The caller's own session is
// renewed, and what is left of it told, unless a local answer is enough.
func (e *edge) GetSession(ctx context.Context, q api.GetSessionRequestObject) (api.GetSessionResponseObject, error) {
	p := &q.Params
	id, err := sessionID(q.ID)
	if err != nil {
		return nil, err
	}
	at, err := readAt(p.Consistency, p.MinZxid)
	if err != nil {
		return nil, err
	}
	token, err := sessionToken(id, p.PerchSession)
	if err != nil {
		return nil, err
	}
	held := lease.Held{}
	if token != "" && at.Linearizable {
		if held, err = e.svc.Touch(ctx, callerOf(ctx), token, 0); err != nil {
			return nil, decided(err, held.Zxid)
		}
		// The leader has confirmed its position with a quorum: no need to ask again.
		at.Linearizable, at.Floor = false, max(at.Floor, held.Zxid)
	} else if token != "" {
		e.svc.TouchLater(callerOf(ctx), token)
	}
	answer, err := e.readSession(ctx, id, token, at)
	if err != nil {
		return nil, err
	}
	info := answer.Sessions[0]
	if info.ID != held.ID {
		held.Remaining = 0
	}
	body := renderSession(info, held.Remaining)
	paths := append([]string{}, answer.Paths...) // none is an empty list
	holds := append([]string{}, answer.Holds...)
	body.Ephemerals, body.Locks = &paths, &holds
	return api.GetSession200JSONResponse{Body: body, Headers: api.GetSession200ResponseHeaders{
		PerchZxid: int64(answer.Zxid), PerchSessionRemainingMs: body.RemainingMs}}, nil
}

// readSession looks at a session by id, or with id 0 at that of the token; it is
// Sessions[0] then. A token that is given must be alive either way.
func (e *edge) readSession(ctx context.Context, id quorum.Zxid, token string, at lease.At) (lease.Answer, error) {
	answer, err := e.read(ctx, lease.Read{Kind: lease.ReadSession, Session: id, Token: token, At: at})
	if err == nil && len(answer.Sessions) != 1 {
		err = decided(tree.ErrNoSession, answer.Zxid)
	}
	return answer, err
}

// CloseSession implements DELETE /v1/sessions/{id}. A session that is gone is
// closed, whoever asks.
func (e *edge) CloseSession(ctx context.Context, q api.CloseSessionRequestObject) (api.CloseSessionResponseObject, error) {
	id, err := sessionID(q.ID)
	if err != nil {
		return nil, err
	}
	if q.Params.PerchSession == nil && id != 0 && e.svc.Auth() {
		return e.closeNamed(ctx, id)
	}
	token, err := needToken(q.Params.PerchSession)
	if err != nil {
		return nil, err
	}
	if id != 0 {
		gone, other, err := e.mayClose(ctx, id, token)
		if err != nil {
			return nil, err
		}
		// With a key it may be that very request that has closed it.
		if gone != 0 && (other || exchangeOf(ctx).key == nil) {
			return closed(gone), nil
		}
	}
	res, err := e.write(ctx, owner{token: token}, &commandpb.Command{
		Op: &commandpb.Command_CloseSession{CloseSession: &commandpb.CloseSession{}}})
	if err != nil && asFailure(err).code != codeSessionExpired {
		return nil, err
	}
	return closed(res.Zxid), nil
}

// closeNamed closes a session without its token, for a principal that may.
func (e *edge) closeNamed(ctx context.Context, id quorum.Zxid) (api.CloseSessionResponseObject, error) {
	res, err := e.write(ctx, owner{}, &commandpb.Command{
		Op: &commandpb.Command_CloseSession{CloseSession: &commandpb.CloseSession{Id: uint64(id)}}})
	if err != nil && res.Code != tree.ErrNoSession {
		return nil, err
	}
	return closed(res.Zxid), nil
}

func closed(z quorum.Zxid) api.CloseSession204Response {
	return api.CloseSession204Response{Headers: api.CloseSession204ResponseHeaders{PerchZxid: int64(z)}}
}

// mayClose says whether token is that of session id. gone is the position at
// which the session was seen not to exist, else 0; other, that the token is that
// of another one which is alive.
func (e *edge) mayClose(ctx context.Context, id quorum.Zxid, token string) (gone quorum.Zxid, other bool, err error) {
	at := lease.At{Linearizable: true, Wait: floorPatience}
	own, ownErr := e.readSession(ctx, 0, token, at)
	if ownErr == nil && own.Sessions[0].ID == id {
		return 0, false, nil
	}
	if ownErr != nil && asFailure(ownErr).code != codeSessionExpired {
		return 0, false, ownErr
	}
	there, err := e.readSession(ctx, id, "", at)
	if err == nil {
		return 0, false, decided(errSessionExpired, there.Zxid) // another's session
	}
	if f := asFailure(err); f.code == tree.ErrNoSession.String() && f.zxid != 0 {
		return f.zxid, ownErr == nil, nil
	}
	return 0, false, err
}

// KeepSessionAlive implements POST /v1/sessions/{id}/keepalive.
func (e *edge) KeepSessionAlive(ctx context.Context, q api.KeepSessionAliveRequestObject) (api.KeepSessionAliveResponseObject, error) {
	id, err := sessionID(q.ID)
	if err != nil {
		return nil, err
	}
	token, err := needToken(q.Params.PerchSession)
	if err != nil {
		return nil, err
	}
	ttl := uint64(0)
	if q.Body != nil {
		if ttl, err = checkTTL("/ttl_ms", q.Body.TTLMs); err != nil {
			return nil, err
		}
	}
	if id != 0 {
		// Which session a token names never changes, so any state that knows
		// the token will do; and nothing may be set on another session.
		own, err := e.readSession(ctx, 0, token, lease.At{Wait: floorPatience})
		if err != nil {
			return nil, err
		}
		if own.Sessions[0].ID != id {
			return nil, decided(errSessionExpired, own.Zxid)
		}
	}
	held, err := e.svc.Touch(ctx, callerOf(ctx), token, time.Duration(ttl)*time.Millisecond)
	if err != nil {
		return nil, decided(err, held.Zxid)
	}
	body := renderSession(held.Info, held.Remaining)
	return api.KeepSessionAlive200JSONResponse{Body: body, Headers: api.KeepSessionAlive200ResponseHeaders{
		PerchZxid: int64(held.Zxid), PerchSessionRemainingMs: body.RemainingMs}}, nil
}

// self is the id that means the session of Perch-Session.
const self = "self"

// sessionID reads {id}; 0 is self.
func sessionID(id string) (quorum.Zxid, error) {
	if id == self {
		return 0, nil
	}
	n, err := strconv.ParseUint(id, 10, 63)
	if err != nil || n == 0 || len(id) > 19 {
		return 0, badArgument("id", "it is the id of a session, or self")
	}
	return quorum.Zxid(n), nil
}

// sessionToken reads the token of a request that needs one only for self.
func sessionToken(id quorum.Zxid, token *string) (string, error) {
	if id == 0 {
		return needToken(token)
	}
	return parseToken(token)
}
