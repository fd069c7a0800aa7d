package tree

import (
	"strings"

	"github.com/cespare/xxhash/v2"
)

// ext is what only some nodes have: a nil *ext is that of an ordinary node,
// which anyone may use and nobody answers for. It is immutable.
type ext struct {
	mode     Mode  // ModeContainer, ModeTTL or 0: an owner makes a node ephemeral
	ttlMs    int64 // of ModeTTL
	acl      *ACL
	aversion int64
	creator  string
	due      uint64 // cluster age at which the node goes if it has no child; 0: never
	sum      uint64 // hash of all of the above
}

func (z *znode) acl() *ACL {
	if z.ext == nil {
		return nil
	}
	return z.ext.acl
}

func (z *znode) creator() string {
	if z.ext == nil {
		return ""
	}
	return z.ext.creator
}

// mode is what ends z; an ephemeral's ext need not say it.
func (z *znode) mode() Mode {
	switch {
	case z.owner != 0:
		return ModeEphemeral
	case z.ext != nil:
		return z.ext.mode
	}
	return ModePersistent
}

// due is the cluster age at which z is to go as it is now; 0: never.
func (z *znode) due() uint64 {
	if z == nil || z.ext == nil || z.children > 0 {
		return 0
	}
	return z.ext.due
}

// internMost bounds what an interner remembers.
const internMost = 1 << 14

// interner lets nodes share what is equal. It is derived, and no part of the
// replicated state: what it has forgotten costs memory and nothing else.
type interner struct {
	acls map[string]*ACL
	exts map[ext]*ext
}

// Intern is the ACL equal to a that the tree holds, or a copy of a that it will
// hold if a node gets it.
func (in *interner) Intern(a *ACL) *ACL {
	if a == nil {
		return nil
	}
	key := a.key()
	if known := in.acls[key]; known != nil {
		return known
	}
	in.room(len(in.acls))
	one := &ACL{Entries: a.Entries, sum: xxhash.Sum64String(key)}
	in.acls[key] = one
	return one
}

// share is e, nil for an ordinary node. One that is due is not remembered: it is
// seldom equal to another.
func (in *interner) share(e ext) *ext {
	e.sum = 0
	if e == (ext{}) {
		return nil
	}
	if e.due == 0 {
		if known := in.exts[e]; known != nil {
			return known
		}
	}
	key := e
	e.sum = e.digest()
	if e.due == 0 {
		in.room(len(in.exts))
		in.exts[key] = &e
	}
	return &e
}

// withDue is e with another time.
func (in *interner) withDue(e *ext, due uint64) *ext {
	if e.due == due {
		return e
	}
	changed := *e
	changed.due = due
	return in.share(changed)
}

// room forgets everything when one of the tables has n entries, too many. Both
// go, since exts hold pointers of acls.
func (in *interner) room(n int) {
	if n >= internMost {
		*in = newInterner()
	}
}

func newInterner() interner {
	return interner{acls: map[string]*ACL{}, exts: map[ext]*ext{}}
}

func (e *ext) digest() uint64 {
	var h hasher
	h.byte(byte(e.mode))
	for _, v := range [...]uint64{uint64(e.ttlMs), e.acl.digest(), uint64(e.aversion), e.due} {
		h.u64(v)
	}
	return h.sum(e.creator)
}

// key tells lists apart. IDs have no control characters.
func (a *ACL) key() string {
	var b strings.Builder
	for _, e := range a.Entries {
		b.WriteString(e.Scheme)
		b.WriteByte(0)
		b.WriteString(e.ID)
		b.WriteByte(0)
		b.WriteByte(byte(e.Perms))
	}
	return b.String()
}

func (a *ACL) digest() uint64 {
	switch {
	case a == nil:
		return 0
	case a.sum != 0:
		return a.sum
	}
	return xxhash.Sum64String(a.key())
}
