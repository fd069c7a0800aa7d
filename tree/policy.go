package tree

import "perch/quorum"

// SetACLOp replaces the ACL of a node.
type SetACLOp struct {
	Path     string
	ACL      []ACLEntry
	Aversion *int64      // condition; nil: none, -1: any
	Czxid    quorum.Zxid // condition beside Aversion: not another node of this name; 0: none
}

// SetACL replaces the ACL of a node. It is no event, and leaves the data's
// version as it is.
func (t *Tree) SetACL(x *Txn, op SetACLOp) (Node, Code) { panic("not yet") }

// SetDefaultACLOp says which ACL nodes get that are made at or below a path
// without one of their own.
type SetDefaultACLOp struct {
	Path    string
	ACL     []ACLEntry  // empty: Path has no default any more
	ETag    quorum.Zxid // condition: of the last change; 0: none
	Present bool        // condition: there is a default
}

// SetDefaultACL sets the default of the nodes that are made below a node.
func (t *Tree) SetDefaultACL(x *Txn, op SetDefaultACLOp) Code { panic("not yet") }

// SetQuotaOp bounds a subtree.
type SetQuotaOp struct {
	Path     string
	MaxNodes *int64 // the node at Path included; nil: no bound
	MaxBytes *int64 // of data; nil: no bound
	Remove   bool   // the subtree has no quota any more
}

// SetQuota bounds the subtree at a node, and answers with what it holds.
func (t *Tree) SetQuota(x *Txn, op SetQuotaOp) (Quota, Code) { panic("not yet") }

// CheckOp demands that a node exists and meets the condition, or with
// CondAbsent that there is none.
type CheckOp struct {
	Path      string
	Condition Condition
}

// Check says whether what op demands holds in the transaction so far.
func (t *Tree) Check(x *Txn, op CheckOp) Code { panic("not yet") }

// Get is the node at path, with its data, as the transaction has left it.
func (t *Tree) Get(x *Txn, path string) (Node, Code) { panic("not yet") }

// Reap deletes the node at path if its time is over and it has no child, and
// says whether it did.
func (t *Tree) Reap(x *Txn, path string) bool { panic("not yet") }

// Intern is the ACL equal to a that the tree holds already, else a.
func (t *Tree) Intern(a *ACL) *ACL { panic("not yet") }

// Check is Tree.Check on what the reader shows, for the caller of g; nil allows
// everything.
func (r *Reader) Check(g Guard, op CheckOp) Code { panic("not yet") }

// Read is Tree.Get on what the reader shows, for the caller of g; nil allows
// everything.
func (r *Reader) Read(g Guard, path string) (Node, Code) { panic("not yet") }

// ACL is the ACL of the node at path; false when there is none.
func (r *Reader) ACL(path string) (*ACL, bool) { panic("not yet") }

// DefaultACL is the default set at path itself, and the zxid of its last
// change; false when none is set there.
func (r *Reader) DefaultACL(path string) (*ACL, quorum.Zxid, bool) { panic("not yet") }

// Quota is the bounds of the subtree at path and what it holds; without a quota
// it is counted. False when there is no node at path.
func (r *Reader) Quota(path string) (Quota, bool) { panic("not yet") }

// Count is the number of nodes at and below path, and of bytes of their data;
// false when there is no node at path.
func (r *Reader) Count(path string) (nodes, bytes int64, ok bool) { panic("not yet") }

// TreePage bounds a list of a subtree. Page.After is a full path.
type TreePage struct {
	Page
	Depth int   // levels below the top; 0: all
	Guard Guard // whose May(…, PermRead) hides data and what is below; nil hides nothing
}

// Tree is one page of the nodes at and below path, parents before children,
// siblings sorted by name, and whether there are more. Of a node that may not be
// read only the path and the stat are listed, and nothing below it. The third
// result is false when there is no node at path.
func (r *Reader) Tree(path string, p TreePage) (list []Node, more, ok bool) { panic("not yet") }

// Due lists up to limit nodes whose time is over at the cluster age, longest
// ago first.
func (r *Reader) Due(age uint64, limit int) []string { panic("not yet") }

// NextDue is the cluster age at which the next node is due; false when none is
// waiting.
func (r *Reader) NextDue() (uint64, bool) { panic("not yet") }
