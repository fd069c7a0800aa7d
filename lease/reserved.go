package lease

import (
	"strings"

	"perch/tree"
)

// What primitives keep below the roots of principals. Those who see more than
// such a root must leave it alone as its owner must (API.md rule 20), and it
// cannot be taken away from under them: no record outlives the root it is of.

// foreign says whether a path is reserved below the root of somebody, or where
// records are left of one who is gone. It is asked for by whoever may write
// there; others learn nothing of roots.
func (s *State) foreign(x *txn, path string) bool {
	if s.level < heldLevel || !strings.Contains(path, tree.Reserved) {
		return false
	}
	return s.reserved(path) && x.who.allows(path, PermWrite|PermCreate|PermDelete|PermAdmin)
}

// reserved says whether a path is in a reserved subtree that is not the tree's
// own.
func (s *State) reserved(path string) bool {
	for at := 1; at < len(path); at++ {
		next := strings.Index(path[at:], tree.Reserved)
		if next < 0 {
			break
		}
		at += next
		if root := path[:at]; tree.IsReserved(path[at:]) && (s.tally(tallyRoots, root, 0) > 0 || s.recorded(root+tree.Reserved)) {
			return true
		}
	}
	return false
}

// settles says whether a principal may have a root: it is not where somebody
// else's primitives are, nor are its own where somebody else is.
func (s *State) settles(root string) bool {
	if s.level < heldLevel || root == "" {
		return true
	}
	own, free := root+tree.Reserved, s.tally(tallyRoots, root+tree.Reserved, 0) == 0
	s.tallies.Ascend(tally{what: tallyRoots, name: own + "/"}, func(t tally) bool {
		free = free && !(t.what == tallyRoots && tree.Under(t.name, own))
		return false
	})
	return free && !s.reserved(root)
}

// recorded says whether there are records at or below a path, other than of
// barriers that nobody is inside of.
func (s *State) recorded(path string) (any bool) {
	for _, from := range [...]string{path, path + "/"} { // names between those are of others
		see := func(at string) bool {
			any = any || tree.Under(at, path)
			return false
		}
		s.things.Ascend(&thing{path: from}, func(t *thing) bool { return see(t.path) })
		s.queues.Ascend(&queue{path: from}, func(q *queue) bool { return see(q.path) })
		s.lines.Ascend(&waiter{path: from}, func(w *waiter) bool { return see(w.path) })
		for _, what := range [...]tallyKind{tallyEntries, tallyClosed} {
			s.tallies.Ascend(tally{what: what, name: from}, func(t tally) bool { return t.what == what && see(t.name) })
		}
	}
	return any
}

// vacate forgets the barriers at and below a path that is deleted; false when
// there is something that must not be forgotten.
func (s *State) vacate(path string) bool {
	if s.recorded(path) {
		return false
	}
	var list []*barrier
	s.barriers.Ascend(&barrier{path: path + "/"}, func(b *barrier) bool {
		if !tree.Under(b.path, path) {
			return false
		}
		list = append(list, b)
		return true
	})
	if b, ok := s.barriers.Get(&barrier{path: path}); ok {
		list = append(list, b)
	}
	for _, b := range list {
		s.sum -= b.digest()
		s.barriers.Delete(b)
	}
	return true
}

// housed says whether a record may be made at a path. The node that shows it
// needs a root, which is not made again for those who see nothing but it, and
// nothing above that ends by itself.
func (s *State) housed(path string) tree.Code { return s.tree.OwnSite(path) }
