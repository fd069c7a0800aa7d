package lease

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// Bounds of a principal. They are part of what accessLevel means.
const (
	principalNameBytes = 255
	principalGrants    = 256
)

// principal is one record of the policy. It is immutable once it is in a table.
type principal struct {
	Principal
	grants []Grant // with prefixes of the whole tree
}

func principalLess(a, b *principal) bool { return a.Name < b.Name }

// newPrincipal derives what is asked for often.
func newPrincipal(p Principal) *principal {
	n := &principal{Principal: p, grants: p.Grants}
	if p.Root != "" {
		at := &access{root: p.Root}
		n.grants = make([]Grant, len(p.Grants))
		for i, g := range p.Grants {
			prefix, _ := at.resolve(g.Prefix)
			n.grants[i] = Grant{Prefix: prefix, Perms: g.Perms}
		}
	}
	return n
}

// governs says whether p can administer the cluster.
func (p *principal) governs() bool {
	a := &access{grants: p.grants}
	return !p.Disabled && p.Root == "" && a.allows(tree.Root, PermCluster)
}

// digest is the principal's part of the sum over the state.
func (p *principal) digest() uint64 {
	b := []byte{'P'}
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(p.Name)
	text(p.Root)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.ETag))
	if p.Disabled {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	for _, g := range p.Grants {
		text(g.Prefix)
		b = binary.LittleEndian.AppendUint32(b, uint32(g.Perms))
	}
	return xxhash.Sum64(b)
}

// principalOf reads what op asks for; false when that cannot be.
func (s *State) principalOf(op *commandpb.PutPrincipal) (Principal, tree.Code) {
	p := Principal{Name: op.GetName(), Root: op.GetRoot(), Disabled: op.GetDisabled()}
	limits := s.settings.PathLimits()
	if p.Root == tree.Root {
		p.Root = ""
	}
	switch {
	case !ValidPrincipal(p.Name), len(op.GetGrants()) > principalGrants:
		return p, tree.ErrInvalidArgument
	case p.Root == "":
	case tree.CheckPath(p.Root, limits) != nil:
		return p, tree.ErrInvalidPath
	case tree.IsReserved(p.Root):
		return p, tree.ErrReservedPath
	}
	for _, g := range op.GetGrants() {
		grant := Grant{Prefix: g.Prefix, Perms: Perm(g.Perms)}
		switch {
		case tree.CheckPath(g.Prefix, limits) != nil:
			return p, tree.ErrInvalidPath
		case grant.Perms == 0 || grant.Perms&^PermAll != 0,
			grant.Perms&PermCluster != 0 && (grant.Prefix != tree.Root || p.Root != ""):
			return p, tree.ErrInvalidArgument
		}
		p.Grants = append(p.Grants, grant)
	}
	return p, tree.OK
}

// ValidPrincipal says whether a principal can have a name: at most 255 of
// A-Z a-z 0-9 . _ : @ -, of which a letter or a digit is first.
func ValidPrincipal(name string) bool {
	if name == "" || len(name) > principalNameBytes {
		return false
	}
	for i := range len(name) {
		b := name[i]
		letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
		if !letter && (i == 0 || strings.IndexByte("._:@-", b) < 0) {
			return false
		}
	}
	return true
}

// unmet is the outcome of a condition on a record with an etag; 0 is that of one
// that is not there. A version is none of a record's.
func unmet(c *commandpb.Condition, etag quorum.Zxid) tree.Code {
	switch w := c.GetWhen().(type) {
	case nil:
		return tree.OK
	case *commandpb.Condition_Etag:
		if etag == 0 || quorum.Zxid(w.Etag) != etag {
			return tree.ErrETagMismatch
		}
	case *commandpb.Condition_IfAbsent:
		if etag != 0 {
			return tree.ErrETagMismatch
		}
	case *commandpb.Condition_IfPresent:
		if etag == 0 {
			return tree.ErrETagMismatch
		}
	default:
		return tree.ErrInvalidArgument
	}
	return tree.OK
}

