package handlers

import (
	"context"
	"maps"
	"slices"
	"strings"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// PutNode implements PUT /v1/nodes/{path}.
func (e *edge) PutNode(ctx context.Context, q api.PutNodeRequestObject) (api.PutNodeResponseObject, error) {
	p := &q.Params
	if err := e.checkPath(q.Path); err != nil {
		return nil, err
	}
	condition, err := writeCondition(p.IfMatch, p.IfNoneMatch, p.Version)
	if err != nil {
		return nil, err
	}
	mode, err := parseMode(p.Mode, putModes)
	if err != nil {
		return nil, err
	}
	if is(p.Takeover) && mode != commandpb.Mode_MODE_EPHEMERAL {
		return nil, badArgument("takeover", "it needs mode=ephemeral")
	}
	owner, err := e.owner(ctx, p.PerchSession, mode, p.TTLMs)
	if err != nil {
		return nil, err
	}
	data, err := readAll(q.Body, bodyLength(ctx))
	if err != nil {
		return nil, err
	}
	res, err := e.write(ctx, owner, &commandpb.Command{Op: &commandpb.Command_Put{Put: &commandpb.Put{
		Path: q.Path, Data: data, Mode: mode, TtlMs: owner.nodeTTL,
		Parents: is(p.Parents), Takeover: is(p.Takeover), Condition: condition,
	}}})
	if err != nil {
		return nil, err
	}
	return putAnswer(&res), nil
}

func putAnswer(res *lease.Result) api.PutNodeResponseObject {
	tag := quoted(nodeTag(&res.Node.Stat))
	remaining := some(milliseconds(res.Remaining))
	if !res.Created {
		return api.PutNode200JSONResponse{Body: renderNode(&res.Node), Headers: api.PutNode200ResponseHeaders{
			ETag: tag, PerchZxid: int64(res.Zxid), PerchSessionRemainingMs: remaining}}
	}
	return api.PutNode201JSONResponse{Body: renderNode(&res.Node), Headers: api.PutNode201ResponseHeaders{
		ETag: tag, PerchZxid: int64(res.Zxid), PerchSessionRemainingMs: remaining,
		Location: nodeLocation(res.Node.Path)}}
}

// CreateNode implements POST /v1/nodes/{path}.
func (e *edge) CreateNode(ctx context.Context, q api.CreateNodeRequestObject) (api.CreateNodeResponseObject, error) {
	p := &q.Params
	if err := e.checkNewPath(q.Path, is(p.Sequential)); err != nil {
		return nil, err
	}
	mode, err := parseMode(p.Mode, createModes)
	if err != nil {
		return nil, err
	}
	owner, err := e.owner(ctx, p.PerchSession, mode, p.TTLMs)
	if err != nil {
		return nil, err
	}
	data, err := readAll(q.Body, bodyLength(ctx))
	if err != nil {
		return nil, err
	}
	res, err := e.write(ctx, owner, &commandpb.Command{Op: &commandpb.Command_Create{Create: &commandpb.Create{
		Path: q.Path, Data: data, Mode: mode, TtlMs: owner.nodeTTL, Sequential: is(p.Sequential), Parents: is(p.Parents),
	}}})
	if err != nil {
		return nil, err
	}
	return api.CreateNode201JSONResponse{Body: renderNode(&res.Node), Headers: api.CreateNode201ResponseHeaders{
		ETag: quoted(nodeTag(&res.Node.Stat)), PerchZxid: int64(res.Zxid), Location: nodeLocation(res.Node.Path),
		PerchSessionRemainingMs: some(milliseconds(res.Remaining))}}, nil
}

// The kinds of nodes that a write may ask for. A PUT never makes a node
// persistent: without a mode it leaves the kind as it is.
var (
	createModes = map[string]commandpb.Mode{
		"persistent": commandpb.Mode_MODE_PERSISTENT, "ephemeral": commandpb.Mode_MODE_EPHEMERAL,
		"container": commandpb.Mode_MODE_CONTAINER, "ttl": commandpb.Mode_MODE_TTL,
	}
	putModes = map[string]commandpb.Mode{
		"ephemeral": commandpb.Mode_MODE_EPHEMERAL, "ttl": commandpb.Mode_MODE_TTL,
	}
)

// parseMode reads mode, of which the operation has those that are known.
func parseMode[M ~string](mode *M, known map[string]commandpb.Mode) (commandpb.Mode, error) {
	if mode == nil {
		return commandpb.Mode_MODE_UNSPECIFIED, nil
	}
	m, ok := known[string(*mode)]
	if !ok {
		return m, badArgument("mode", "it is one of "+strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	return m, nil
}

// checkNewPath checks the path of a node to be. A sequential one may end in a
// slash, which is an empty prefix of the name.
func (e *edge) checkNewPath(path string, sequential bool) error {
	if sequential {
		return tree.CheckSequential(path, e.pathLimits())
	}
	if path == tree.Root {
		return badArgument("path", "the root is always there")
	}
	return e.checkPath(path)
}

// DeleteNode implements DELETE /v1/nodes/{path}.
func (e *edge) DeleteNode(ctx context.Context, q api.DeleteNodeRequestObject) (api.DeleteNodeResponseObject, error) {
	p := &q.Params
	if err := e.checkPath(q.Path); err != nil {
		return nil, err
	}
	if q.Path == tree.Root {
		return nil, badArgument("path", "the root is always there")
	}
	condition, err := writeCondition(p.IfMatch, nil, p.Version)
	if err != nil {
		return nil, err
	}
	res, err := e.writeAs(ctx, p.PerchSession, &commandpb.Command{Op: &commandpb.Command_Delete{
		Delete: &commandpb.Delete{Path: q.Path, Recursive: is(p.Recursive), Condition: condition},
	}})
	if err != nil {
		return nil, err
	}
	return api.DeleteNode204Response{Headers: api.DeleteNode204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// writeCondition makes one condition of If-Match, If-None-Match and version, of
// which a write takes at most one (API.md rule 5).
func writeCondition(match, noneMatch *string, version *int64) (*commandpb.Condition, error) {
	given := 0
	for _, is := range []bool{match != nil, noneMatch != nil, version != nil} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return nil, badArgument("", "If-Match, If-None-Match and version exclude each other")
	case version != nil && *version < 0:
		return nil, badArgument("version", "it is negative")
	case version != nil:
		return &commandpb.Condition{When: &commandpb.Condition_Version{Version: *version}}, nil
	case match != nil:
		return matchCondition(match)
	case noneMatch == nil:
		return nil, nil
	}
	tag, err := parseTag(ifNoneMatch, noneMatch)
	if err != nil {
		return nil, err
	}
	if !tag.any {
		return nil, badArgument(ifNoneMatch, "a write takes * only")
	}
	return &commandpb.Condition{When: &commandpb.Condition_IfAbsent{IfAbsent: true}}, nil
}

func matchCondition(match *string) (*commandpb.Condition, error) {
	tag, err := parseTag(ifMatch, match)
	if err != nil {
		return nil, err
	}
	if tag.any {
		return &commandpb.Condition{When: &commandpb.Condition_IfPresent{IfPresent: true}}, nil
	}
	return &commandpb.Condition{When: &commandpb.Condition_Etag{Etag: tag.zxid()}}, nil
}

// owner is the session on whose behalf a write is made, and what else its
// ttl_ms may mean.
type owner struct {
	token   string
	openTTL uint64 // a token that was never seen opens a session with this TTL
	nodeTTL uint64 // of a TTL node
}

// owner checks what a write of a node says of its session.
func (e *edge) owner(ctx context.Context, token *string, mode commandpb.Mode, ttlMs *int64) (o owner, err error) {
	ttl, err := checkTTL("ttl_ms", ttlMs)
	switch {
	case err != nil:
		return o, err
	case mode == commandpb.Mode_MODE_EPHEMERAL && token == nil:
		return o, badArgument("Perch-Session", "an ephemeral needs a session")
	case mode == commandpb.Mode_MODE_EPHEMERAL:
		o.openTTL = ttl
	case mode == commandpb.Mode_MODE_TTL && ttl == 0:
		return o, badArgument("ttl_ms", "a TTL node needs one")
	case mode == commandpb.Mode_MODE_TTL:
		o.nodeTTL = ttl
	case ttl != 0:
		return o, badArgument("ttl_ms", "only an ephemeral or a TTL node takes it")
	}
	o.token, err = e.session(ctx, token)
	return o, err
}

// write has a command proposed that does what the request asks for, under its
// key and its fences. A refusal that apply decided carries the zxid of its own
// transaction.
func (e *edge) write(ctx context.Context, o owner, cmd *commandpb.Command) (lease.Result, error) {
	if o.token != "" && o.openTTL != 0 {
		cmd.Session = &commandpb.SessionRef{OpenTtlMs: o.openTTL}
	}
	e.sign(ctx, cmd)
	res, err := e.svc.Write(ctx, cmd, o.token)
	return res, e.judge(ctx, cmd, &res, err)
}

// sign adds to a command what the request says of itself.
func (e *edge) sign(ctx context.Context, cmd *commandpb.Command) {
	cmd.Caller = callerOf(ctx)
	if x := exchangeOf(ctx); x != nil {
		cmd.Key, cmd.Fences = x.key.command(), x.fences
	}
}

// judge makes an error of what the service says of a command, unless it was
// done.
func (e *edge) judge(ctx context.Context, cmd *commandpb.Command, res *lease.Result, err error) error {
	if err != nil {
		return decided(err, res.Zxid)
	}
	if x := exchangeOf(ctx); x != nil {
		x.replayed = res.Replayed && x.key != nil
	}
	if res.Code == tree.OK {
		return nil
	}
	return e.refused(cmd, res)
}

// writeAs is write for operations in which the session has no part but that it
// must be alive.
func (e *edge) writeAs(ctx context.Context, session *string, cmd *commandpb.Command) (lease.Result, error) {
	token, err := e.session(ctx, session)
	if err != nil {
		return lease.Result{}, err
	}
	return e.write(ctx, owner{token: token}, cmd)
}

// bodyLength is the Content-Length of the request, -1 when it was not told.
func bodyLength(ctx context.Context) int64 {
	if x := exchangeOf(ctx); x != nil {
		return x.length
	}
	return -1
}

func is(b *bool) bool { return b != nil && *b }
