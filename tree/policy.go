package tree

import "perch/quorum"

// administer finds the node whose ACL, default or quota is to change; bad is
// what is wrong with the rest of the operation.
func (t *Tree) administer(x *Txn, path string, bad Code) (*znode, Code) {
	switch {
	case CheckPath(path, x.Limits.Path) != nil:
		return nil, ErrInvalidPath
	case IsReserved(path):
		return nil, ErrReservedPath
	case bad != OK:
		return nil, bad
	case !allows(x.Guard, path, PermAdmin):
		return nil, ErrPermissionDenied
	}
	z := t.get(path)
	switch {
	case z == nil:
		return nil, ErrNoNode
	case !may(x.Guard, path, z.acl(), PermAdmin):
		return nil, ErrPermissionDenied
	}
	return z, OK
}

// SetACLOp replaces the ACL of a node.
type SetACLOp struct {
	Path     string
	ACL      []ACLEntry
	Aversion *int64      // condition; nil: none, -1: any
	Czxid    quorum.Zxid // condition beside Aversion: not another node of this name; 0: none
}

// SetACL replaces the ACL of a node. As in ZooKeeper it is no event, and moves
// nothing but the aversion.
func (t *Tree) SetACL(x *Txn, op SetACLOp) (Node, Code) {
	acl, code := newACL(op.ACL, x.Caller)
	if op.Aversion != nil && *op.Aversion < -1 {
		code = ErrInvalidArgument
	}
	z, code := t.administer(x, op.Path, code)
	if code != OK {
		return Node{}, code
	}
	if code := op.existing(z); code != OK {
		return Node{}, code
	}
	var e ext
	if z.ext != nil {
		e = *z.ext
	}
	e.acl = t.Intern(acl)
	e.aversion++
	changed := *z
	changed.ext = t.share(e)
	t.put(z, &changed)
	x.emit(EventACL, &changed, x.Cause)
	return changed.node(false), OK
}

// existing is the outcome of the conditions on z. With Czxid they are a tag,
// which matches or does not.
func (op SetACLOp) existing(z *znode) Code {
	stale := op.Aversion != nil && *op.Aversion != -1 && *op.Aversion != z.stat().Aversion
	switch {
	case op.Czxid != 0 && (stale || op.Czxid != z.czxid):
		return ErrETagMismatch
	case stale:
		return ErrVersionMismatch
	}
	return OK
}

// defaultACL is what nodes get that are made at or below path.
type defaultACL struct {
	path string
	acl  *ACL
	zxid quorum.Zxid // of the last change
}

func defaultLess(a, b defaultACL) bool { return a.path < b.path }

func (d *defaultACL) digest() uint64 {
	var h hasher
	h.byte(digestDefault)
	h.u64(d.acl.digest())
	h.u64(uint64(d.zxid))
	return h.sum(d.path)
}

// SetDefaultACLOp says which ACL nodes get that are made at or below a path
// without one of their own.
type SetDefaultACLOp struct {
	Path    string
	ACL     []ACLEntry  // empty: Path has no default any more
	ETag    quorum.Zxid // condition: of the last change; 0: none
	Present bool        // condition: there is a default
	Absent  bool        // condition: there is none
}

// met says whether the conditions hold where old is what there is.
func (op SetDefaultACLOp) met(old defaultACL, had bool) bool {
	return (!op.Present || had) && (!op.Absent || !had) && (op.ETag == 0 || op.ETag == old.zxid)
}

// SetDefaultACL sets the default of the nodes that are made below a node. Those
// that are there keep what they have. The ACL is what is stored.
func (t *Tree) SetDefaultACL(x *Txn, op SetDefaultACLOp) (*ACL, Code) {
	acl, code := givenACL(op.ACL, x.Caller)
	if _, code := t.administer(x, op.Path, code); code != OK {
		return nil, code
	}
	if !op.met(t.defaults.Get(defaultACL{path: op.Path})) {
		return nil, ErrETagMismatch
	}
	t.dropDefault(op.Path)
	if len(op.ACL) > 0 {
		acl = t.Intern(acl)
		t.setDefault(defaultACL{op.Path, acl, x.Zxid})
	}
	return acl, OK
}

func (t *Tree) setDefault(d defaultACL) {
	t.sum += d.digest()
	t.defaults.Set(d)
}

func (t *Tree) dropDefault(path string) {
	if t.defaults.Len() == 0 {
		return
	}
	if d, had := t.defaults.Delete(defaultACL{path: path}); had {
		t.sum -= d.digest()
	}
}

// defaultFor is the ACL of a new node whose nearest ancestor that exists is at
// path: the nearest default at or above it.
func (t *Tree) defaultFor(path string) *ACL {
	if t.defaults.Len() == 0 {
		return nil
	}
	for p := path; p != ""; p = Parent(p) {
		if d, ok := t.defaults.Get(defaultACL{path: p}); ok {
			return d.acl
		}
	}
	return nil
}

// ACL is the ACL of the node at path; false when there is none.
func (r *Reader) ACL(path string) (*ACL, bool) {
	z := r.get(path)
	if z == nil {
		return nil, false
	}
	return z.acl(), true
}

// DefaultACL is the default set at path itself, and the zxid of its last
// change; false when none is set there.
func (r *Reader) DefaultACL(path string) (*ACL, quorum.Zxid, bool) {
	d, ok := r.defaults.Get(defaultACL{path: path})
	return d.acl, d.zxid, ok
}
