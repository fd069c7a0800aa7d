package lease

import (
	"fmt"
	"slices"
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// The model's operations on nodes.

func (x *mtxn) checkPath(path string) {
	limit := func(bad bool) {
		if bad {
			refuse(tree.ErrInvalidPath)
		}
	}
	limit(!strings.HasPrefix(path, "/") || len(path) > x.set.PathBytes)
	if path == "/" {
		return
	}
	parts := strings.Split(path[1:], "/")
	limit(len(parts) > x.set.PathSegments)
	for _, p := range parts {
		limit(p == "" || p == "." || p == ".." || strings.ContainsAny(p, "\x00\x1f"))
	}
}

func (x *mtxn) reserved(path string) {
	if path == "/perch" || strings.HasPrefix(path, "/perch/") {
		refuse(tree.ErrReservedPath)
	}
}

func (x *mtxn) emit(t tree.EventType, path string) {
	e := tree.Event{Zxid: x.e.Zxid, Type: t, Cause: x.cause, Path: path}
	if n := x.nodes[path]; !slices.Equal(n.acl, open) {
		e.ACL = &tree.ACL{Entries: n.acl}
	}
	if t != tree.EventDeleted {
		e.Stat = x.stat(path)
	}
	x.out = append(x.out, e)
}

func (x *mtxn) add(path string, n *mnode) {
	z, now := x.e.Zxid, x.e.Stamp.Wall
	n.czxid, n.mzxid, n.pzxid, n.ctime, n.mtime, n.written = z, z, z, now, now, x.age
	if n.acl == nil {
		n.acl = x.fallback(path)
	}
	x.nodes[path] = n
	p := x.nodes[mparent(path)]
	p.creates++
	p.pzxid = z
	x.emit(tree.EventCreated, path)
}

func (x *mtxn) remove(path string) {
	x.emit(tree.EventDeleted, path)
	delete(x.nodes, path)
	p := x.nodes[mparent(path)]
	p.deletes++
	p.pzxid, p.emptied = x.e.Zxid, x.age
}

// site is the nearest ancestor of path that exists, and what is to be made
// below it.
func (x *mtxn) site(path string, parents bool) (top string, missing []string) {
	for top = mparent(path); x.nodes[top] == nil; top = mparent(top) {
		missing = append([]string{top}, missing...)
	}
	if len(missing) > 0 && !parents {
		refuse(tree.ErrNoParent)
	}
	x.need(top, tree.PermCreate)
	return top, missing
}

// grow makes a node that is missing, and its parents.
func (x *mtxn) grow(path, top string, missing []string, n *mnode) {
	switch {
	case x.nodes[top].owner != 0:
		refuse(tree.ErrNoChildrenForEphemeral)
	case len(missing)+1 > x.set.TxnNodes:
		refuse(tree.ErrTooLarge)
	case n.owner != 0 && len(x.owned(x.owner)) >= x.set.SessionEphemerals:
		refuse(tree.ErrTooManyNodes)
	}
	x.room(top, int64(len(missing)+1), int64(len(n.data)))
	for _, p := range missing {
		x.add(p, &mnode{})
	}
	x.add(path, n)
}

// node is a new node of the mode.
func (x *mtxn) node(data []byte, mode commandpb.Mode, ttl uint64) *mnode {
	n := &mnode{data: data}
	switch mode {
	case ephemeral:
		n.owner = x.owner
	case commandpb.Mode_MODE_CONTAINER:
		n.mode = tree.ModeContainer
	case commandpb.Mode_MODE_TTL:
		n.mode, n.ttl = tree.ModeTTL, int64(ttl)
	}
	return n
}

func (x *mtxn) checkMode(mode commandpb.Mode, ttl uint64) {
	if mode == ephemeral && x.owner == 0 || mode != commandpb.Mode_MODE_TTL && ttl != 0 {
		refuse(tree.ErrInvalidArgument)
	}
	if mode == commandpb.Mode_MODE_TTL {
		x.checkTTL(ttl)
	}
}

func (x *mtxn) result(path string) { x.res.Node = tree.Node{Path: path, Stat: x.stat(path)} }

func (x *mtxn) create(op *commandpb.Create) {
	path := op.Path
	if op.Sequential {
		x.checkPath(path + "0123456789")
	} else {
		x.checkPath(path)
		if path == "/" {
			refuse(tree.ErrInvalidArgument)
		}
	}
	if !op.Sequential || path != "/perch" {
		x.reserved(path)
	}
	x.checkMode(op.Mode, op.TtlMs)
	if len(op.Data) > x.set.ValueBytes {
		refuse(tree.ErrTooLarge)
	}
	n := x.node(op.Data, op.Mode, op.TtlMs)
	if len(op.Acl) > 0 {
		n.acl = x.list(op.Acl)
	}
	if op.Sequential {
		number := int64(0)
		if p := x.nodes[mparent(path)]; p != nil {
			number = p.creates
		}
		path = fmt.Sprintf("%s%010d", path, number)
	}
	top, missing := x.site(path, op.Parents)
	if x.nodes[path] != nil {
		x.result(path)
		refuse(tree.ErrNodeExists)
	}
	x.grow(path, top, missing, n)
	x.result(path)
	x.res.Created = true
}

func (x *mtxn) put(op *commandpb.Put) {
	x.checkPath(op.Path)
	x.reserved(op.Path)
	x.checkMode(op.Mode, op.TtlMs)
	if op.Takeover && op.Mode != ephemeral {
		refuse(tree.ErrInvalidArgument)
	}
	if len(op.Data) > x.set.ValueBytes {
		refuse(tree.ErrTooLarge)
	}
	n := x.nodes[op.Path]
	if n == nil {
		x.ifMissing(op.Condition)
		if op.Existing {
			refuse(tree.ErrNoNode)
		}
		top, missing := x.site(op.Path, op.Parents)
		x.grow(op.Path, top, missing, x.node(op.Data, op.Mode, op.TtlMs))
		x.result(op.Path)
		x.res.Created = true
		return
	}
	if op.Condition.GetIfAbsent() {
		if op.Path != "/" {
			x.need(mparent(op.Path), tree.PermCreate)
		}
		refuse(tree.ErrETagMismatch)
	}
	x.need(op.Path, tree.PermWrite)
	foreign := x.owner != 0 && n.owner != 0 && n.owner != x.owner
	kind := op.Mode == ephemeral && n.owner == 0 || op.Mode == commandpb.Mode_MODE_TTL && n.mode != tree.ModeTTL
	if kind || foreign && !op.Takeover && !op.Existing {
		x.result(op.Path)
		refuse(tree.ErrNodeExists)
	}
	x.ifThere(op.Condition, n)
	if foreign && op.Takeover && len(x.owned(x.owner)) >= x.set.SessionEphemerals {
		refuse(tree.ErrTooManyNodes)
	}
	x.room(op.Path, 0, int64(len(op.Data)-len(n.data)))
	if op.Mode == ephemeral {
		n.owner = x.owner
	}
	if op.Mode == commandpb.Mode_MODE_TTL {
		n.ttl = int64(op.TtlMs)
	}
	n.data, n.mzxid, n.mtime, n.written = op.Data, x.e.Zxid, x.e.Stamp.Wall, x.age
	n.version++
	x.emit(tree.EventChanged, op.Path)
	x.result(op.Path)
}

func (x *mtxn) ifMissing(c *commandpb.Condition) {
	switch c.GetWhen().(type) {
	case *commandpb.Condition_Version:
		refuse(tree.ErrNoNode)
	case *commandpb.Condition_Etag, *commandpb.Condition_IfPresent:
		refuse(tree.ErrETagMismatch)
	}
}

func (x *mtxn) ifThere(c *commandpb.Condition, n *mnode) {
	switch w := c.GetWhen().(type) {
	case *commandpb.Condition_Version:
		if w.Version != -1 && w.Version != n.version {
			refuse(tree.ErrVersionMismatch)
		}
	case *commandpb.Condition_Etag:
		if quorum.Zxid(w.Etag) != n.mzxid || w.Etag == 0 {
			refuse(tree.ErrETagMismatch)
		}
	}
}

func (x *mtxn) delete(op *commandpb.Delete) {
	x.checkPath(op.Path)
	if op.Path == "/" || op.Condition.GetIfAbsent() {
		refuse(tree.ErrInvalidArgument)
	}
	x.reserved(op.Path)
	if x.nodes[mparent(op.Path)] != nil {
		x.need(mparent(op.Path), tree.PermDelete)
	}
	n := x.nodes[op.Path]
	if n == nil {
		x.ifMissing(op.Condition)
		refuse(tree.ErrNoNode)
	}
	x.ifThere(op.Condition, n)
	if len(x.children(op.Path)) > 0 && !op.Recursive {
		refuse(tree.ErrNotEmpty)
	}
	all := x.below(op.Path)
	if len(all) > x.set.TxnNodes {
		refuse(tree.ErrTooLarge)
	}
	for _, p := range all[:len(all)-1] {
		x.need(mparent(p), tree.PermDelete)
	}
	for _, p := range all {
		x.remove(p)
	}
}

func (x *mtxn) below(path string) (all []string) {
	for _, c := range x.children(path) {
		all = append(all, x.below(c)...)
	}
	return append(all, path)
}
