package tree

import "strings"

// TreePage bounds a list of a subtree. Page.After is a full path.
type TreePage struct {
	Page
	Depth int   // levels below the top; 0: all
	Guard Guard // whose May(…, PermRead) hides data and what is below; nil hides nothing
}

// Tree is one page of the nodes at and below path, parents before children,
// siblings sorted by name, and whether there are more. Of a node that may not be
// read only the path and the stat are listed, and nothing below it. At least one
// node is returned if one is left. The third result is false when there is no
// node at path.
func (r *Reader) Tree(path string, p TreePage) (list []Node, more, ok bool) {
	top := r.get(path)
	if top == nil {
		return nil, false, false
	}
	w := walk{r: r, top: path, page: p}
	z := top
	if p.After != "" {
		z = w.next(p.After)
	}
	for size := 0; z != nil; z = w.next(z.path) {
		if len(list) > 0 && (len(list) >= p.Limit || p.Bytes > 0 && size >= p.Bytes) {
			return list, true, true
		}
		n := z.node(p.WithData && may(p.Guard, z.path, z.acl(), PermRead))
		list = append(list, n)
		size += len(n.Path) + len(n.Data)
	}
	return list, false, true
}

// walk goes over a subtree, parents before children.
type walk struct {
	r    *Reader
	top  string
	page TreePage
}

// next is the node after path, which need not exist any more; nil after the
// last.
func (w *walk) next(path string) *znode {
	if !Under(path, w.top) {
		return nil
	}
	if w.enters(path) {
		if c := w.r.childAfter(path, ""); c != nil {
			return c
		}
	}
	for p := path; p != w.top; p = Parent(p) {
		if s := w.r.childAfter(Parent(p), Name(p)); s != nil {
			return s
		}
	}
	return nil
}

// enters says whether what is below path is listed.
func (w *walk) enters(path string) bool {
	if w.page.Depth > 0 && depth(path)-depth(w.top) >= w.page.Depth {
		return false
	}
	z := w.r.get(path)
	return z != nil && z.children > 0 && may(w.page.Guard, path, z.acl(), PermRead)
}

// depth is the number of names in path.
func depth(path string) int {
	if path == Root {
		return 0
	}
	return strings.Count(path, "/")
}

// childAfter is the first child of path whose name is greater than after.
func (r *Reader) childAfter(path, after string) (child *znode) {
	from := childKey(path, after)
	r.nodes.Ascend(from, func(c *znode) bool {
		if c.parent() != from.parent() {
			return false
		}
		if c.name() > after {
			child = c
		}
		return child == nil
	})
	return child
}

// Count is the number of nodes at and below path, and of bytes of their data;
// false when there is no node at path.
func (r *Reader) Count(path string) (nodes, bytes int64, ok bool) {
	if r.get(path) == nil {
		return 0, 0, false
	}
	nodes, bytes = countBelow(r.nodes, path)
	return nodes, bytes, true
}

// ascender is a table or a frozen one.
type ascender interface {
	Get(*znode) (*znode, bool)
	Ascend(*znode, func(*znode) bool)
}

// countBelow counts the node at path, which exists, and all below it. They stand
// in two ranges of the table: the children, and after other things those whose
// parent is below path.
func countBelow(nodes ascender, path string) (n, bytes int64) {
	var key znode
	setKey(&key, path)
	add := func(z *znode) {
		n++
		bytes += int64(len(z.data))
	}
	if top, ok := nodes.Get(&key); ok && path != Root {
		add(top) // the root stands among its children
	}
	from := childKey(path, "")
	within := from.parent()
	nodes.Ascend(from, func(z *znode) bool {
		if z.parent() != within {
			return false
		}
		add(z)
		return true
	})
	below := within + "/"
	nodes.Ascend(&znode{path: below + "/", slash: uint32(len(below))}, func(z *znode) bool {
		if !strings.HasPrefix(z.parent(), below) {
			return false
		}
		add(z)
		return true
	})
	return n, bytes
}
