// Package tree is the tree of nodes: what changes it, what reads it, the history
// of its events, and its part of the digest. Stat, paths and sequence numbers
// are those of ZooKeeper.
//
// It guarantees that every change depends on the tree and the arguments alone;
// that a transaction can be rolled back whole; that a Reader and a copied
// History never change and may be used by any number of goroutines. It does not
// guard a Tree against concurrent use, and knows nothing of sessions but their
// ids: whether an owner lives is package lease's to check.
package tree

import (
	"perch/quorum"
	"perch/tree/cow"
)

// Tree is the mutable tree of nodes. One goroutine owns it; readers use the
// Readers that Freeze returns.
//
// Invariants: the root exists; every other node has its parent; children of a
// znode counts the nodes whose parent it is; no ephemeral has children; owned
// lists exactly the nodes with an owner, owners their number for each owner;
// timers lists exactly the nodes that are due at some time; every quota and
// default is that of a node; a quota counts what is at and below its node, a
// usage what its principal has created; sum is the sum of the digests of all
// nodes, quotas and defaults.
type Tree struct {
	nodes    *cow.Table[*znode]
	owned    *cow.Table[ownedKey]
	owners   *cow.Table[ownerCount]
	timers   *cow.Table[timer]
	quotas   *cow.Table[quota]
	usages   *cow.Table[usage]
	defaults *cow.Table[defaultACL]
	sum      uint64
	before   uint64 // sum at Begin
	pivot    znode  // for lookups; saves an allocation each
	interner
}

// ownedKey lists one ephemeral under its owner.
type ownedKey struct {
	owner quorum.Zxid
	path  string
}

func ownedLess(a, b ownedKey) bool {
	if a.owner != b.owner {
		return a.owner < b.owner
	}
	return a.path < b.path
}

type ownerCount struct {
	owner quorum.Zxid
	n     int
}

func ownerLess(a, b ownerCount) bool { return a.owner < b.owner }

func empty() *Tree {
	return &Tree{
		nodes: cow.New(znodeLess), owned: cow.New(ownedLess), owners: cow.New(ownerLess),
		timers: cow.New(timerLess), quotas: cow.New(quotaLess), usages: cow.New(usageLess), defaults: cow.New(defaultLess),
		interner: newInterner(),
	}
}

// New is a tree that holds the root alone.
func New() *Tree {
	t := empty()
	t.put(nil, newZnode(Root, nil))
	t.Begin()
	return t
}

// Begin starts a transaction.
func (t *Tree) Begin() {
	t.nodes.Begin()
	t.owned.Begin()
	t.owners.Begin()
	t.timers.Begin()
	t.quotas.Begin()
	t.usages.Begin()
	t.defaults.Begin()
	t.before = t.sum
}

// Rollback takes back everything since Begin.
func (t *Tree) Rollback() {
	t.nodes.Rollback()
	t.owned.Rollback()
	t.owners.Rollback()
	t.timers.Rollback()
	t.quotas.Rollback()
	t.usages.Rollback()
	t.defaults.Rollback()
	t.sum = t.before
}

// SetHook has f called before every change of a table; for tests of Rollback.
func (t *Tree) SetHook(f func()) {
	t.nodes.Hook, t.owned.Hook, t.owners.Hook = f, f, f
	t.timers.Hook, t.quotas.Hook, t.usages.Hook, t.defaults.Hook = f, f, f, f
}

// Owned is the number of ephemerals of owner.
func (t *Tree) Owned(owner quorum.Zxid) int {
	c, _ := t.owners.Get(ownerCount{owner: owner})
	return c.n
}

// Sum is the sum, modulo 2^64, of a hash of every node, quota and default: the
// tree's part of the digest.
func (t *Tree) Sum() uint64 { return t.sum }

// Freeze is the tree as it is now, for any number of readers.
func (t *Tree) Freeze() *Reader {
	return &Reader{
		nodes: t.nodes.Freeze(), owned: t.owned.Freeze(), owners: t.owners.Freeze(),
		timers: t.timers.Freeze(), quotas: t.quotas.Freeze(), defaults: t.defaults.Freeze(),
	}
}

func (t *Tree) get(path string) *znode {
	setKey(&t.pivot, path)
	z, _ := t.nodes.Get(&t.pivot)
	return z
}

// put stores z in the place of old; old is nil when the node is new.
func (t *Tree) put(old, z *znode) {
	if old != nil {
		t.sum -= old.digest()
	}
	t.sum += z.digest()
	t.nodes.Set(z)
	var from quorum.Zxid
	if old != nil {
		from = old.owner
	}
	t.moveOwner(z.path, from, z.owner)
	t.moveTimer(z.path, old.due(), z.due())
	t.account(old, z)
}

// drop removes z, with its quota and default, and leaves its parent as it is.
func (t *Tree) drop(z *znode) {
	t.sum -= z.digest()
	t.nodes.Delete(z)
	t.moveOwner(z.path, z.owner, 0)
	t.moveTimer(z.path, z.due(), 0)
	t.dropQuota(z.path)
	t.dropDefault(z.path)
	t.account(z, nil)
}

func (t *Tree) moveOwner(path string, from, to quorum.Zxid) {
	if from == to {
		return
	}
	if from != 0 {
		t.owned.Delete(ownedKey{from, path})
		t.countOwned(from, -1)
	}
	if to != 0 {
		t.owned.Set(ownedKey{to, path})
		t.countOwned(to, 1)
	}
}

func (t *Tree) countOwned(owner quorum.Zxid, by int) {
	n := t.Owned(owner) + by
	if n == 0 {
		t.owners.Delete(ownerCount{owner: owner})
		return
	}
	t.owners.Set(ownerCount{owner, n})
}

// setKey makes z a key for lookups of path.
func setKey(z *znode, path string) {
	z.path, z.slash = path, lastSlash(path)
}

func lastSlash(path string) uint32 {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '/' {
			return uint32(i)
		}
	}
	return 0
}

// childKey is the greatest key at or before all children of path whose name is
// greater than after.
func childKey(path, after string) *znode {
	if path == Root {
		return &znode{path: "/" + after}
	}
	return &znode{path: path + "/" + after, slash: uint32(len(path))}
}
