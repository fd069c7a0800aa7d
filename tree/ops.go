package tree

import (
	"fmt"
	"strings"

	"perch/quorum"
)

// CreateOp makes a node that must not exist.
type CreateOp struct {
	Path       string     // canonical; with Sequential it may end in "/"
	Data       []byte     // kept: must not be changed afterwards
	Mode       Mode       // ModeEphemeral: owned by Txn.Owner, which must be set
	TTLMs      int64      // of ModeTTL, else 0
	ACL        []ACLEntry // empty: the default of the subtree
	Sequential bool
	Parents    bool // make missing parents, persistent and empty
}

// Create makes a node. With ErrNodeExists the node is the one that is there.
func (t *Tree) Create(x *Txn, op CreateOp) (Node, Code) {
	if code := x.checkCreate(op); code != OK {
		return Node{}, code
	}
	if op.Sequential {
		op.Path += t.sequence(op.Path)
		if CheckPath(op.Path, x.Limits.Path) != nil {
			return Node{}, ErrInvalidPath
		}
	}
	if z := t.get(op.Path); z != nil {
		// As in ZooKeeper also for a sequential name, which somebody may have
		// made by hand.
		return z.node(false), ErrNodeExists
	}
	z, code := t.create(x, op)
	if code != OK {
		return Node{}, code
	}
	return z.node(false), OK
}

func (x *Txn) checkCreate(op CreateOp) Code {
	check := CheckPath
	if op.Sequential {
		check = CheckSequential
	}
	switch {
	case check(op.Path, x.Limits.Path) != nil:
		return ErrInvalidPath
	case op.Path == Root && !op.Sequential:
		return ErrInvalidArgument
	case IsReserved(op.Path) && !(op.Sequential && op.Path == Reserved):
		return ErrReservedPath // "/perch" as a prefix gives /perch0000000000, which is not reserved
	case op.Mode == ModeEphemeral && x.Owner == 0:
		return ErrInvalidArgument
	case len(op.Data) > x.Limits.ValueBytes:
		return ErrTooLarge
	}
	return OK
}

// sequence is the number that completes the name prefix path: the creates that
// its parent has seen, sequential or not. A parent that is still to be made has
// seen none.
func (t *Tree) sequence(path string) string {
	var n int64
	if p := t.get(parentOfPrefix(path)); p != nil {
		n = p.creates
	}
	return fmt.Sprintf("%0*d", SequenceDigits, n)
}

func parentOfPrefix(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return Root
}

// create makes a node that is known not to exist, at a checked path.
func (t *Tree) create(x *Txn, op CreateOp) (*znode, Code) {
	missing, code := t.missingParents(op.Path, op.Parents)
	if code != OK {
		return nil, code
	}
	if len(missing)+1 > x.Limits.TxnNodes {
		return nil, ErrTooLarge
	}
	if op.Mode == ModeEphemeral && t.Owned(x.Owner) >= x.Limits.OwnerNodes {
		return nil, ErrTooManyNodes
	}
	for i := len(missing) - 1; i >= 0; i-- {
		t.insert(x, missing[i], nil, 0)
	}
	var owner quorum.Zxid
	if op.Mode == ModeEphemeral {
		owner = x.Owner
	}
	return t.insert(x, op.Path, op.Data, owner), OK
}

// missingParents lists the ancestors of path that are to be made, deepest
// first.
func (t *Tree) missingParents(path string, make bool) ([]string, Code) {
	var missing []string
	for p := Parent(path); ; p = Parent(p) {
		switch z := t.get(p); {
		case z == nil && !make:
			return nil, ErrNoParent
		case z == nil:
			missing = append(missing, p)
		case z.owner != 0:
			return nil, ErrNoChildrenForEphemeral
		default:
			return missing, OK
		}
	}
}

// insert stores a new node under its parent, which exists.
func (t *Tree) insert(x *Txn, path string, data []byte, owner quorum.Zxid) *znode {
	z := newZnode(path, data)
	z.czxid, z.mzxid, z.pzxid = x.Zxid, x.Zxid, x.Zxid
	z.ctime, z.mtime, z.owner = x.Wall, x.Wall, owner
	t.put(nil, z)
	old := t.get(Parent(path))
	p := *old
	p.creates++
	p.children++
	p.pzxid = x.Zxid
	t.put(old, &p)
	x.emit(EventCreated, z, x.Cause)
	return z
}

