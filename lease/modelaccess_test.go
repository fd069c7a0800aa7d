package lease

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// The model's principals, API tokens, grants and roots.

// mkey is an API token.
type mkey struct {
	secret []byte
	APIToken
}

// mcaller is who asks, with what he may do at one position. The zero one is
// nobody, who may do nothing.
type mcaller struct {
	name, root  string
	open, super bool
	grants      []Grant // on paths of the whole tree
	known       bool    // he has shown ann's password
}

// caller is who c is at wall; false when the policy does not know him.
func (m *model) caller(c *commandpb.Caller, wall int64) (who mcaller, ok bool) {
	who = mcaller{name: c.GetPrincipal(), known: len(c.GetDigests()) > 0}
	if who.open = !m.auth; who.open {
		return who, true
	}
	own, ok := m.people[who.name]
	if !ok || own.Disabled || c.GetToken() != "" && !m.proves(c, wall) {
		return who, false
	}
	for _, name := range append([]string{who.name}, c.Roles...) {
		p, there := m.people[name]
		if !there || p.Disabled {
			continue
		}
		if who.root == "" {
			who.root = p.Root
		}
		for _, g := range p.Grants {
			who.grants = append(who.grants, Grant{join(p.Root, g.Prefix), g.Perms})
		}
	}
	who.super = who.root == "" && slices.ContainsFunc(who.grants, func(g Grant) bool { return g.Prefix == "/" && g.Perms&PermCluster != 0 })
	return who, true
}

func (m *model) proves(c *commandpb.Caller, wall int64) bool {
	for _, k := range m.keys {
		if k.ID == c.Token {
			return k.Principal == c.Principal && (k.Expires == 0 || wall < k.Expires)
		}
	}
	return false
}

func join(root, path string) string {
	if path == "/" && root != "" {
		return root
	}
	return root + path
}

// governs says whether the caller may do what concerns the whole cluster.
func (w mcaller) governs() bool { return w.open || w.super }

// may says whether a grant gives him any of the permissions at path.
func (w mcaller) may(path string, p tree.Perms) bool {
	return w.open || slices.ContainsFunc(w.grants, func(g Grant) bool {
		return g.Perms&Perm(p) != 0 && strings.HasPrefix(path+"/", strings.TrimSuffix(g.Prefix, "/")+"/")
	})
}

// passes says whether an ACL lets him do any of p.
func (w mcaller) passes(acl []tree.ACLEntry, p tree.Perms) bool {
	return w.super || slices.ContainsFunc(acl, func(e tree.ACLEntry) bool {
		mine := e.Scheme == "world" || e.Scheme == "digest" && w.known || e.Scheme == "principal" && e.ID == w.name
		return mine && e.Perms&p != 0
	})
}

// entries give p to everything that identifies him.
func (w mcaller) entries(p tree.Perms) (list []tree.ACLEntry) {
	if w.name != "" {
		list = append(list, tree.ACLEntry{Scheme: "principal", ID: w.name, Perms: p})
	}
	if w.known {
		list = append(list, tree.ACLEntry{Scheme: "digest", ID: ann, Perms: p})
	}
	return list
}

// full is the path in the whole tree of what he names so; shown is the reverse.
func (w mcaller) full(path string) string {
	if w.root != "" && !strings.HasPrefix(path, "/") {
		refuse(tree.ErrInvalidPath)
	}
	return join(w.root, path)
}

func (w mcaller) shown(path string) string {
	if w.root != "" && path == w.root {
		return "/"
	}
	return strings.TrimPrefix(path, w.root)
}

// handle is by what a client's token is remembered in his hands; "" for none.
func (w mcaller) handle(ref *commandpb.SessionRef) string {
	hash := ref.GetTokenHash()
	if len(hash) > 0 && w.name != "" {
		mine := sha256.Sum256(append([]byte(w.name+"\x00"), hash...))
		return string(mine[:])
	}
	return string(hash)
}

