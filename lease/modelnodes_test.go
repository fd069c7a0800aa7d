package lease

import (
	"fmt"
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
	if t != tree.EventDeleted {
		e.Stat = x.stat(path)
	}
	x.out = append(x.out, e)
}

func (x *mtxn) add(path string, data []byte, owner quorum.Zxid) {
	z, now := x.e.Zxid, x.e.Stamp.Wall
	x.nodes[path] = &mnode{data: data, czxid: z, mzxid: z, pzxid: z, ctime: now, mtime: now, owner: owner}
	p := x.nodes[mparent(path)]
	p.creates++
	p.pzxid = z
	x.emit(tree.EventCreated, path)
}

func (x *mtxn) remove(path string) {
	delete(x.nodes, path)
	p := x.nodes[mparent(path)]
	p.deletes++
	p.pzxid = x.e.Zxid
	x.emit(tree.EventDeleted, path)
}

// grow makes a node that is missing, and its parents.
func (x *mtxn) grow(path string, data []byte, eph, parents bool) {
	var missing []string
	for p := mparent(path); x.nodes[p] == nil; p = mparent(p) {
		missing = append([]string{p}, missing...)
	}
	top := mparent(path)
	if len(missing) > 0 {
		top = mparent(missing[0])
	}
	switch {
	case len(missing) > 0 && !parents:
		refuse(tree.ErrNoParent)
	case x.nodes[top].owner != 0:
		refuse(tree.ErrNoChildrenForEphemeral)
	case len(missing)+1 > x.set.TxnNodes:
		refuse(tree.ErrTooLarge)
	case eph && len(x.owned(x.owner)) >= x.set.SessionEphemerals:
		refuse(tree.ErrTooManyNodes)
	}
	for _, p := range missing {
		x.add(p, nil, 0)
	}
	var owner quorum.Zxid
	if eph {
		owner = x.owner
	}
	x.add(path, data, owner)
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
	if op.Mode == ephemeral && x.owner == 0 {
		refuse(tree.ErrInvalidArgument)
	}
	if len(op.Data) > x.set.ValueBytes {
		refuse(tree.ErrTooLarge)
	}
	if op.Sequential {
		number := int64(0)
		if p := x.nodes[mparent(path)]; p != nil {
			number = p.creates
		}
		path = fmt.Sprintf("%s%010d", path, number)
	}
	if x.nodes[path] != nil {
		x.result(path)
		refuse(tree.ErrNodeExists)
	}
	x.grow(path, op.Data, op.Mode == ephemeral, op.Parents)
	x.result(path)
	x.res.Created = true
}

func (x *mtxn) put(op *commandpb.Put) {
	x.checkPath(op.Path)
	x.reserved(op.Path)
	if op.Mode == ephemeral && x.owner == 0 || op.Takeover && op.Mode != ephemeral {
		refuse(tree.ErrInvalidArgument)
	}
	if len(op.Data) > x.set.ValueBytes {
		refuse(tree.ErrTooLarge)
	}
	n := x.nodes[op.Path]
	if n == nil {
		x.ifMissing(op.Condition)
		x.grow(op.Path, op.Data, op.Mode == ephemeral, op.Parents)
		x.result(op.Path)
		x.res.Created = true
		return
	}
	if op.Condition.GetIfAbsent() {
		refuse(tree.ErrETagMismatch)
	}
	foreign := x.owner != 0 && n.owner != 0 && n.owner != x.owner
	if op.Mode == ephemeral && n.owner == 0 || foreign && !op.Takeover {
		x.result(op.Path)
		refuse(tree.ErrNodeExists)
	}
	x.ifThere(op.Condition, n)
	if foreign && len(x.owned(x.owner)) >= x.set.SessionEphemerals {
		refuse(tree.ErrTooManyNodes)
	}
	if op.Mode == ephemeral {
		n.owner = x.owner
	}
	n.data, n.mzxid, n.mtime = op.Data, x.e.Zxid, x.e.Stamp.Wall
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