func (s *State) principal(name string) *principal {
	p, _ := s.principals.Get(&principal{Principal: Principal{Name: name}})
	return p
}

// setPrincipal stores next in the place of old; either may be nil.
func (s *State) setPrincipal(old, next *principal) {
	if old != nil {
		s.sum -= old.digest()
		s.countRoot(old, -1)
	}
	if next == nil {
		s.principals.Delete(old)
		return
	}
	s.sum += next.digest()
	s.countRoot(next, 1)
	s.principals.Set(next)
}

func (s *State) countRoot(p *principal, n int64) {
	if p.Root != "" {
		s.count(tallyRoots, p.Root, 0, n)
	}
}

// admins says whether somebody may administer the cluster, and whether an API
// token that lives at wall proves one of them.
func (s *State) admins(wall int64) (some, proved bool) {
	s.principals.Ascend(&principal{}, func(n *principal) bool {
		if n.governs() {
			some = true
			proved = slices.ContainsFunc(s.tokensOf(n.Name), func(t *apiToken) bool { return t.live(wall) })
		}
		return !proved
	})
	return some, proved
}

// keepsAdmin makes a change of the policy, unless nobody could administer the
// cluster any more after it, or nobody could with an API token: it could not be
// undone.
func (s *State) keepsAdmin(x *txn, change func() tree.Code) tree.Code {
	some, proved := s.admins(x.Wall)
	if code := change(); code != tree.OK || !s.auth {
		return code
	}
	still, can := s.admins(x.Wall)
	if some && !still || proved && !can {
		return tree.ErrInvalidArgument
	}
	return tree.OK
}

// putPrincipal creates or replaces a principal, and makes its root.
func (s *State) putPrincipal(x *txn, op *commandpb.PutPrincipal, res *Result) tree.Code {
	want, code := s.principalOf(op)
	if code != tree.OK {
		return code
	}
	old, etag := s.principal(want.Name), quorum.Zxid(0)
	if old != nil {
		etag = old.ETag
	}
	if code := unmet(op.GetCondition(), etag); code != tree.OK {
		return code
	}
	if old != nil {
		s.setPrincipal(old, nil) // its old root is not in the way of the new one
	}
	if moves := old == nil || old.Root != want.Root; moves && !s.settles(want.Root) {
		return tree.ErrReservedPath
	}
	want.ETag = x.Zxid
	next := newPrincipal(want)
	if code := s.makeRoot(x, want.Root); code != tree.OK {
		return code
	}
	s.setPrincipal(nil, next)
	res.Principal, res.Created = want, old == nil
	return tree.OK
}

// makeRoot makes the node at a principal's root, with its parents, if it is
// missing. Whoever may say what a principal's root is passes every ACL.
func (s *State) makeRoot(x *txn, root string) tree.Code {
	if root == "" {
		return tree.OK
	}
	made := x.Txn
	made.Guard, made.Creator = nil, ""
	_, code := s.tree.Create(&made, tree.CreateOp{Path: root, Parents: true})
	x.Events, x.Overrun = made.Events, made.Overrun
	if code == tree.ErrNodeExists {
		return tree.OK
	}
	return code
}

// deletePrincipal deletes a principal with its API tokens, its sessions and
// their ephemerals.
func (s *State) deletePrincipal(x *txn, op *commandpb.DeletePrincipal) tree.Code {
	old := s.principal(op.Name)
	if old == nil {
		if code := unmet(op.Condition, 0); code != tree.OK {
			return code
		}
		return tree.ErrNoPrincipal
	}
	if code := unmet(op.Condition, old.ETag); code != tree.OK {
		return code
	}
	sessions, touched := s.sessionsOf(op.Name), 0
	for _, n := range sessions {
		touched += 1 + s.tree.Owned(n.id)
	}
	if touched > s.settings.TxnNodes {
		return tree.ErrTooLarge
	}
	x.Cause = tree.CauseSessionClosed
	for _, n := range sessions {
		s.end(x, n)
	}
	for _, t := range s.tokensOf(op.Name) {
		s.dropToken(t)
	}
	s.setPrincipal(old, nil)
	return tree.OK
}
