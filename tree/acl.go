package tree

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Perms are permissions on one node, with ZooKeeper's bits.
type Perms uint8

// The permissions of an ACL. Create and delete are asked of the parent.
const (
	PermRead   Perms = 1
	PermWrite  Perms = 2
	PermCreate Perms = 4
	PermDelete Perms = 8
	PermAdmin  Perms = 16
	PermAll    Perms = 31
)

// The schemes of ACL entries.
const (
	SchemeWorld     = "world"     // "anyone"
	SchemeAuth      = "auth"      // in a request alone: what the caller is identified by; the ID is ignored
	SchemePrincipal = "principal" // the name of a principal
	SchemeDigest    = "digest"    // user:base64(sha1(user:password))
	SchemeIP        = "ip"        // an address or a CIDR block
	SchemeX509      = "x509"      // the URI SAN of a client certificate
)

// anyone is the only ID of SchemeWorld.
const anyone = "anyone"

// ACLEntry lets the identities of a scheme that match ID do what Perms says.
type ACLEntry struct {
	Scheme string // one of the Scheme constants; in a tree never SchemeAuth
	ID     string
	Perms  Perms
}

// ACL is the list of a node. It never changes once it is in a tree, where equal
// lists share memory. A nil *ACL is the open one: world:anyone may do
// everything.
type ACL struct {
	Entries []ACLEntry
	sum     uint64 // hash of Entries; 0 when it is not known yet
}

// Identities are what is known of who asks. Empty fields match no entry.
type Identities struct {
	Principal   string
	Digests     []string // user:base64(sha1(user:password))
	IP          netip.Addr
	Certificate string // URI SAN
}

// Guard decides who may do what; package lease has the only one. Where several
// permissions are asked at once, any one of them suffices.
type Guard interface {
	// Path says what grants say, whatever there is at path. The operations ask
	// it first, so that who has no grant does not learn what exists.
	Path(path string, p Perms) bool
	// May says whether the caller may do p to path, where acl is asked: that of
	// the node, or that of its parent for PermCreate and PermDelete. The
	// operations ask it where ZooKeeper asks: after it is known that the node
	// exists, before its version is compared.
	May(path string, acl *ACL, p Perms) bool
}

// allows is Guard.Path; a nil g allows everything.
func allows(g Guard, path string, p Perms) bool { return g == nil || g.Path(path, p) }

// may is Guard.May; a nil g allows everything.
func may(g Guard, path string, acl *ACL, p Perms) bool { return g == nil || g.May(path, acl, p) }

// Bounds of an ACL, so that a small request cannot become a large node.
const (
	aclEntriesMost = 128
	aclIDBytesMost = 1024
)

// newACL is the list that a request asks for, as ZooKeeper's fixupACL makes it:
// "auth" gives way to the identities of the caller, and duplicates are removed.
// The open list is nil.
func newACL(entries []ACLEntry, caller Identities) (*ACL, Code) {
	list := make([]ACLEntry, 0, len(entries))
	for _, e := range entries {
		if CheckACLEntry(e, caller) != nil {
			return nil, ErrInvalidACL
		}
		asked := []ACLEntry{e}
		if e.Scheme == SchemeAuth {
			asked = caller.entries(e.Perms)
		}
		for _, e := range asked {
			if !slices.Contains(list, e) {
				list = append(list, e)
			}
		}
		if len(list) > aclEntriesMost {
			return nil, ErrTooLarge
		}
	}
	if len(list) == 0 {
		return nil, ErrInvalidACL
	}
	return closed(list), OK
}

// givenACL is newACL where a list may be absent.
func givenACL(entries []ACLEntry, caller Identities) (*ACL, Code) {
	if len(entries) == 0 {
		return nil, OK
	}
	return newACL(entries, caller)
}

// stored says whether a is a list that newACL makes.
func (a *ACL) stored() bool {
	if a == nil {
		return true
	}
	again, code := newACL(a.Entries, Identities{})
	return code == OK && again != nil && slices.Equal(again.Entries, a.Entries)
}

// closed is the list as an ACL, nil when it is the open one.
func closed(list []ACLEntry) *ACL {
	if len(list) == 1 && list[0] == (ACLEntry{SchemeWorld, anyone, PermAll}) {
		return nil
	}
	return &ACL{Entries: list}
}

// entries give perms to everything that identifies the caller. As in ZooKeeper
// an address identifies nobody.
func (ids Identities) entries(perms Perms) []ACLEntry {
	var list []ACLEntry
	if ids.Principal != "" {
		list = append(list, ACLEntry{SchemePrincipal, ids.Principal, perms})
	}
	for _, d := range ids.Digests {
		list = append(list, ACLEntry{SchemeDigest, d, perms})
	}
	if ids.Certificate != "" {
		list = append(list, ACLEntry{SchemeX509, ids.Certificate, perms})
	}
	return list
}

