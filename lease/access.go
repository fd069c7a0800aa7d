package lease

import (
	"net/netip"
	"slices"
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// Perm is what a grant allows below its prefix.
type Perm uint32

// The permissions of grants, as bits. Read, write, create, delete and admin are
// those of ACLs too, where create and delete are asked of the parent.
const (
	PermRead    Perm = 1  // "read": nodes, lists, events
	PermWrite   Perm = 2  // "write": data of nodes
	PermCreate  Perm = 4  // "create"
	PermDelete  Perm = 8  // "delete"
	PermAdmin   Perm = 16 // "admin": ACLs, defaults, quotas
	PermUse     Perm = 32 // "use": locks and the other primitives
	PermCluster Perm = 64 // "cluster", on "/" alone: members, principals, tokens, all sessions; passes every ACL

	// PermAll is every permission.
	PermAll = PermRead | PermWrite | PermCreate | PermDelete | PermAdmin | PermUse | PermCluster
)

// Grant allows Perms to everything at and below Prefix, in whole segments.
type Grant struct {
	Prefix string
	Perms  Perm
}

// Principal is somebody who may do something.
type Principal struct {
	Name     string
	Root     string // "" when it sees the whole tree
	Grants   []Grant
	Disabled bool
	ETag     quorum.Zxid // of the last change
}

// APIToken is a token without its secret. Times are Unix milliseconds of
// replicated wall time.
type APIToken struct {
	ID        string
	Principal string
	Label     string
	Created   int64
	Expires   int64 // 0: never
}

// FirstToken is the id of the administrator's token that EnableAuth makes. It is
// no zxid, as those of all other tokens are, because the token is printed by
// whoever can compute its secret, not by who knows where it was committed.
const FirstToken = "t0"

// Identity is what an API token proves.
type Identity struct {
	Principal string
	Token     string // its id
	Expires   int64  // Unix milliseconds; 0: never
}

// This is the one place that decides who may do what. Apply and every read take
// the access of their caller from the policy of their position, and ask it for
// every path: first what the grants say, which needs no look at the tree, so that
// whoever is denied does not learn what exists; then, where ZooKeeper asks, the
// ACL of a node.

// policy is what access is decided by, at one position.
type policy struct {
	auth       bool
	principals interface {
		Get(*principal) (*principal, bool)
	}
	tokens interface {
		Get(*apiToken) (*apiToken, bool)
	}
}

// access is what one caller may do at one position. It is the tree's Guard. Its
// paths are those of the whole tree; a caller with a root knows others, which
// resolve and shown translate.
type access struct {
	name   string  // principal; "": nobody
	root   string  // "" when it sees the whole tree
	open   bool    // authentication is off: everybody has every grant
	super  bool    // passes every ACL
	grants []Grant // with prefixes of the whole tree
	ids    tree.Identities
}

// everybody is the access of nobody in particular while authentication is off.
var everybody = &access{open: true}

// access is what a caller may do at wall, Unix milliseconds.
// tree.ErrUnauthenticated for one that the policy does not know (any more).
func (p policy) access(c *commandpb.Caller, wall int64) (*access, tree.Code) {
	if c == nil && !p.auth {
		return everybody, tree.OK
	}
	a := &access{name: c.GetPrincipal(), open: !p.auth, ids: Identities(c)}
	if !p.auth {
		return a, tree.OK
	}
	own := p.record(a.name)
	if own == nil || !p.proved(c, wall) {
		return nil, tree.ErrUnauthenticated
	}
	a.root, a.grants = own.Root, own.grants
	for _, role := range c.GetRoles() {
		if r := p.record(role); r != nil && role != a.name {
			if a.root == "" {
				a.root = r.Root
			}
			a.grants = append(slices.Clip(a.grants), r.grants...)
		}
	}
	a.super = a.root == "" && a.allows(tree.Root, PermCluster)
	return a, tree.OK
}

// record is a principal that may be used; nil when there is none.
func (p policy) record(name string) *principal {
	r, ok := p.principals.Get(&principal{Principal: Principal{Name: name}})
	if !ok || r.Disabled {
		return nil
	}
	return r
}

// proved says whether the API token of c, if it came with one, is still good.
func (p policy) proved(c *commandpb.Caller, wall int64) bool {
	if c.GetToken() == "" {
		return true
	}
	id, ok := parseTokenID(c.GetToken())
	if !ok {
		return false
	}
	t, ok := p.tokens.Get(&apiToken{principal: c.GetPrincipal(), id: id})
	return ok && t.live(wall)
}

// Identities are what the ACLs of nodes know a caller by; nil is nobody in
// particular.
func Identities(c *commandpb.Caller) tree.Identities {
	ids := tree.Identities{Principal: c.GetPrincipal(), Digests: c.GetDigests(), Certificate: c.GetCertificate()}
	if addr, err := netip.ParseAddr(c.GetAddress()); err == nil {
		ids.IP = addr.Unmap()
	}
	return ids
}

// allows says whether grants give any of the permissions at a path.
func (a *access) allows(path string, any Perm) bool {
	return a.open || slices.ContainsFunc(a.grants, func(g Grant) bool {
		return g.Perms&any != 0 && tree.Under(path, g.Prefix)
	})
}

// Path implements tree.Guard.
func (a *access) Path(path string, p tree.Perms) bool { return a.allows(path, Perm(p)) }

// May implements tree.Guard.
func (a *access) May(_ string, acl *tree.ACL, p tree.Perms) bool {
	return a.super || acl.Allows(a.ids, p)
}

// reads says whether the caller may read a node with an ACL.
func (a *access) reads(path string, acl *tree.ACL) bool {
	return a.Path(path, tree.PermRead) && a.May(path, acl, tree.PermRead)
}

// knows says whether the caller may learn that a session exists.
func (a *access) knows(n *session) bool { return a.cluster() || n.principal == a.name }

// cluster says whether the caller may do what concerns the whole cluster.
func (a *access) cluster() bool { return a.open || a.super }

// resolve is the path in the whole tree of one that the caller named. The tree
// checks what comes out; here it is only seen to that nothing can come out that
// is not below the root.
func (a *access) resolve(path string) (string, tree.Code) {
	switch {
	case a.root == "":
		return path, tree.OK
	case !strings.HasPrefix(path, "/"):
		return "", tree.ErrInvalidPath
	case path == tree.Root:
		return a.root, tree.OK
	}
	return a.root + path, tree.OK
}

// shown is the caller's name for a path of the whole tree; false when it is not
// below the root.
func (a *access) shown(path string) (string, bool) {
	switch {
	case a.root == "":
		return path, true
	case path == a.root:
		return tree.Root, true
	case !tree.Under(path, a.root):
		return "", false
	}
	return path[len(a.root):], true
}

// meets is strip for a node that a write has made, or met in its way: who may not
// read is not told what that one is.
func (a *access) meets(n *tree.Node, code tree.Code) {
	if code == tree.ErrNodeExists && !a.allows(n.Path, PermRead) {
		*n = tree.Node{}
	}
	a.strip(n)
}

// strip gives a node the path that the caller knows.
func (a *access) strip(n *tree.Node) {
	if n.Path != "" {
		n.Path, _ = a.shown(n.Path)
	}
}

// overrun is o as the caller may know it: a quota above his root has no path.
func (a *access) overrun(o tree.Overrun) tree.Overrun {
	o.Path, _ = a.shown(o.Path)
	return o
}

// self is the caller as he may know himself: his name, his root, and all that he
// is granted with the paths that he knows.
func (a *access) self() Principal {
	p := Principal{Name: a.name, Root: a.root}
	if a.open {
		p.Grants = []Grant{{Prefix: tree.Root, Perms: PermAll}}
		return p
	}
	for _, g := range a.grants {
		if path, ok := a.shown(g.Prefix); ok {
			p.Grants = append(p.Grants, Grant{Prefix: path, Perms: g.Perms})
		} else if tree.Under(a.root, g.Prefix) {
			p.Grants = append(p.Grants, Grant{Prefix: tree.Root, Perms: g.Perms &^ PermCluster})
		}
	}
	return p
}
