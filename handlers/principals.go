package handlers

import (
	"context"
	"strconv"
	"unicode"
	"unicode/utf8"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// Bounds of principals.
const (
	nameBytesMax = 255
	grantsMax    = 256
	permsMax     = 16 // of one grant
)

// ListPrincipals implements GET /v1/principals.
func (e *edge) ListPrincipals(ctx context.Context, q api.ListPrincipalsRequestObject) (api.ListPrincipalsResponseObject, error) {
	p := &q.Params
	answer, err := e.readPage(ctx, lease.ReadPrincipals,
		pageOptions{p.Limit, p.PageToken, p.Consistency, p.MinZxid, p.PerchSession})
	if err != nil {
		return nil, err
	}
	body := api.PrincipalPage{
		Principals: make([]api.Principal, len(answer.Principals)), NextPageToken: some(answer.NextPage),
	}
	for i := range answer.Principals {
		body.Principals[i] = renderPrincipal(&answer.Principals[i])
	}
	return api.ListPrincipals200JSONResponse{Body: body,
		Headers: api.ListPrincipals200ResponseHeaders{PerchZxid: int64(answer.Zxid)}}, nil
}

// GetPrincipal implements GET /v1/principals/{name}.
func (e *edge) GetPrincipal(ctx context.Context, q api.GetPrincipalRequestObject) (api.GetPrincipalResponseObject, error) {
	p := &q.Params
	if err := checkName("name", q.Name); err != nil {
		return nil, err
	}
	at, err := readAt(p.Consistency, p.MinZxid)
	if err != nil {
		return nil, err
	}
	token, err := e.session(ctx, p.PerchSession)
	if err != nil {
		return nil, err
	}
	answer, err := e.read(ctx, lease.Read{Kind: lease.ReadPrincipal, Name: q.Name, Token: token, At: at})
	if err != nil {
		return nil, err
	}
	if len(answer.Principals) != 1 {
		return nil, decided(tree.ErrNoPrincipal, answer.Zxid)
	}
	body := renderPrincipal(&answer.Principals[0])
	return api.GetPrincipal200JSONResponse{Body: body, Headers: api.GetPrincipal200ResponseHeaders{
		ETag: quoted(body.Etag), PerchZxid: int64(answer.Zxid)}}, nil
}

// PutPrincipal implements PUT /v1/principals/{name}.
func (e *edge) PutPrincipal(ctx context.Context, q api.PutPrincipalRequestObject) (api.PutPrincipalResponseObject, error) {
	put, err := e.parsePrincipal(q.Name, q.Body)
	if err != nil {
		return nil, err
	}
	if put.Condition, err = writeCondition(q.Params.IfMatch, q.Params.IfNoneMatch, nil); err != nil {
		return nil, err
	}
	res, err := e.writeAs(ctx, q.Params.PerchSession,
		&commandpb.Command{Op: &commandpb.Command_PutPrincipal{PutPrincipal: put}})
	if err != nil {
		return nil, explain(err, lastAdministrator)
	}
	body := renderPrincipal(&res.Principal)
	return api.PutPrincipal200JSONResponse{Body: body, Headers: api.PutPrincipal200ResponseHeaders{
		ETag: quoted(body.Etag), PerchZxid: int64(res.Zxid)}}, nil
}

// DeletePrincipal implements DELETE /v1/principals/{name}.
func (e *edge) DeletePrincipal(ctx context.Context, q api.DeletePrincipalRequestObject) (api.DeletePrincipalResponseObject, error) {
	if err := checkName("name", q.Name); err != nil {
		return nil, err
	}
	condition, err := writeCondition(q.Params.IfMatch, nil, nil)
	if err != nil {
		return nil, err
	}
	res, err := e.writeAs(ctx, q.Params.PerchSession, &commandpb.Command{
		Op: &commandpb.Command_DeletePrincipal{DeletePrincipal: &commandpb.DeletePrincipal{
			Name: q.Name, Condition: condition}}})
	if err != nil {
		return nil, explain(err, lastAdministrator)
	}
	return api.DeletePrincipal204Response{
		Headers: api.DeletePrincipal204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// Whoami implements GET /v1/whoami.
func (e *edge) Whoami(ctx context.Context, q api.WhoamiRequestObject) (api.WhoamiResponseObject, error) {
	token, err := e.session(ctx, q.Params.PerchSession)
	if err != nil {
		return nil, err
	}
	answer, err := e.read(ctx, lease.Read{
		Kind: lease.ReadWhoami, Token: token, At: lease.At{Linearizable: true, Wait: floorPatience}})
	if err != nil {
		return nil, err
	}
	body := api.Identity{Grants: []api.GrantRule{}}
	if len(answer.Principals) == 1 {
		p := &answer.Principals[0]
		body.Principal, body.Root, body.Grants = p.Name, some(p.Root), renderGrants(p.Grants)
	}
	if caller := callerOf(ctx); caller != nil {
		body.Address, body.Certificate = some(caller.Address), some(caller.Certificate)
		if len(caller.Roles) > 0 {
			body.Roles = &caller.Roles
		}
	}
	return api.Whoami200JSONResponse{Body: body,
		Headers: api.Whoami200ResponseHeaders{PerchZxid: int64(answer.Zxid)}}, nil
}

// lastAdministrator is why apply refuses a change of principals and tokens that
// the edge has found well-formed.
const lastAdministrator = "nobody would be left who has the permission cluster, or no live API token of one: make another first"

// explain says in words why apply found an argument that it did not like.
func explain(err error, why string) error {
	if f := asFailure(err); f.code == codeInvalidArgument && f.decided {
		f.detail = why
		return f
	}
	return err
}

// parsePrincipal checks a principal of the given name.
func (e *edge) parsePrincipal(name string, spec *api.PrincipalSpec) (*commandpb.PutPrincipal, error) {
	if err := checkName("name", name); err != nil {
		return nil, err
	}
	if spec.Name != nil && *spec.Name != name {
		return nil, badArgument("/name", "it is not that of the URL")
	}
	if spec.Grants == nil {
		return nil, badArgument("/grants", "it is missing; [] takes every grant away")
	}
	put := &commandpb.PutPrincipal{Name: name, Disabled: is(spec.Disabled)}
	if spec.Root != nil && canonical(*spec.Root) != tree.Root {
		put.Root = canonical(*spec.Root)
		if err := e.checkPath(put.Root); err != nil {
			return nil, inField(err, "/root")
		}
	}
	var err error
	put.Grants, err = e.parseGrants(spec.Grants, put.Root != "")
	return put, err
}

func (e *edge) parseGrants(rules []api.GrantRule, rooted bool) ([]*commandpb.Grant, error) {
	if len(rules) > grantsMax {
		return nil, outOfRange("/grants", 0, grantsMax)
	}
	grants := make([]*commandpb.Grant, len(rules))
	for i, rule := range rules {
		at := "/grants/" + strconv.Itoa(i)
		if rule.Prefix == "" {
			return nil, badArgument(at+"/prefix", "it is missing; / is the whole tree")
		}
		prefix := canonical(rule.Prefix)
		if err := e.checkPath(prefix); err != nil {
			return nil, inField(err, at+"/prefix")
		}
		perms, err := parseGrantPerms(at+"/perms", rule.Perms)
		if err != nil {
			return nil, err
		}
		if perms&lease.PermCluster != 0 && (prefix != tree.Root || rooted) {
			return nil, badArgument(at+"/perms", "cluster is granted on / of a principal without root")
		}
		grants[i] = &commandpb.Grant{Prefix: prefix, Perms: uint32(perms)}
	}
	return grants, nil
}

// inField is err as the fault of a field of the body.
func inField(err error, field string) error { return asFailure(err).in(field) }

// permNames are the permissions of grants in the order in which they are shown.
var permNames = [...]struct {
	name string
	perm lease.Perm
}{
	{"read", lease.PermRead}, {"write", lease.PermWrite}, {"create", lease.PermCreate}, {"delete", lease.PermDelete},
	{"admin", lease.PermAdmin}, {"use", lease.PermUse}, {"cluster", lease.PermCluster},
}

func parseGrantPerms(field string, names []string) (perms lease.Perm, err error) {
	if len(names) == 0 || len(names) > permsMax {
		return 0, outOfRange(field, 1, permsMax)
	}
	for i, name := range names {
		known := false
		for _, p := range permNames {
			if p.name == name {
				perms, known = perms|p.perm, true
			}
		}
		if !known {
			return 0, badArgument(field+"/"+strconv.Itoa(i), "there is no such permission")
		}
	}
	return perms, nil
}

func renderPrincipal(p *lease.Principal) api.Principal {
	out := api.Principal{
		Name: p.Name, Root: some(p.Root), Grants: renderGrants(p.Grants), Etag: formatZxid(p.ETag),
	}
	if p.Disabled {
		out.Disabled = &p.Disabled
	}
	return out
}

func renderGrants(grants []lease.Grant) []api.GrantRule {
	rules := make([]api.GrantRule, len(grants))
	for i, grant := range grants {
		rules[i] = api.GrantRule{Prefix: grant.Prefix, Perms: []string{}}
		for _, p := range permNames {
			if grant.Perms&p.perm != 0 {
				rules[i].Perms = append(rules[i].Perms, p.name)
			}
		}
	}
	return rules
}

// checkName checks the name of a principal. Identity providers and certificates
// give names of many forms, so only what could not be shown is refused.
func checkName(field, name string) error {
	if !lease.ValidPrincipal(name) {
		return badArgument(field, "a name has 1 to 255 of A-Z a-z 0-9 . _ : @ - and begins with a letter or a digit").met(nameBytesMax)
	}
	return nil
}

// checkText refuses text that could not be shown on one line.
func checkText(field, text string) error {
	if !utf8.ValidString(text) {
		return badArgument(field, "it is not UTF-8")
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return badArgument(field, "it has a character that cannot be printed")
		}
	}
	return nil
}
