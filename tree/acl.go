package tree

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

// ACLEntry lets the identities of a scheme that match ID do what Perms says.
type ACLEntry struct {
	Scheme string // world, principal, digest, ip, x509
	ID     string
	Perms  Perms
}

// ACL is the list of a node. It never changes once it is in a tree, where equal
// lists are one. A nil *ACL is the open one: world:anyone may do everything.
type ACL struct {
	Entries []ACLEntry
}

// Guard decides who may do what; package lease has the only one. The operations
// ask it where ZooKeeper asks: after it is known that the node exists, before
// its version is compared.
type Guard interface {
	// May says whether the caller may do p to path, where acl is asked: that of
	// the node, or that of its parent for PermCreate and PermDelete.
	May(path string, acl *ACL, p Perms) bool
}
