package tree

import (
	"perch/quorum"
	"perch/tree/cow"
)

// Reader is an immutable tree. Any number of goroutines may use one.
type Reader struct {
	nodes    cow.Frozen[*znode]
	owned    cow.Frozen[ownedKey]
	owners   cow.Frozen[ownerCount]
	timers   cow.Frozen[timer]
	quotas   cow.Frozen[quota]
	defaults cow.Frozen[defaultACL]
}

// Len is the number of nodes, the root included.
func (r *Reader) Len() int { return r.nodes.Len() }

// Owned is the number of ephemerals of owner.
func (r *Reader) Owned(owner quorum.Zxid) int {
	c, _ := r.owners.Get(ownerCount{owner: owner})
	return c.n
}

// OwnedPaths lists the ephemerals of owner, sorted.
func (r *Reader) OwnedPaths(owner quorum.Zxid) []string {
	paths := make([]string, 0, r.Owned(owner))
	r.owned.Ascend(ownedKey{owner: owner}, func(k ownedKey) bool {
		if k.owner == owner {
			paths = append(paths, k.path)
		}
		return k.owner == owner
	})
	return paths
}

// Owners calls f for every owner of ephemerals, in rising order, until f says
// false.
func (r *Reader) Owners(f func(owner quorum.Zxid, n int) bool) {
	r.owners.Scan(func(c ownerCount) bool { return f(c.owner, c.n) })
}

// get is nil for every path that is not canonical.
func (r *Reader) get(path string) *znode {
	if path == "" {
		return nil
	}
	var key znode
	setKey(&key, path)
	if z, ok := r.nodes.Get(&key); ok && z.path == path {
		return z
	}
	return nil
}

// Get is the node at path with its data; false when there is none. A path that
// is not canonical has no node.
func (r *Reader) Get(path string) (Node, bool) {
	z := r.get(path)
	if z == nil {
		return Node{}, false
	}
	return z.node(true), true
}

// Page bounds a list of children.
type Page struct {
	After    string // names greater than this one; "" from the beginning
	Limit    int    // most entries, at least one
	Bytes    int    // end the page after so many bytes of data and paths; 0: no bound
	WithData bool
}

// Children is one page of the children of path, sorted by the bytes of their
// names, and whether there are more. At least one child is returned if there is
// one. The third result is false when there is no node at path.
func (r *Reader) Children(path string, p Page) (kids []Node, more, ok bool) {
	z := r.get(path)
	if z == nil {
		return nil, false, false
	}
	if z.children == 0 {
		return nil, false, true
	}
	kids = make([]Node, 0, min(max(p.Limit, 1), int(z.children)))
	size := 0
	from := childKey(path, p.After)
	parent := from.parent()
	r.nodes.Ascend(from, func(c *znode) bool {
		if c.parent() != parent {
			return false
		}
		if c.name() <= p.After { // the name itself; the root among its children
			return true
		}
		if len(kids) > 0 && (len(kids) >= p.Limit || p.Bytes > 0 && size >= p.Bytes) {
			more = true
			return false
		}
		kids = append(kids, c.node(p.WithData))
		if size += len(c.path); p.WithData {
			size += len(c.data)
		}
		return true
	})
	return kids, more, true
}

// Record is a node as a snapshot keeps it: with what Node derives or leaves
// out.
type Record struct {
	Node
	Creates int64 // children ever created
	ACL     *ACL
	Creator string
	Due     uint64         // cluster age at which the node goes if it has no child; 0: never
	Quota   *Quota         // of the subtree; nil: none. What it holds is counted anew
	Default *DefaultRecord // nil: none
}

// DefaultRecord is the default ACL that is set at a node.
type DefaultRecord struct {
	ACL  *ACL
	Zxid quorum.Zxid // of the last change
}

// Scan calls f for every node, parents before children, until f says false.
func (r *Reader) Scan(f func(Record) bool) {
	r.nodes.Scan(func(z *znode) bool { return f(r.record(z)) })
}

func (r *Reader) record(z *znode) Record {
	rec := Record{Node: z.node(true), Creates: z.creates}
	if z.ext != nil {
		rec.ACL, rec.Creator, rec.Due = z.ext.acl, z.ext.creator, z.ext.due
	}
	if r.quotas.Len() > 0 {
		if q, ok := r.quotas.Get(quota{path: z.path}); ok {
			rec.Quota = &q.Quota
		}
	}
	if r.defaults.Len() > 0 {
		if d, ok := r.defaults.Get(defaultACL{path: z.path}); ok {
			rec.Default = &DefaultRecord{d.acl, d.zxid}
		}
	}
	return rec
}