// ACLError says what is wrong with an entry of an ACL. It is ErrInvalidACL.
type ACLError struct {
	Field  string // "scheme", "id" or "perms"
	Reason string // for people
}

func (e *ACLError) Error() string { return e.Field + ": " + e.Reason }

// Unwrap makes it ErrInvalidACL.
func (e *ACLError) Unwrap() error { return ErrInvalidACL }

// CheckACLEntry says what keeps caller from giving an entry to a node; the error
// is an *ACLError. It is the one check, of the edge and of apply.
func CheckACLEntry(e ACLEntry, caller Identities) error {
	field, reason := "id", ""
	switch {
	case e.Perms == 0 || e.Perms&^PermAll != 0:
		field, reason = "perms", "it is some of create, delete, read, write and admin"
	case e.Scheme == SchemeAuth:
		if len(caller.entries(e.Perms)) == 0 {
			field, reason = "scheme", "auth stands for what identifies the caller, and nothing does"
		}
	case idForms[e.Scheme].fits == nil:
		field, reason = "scheme", "it is world, auth, principal, digest, ip or x509"
	case len(e.ID) > aclIDBytesMost || !printable(e.ID):
		reason = "it is text of one line, of at most 1024 bytes"
	case !idForms[e.Scheme].fits(e.ID):
		reason = idForms[e.Scheme].form
	}
	if reason == "" {
		return nil
	}
	return &ACLError{field, reason}
}

// idForms are the schemes that a tree may hold, with the IDs that each takes.
var idForms = map[string]struct {
	fits func(id string) bool
	form string
}{
	SchemeWorld:     {func(id string) bool { return id == anyone }, "that of world is anyone"},
	SchemePrincipal: {func(id string) bool { return id != "" }, "it is the name of a principal"},
	SchemeDigest:    {isDigest, "it is user:base64(sha1(user:password))"},
	SchemeIP:        {func(id string) bool { _, ok := addresses(id); return ok }, "it is an address or a CIDR block"},
	SchemeX509: {func(id string) bool {
		u, err := url.Parse(id)
		return err == nil && u.IsAbs()
	}, "it is an absolute URI"},
}

func isDigest(id string) bool {
	user, hash, ok := strings.Cut(id, ":")
	sum, err := base64.StdEncoding.Strict().DecodeString(hash)
	return ok && user != "" && err == nil && len(sum) == sha1Bytes
}

// sha1Bytes is the size of the hash in a digest.
const sha1Bytes = 20

func printable(id string) bool {
	return utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}

// addresses are those that an ID of SchemeIP matches. An IPv4 address
// written as IPv6 is refused: it would look as if it matched something.
func addresses(id string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(id)
	if err != nil {
		a, err := netip.ParseAddr(id)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	return p, !p.Addr().Is4In6()
}

// Allows says whether an entry that matches ids has any of the permissions p.
func (a *ACL) Allows(ids Identities, p Perms) bool {
	if a == nil {
		return p&PermAll != 0
	}
	return slices.ContainsFunc(a.Entries, func(e ACLEntry) bool { return e.Perms&p != 0 && e.matches(ids) })
}

func (e ACLEntry) matches(ids Identities) bool {
	switch e.Scheme {
	case SchemeWorld:
		return true
	case SchemePrincipal:
		return e.ID == ids.Principal
	case SchemeDigest:
		return slices.Contains(ids.Digests, e.ID)
	case SchemeIP:
		p, ok := addresses(e.ID)
		return ok && p.Contains(ids.IP.Unmap().WithZone(""))
	case SchemeX509:
		return e.ID == ids.Certificate
	}
	return false
}

// List is the entries, spelled out also for the open ACL.
func (a *ACL) List() []ACLEntry {
	if a == nil {
		return []ACLEntry{{SchemeWorld, anyone, PermAll}}
	}
	return a.Entries
}

// Masked is the list as it is shown to who may read but not administer: without
// the hashes of passwords, as ZooKeeper shows it.
func (a *ACL) Masked() *ACL {
	if a == nil {
		return nil
	}
	masked := slices.Clone(a.Entries)
	for i, e := range masked {
		if e.Scheme == SchemeDigest {
			user, _, _ := strings.Cut(e.ID, ":")
			masked[i].ID = user + ":x"
		}
	}
	return &ACL{Entries: masked}
}