// PutOp writes a node: changes the one that is there or creates it.
type PutOp struct {
	Path      string
	Data      []byte // kept: must not be changed afterwards
	Mode      Mode   // 0: as it is; ModeEphemeral, ModeTTL: the node is, or becomes, such a one
	TTLMs     int64  // of ModeTTL, else 0
	Takeover  bool   // with ModeEphemeral: another owner's node changes hands
	Parents   bool
	Existing  bool // a node that is missing is ErrNoNode
	Condition Condition
}

// Put writes a node and says whether it created it. With ErrNodeExists the
// node is the one that stands in the way.
func (t *Tree) Put(x *Txn, op PutOp) (n Node, created bool, code Code) {
	if code := x.checkPut(op); code != OK {
		return Node{}, false, code
	}
	z := t.get(op.Path)
	if z == nil {
		if code := op.Condition.missing(); code != OK {
			return Node{}, false, code
		}
		z, code := t.create(x, CreateOp{Path: op.Path, Data: op.Data, Mode: op.Mode, Parents: op.Parents})
		if code != OK {
			return Node{}, false, code
		}
		return z.node(false), true, OK
	}
	if code := t.mayChange(x, op, z); code != OK {
		if code == ErrNodeExists {
			n = z.node(false)
		}
		return n, false, code
	}
	return t.change(x, op, z), false, OK
}

func (x *Txn) checkPut(op PutOp) Code {
	switch {
	case CheckPath(op.Path, x.Limits.Path) != nil:
		return ErrInvalidPath
	case IsReserved(op.Path):
		return ErrReservedPath
	case op.Mode == ModeEphemeral && x.Owner == 0, op.Takeover && op.Mode != ModeEphemeral, !op.Condition.valid():
		return ErrInvalidArgument
	case len(op.Data) > x.Limits.ValueBytes:
		return ErrTooLarge
	}
	return OK
}

// mayChange checks what stands in the way of changing z: exists, then version.
func (t *Tree) mayChange(x *Txn, op PutOp, z *znode) Code {
	foreign := x.Owner != 0 && z.owner != 0 && z.owner != x.Owner
	switch {
	case op.Condition.Kind == CondAbsent:
		return ErrETagMismatch
	case op.Mode == ModeEphemeral && z.owner == 0:
		return ErrNodeExists // a node never changes its kind
	case foreign && !op.Takeover:
		return ErrNodeExists
	}
	if code := op.Condition.existing(z); code != OK {
		return code
	}
	if op.Mode == ModeEphemeral && foreign && t.Owned(x.Owner) >= x.Limits.OwnerNodes {
		return ErrTooManyNodes
	}
	return OK
}

func (t *Tree) change(x *Txn, op PutOp, old *znode) Node {
	z := *old
	z.setData(op.Data)
	z.version++
	z.mzxid, z.mtime = x.Zxid, x.Wall
	if op.Mode == ModeEphemeral {
		z.owner = x.Owner
	}
	t.put(old, &z)
	x.emit(EventChanged, &z, x.Cause)
	return z.node(false)
}

// DeleteOp removes a node.
type DeleteOp struct {
	Path      string
	Recursive bool // with all below it
	Condition Condition
}

// Delete removes a node, children before parents.
func (t *Tree) Delete(x *Txn, op DeleteOp) Code {
	switch {
	case CheckPath(op.Path, x.Limits.Path) != nil:
		return ErrInvalidPath
	case op.Path == Root || op.Condition.Kind == CondAbsent || !op.Condition.valid():
		return ErrInvalidArgument
	case IsReserved(op.Path):
		return ErrReservedPath
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
	t.remove(x, doomed)
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
func (t *Tree) remove(x *Txn, doomed []*znode) {
	for _, z := range doomed {
		t.drop(z)
		x.emit(EventDeleted, z, x.Cause)
	}
	top := doomed[len(doomed)-1]
	old := t.get(Parent(top.path))
	p := *old
	p.children--
	p.pzxid = x.Zxid
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
		t.remove(x, []*znode{t.get(p)})
	}
	return len(paths)
}
