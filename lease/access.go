package lease

import "perch/quorum"

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
