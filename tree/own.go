package tree

// The nodes under Reserved show what the primitives hold. They are written by
// those alone, whatever the caller may do to nodes, and no limit or quota stands
// in their way: a release must never be refused.

// OwnTop is the top of the reserved subtree that the node at path is in, which is
// the one of a primitive, two levels below it, or of a run of one, three levels
// below. The names of those may be that of the top, too.
func OwnTop(path string) string {
	top := Parent(Parent(path))
	if "/"+Name(top) != Reserved {
		top = Parent(top)
	}
	return top
}

// OwnSite says whether a node of a reserved subtree can be made at path, or is
// there: ErrNoParent when the top of that subtree has no parent, since whoever
// saw the subtree is gone with it; ErrNoChildrenForEphemeral when something from
// that parent on ends by itself, as a node that somebody has made may. What is
// shown would go with it.
func (t *Tree) OwnSite(path string) Code {
	if z := t.get(path); z != nil {
		return ownable(z)
	}
	above := Parent(OwnTop(path))
	for p := Parent(path); ; p = Parent(p) {
		switch z := t.get(p); {
		case z != nil && ownable(z) != OK:
			return ErrNoChildrenForEphemeral
		case p == above && z == nil:
			return ErrNoParent
		case p == above:
			return OK
		}
	}
}

func ownable(z *znode) Code {
	if z.mode() != ModePersistent {
		return ErrNoChildrenForEphemeral
	}
	return OK
}

// PutOwn writes a node of a reserved subtree, with the missing ones above it up
// to the top of that subtree. Where OwnSite sees no place for it nothing is
// written, which is false.
func (t *Tree) PutOwn(x *Txn, path string, data []byte) (Node, bool) {
	old := t.get(path)
	switch {
	case old != nil && ownable(old) == OK:
		return t.change(x, PutOp{Path: path, Data: data}, old), true
	case old != nil, t.OwnSite(path) != OK:
		return Node{}, false
	}
	for i := len(OwnTop(path)); i < len(path); i++ {
		if path[i] == '/' && t.get(path[:i]) == nil {
			t.insert(x, newZnode(path[:i], nil), nil)
		}
	}
	z := newZnode(path, data)
	t.insert(x, z, nil)
	return z.node(false), true
}

// DropOwn removes a node of a reserved subtree that has no children; one that is
// not there is passed over.
func (t *Tree) DropOwn(x *Txn, path string) {
	if z := t.get(path); z != nil && z.children == 0 {
		t.remove(x, []*znode{z}, x.Cause)
	}
}
