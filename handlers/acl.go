package handlers

import (
	"context"
	"errors"
	"strconv"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// GetACL implements GET /v1/acl/{path}.
func (e *edge) GetACL(ctx context.Context, q api.GetACLRequestObject) (api.GetACLResponseObject, error) {
	p := &q.Params
	read, err := e.nodeRead(ctx, lease.ReadACL, q.Path, p.Consistency, p.MinZxid, p.PerchSession)
	if err != nil {
		return nil, err
	}
	answer, err := e.read(ctx, read)
	if err != nil {
		return nil, err
	}
	stat := &answer.Node.Stat
	return api.GetACL200JSONResponse{
		Body: api.ACL{Entries: renderACL(answer.ACL), Aversion: &stat.Aversion},
		Headers: api.GetACL200ResponseHeaders{
			ETag: quoted(aclTag(stat)), PerchZxid: int64(answer.Zxid)}}, nil
}

// SetACL implements PUT /v1/acl/{path}.
func (e *edge) SetACL(ctx context.Context, q api.SetACLRequestObject) (api.SetACLResponseObject, error) {
	if err := e.checkPath(q.Path); err != nil {
		return nil, err
	}
	entries, err := parseACL("/entries", q.Body.Entries, callerOf(ctx))
	if err != nil {
		return nil, err
	}
	set := &commandpb.SetAcl{Path: q.Path, Acl: entries, Aversion: q.Body.Aversion}
	if err := aclCondition(set, q.Params.IfMatch); err != nil {
		return nil, err
	}
	res, err := e.writeAs(ctx, q.Params.PerchSession,
		&commandpb.Command{Op: &commandpb.Command_SetAcl{SetAcl: set}})
	if err != nil {
		return nil, err
	}
	return api.SetACL200JSONResponse{Body: renderNode(&res.Node), Headers: api.SetACL200ResponseHeaders{
		ETag: quoted(aclTag(&res.Node.Stat)), PerchZxid: int64(res.Zxid)}}, nil
}

// aclCondition adds If-Match to set, which may have an aversion from the body.
func aclCondition(set *commandpb.SetAcl, match *string) error {
	if set.Aversion != nil && *set.Aversion < 0 {
		return badArgument("/aversion", "it is negative")
	}
	tag, err := parseTag(ifMatch, match)
	if err != nil || !tag.given || tag.any {
		return err // * is what setACL demands anyway: that there is a node
	}
	czxid, aversion, ok := tag.acl()
	switch {
	case !ok:
		czxid, aversion = noZxid, 0
	case set.Aversion != nil && *set.Aversion != aversion:
		return badArgument("/aversion", "it is not that of If-Match")
	}
	set.Czxid, set.Aversion = czxid, &aversion
	return nil
}

// GetDefaultACL implements GET /v1/acl-default/{path}.
func (e *edge) GetDefaultACL(ctx context.Context, q api.GetDefaultACLRequestObject) (api.GetDefaultACLResponseObject, error) {
	p := &q.Params
	read, err := e.nodeRead(ctx, lease.ReadDefaultACL, q.Path, p.Consistency, p.MinZxid, p.PerchSession)
	if err != nil {
		return nil, err
	}
	answer, err := e.read(ctx, read)
	if err != nil {
		return nil, err
	}
	body := api.ACL{Entries: []api.ACLEntry{}}
	if answer.ETag != 0 {
		body.Entries = renderACL(answer.ACL)
	}
	return api.GetDefaultACL200JSONResponse{Body: body, Headers: api.GetDefaultACL200ResponseHeaders{
		ETag: quoted(defaultTag(answer.ETag)), PerchZxid: int64(answer.Zxid)}}, nil
}

// SetDefaultACL implements PUT /v1/acl-default/{path}.
func (e *edge) SetDefaultACL(ctx context.Context, q api.SetDefaultACLRequestObject) (api.SetDefaultACLResponseObject, error) {
	if err := e.checkPath(q.Path); err != nil {
		return nil, err
	}
	if q.Body.Aversion != nil {
		return nil, badArgument("/aversion", "a default ACL has none")
	}
	entries, err := parseACL("/entries", q.Body.Entries, callerOf(ctx))
	if err != nil {
		return nil, err
	}
	set := &commandpb.SetDefaultAcl{Path: q.Path, Acl: entries}
	res, err := e.setDefaultACL(ctx, set, q.Params.IfMatch, q.Params.PerchSession)
	if err != nil {
		return nil, err
	}
	return api.SetDefaultACL200JSONResponse{
		Body: api.ACL{Entries: renderACL(res.ACL)},
		Headers: api.SetDefaultACL200ResponseHeaders{
			ETag: quoted(defaultTag(res.Zxid)), PerchZxid: int64(res.Zxid)}}, nil
}

// DeleteDefaultACL implements DELETE /v1/acl-default/{path}.
func (e *edge) DeleteDefaultACL(ctx context.Context, q api.DeleteDefaultACLRequestObject) (api.DeleteDefaultACLResponseObject, error) {
	if err := e.checkPath(q.Path); err != nil {
		return nil, err
	}
	set := &commandpb.SetDefaultAcl{Path: q.Path}
	res, err := e.setDefaultACL(ctx, set, q.Params.IfMatch, q.Params.PerchSession)
	if err != nil {
		return nil, err
	}
	return api.DeleteDefaultACL204Response{
		Headers: api.DeleteDefaultACL204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

func (e *edge) setDefaultACL(ctx context.Context, set *commandpb.SetDefaultAcl, match, session *string) (lease.Result, error) {
	tag, err := parseTag(ifMatch, match)
	if err != nil {
		return lease.Result{}, err
	}
	z, ok := tag.defaultACL()
	switch {
	case !tag.given:
	case tag.any:
		set.IfPresent = true
	case !ok:
		set.Etag = noZxid
	case z == 0:
		set.IfAbsent = true
	default:
		set.Etag = z
	}
	return e.writeAs(ctx, session, &commandpb.Command{Op: &commandpb.Command_SetDefaultAcl{SetDefaultAcl: set}})
}

// aclEntriesMax bounds an ACL, as in apply.
const aclEntriesMax = 128

// aclLetters are the permissions as ZooKeeper's shell writes them, in its order.
var aclLetters = [...]struct {
	letter byte
	perm   tree.Perms
}{
	{'c', tree.PermCreate}, {'d', tree.PermDelete}, {'r', tree.PermRead}, {'w', tree.PermWrite}, {'a', tree.PermAdmin},
}

// parseACL reads entries, which stand at the JSON pointer field, as apply will on
// behalf of caller.
func parseACL(field string, entries []api.ACLEntry, caller *commandpb.Caller) ([]*commandpb.AclEntry, error) {
	if len(entries) == 0 || len(entries) > aclEntriesMax {
		return nil, badACL(field, "it does not have 1 to 128 entries").met(aclEntriesMax)
	}
	out := make([]*commandpb.AclEntry, len(entries))
	for i, entry := range entries {
		at := field + "/" + strconv.Itoa(i)
		perms, ok := parsePerms(entry.Perms)
		if !ok {
			return nil, badACL(at+"/perms", "it is some of the letters cdrwa")
		}
		var bad *tree.ACLError
		err := tree.CheckACLEntry(tree.ACLEntry{Scheme: entry.Scheme, ID: entry.ID, Perms: perms}, lease.Identities(caller))
		if errors.As(err, &bad) {
			return nil, badACL(at+"/"+bad.Field, bad.Reason)
		}
		out[i] = &commandpb.AclEntry{Scheme: entry.Scheme, Id: entry.ID, Perms: uint32(perms)}
	}
	return out, nil
}

func badACL(field, detail string) *failure { return fail(codeInvalidACL, detail).in(field) }

func parsePerms(letters string) (perms tree.Perms, ok bool) {
	if len(letters) == 0 || len(letters) > len(aclLetters) {
		return 0, false
	}
	for i := range len(letters) {
		known := false
		for _, l := range aclLetters {
			if l.letter == letters[i] {
				perms, known = perms|l.perm, true
			}
		}
		if !known {
			return 0, false
		}
	}
	return perms, true
}

func renderACL(acl *tree.ACL) []api.ACLEntry {
	entries := acl.List()
	out := make([]api.ACLEntry, len(entries))
	for i, entry := range entries {
		out[i] = api.ACLEntry{Scheme: entry.Scheme, ID: entry.ID, Perms: formatPerms(entry.Perms)}
	}
	return out
}

func formatPerms(perms tree.Perms) string {
	var b []byte
	for _, l := range aclLetters {
		if perms&l.perm != 0 {
			b = append(b, l.letter)
		}
	}
	return string(b)
}
