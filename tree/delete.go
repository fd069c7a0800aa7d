package tree

import "perch/quorum"

// DeleteOp removes a node.
type DeleteOp struct {
	Path      string
	Recursive bool // with all below it
	Condition Condition
}

// Delete removes a node, children before parents. Each of them needs the
// permission of the ACL of its parent.
func (t *Tree) Delete(x *Txn, op DeleteOp) Code {
	switch {
	case CheckPath(op.Path, x.Limits.Path) != nil:
		return ErrInvalidPath
	case op.Path == Root || op.Condition.Kind == CondAbsent || !op.Condition.valid():
		return ErrInvalidArgument
	case IsReserved(op.Path):
		return ErrReservedPath
	case !allows(x.Guard, op.Path, PermDelete):
		return ErrPermissionDenied
	}
	// As in ZooKeeper the parent is asked before it is known that there is a node.
	if p := t.get(Parent(op.Path)); p != nil && !may(x.Guard, op.Path, p.acl(), PermDelete) {
		return ErrPermissionDenied
	}
	z := t.get(op.Path)
	if z == nil {
		if code := op.Condition.missing(); code != OK {
			return code
		}
		return ErrNoNode
	}
	if code := op.Condition.existing(z); code != OK {
		return code
	}
	if z.children > 0 && !op.Recursive {
		return ErrNotEmpty
	}
	doomed, ok := t.below(nil, z, x.Limits.TxnNodes)
	if !ok {
		return ErrTooLarge
	}
	for _, c := range doomed[:len(doomed)-1] {
		if !allows(x.Guard, c.path, PermDelete) || !may(x.Guard, c.path, t.get(Parent(c.path)).acl(), PermDelete) {
			return ErrPermissionDenied
		}
	}
	t.remove(x, doomed, x.Cause)
	return OK
}

// below appends z and all below it, children before parents, or says false
// when that makes more than most.
func (t *Tree) below(list []*znode, z *znode, most int) ([]*znode, bool) {
	if z.children > 0 {
		if len(list)+int(z.children)+1 > most {
			return list, false
		}
		ok := true
		for _, c := range t.childrenOf(z) {
			if list, ok = t.below(list, c, most); !ok {
				return list, false
			}
		}
	}
	list = append(list, z)
	return list, len(list) <= most
}

func (t *Tree) childrenOf(z *znode) []*znode {
	kids := make([]*znode, 0, z.children)
	from := childKey(z.path, "")
	t.nodes.Ascend(from, func(c *znode) bool {
		if c.parent() != from.parent() {
			return false
		}
		if c.name() != "" { // the root stands among its children
			kids = append(kids, c)
		}
		return true
	})
	return kids
}

// remove drops a whole subtree, listed children before parents.
func (t *Tree) remove(x *Txn, doomed []*znode, why Cause) {
	for _, z := range doomed {
		t.drop(z)
		x.emit(EventDeleted, z, why)
	}
	top := doomed[len(doomed)-1]
	old := t.get(Parent(top.path))
	p := *old
	p.children--
	p.pzxid = x.Zxid
	p.ext = t.loseChild(x, &p)
	t.put(old, &p)
}

// DropOwned removes all ephemerals of owner, in the order of their paths, and
// returns their number.
func (t *Tree) DropOwned(x *Txn, owner quorum.Zxid) int {
	var paths []string
	t.owned.Ascend(ownedKey{owner: owner}, func(k ownedKey) bool {
		if k.owner == owner {
			paths = append(paths, k.path)
		}
		return k.owner == owner
	})
	for _, p := range paths {
		t.remove(x, []*znode{t.get(p)}, x.Cause)
	}
	return len(paths)
}