func (x *mtxn) identify(cmd *commandpb.Command) {
	who := cmd.Caller
	if cmd.Format < 2 {
		who = nil
	}
	switch cmd.Op.(type) {
	case *commandpb.Command_ExpireSessions, *commandpb.Command_Reap, *commandpb.Command_Configure, *commandpb.Command_RaiseLevel, *commandpb.Command_EnableAuth:
		x.who = mcaller{open: true}
		return
	}
	var ok bool
	if x.who, ok = x.caller(who, x.e.Stamp.Wall); !ok {
		refuse(tree.ErrUnauthenticated)
	}
}

func (x *mtxn) granted(path string, p tree.Perms) {
	if !x.who.may(path, p) {
		refuse(tree.ErrPermissionDenied)
	}
}

// target is the path in the whole tree of a node that he wants to change.
func (x *mtxn) target(path string) string {
	if x.who.root != "" {
		x.reserved(path)
	}
	return x.who.full(path)
}

// place is target for a node that may be made, which needs his root.
func (x *mtxn) place(path string, sequential bool) string {
	if x.who.root != "" && x.nodes[x.who.root] == nil {
		refuse(tree.ErrNoParent)
	}
	if x.who.root == "" || sequential && path == "/perch" {
		return x.who.root + path // "/perch" as a prefix is not reserved
	}
	if full := x.target(path); !sequential || path != "/" {
		return full
	}
	return x.who.root + "/"
}

