package tree

import (
	"errors"
	"fmt"
)

// Loader builds a tree from the records of Reader.Scan, in their order.
type Loader struct {
	t      *Tree
	last   *znode // last added
	parent *znode // of the last added; still counts its children
	want   int64  // children that the record of parent promised
}

// NewLoader is a loader of an empty tree.
func NewLoader() *Loader { return &Loader{t: empty()} }

// Add stores the next record. An error means that the records are no tree.
func (l *Loader) Add(rec Record) error {
	if err := l.check(rec); err != nil {
		return err
	}
	z := l.node(rec)
	if l.last != nil && !znodeLess(l.last, z) {
		return errors.New("nodes out of order")
	}
	if err := l.adopt(z); err != nil {
		return err
	}
	l.last = z
	l.t.sum += z.digest()
	l.t.nodes.Load(z)
	l.t.moveOwner(z.path, 0, z.owner)
	l.t.moveTimer(z.path, 0, z.due())
	if q := rec.Quota; q != nil {
		l.t.setQuota(quota{path: z.path, Quota: Quota{MaxNodes: q.MaxNodes, MaxBytes: q.MaxBytes}})
	}
	if d := rec.Default; d != nil {
		l.t.setDefault(defaultACL{z.path, l.t.Intern(d.ACL), d.Zxid})
	}
	// The quotas above z are there already, and count it.
	l.t.account(nil, z)
	l.t.Begin() // a load is not rolled back, and needs no journal
	return nil
}

func (l *Loader) node(rec Record) *znode {
	z := newZnode(rec.Path, rec.Data)
	s := rec.Stat
	z.czxid, z.mzxid, z.pzxid, z.owner = s.Czxid, s.Mzxid, s.Pzxid, s.EphemeralOwner
	z.ctime, z.mtime, z.version, z.creates = s.Ctime, s.Mtime, s.Version, rec.Creates
	z.children = uint32(s.NumChildren)
	e := ext{ttlMs: s.TTLMs, acl: l.t.Intern(rec.ACL), aversion: s.Aversion, creator: rec.Creator, due: rec.Due}
	if s.Mode != ModeEphemeral {
		e.mode = s.Mode
	}
	z.ext = l.t.share(e)
	return z
}

func (l *Loader) check(rec Record) error {
	if err := CheckPath(rec.Path, PathLimits{}); err != nil {
		return err
	}
	s := rec.Stat
	switch {
	case (l.last == nil) != (rec.Path == Root):
		return errors.New("the root is not the first node")
	case s.NumChildren < 0 || rec.Creates < int64(s.NumChildren) || s.NumChildren > 1<<31:
		return fmt.Errorf("a node with %d children of %d created", s.NumChildren, rec.Creates)
	case s.EphemeralOwner != 0 && s.NumChildren != 0:
		return errors.New("an ephemeral node with children")
	case len(rec.Path) > 1<<31:
		return errors.New("a path without end")
	case s.Aversion < 0:
		return fmt.Errorf("a node with aversion %d", s.Aversion)
	}
	if err := rec.checkMode(); err != nil {
		return err
	}
	return rec.checkPolicy()
}

// checkMode says whether what ends the node fits together.
func (rec *Record) checkMode() error {
	s := rec.Stat
	switch {
	case s.Mode > ModeTTL, (s.Mode == ModeEphemeral) != (s.EphemeralOwner != 0):
		return fmt.Errorf("a node of mode %d with owner %v", s.Mode, s.EphemeralOwner)
	case (s.Mode == ModeTTL) != (s.TTLMs > 0) || s.TTLMs < 0:
		return fmt.Errorf("a node of mode %d with a TTL of %d ms", s.Mode, s.TTLMs)
	}
	due := s.Mode == ModeTTL || s.Mode == ModeContainer && s.NumChildren == 0 && rec.Creates > 0
	if due != (rec.Due != 0) {
		return fmt.Errorf("a node of mode %d due at %d", s.Mode, rec.Due)
	}
	return nil
}

// checkPolicy says whether the lists and bounds of the node are such as its
// operations make.
func (rec *Record) checkPolicy() error {
	if !rec.ACL.stored() {
		return errors.New("a malformed ACL")
	}
	if d := rec.Default; d != nil && (d.Zxid == 0 || !d.ACL.stored()) {
		return errors.New("a malformed default ACL")
	}
	if q := rec.Quota; q != nil && (SetQuotaOp{MaxNodes: q.MaxNodes, MaxBytes: q.MaxBytes}).check() != OK {
		return errors.New("a malformed quota")
	}
	return nil
}

// adopt finds the parent of z and counts its children against the record.
func (l *Loader) adopt(z *znode) error {
	if z.path == Root {
		return nil
	}
	if l.parent == nil || l.parent.path != Parent(z.path) {
		if err := l.settle(); err != nil {
			return err
		}
		if l.parent = l.t.get(Parent(z.path)); l.parent == nil {
			return errors.New("a node without parent")
		}
		l.want = int64(l.parent.children)
	}
	l.want--
	return nil
}

// settle ends the children of the present parent.
func (l *Loader) settle() error {
	if l.parent != nil && l.want != 0 {
		return errors.New("a node with another number of children than it says")
	}
	return nil
}

// Tree is the tree that was loaded.
func (l *Loader) Tree() (*Tree, error) {
	if l.last == nil {
		return nil, errors.New("no root")
	}
	if err := l.settle(); err != nil {
		return nil, err
	}
	l.t.Begin()
	return l.t, nil
}
