package lease

import (
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// due is something that ends at a cluster age. The table of them is made of the
// records that it is about, and is no state of its own.
type due struct {
	age  uint64
	what dueKind
	path string // of the record
	id   uint64 // within the record
}

// dueKind says what is to be done with a due record.
type dueKind uint8

func dueLess(a, b due) bool {
	switch {
	case a.age != b.age:
		return a.age < b.age
	case a.what != b.what:
		return a.what < b.what
	case a.path != b.path:
		return a.path < b.path
	}
	return a.id < b.id
}

// lapseMost bounds what one Lapse does. It is part of what heldLevel means.
const lapseMost = 1000

// lapses are what is done with the records that are due, by their kind.
var lapses = map[dueKind]func(*State, *txn, due){}

// lapse does what is due at the age of the transaction, longest due first.
func (s *State) lapse(x *txn) tree.Code {
	for range lapseMost {
		d, ok := s.dues.Min()
		if !ok || d.age > x.age {
			break
		}
		s.dues.Delete(d)
		lapses[d.what](s, x, d)
	}
	return tree.OK
}

// NextLapse is the cluster age at which a Lapse will have something to do; false
// when nothing is due ever.
func (v *View) NextLapse() (age uint64, ok bool) {
	v.dues.Scan(func(d due) bool {
		age, ok = d.age, true
		return false
	})
	return age, ok
}

// rooms are the places of the kinds below Reserved.
var rooms = map[commandpb.Kind]string{
	commandpb.Kind_KIND_LOCK: "locks", commandpb.Kind_KIND_SEMAPHORE: "semaphores",
	commandpb.Kind_KIND_ELECTION: "elections", commandpb.Kind_KIND_ONCE: "once", commandpb.Kind_KIND_QUEUE: "queues",
	commandpb.Kind_KIND_COUNTER: "counters", commandpb.Kind_KIND_BARRIER: "barriers",
}

// nameBytes is the longest name of a primitive (API.md rule 3).
const nameBytes = 255

// CheckName says whether name can be that of a primitive:
// [A-Za-z0-9][A-Za-z0-9._:-]*, at most 255 bytes.
func CheckName(name string) bool {
	if name == "" || len(name) > nameBytes || strings.IndexByte("._:-", name[0]) >= 0 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._:-", c) >= 0) {
			return false
		}
	}
	return true
}

// named is the path in the whole tree of the node that shows what a caller means
// by a name, if he has any of the permissions there. It is also the key of its
// record. PermUse is to use it, PermRead to look, PermAdmin to break it.
func (a *access) named(kind commandpb.Kind, name string, any Perm) (string, tree.Code) {
	room, known := rooms[kind]
	if !known || !CheckName(name) {
		return "", tree.ErrInvalidArgument
	}
	path, code := a.resolve(tree.Reserved + "/" + room + "/" + name)
	if code == tree.OK && !a.allows(path, any) {
		code = tree.ErrPermissionDenied
	}
	return path, code
}

// ownEpoch says whether a command of the leader is committed in the epoch that it
// was made in; in another one it must do nothing (RULES.md R23).
func (x *txn) ownEpoch(e uint32) bool { return quorum.Epoch(e) == x.Zxid.Epoch() }
