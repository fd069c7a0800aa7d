package tree

// containerMs is how long a container stays after its last child has gone, so
// that one who makes the next child at once still finds it.
const containerMs = 500

// timer lists one node under the cluster age at which it is due.
type timer struct {
	due  uint64
	path string
}

func timerLess(a, b timer) bool {
	if a.due != b.due {
		return a.due < b.due
	}
	return a.path < b.path
}

func (t *Tree) moveTimer(path string, from, to uint64) {
	if from == to {
		return
	}
	if from != 0 {
		t.timers.Delete(timer{from, path})
	}
	if to != 0 {
		t.timers.Set(timer{to, path})
	}
}

// gainChild is the ext of a parent that gets a child: a container has none that
// is due.
func (t *Tree) gainChild(p *znode) *ext {
	if p.mode() != ModeContainer {
		return p.ext
	}
	return t.withDue(p.ext, 0)
}

// loseChild is the ext of a parent that has lost a child: a container that is
// empty now is due soon.
func (t *Tree) loseChild(x *Txn, p *znode) *ext {
	if p.mode() != ModeContainer || p.children > 0 {
		return p.ext
	}
	return t.withDue(p.ext, x.Age+containerMs)
}

// Reap deletes the node at path if its time is over and it has no child, and
// says whether it did. Who proposed it has looked at an older tree: a node that
// was touched since, has got a child or is another one by now is left alone.
func (t *Tree) Reap(x *Txn, path string) bool {
	if CheckPath(path, PathLimits{}) != nil {
		return false
	}
	z := t.get(path)
	if due := z.due(); due == 0 || due > x.Age {
		return false
	}
	why := CauseTTL
	if z.mode() == ModeContainer {
		why = CauseContainer
	}
	t.remove(x, []*znode{z}, why)
	return true
}

// Due lists up to limit nodes whose time is over at the cluster age, longest
// ago first.
func (r *Reader) Due(age uint64, limit int) []string {
	var paths []string
	r.timers.Scan(func(n timer) bool {
		if n.due > age || len(paths) >= limit {
			return false
		}
		paths = append(paths, n.path)
		return true
	})
	return paths
}

// NextDue is the cluster age at which the next node is due; false when none is
// waiting.
func (r *Reader) NextDue() (age uint64, ok bool) {
	r.timers.Scan(func(n timer) bool {
		age, ok = n.due, true
		return false
	})
	return age, ok
}
