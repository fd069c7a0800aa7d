package tree

import "strings"

// The nodes under Reserved show what the primitives hold. They are written by
// those alone, whatever the caller may do to nodes, and no limit or quota stands
// in their way: a release must never be refused.

// PutOwn writes a node of a reserved subtree, with the missing ones above it up
// to the top of that subtree. Where that top has no parent nothing is written,
// which is false: whoever saw the subtree is gone with it.
func (t *Tree) PutOwn(x *Txn, path string, data []byte) (Node, bool) {
	if old := t.get(path); old != nil {
		return t.change(x, PutOp{Path: path, Data: data}, old), true
	}
	at := strings.LastIndex(path, Reserved+"/")
	if at < 0 || t.get(Parent(path[:at]+Reserved)) == nil {
		return Node{}, false
	}
	for i := at + 1; i < len(path); i++ {
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