func (m *model) sessionsOf(name string) (ids []quorum.Zxid) {
	for id, s := range m.sessions {
		if s.principal == name {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// govern runs what only those may do who govern the cluster.
func (x *mtxn) govern(cmd *commandpb.Command) {
	if !x.who.governs() {
		refuse(tree.ErrPermissionDenied)
	}
	switch {
	case cmd.Format < 2:
		refuse(tree.ErrInvalidArgument)
	case cmd.GetEnableAuth() != nil:
		x.enableAuth(cmd.GetEnableAuth())
	case cmd.GetPutPrincipal() != nil:
		x.governed(func() { x.putPrincipal(cmd.GetPutPrincipal()) })
	case cmd.GetDeletePrincipal() != nil:
		x.governed(func() { x.deletePrincipal(cmd.GetDeletePrincipal()) })
	case cmd.GetCreateToken() != nil:
		x.createToken(cmd.GetCreateToken(), x.e.Zxid)
	case cmd.GetRevokeToken() != nil:
		x.governed(func() { x.revokeToken(cmd.GetRevokeToken().Id) })
	}
}

// governors are those who can administer the cluster.
func (m *model) governors() (names []string) {
	for name, p := range m.people {
		if !p.Disabled && p.Root == "" && slices.ContainsFunc(p.Grants, func(g Grant) bool { return g.Perms&PermCluster != 0 }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// proved says whether a live API token is one of somebody who can.
func (x *mtxn) proved() bool {
	for _, k := range x.keys {
		if slices.Contains(x.governors(), k.Principal) && (k.Expires == 0 || k.Expires > x.e.Stamp.Wall) {
			return true
		}
	}
	return false
}

// governed refuses a change that leaves a cluster with authentication to nobody,
// or to nobody with a token.
func (x *mtxn) governed(change func()) {
	some, proved := len(x.governors()) > 0, x.proved()
	change()
	if x.auth && (some && len(x.governors()) == 0 || proved && !x.proved()) {
		refuse(tree.ErrInvalidArgument)
	}
}

func (x *mtxn) putPrincipal(op *commandpb.PutPrincipal) {
	want := Principal{Name: op.GetName(), Root: op.GetRoot(), Disabled: op.GetDisabled(), ETag: x.e.Zxid}
	if want.Name == "" {
		refuse(tree.ErrInvalidArgument)
	}
	if want.Root == "/" {
		want.Root = ""
	}
	if want.Root != "" {
		x.checkPath(want.Root)
		x.reserved(want.Root)
	}
	for _, g := range op.GetGrants() {
		x.checkPath(g.Prefix)
		p := Perm(g.Perms)
		if p == 0 || p > PermAll || p&PermCluster != 0 && (g.Prefix != "/" || want.Root != "") {
			refuse(tree.ErrInvalidArgument)
		}
		want.Grants = append(want.Grants, Grant{g.Prefix, p})
	}
	old, there := x.people[want.Name]
	x.demand(op.GetCondition(), old.ETag)
	x.people[want.Name] = want
	if want.Root != "" && x.nodes[want.Root] == nil {
		x.makeRoot(want.Root)
	}
	x.res.Principal, x.res.Created = want, !there
}

// makeRoot makes the node at a root, with its parents, as the cluster itself.
func (x *mtxn) makeRoot(root string) {
	who := x.who
	x.who = mcaller{open: true, super: true}
	top, missing := x.site(root, true)
	x.grow(root, top, missing, &mnode{})
	x.who = who
}

// demand refuses a record whose etag does not meet c; 0 is that of none.
func (x *mtxn) demand(c *commandpb.Condition, etag quorum.Zxid) {
	switch w := c.GetWhen().(type) {
	case *commandpb.Condition_Etag:
		if w.Etag == 0 || quorum.Zxid(w.Etag) != etag {
			refuse(tree.ErrETagMismatch)
		}
	case *commandpb.Condition_IfAbsent:
		if etag != 0 {
			refuse(tree.ErrETagMismatch)
		}
	case *commandpb.Condition_IfPresent:
		if etag == 0 {
			refuse(tree.ErrETagMismatch)
		}
	case *commandpb.Condition_Version:
		refuse(tree.ErrInvalidArgument)
	}
}

func (x *mtxn) deletePrincipal(op *commandpb.DeletePrincipal) {
	old, there := x.people[op.Name]
	x.demand(op.Condition, old.ETag)
	if !there {
		refuse(tree.ErrNoPrincipal)
	}
	delete(x.people, op.Name)
	ids, touched := x.sessionsOf(op.Name), 0
	for _, id := range ids {
		touched += 1 + len(x.owned(id))
	}
	if touched > x.set.TxnNodes {
		refuse(tree.ErrTooLarge)
	}
	x.cause = tree.CauseSessionClosed
	for _, id := range ids {
		if x.end(id); id == x.owner {
			x.owner = 0
		}
	}
	maps.DeleteFunc(x.keys, func(_ quorum.Zxid, k mkey) bool { return k.Principal == op.Name })
}

func (x *mtxn) createToken(op *commandpb.CreateToken, id quorum.Zxid) {
	now := x.e.Stamp.Wall
	k := mkey{op.SecretSha256, APIToken{ID: fmt.Sprint("t", uint64(id)), Principal: op.Principal, Label: op.Label, Created: now, Expires: op.ExpiresMs}}
	if len(k.secret) != 32 || k.Expires != 0 && k.Expires <= now {
		refuse(tree.ErrInvalidArgument)
	}
	if _, there := x.people[op.Principal]; !there {
		refuse(tree.ErrNoPrincipal)
	}
	for _, o := range x.keys {
		if !bytes.Equal(o.secret, k.secret) {
			continue
		}
		if o.Principal != k.Principal || o.Label != k.Label || o.Expires != k.Expires {
			refuse(tree.ErrInvalidArgument)
		}
		x.res.APIToken = o.APIToken
		return
	}
	maps.DeleteFunc(x.keys, func(_ quorum.Zxid, o mkey) bool {
		return o.Principal == k.Principal && o.Expires != 0 && o.Expires <= now
	})
	live := 0
	for _, o := range x.keys {
		if o.Principal == k.Principal {
			live++
		}
	}
	if live >= 2 {
		refuse(tree.ErrInvalidArgument)
	}
	x.keys[id], x.res.APIToken = k, k.APIToken
}

func (x *mtxn) revokeToken(id string) {
	for z, k := range x.keys {
		if k.ID == id {
			delete(x.keys, z)
			return
		}
	}
	refuse(tree.ErrNoToken)
}

func (x *mtxn) enableAuth(op *commandpb.EnableAuth) {
	if x.auth {
		return
	}
	x.putPrincipal(op.Admin)
	if op.GetToken().GetPrincipal() != op.Admin.Name || !slices.Contains(x.governors(), op.Admin.Name) {
		refuse(tree.ErrInvalidArgument)
	}
	x.createToken(op.Token, 0)
	x.auth = true
}
