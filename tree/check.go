package tree

// CheckOp demands that a node exists and meets the condition, or with
// CondAbsent that there is none.
type CheckOp struct {
	Path      string
	Condition Condition
}

// Check says whether what op demands holds in the transaction so far.
func (t *Tree) Check(x *Txn, op CheckOp) Code { return check(x.Guard, op, t.get) }

// Get is the node at path, with its data, as the transaction has left it.
func (t *Tree) Get(x *Txn, path string) (Node, Code) { return read(x.Guard, path, t.get) }

// Check is Tree.Check on what the reader shows, for the caller of g; nil allows
// everything.
func (r *Reader) Check(g Guard, op CheckOp) Code { return check(g, op, r.get) }

// Read is Tree.Get on what the reader shows, for the caller of g; nil allows
// everything.
func (r *Reader) Read(g Guard, path string) (Node, Code) { return read(g, path, r.get) }

// check asks for the ACL's READ only where something is told of a node: as in
// ZooKeeper anyone may know that there is one.
func check(g Guard, op CheckOp, get func(string) *znode) Code {
	switch {
	case CheckPath(op.Path, PathLimits{}) != nil:
		return ErrInvalidPath
	case !op.Condition.valid():
		return ErrInvalidArgument
	case !allows(g, op.Path, PermRead):
		return ErrPermissionDenied
	}
	z := get(op.Path)
	absent := op.Condition.Kind == CondAbsent
	switch {
	case z == nil && absent:
		return OK
	case z == nil && op.Condition.Kind == CondNone:
		return ErrNoNode
	case z == nil:
		return op.Condition.missing()
	case !absent && !may(g, op.Path, z.acl(), PermRead):
		return ErrPermissionDenied
	}
	return op.Condition.existing(z)
}

func read(g Guard, path string, get func(string) *znode) (Node, Code) {
	switch {
	case CheckPath(path, PathLimits{}) != nil:
		return Node{}, ErrInvalidPath
	case !allows(g, path, PermRead):
		return Node{}, ErrPermissionDenied
	}
	z := get(path)
	switch {
	case z == nil:
		return Node{}, ErrNoNode
	case !may(g, path, z.acl(), PermRead):
		return Node{}, ErrPermissionDenied
	}
	return z.node(true), OK
}
