package node

import (
	"errors"
	"time"

	"perch/gen/commandpb"
	"perch/gen/nodepb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// toPage turns an answer, or the error instead of it, into what goes over the
// wire.
func toPage(a lease.Answer, err error) *nodepb.PageAnswer {
	out := &nodepb.PageAnswer{Zxid: uint64(a.Zxid), NextPage: a.NextPage, Node: toNode(&a.Node), Names: a.Names}
	var code tree.Code
	var gone lease.Unavailable
	switch {
	case err == nil:
	case errors.As(err, &code):
		out.Code = uint32(code)
	case errors.As(err, &gone):
		out.Unavailable = string(gone)
	default:
		out.Code = uint32(tree.ErrInternal)
	}
	for i := range a.Children {
		out.Children = append(out.Children, toNode(&a.Children[i]))
	}
	for _, s := range a.Sessions {
		out.Sessions = append(out.Sessions, &nodepb.Session{
			Id: uint64(s.ID), TtlMs: uint64(s.TTL.Milliseconds()), Ephemerals: uint64(s.Ephemerals),
			Principal: s.Principal,
		})
	}
	for i := range a.Principals {
		out.Principals = append(out.Principals, toPrincipal(&a.Principals[i]))
	}
	for _, t := range a.APITokens {
		out.Tokens = append(out.Tokens, &nodepb.Token{
			Id: t.ID, Principal: t.Principal, Label: t.Label, CreatedMs: t.Created, ExpiresMs: t.Expires,
		})
	}
	for i := range a.Held {
		out.Held = append(out.Held, toHeld(&a.Held[i]))
	}
	for i := range a.Messages {
		out.Messages = append(out.Messages, toMessage(&a.Messages[i]))
	}
	return out
}

// fromPage is the reverse of toPage.
func fromPage(in *nodepb.PageAnswer) (lease.Answer, error) {
	a := lease.Answer{
		Zxid: quorum.Zxid(in.GetZxid()), NextPage: in.GetNextPage(), Node: fromNode(in.GetNode()), Names: in.GetNames(),
	}
	for _, c := range in.GetChildren() {
		a.Children = append(a.Children, fromNode(c))
	}
	for _, s := range in.GetSessions() {
		a.Sessions = append(a.Sessions, lease.Info{
			ID: quorum.Zxid(s.GetId()), TTL: time.Duration(s.GetTtlMs()) * time.Millisecond, Ephemerals: int(s.GetEphemerals()),
			Principal: s.GetPrincipal(),
		})
	}
	for _, p := range in.GetPrincipals() {
		a.Principals = append(a.Principals, fromPrincipal(p))
	}
	for _, t := range in.GetTokens() {
		a.APITokens = append(a.APITokens, lease.APIToken{
			ID: t.GetId(), Principal: t.GetPrincipal(), Label: t.GetLabel(), Created: t.GetCreatedMs(), Expires: t.GetExpiresMs(),
		})
	}
	for _, h := range in.GetHeld() {
		a.Held = append(a.Held, fromHeld(h))
	}
	for _, m := range in.GetMessages() {
		a.Messages = append(a.Messages, fromMessage(m))
	}
	switch {
	case in.GetUnavailable() != "":
		return a, lease.Unavailable(in.GetUnavailable())
	case in.GetCode() != 0:
		return a, tree.Code(in.GetCode())
	}
	return a, nil
}

func toNode(n *tree.Node) *nodepb.Node {
	s := &n.Stat
	return &nodepb.Node{
		Path: n.Path, Data: n.Data, Czxid: uint64(s.Czxid), Mzxid: uint64(s.Mzxid), Pzxid: uint64(s.Pzxid),
		Ctime: s.Ctime, Mtime: s.Mtime, Version: s.Version, Cversion: s.Cversion, Aversion: s.Aversion,
		EphemeralOwner: uint64(s.EphemeralOwner), DataLength: uint64(s.DataLength), NumChildren: uint64(s.NumChildren),
		Mode: uint32(s.Mode), TtlMs: s.TTLMs,
	}
}

func fromNode(n *nodepb.Node) tree.Node {
	return tree.Node{Path: n.GetPath(), Data: n.GetData(), Stat: tree.Stat{
		Czxid: quorum.Zxid(n.GetCzxid()), Mzxid: quorum.Zxid(n.GetMzxid()), Pzxid: quorum.Zxid(n.GetPzxid()),
		Ctime: n.GetCtime(), Mtime: n.GetMtime(), Version: n.GetVersion(), Cversion: n.GetCversion(), Aversion: n.GetAversion(),
		EphemeralOwner: quorum.Zxid(n.GetEphemeralOwner()), DataLength: int(n.GetDataLength()), NumChildren: int(n.GetNumChildren()),
		Mode: tree.Mode(n.GetMode()), TTLMs: n.GetTtlMs(),
	}}
}

func toPrincipal(p *lease.Principal) *nodepb.Principal {
	out := &nodepb.Principal{Name: p.Name, Root: p.Root, Disabled: p.Disabled, Etag: uint64(p.ETag)}
	for _, g := range p.Grants {
		out.Grants = append(out.Grants, &commandpb.Grant{Prefix: g.Prefix, Perms: uint32(g.Perms)})
	}
	return out
}

func fromPrincipal(in *nodepb.Principal) lease.Principal {
	p := lease.Principal{
		Name: in.GetName(), Root: in.GetRoot(), Disabled: in.GetDisabled(), ETag: quorum.Zxid(in.GetEtag()),
	}
	for _, g := range in.GetGrants() {
		p.Grants = append(p.Grants, lease.Grant{Prefix: g.GetPrefix(), Perms: lease.Perm(g.GetPerms())})
	}
	return p
}
