package tree

import (
	"fmt"
	"strings"
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
// The checks stand in ZooKeeper's order: form, parent, permission, exists, what
// kind of parent, limits.
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
	s, code := t.site(x, op)
	if code != OK {
		return Node{}, code
	}
	if z := t.get(op.Path); z != nil {
		// As in ZooKeeper also for a sequential name, which somebody may have
		// made by hand.
		return z.node(false), ErrNodeExists
	}
	z, code := t.create(x, op, s)
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
	case op.Mode == ModeEphemeral && x.Owner == 0, !x.validTTL(op.Mode, op.TTLMs):
		return ErrInvalidArgument
	case len(op.Data) > x.Limits.ValueBytes:
		return ErrTooLarge
	}
	_, code := givenACL(op.ACL, x.Caller)
	return code
}

// validTTL says whether a TTL stands where one belongs, within the limits.
func (x *Txn) validTTL(m Mode, ttlMs int64) bool {
	if m != ModeTTL {
		return ttlMs == 0
	}
	return ttlMs >= x.Limits.TTLMinMs && ttlMs <= x.Limits.TTLMaxMs
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

// site is where a node is to be made: below top, its nearest ancestor that
// exists, after the missing parents, which are listed deepest first.
type site struct {
	top     *znode
	missing []string
}

// site finds the place of a new node and asks whether the caller may use it.
// What top says is asked, also for the parents that are made with it.
func (t *Tree) site(x *Txn, op CreateOp) (site, Code) {
	if !allows(x.Guard, op.Path, PermCreate) {
		return site{}, ErrPermissionDenied
	}
	var s site
	for p := Parent(op.Path); ; p = Parent(p) {
		if s.top = t.get(p); s.top != nil {
			break
		}
		if !op.Parents {
			return site{}, ErrNoParent
		}
		if !allows(x.Guard, p, PermCreate) {
			return site{}, ErrPermissionDenied
		}
		s.missing = append(s.missing, p)
	}
	if !may(x.Guard, op.Path, s.top.acl(), PermCreate) {
		return site{}, ErrPermissionDenied
	}
	return s, OK
}

// create makes a node that is known not to exist, at a checked site.
func (t *Tree) create(x *Txn, op CreateOp, s site) (*znode, Code) {
	if code := t.room(x, op, s); code != OK {
		return nil, code
	}
	// The defaults are those at and above top: no other ancestor exists yet.
	fallback := t.defaultFor(s.top.path)
	plain := t.share(ext{acl: fallback, creator: x.Creator})
	for i := len(s.missing) - 1; i >= 0; i-- {
		t.insert(x, newZnode(s.missing[i], nil), plain)
	}
	z := newZnode(op.Path, op.Data)
	if op.Mode == ModeEphemeral {
		z.owner = x.Owner
	}
	e := ext{acl: fallback, creator: x.Creator}
	if len(op.ACL) > 0 {
		acl, _ := newACL(op.ACL, x.Caller) // checkCreate has found it valid
		e.acl = t.Intern(acl)
	}
	switch op.Mode {
	case ModeContainer:
		e.mode = ModeContainer
	case ModeTTL:
		e.mode, e.ttlMs, e.due = ModeTTL, op.TTLMs, x.Age+uint64(op.TTLMs)
	}
	t.insert(x, z, t.share(e))
	return z, OK
}

// room says whether the site takes the node and its missing parents.
func (t *Tree) room(x *Txn, op CreateOp, s site) Code {
	made := len(s.missing) + 1
	switch {
	case s.top.owner != 0:
		return ErrNoChildrenForEphemeral
	case made > x.Limits.TxnNodes, s.top.creates >= createsMost:
		return ErrTooLarge
	case op.Mode == ModeEphemeral && t.Owned(x.Owner) >= x.Limits.OwnerNodes:
		return ErrTooManyNodes
	}
	more := usage{x.Creator, int64(made), int64(len(op.Data))}
	if code := t.fits(x, s.top.path, more.nodes, more.bytes); code != OK {
		return code
	}
	return t.affords(x, more)
}

// createsMost is where a parent takes no more children. Half the range of the
// number, since the cversion that is shown counts to twice as much; neither ever
// wraps.
const createsMost = 1<<62 - 1

// insert stores a new node under its parent, which exists.
func (t *Tree) insert(x *Txn, z *znode, e *ext) {
	z.czxid, z.mzxid, z.pzxid = x.Zxid, x.Zxid, x.Zxid
	z.ctime, z.mtime, z.ext = x.Wall, x.Wall, e
	t.put(nil, z)
	old := t.get(Parent(z.path))
	p := *old
	p.creates++
	p.children++
	p.pzxid = x.Zxid
	p.ext = t.gainChild(old)
	t.put(old, &p)
	x.emit(EventCreated, z, x.Cause)
}

// PutOp writes a node: changes the one that is there or creates it.
type PutOp struct {
	Path      string
	Data      []byte // kept: must not be changed afterwards
	Mode      Mode   // 0: as it is; ModeEphemeral, ModeTTL: the node is, or becomes, such a one
	TTLMs     int64  // of ModeTTL, else 0
	Takeover  bool   // with ModeEphemeral: another owner's node changes hands
	Parents   bool
	Existing  bool // ZooKeeper's setData: a node that is missing is ErrNoNode, whose ephemeral it is does not matter
	Condition Condition
}

// Put writes a node and says whether it created it. With ErrNodeExists the
// node is the one that stands in the way.
func (t *Tree) Put(x *Txn, op PutOp) (n Node, created bool, code Code) {
	if code := x.checkPut(op); code != OK {
		return Node{}, false, code
	}
	if !allows(x.Guard, op.Path, op.perms()) {
		return Node{}, false, ErrPermissionDenied
	}
	z := t.get(op.Path)
	if z == nil {
		n, code := t.putNew(x, op)
		return n, code == OK, code
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
	case op.Mode == ModeEphemeral && x.Owner == 0, op.Takeover && op.Mode != ModeEphemeral,
		op.Mode == ModeContainer, !x.validTTL(op.Mode, op.TTLMs), !op.Condition.valid():
		return ErrInvalidArgument
	case len(op.Data) > x.Limits.ValueBytes:
		return ErrTooLarge
	}
	return OK
}

// perms are the permissions of which the write needs one: it creates where there
// is nothing, and changes what is there, if it may do both.
func (op PutOp) perms() Perms {
	switch {
	case op.Condition.Kind == CondAbsent:
		return PermCreate
	case op.Existing, op.Condition.Kind != CondNone:
		return PermWrite
	}
	return PermWrite | PermCreate
}

// putNew is Put where there is no node.
func (t *Tree) putNew(x *Txn, op PutOp) (Node, Code) {
	code := op.Condition.missing()
	if code == OK && op.Existing {
		code = ErrNoNode
	}
	if code != OK {
		return Node{}, code
	}
	c := CreateOp{Path: op.Path, Data: op.Data, Mode: op.Mode, TTLMs: op.TTLMs, Parents: op.Parents}
	s, code := t.site(x, c)
	if code != OK {
		return Node{}, code
	}
	z, code := t.create(x, c, s)
	if code != OK {
		return Node{}, code
	}
	return z.node(false), OK
}

// mayChange checks what stands in the way of changing z: permission, exists,
// version, limits.
func (t *Tree) mayChange(x *Txn, op PutOp, z *znode) Code {
	if op.Condition.Kind == CondAbsent {
		return t.refuseAbsent(x, op.Path)
	}
	foreign := x.Owner != 0 && z.owner != 0 && z.owner != x.Owner
	switch {
	case !allows(x.Guard, op.Path, PermWrite) || !may(x.Guard, op.Path, z.acl(), PermWrite):
		return ErrPermissionDenied
	case op.Mode != ModePersistent && op.Mode != z.mode():
		return ErrNodeExists // a node never changes its kind
	case foreign && !op.Takeover && !op.Existing:
		return ErrNodeExists
	}
	if code := op.Condition.existing(z); code != OK {
		return code
	}
	if op.Mode == ModeEphemeral && foreign && t.Owned(x.Owner) >= x.Limits.OwnerNodes {
		return ErrTooManyNodes
	}
	was, is := z.weight(), usage{x.heir(op, z), 1, int64(len(op.Data))}
	if code := t.fits(x, op.Path, 0, is.bytes-was.bytes); code != OK {
		return code
	}
	if was.creator == is.creator {
		is.nodes, is.bytes = 0, is.bytes-was.bytes
	}
	return t.affords(x, is)
}

// refuseAbsent is the outcome of a write that only creates, where a node is: as
// in ZooKeeper it is told to those alone who might have created it.
func (t *Tree) refuseAbsent(x *Txn, path string) Code {
	if path != Root && !may(x.Guard, path, t.get(Parent(path)).acl(), PermCreate) {
		return ErrPermissionDenied
	}
	return ErrETagMismatch
}

// heir is whose node z is after op: who takes over a node answers for it.
func (x *Txn) heir(op PutOp, z *znode) string {
	if op.Takeover && z.owner != x.Owner && x.Creator != "" {
		return x.Creator
	}
	return z.creator()
}

func (t *Tree) change(x *Txn, op PutOp, old *znode) Node {
	z := *old
	z.setData(op.Data)
	z.version++
	z.mzxid, z.mtime = x.Zxid, x.Wall
	if op.Mode == ModeEphemeral {
		z.owner = x.Owner
	}
	z.ext = t.touched(x, op, old)
	t.put(old, &z)
	x.emit(EventChanged, &z, x.Cause)
	return z.node(false)
}

// touched is the ext of a node after a change of its data: the time of a TTL
// node begins anew.
func (t *Tree) touched(x *Txn, op PutOp, old *znode) *ext {
	heir := x.heir(op, old)
	if old.ext == nil && heir == "" || old.mode() != ModeTTL && heir == old.creator() {
		return old.ext
	}
	var e ext
	if old.ext != nil {
		e = *old.ext
	}
	e.creator = heir
	if e.mode == ModeTTL {
		if op.Mode == ModeTTL {
			e.ttlMs = op.TTLMs
		}
		e.due = x.Age + uint64(e.ttlMs)
	}
	return t.share(e)
}
