package lease

import (
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// The commands that change nodes. Each translates the paths that its caller knows
// into those of the whole tree, and what comes of it back.

// modes are the tree's, by the command's. What is unspecified is persistent in a
// create, and means no change in a put.
var modes = map[commandpb.Mode]tree.Mode{
	commandpb.Mode_MODE_UNSPECIFIED: tree.ModePersistent,
	commandpb.Mode_MODE_PERSISTENT:  tree.ModePersistent,
	commandpb.Mode_MODE_EPHEMERAL:   tree.ModeEphemeral,
	commandpb.Mode_MODE_CONTAINER:   tree.ModeContainer,
	commandpb.Mode_MODE_TTL:         tree.ModeTTL,
}

// target is the path in the whole tree of a node that the caller wants to
// change. What is reserved below a root the tree cannot know.
func (a *access) target(path string) (string, tree.Code) {
	if a.root != "" && tree.IsReserved(path) {
		return "", tree.ErrReservedPath
	}
	return a.resolve(path)
}

// target is access.target, which refuses also what is reserved below the root of
// somebody else.
func (s *State) target(x *txn, path string) (string, tree.Code) {
	path, code := x.who.target(path)
	if code == tree.OK && s.foreign(x, path) {
		return "", tree.ErrReservedPath
	}
	return path, code
}

// place is the path in the whole tree of a node that a command may make. A root
// that is gone is not made again by those who see nothing but it: what is above
// is not theirs.
func (s *State) place(x *txn, path string, sequential bool) (string, tree.Code) {
	path, code := s.placeOwn(x, path, sequential)
	made := path
	if sequential {
		made += "0" // more of the name is to come
	}
	if code == tree.OK && s.foreign(x, made) {
		code = tree.ErrReservedPath
	}
	return path, code
}

// placeOwn is place as far as it goes by the caller's own root.
func (s *State) placeOwn(x *txn, path string, sequential bool) (string, tree.Code) {
	if x.who.root == "" {
		return path, tree.OK
	}
	if _, code := s.tree.Get(new(tree.Txn), x.who.root); code != tree.OK {
		return "", tree.ErrNoParent
	}
	if !sequential {
		return x.who.target(path)
	}
	switch {
	case !strings.HasPrefix(path, "/"):
		return "", tree.ErrInvalidPath
	case tree.IsReserved(path) && path != tree.Reserved:
		return "", tree.ErrReservedPath
	}
	return x.who.root + path, tree.OK
}

func (s *State) create(x *txn, op *commandpb.Create, res *Result) tree.Code {
	mode, known := modes[op.Mode]
	if !known || op.Path == tree.Root && !op.Sequential {
		return tree.ErrInvalidArgument
	}
	path, code := s.place(x, op.Path, op.Sequential)
	if code != tree.OK {
		return code
	}
	res.Node, code = s.tree.Create(&x.Txn, tree.CreateOp{
		Path: path, Data: op.Data, Mode: mode, TTLMs: int64(op.TtlMs), ACL: aclEntries(op.Acl),
		Sequential: op.Sequential, Parents: op.Parents,
	})
	x.who.meets(&res.Node, code)
	res.Created = code == tree.OK
	return code
}

func (s *State) put(x *txn, op *commandpb.Put, res *Result) tree.Code {
	mode, known := modes[op.Mode]
	cond, checks := condition(op.Condition)
	// A PUT never makes a node persistent; a container is made by its children.
	if !known || !checks || op.Mode == commandpb.Mode_MODE_PERSISTENT || mode == tree.ModeContainer {
		return tree.ErrInvalidArgument
	}
	path, code := s.place(x, op.Path, false)
	if code != tree.OK {
		return code
	}
	res.Node, res.Created, code = s.tree.Put(&x.Txn, tree.PutOp{
		Path: path, Data: op.Data, Mode: mode, TTLMs: int64(op.TtlMs), Takeover: op.Takeover,
		Parents: op.Parents, Existing: op.Existing, Condition: cond,
	})
	x.who.meets(&res.Node, code)
	return code
}

func (s *State) delete(x *txn, op *commandpb.Delete) tree.Code {
	cond, ok := condition(op.Condition)
	if !ok || op.Path == tree.Root {
		return tree.ErrInvalidArgument
	}
	path, code := s.target(x, op.Path)
	if code != tree.OK {
		return code
	}
	code = s.tree.Delete(&x.Txn, tree.DeleteOp{Path: path, Recursive: op.Recursive, Condition: cond})
	if code == tree.OK && !s.vacate(path) {
		code = tree.ErrReservedPath
	}
	return code
}

// condition reads c; false when it says nothing that can be checked.
func condition(c *commandpb.Condition) (tree.Condition, bool) {
	if c == nil {
		return tree.Condition{}, true
	}
	switch w := c.When.(type) {
	case nil:
		return tree.Condition{}, c.AlsoEtag == nil
	case *commandpb.Condition_Version:
		if c.AlsoEtag != nil {
			return tree.Condition{Kind: tree.CondBoth, Version: w.Version, ETag: quorum.Zxid(*c.AlsoEtag)}, true
		}
		return tree.Condition{Kind: tree.CondVersion, Version: w.Version}, true
	case *commandpb.Condition_Etag:
		return tree.Condition{Kind: tree.CondETag, ETag: quorum.Zxid(w.Etag)}, c.AlsoEtag == nil
	case *commandpb.Condition_IfAbsent:
		return tree.Condition{Kind: tree.CondAbsent}, w.IfAbsent && c.AlsoEtag == nil
	case *commandpb.Condition_IfPresent:
		return tree.Condition{Kind: tree.CondPresent}, w.IfPresent && c.AlsoEtag == nil
	}
	return tree.Condition{}, false
}

// Bounds of a multi. They are part of what accessLevel means.
const (
	multiOps   = 128
	multiBytes = 1 << 20 // of data that its gets answer with, or one value
)

// multi runs operations one after the other, each on what the ones before have
// left. The first that is refused refuses all.
func (s *State) multi(x *txn, op *commandpb.Multi, res *Result) tree.Code {
	if len(op.Ops) == 0 || len(op.Ops) > multiOps {
		return tree.ErrInvalidArgument
	}
	got := 0
	for i, one := range op.Ops {
		out, code := s.step(x, one)
		if got += len(out.Node.Data); len(x.Events) > s.settings.TxnNodes || got > max(multiBytes, s.settings.ValueBytes) {
			code = tree.ErrTooLarge
		}
		if code != tree.OK {
			res.Failed, res.Node = i, out.Node
			return code
		}
		res.Ops = append(res.Ops, out)
	}
	tag(res.Ops)
	return tree.OK
}

// step runs one operation of a multi.
func (s *State) step(x *txn, one *commandpb.Op) (out OpResult, code tree.Code) {
	var res Result
	switch op := one.Op.(type) {
	case *commandpb.Op_Create:
		code = s.create(x, op.Create, &res)
		out.Path = res.Node.Path
	case *commandpb.Op_Put:
		code = s.put(x, op.Put, &res)
		out.Path = op.Put.Path
	case *commandpb.Op_Delete:
		code = s.delete(x, op.Delete)
		out.Path = op.Delete.Path
	case *commandpb.Op_Check:
		code = s.check(x, op.Check)
		out.Path = op.Check.Path
	case *commandpb.Op_CheckLock:
		code = s.fence(x, op.CheckLock)
	case *commandpb.Op_Get:
		out.Path = op.Get.Path
		var path string
		if path, code = x.who.resolve(op.Get.Path); code == tree.OK {
			res.Node, code = s.tree.Get(&x.Txn, path)
			x.who.strip(&res.Node)
		}
	default:
		return s.keptStep(x, one)
	}
	out.Node, out.Created = res.Node, res.Created
	return out, code
}

func (s *State) check(x *txn, op *commandpb.Check) tree.Code {
	cond, ok := condition(op.Condition)
	if !ok {
		return tree.ErrInvalidArgument
	}
	path, code := x.who.resolve(op.Path)
	if code != tree.OK {
		return code
	}
	return s.tree.Check(&x.Txn, tree.CheckOp{Path: path, Condition: cond})
}

// tag marks the last operation on each path (RULES.md R27).
func tag(ops []OpResult) {
	seen := make(map[string]bool, len(ops))
	for i := len(ops) - 1; i >= 0; i-- {
		ops[i].Tagged = !seen[ops[i].Path]
		seen[ops[i].Path] = true
	}
}

func (s *State) setACL(x *txn, op *commandpb.SetAcl, res *Result) tree.Code {
	path, code := s.target(x, op.Path)
	if code != tree.OK {
		return code
	}
	res.Node, code = s.tree.SetACL(&x.Txn, tree.SetACLOp{
		Path: path, ACL: aclEntries(op.Acl), Aversion: op.Aversion, Czxid: quorum.Zxid(op.Czxid),
	})
	x.who.strip(&res.Node)
	return code
}

func (s *State) setDefaultACL(x *txn, op *commandpb.SetDefaultAcl, res *Result) tree.Code {
	path, code := s.target(x, op.Path)
	if code != tree.OK {
		return code
	}
	res.ACL, code = s.tree.SetDefaultACL(&x.Txn, tree.SetDefaultACLOp{
		Path: path, ACL: aclEntries(op.Acl), ETag: quorum.Zxid(op.Etag), Present: op.IfPresent, Absent: op.IfAbsent,
	})
	return code
}

// setQuota bounds a subtree. The bounds of a root are set from above: they are
// what keeps those apart who see nothing but theirs.
func (s *State) setQuota(x *txn, op *commandpb.SetQuota, res *Result) tree.Code {
	path, code := x.who.target(op.Path)
	switch {
	case code != tree.OK:
		return code
	case x.who.root != "" && path == x.who.root:
		return tree.ErrPermissionDenied
	}
	res.Quota, code = s.tree.SetQuota(&x.Txn, tree.SetQuotaOp{
		Path: path, MaxNodes: op.MaxNodes, MaxBytes: op.MaxBytes, Remove: op.Remove,
	})
	return code
}

// reap deletes the nodes whose time is over.
func (s *State) reap(x *txn, op *commandpb.Reap) tree.Code {
	if len(op.Paths) > reapMost {
		return tree.ErrInvalidArgument
	}
	for _, path := range op.Paths {
		s.tree.Reap(&x.Txn, path)
	}
	return tree.OK
}

// reapMost is the most nodes in one command.
const reapMost = 1000
