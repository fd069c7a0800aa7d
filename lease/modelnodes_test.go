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
	x.canonical(path)
	if len(path) > x.set.PathBytes || path != "/" && strings.Count(path, "/") > x.set.PathSegments {
		refuse(tree.ErrInvalidPath)
	}
}

func (x *mtxn) canonical(path string) {
	for _, p := range strings.Split(strings.TrimPrefix(path, "/"), "/") {
		if p == "" && path != "/" || p == "." || p == ".." || !strings.HasPrefix(path, "/") || strings.ContainsAny(p, "\x00\x1f") {
			refuse(tree.ErrInvalidPath)
		}
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
	n.czxid, n.mzxid, n.pzxid, n.ctime, n.mtime, n.written, n.creator = z, z, z, now, now, x.age, x.who.name
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
	x.granted(path, tree.PermCreate)
	for top = mparent(path); x.nodes[top] == nil; top = mparent(top) {
		missing = append([]string{top}, missing...)
	}
	if len(missing) > 0 && !parents {
		refuse(tree.ErrNoParent)
	}
	for _, p := range missing {
		x.granted(p, tree.PermCreate)
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
	x.affords(x.who.name, int64(len(missing)+1), int64(len(n.data)))
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

func (x *mtxn) result(path string) {
	x.res.Node = tree.Node{Path: x.who.shown(path), Stat: x.stat(path)}
}

// inTheWay refuses for the node at path, which is told to who may read it.
func (x *mtxn) inTheWay(path string) {
	if x.who.may(path, tree.PermRead) {
		x.result(path)
	}
	refuse(tree.ErrNodeExists)
}

func (x *mtxn) create(op *commandpb.Create) {
	if op.Path == "/" && !op.Sequential {
		refuse(tree.ErrInvalidArgument)
	}
	path := x.place(op.Path, op.Sequential)
	if op.Sequential {
		x.checkPath(path + "0123456789")
	} else {
		x.checkPath(path)
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
		x.inTheWay(path)
	}
	x.grow(path, top, missing, n)
	x.result(path)
	x.res.Created = true
}

func (x *mtxn) put(op *commandpb.Put) {
	path := x.place(op.Path, false)
	x.checkPath(path)
	x.reserved(path)
	x.checkMode(op.Mode, op.TtlMs)
	if op.Takeover && op.Mode != ephemeral {
		refuse(tree.ErrInvalidArgument)
	}
	if len(op.Data) > x.set.ValueBytes {
		refuse(tree.ErrTooLarge)
	}
	switch c := op.Condition; {
	case c.GetIfAbsent():
		x.granted(path, tree.PermCreate)
	case op.Existing || c.GetWhen() != nil:
		x.granted(path, tree.PermWrite)
	default:
		x.granted(path, tree.PermWrite|tree.PermCreate)
	}
	n := x.nodes[path]
	if n == nil {
		x.ifMissing(op.Condition)
		if op.Existing {
			refuse(tree.ErrNoNode)
		}
		top, missing := x.site(path, op.Parents)
		x.grow(path, top, missing, x.node(op.Data, op.Mode, op.TtlMs))
		x.result(path)
		x.res.Created = true
		return
	}
	if op.Condition.GetIfAbsent() {
		if path != "/" {
			x.need(mparent(path), tree.PermCreate)
		}
		refuse(tree.ErrETagMismatch)
	}
	x.granted(path, tree.PermWrite)
	x.need(path, tree.PermWrite)
	x.change(path, n, op)
}

// change is a put where a node is that the caller may write.
func (x *mtxn) change(path string, n *mnode, op *commandpb.Put) {
	foreign := x.owner != 0 && n.owner != 0 && n.owner != x.owner
	kind := op.Mode == ephemeral && n.owner == 0 || op.Mode == commandpb.Mode_MODE_TTL && n.mode != tree.ModeTTL
	if kind || foreign && !op.Takeover && !op.Existing {
		x.inTheWay(path)
	}
	x.ifThere(op.Condition, n)
	if foreign && op.Takeover && len(x.owned(x.owner)) >= x.set.SessionEphemerals {
		refuse(tree.ErrTooManyNodes)
	}
	x.room(path, 0, int64(len(op.Data)-len(n.data)))
	if foreign && op.Takeover && x.who.name != "" && x.who.name != n.creator {
		x.affords(x.who.name, 1, int64(len(op.Data)))
		n.creator = x.who.name
	} else {
		x.affords(n.creator, 0, int64(len(op.Data)-len(n.data)))
	}
	if op.Mode == ephemeral {
		n.owner = x.owner
	}
	if op.Mode == commandpb.Mode_MODE_TTL {
		n.ttl = int64(op.TtlMs)
	}
	n.data, n.mzxid, n.mtime, n.written = op.Data, x.e.Zxid, x.e.Stamp.Wall, x.age
	n.version++
	x.emit(tree.EventChanged, path)
	x.result(path)
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
	if op.Path == "/" {
		refuse(tree.ErrInvalidArgument)
	}
	path := x.target(op.Path)
	x.checkPath(path)
	if op.Condition.GetIfAbsent() {
		refuse(tree.ErrInvalidArgument)
	}
	x.reserved(path)
	x.granted(path, tree.PermDelete)
	if x.nodes[mparent(path)] != nil {
		x.need(mparent(path), tree.PermDelete)
	}
	n := x.nodes[path]
	if n == nil {
		x.ifMissing(op.Condition)
		refuse(tree.ErrNoNode)
	}
	x.ifThere(op.Condition, n)
	if len(x.children(path)) > 0 && !op.Recursive {
		refuse(tree.ErrNotEmpty)
	}
	for _, p := range x.below(nil, path) {
		x.remove(p)
	}
}

// below adds the node at path and all below it to the list of what is deleted,
// which is refused where the walk first meets something that it may not be.
func (x *mtxn) below(all []string, path string) []string {
	children := x.children(path)
	if len(children) > 0 && len(all)+len(children)+1 > x.set.TxnNodes {
		refuse(tree.ErrTooLarge)
	}
	for _, c := range children {
		x.granted(c, tree.PermDelete)
		x.need(path, tree.PermDelete)
		all = x.below(all, c)
	}
	if all = append(all, path); len(all) > x.set.TxnNodes {
		refuse(tree.ErrTooLarge)
	}
	return all
}

// multi runs operations one after the other; the first that is refused refuses
// all.
func (x *mtxn) multi(ops []*commandpb.Op) {
	if len(ops) == 0 {
		refuse(tree.ErrInvalidArgument)
	}
	var results []OpResult
	for i, op := range ops {
		x.res.Failed, x.res.Node, x.res.Created = i, tree.Node{}, false
		results = append(results, x.step(op))
		if len(x.out) > x.set.TxnNodes {
			x.res.Node = results[i].Node
			refuse(tree.ErrTooLarge)
		}
	}
	for i := range results {
		later := slices.ContainsFunc(results[i+1:], func(r OpResult) bool { return r.Path == results[i].Path })
		results[i].Tagged = !later
	}
	x.res.Ops, x.res.Failed, x.res.Node, x.res.Created = results, -1, tree.Node{}, false
}

func (x *mtxn) step(op *commandpb.Op) OpResult {
	path := ""
	switch {
	case op.GetCreate() != nil:
		x.create(op.GetCreate())
		path = x.res.Node.Path
	case op.GetPut() != nil:
		x.put(op.GetPut())
		path = op.GetPut().Path
	case op.GetDelete() != nil:
		x.delete(op.GetDelete())
		path = op.GetDelete().Path
	case op.GetCheck() != nil:
		path = op.GetCheck().Path
		x.check(op.GetCheck())
	case op.GetGet() != nil:
		path = op.GetGet().Path
		n := x.look(path)
		x.result(x.who.full(path))
		x.res.Node.Data = n.data
	default:
		refuse(tree.ErrInvalidArgument)
	}
	return OpResult{Path: path, Node: x.res.Node, Created: x.res.Created}
}

// look is a node that the caller may read.
func (x *mtxn) look(path string) *mnode {
	full := x.who.full(path)
	x.canonical(full)
	x.granted(full, tree.PermRead)
	if x.nodes[full] == nil {
		refuse(tree.ErrNoNode)
	}
	x.need(full, tree.PermRead)
	return x.nodes[full]
}

func (x *mtxn) check(op *commandpb.Check) {
	full := x.who.full(op.Path)
	x.canonical(full)
	x.granted(full, tree.PermRead)
	n := x.nodes[full]
	switch {
	case n == nil && op.Condition.GetIfAbsent():
		return
	case n == nil:
		x.ifMissing(op.Condition)
		refuse(tree.ErrNoNode)
	case op.Condition.GetIfAbsent():
		refuse(tree.ErrETagMismatch)
	}
	x.need(full, tree.PermRead)
	x.ifThere(op.Condition, n)
}
