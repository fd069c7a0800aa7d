package lease

import (
	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
	"perch/tree/cow"
)

// heldView is holding at one zxid.
type heldView struct {
	things cow.Frozen[*thing]
	holds  cow.Frozen[*hold]
	places cow.Frozen[*place]
	overs  cow.Frozen[*over]

	holdsOf cow.Frozen[*hold]
	askers  cow.Frozen[asker]
	loads   cow.Frozen[load]
	waits   cow.Frozen[wait]
	runs    cow.Frozen[runSpot]

	wall    int64
	wallAge uint64
}

func (h *holding) freeze() heldView {
	return heldView{
		things: h.things.Freeze(), holds: h.holds.Freeze(), places: h.places.Freeze(), overs: h.overs.Freeze(),
		holdsOf: h.holdsOf.Freeze(), askers: h.askers.Freeze(), loads: h.loads.Freeze(), waits: h.waits.Freeze(), runs: h.runs.Freeze(),
		wall: h.wall, wallAge: h.wallAge,
	}
}

// Waits says whether a session that was opened for what it takes waits for it
// still: it must not expire before its wait ends (RULES.md R17).
func (v *View) Waits(id quorum.Zxid) (waits bool) {
	n, ok := v.sessions.Get(&session{id: id})
	if !ok || !n.transient {
		return false
	}
	v.askers.Ascend(asker{session: id}, func(a asker) bool {
		if a.session != id {
			return false
		}
		p, _ := v.places.Get(&place{id: a.id})
		waits = p.asking
		return !waits
	})
	return waits
}

// load is how many holds and places a session has.
func (v *View) load(id quorum.Zxid) int {
	l, _ := v.loads.Get(load{session: id})
	return l.n
}

// Left is what a session had left by its last checkpoint, in milliseconds; 0 is
// all of its TTL (RULES.md R22).
func (v *View) Left(id quorum.Zxid) uint64 {
	n, ok := v.sessions.Get(&session{id: id})
	if !ok {
		return 0
	}
	return n.left
}

// HomeRef is a node in one of its lives, that requests wait at.
type HomeRef struct {
	Node quorum.NodeID
	Home uint64
}

// Homes are those that some request waits at, in order.
func (v *View) Homes() (list []HomeRef) {
	for next, more := (wait{}), true; more; {
		more = false
		v.waits.Ascend(next, func(w wait) bool {
			list = append(list, HomeRef{w.node, w.home})
			next, more = wait{node: w.node, home: w.home, place: ^quorum.Zxid(0)}, true
			return false
		})
	}
	return list
}

// WaitsAt says how many requests wait at a home.
func (v *View) WaitsAt(h HomeRef) (n int) {
	v.waits.Ascend(wait{node: h.Node, home: h.Home}, func(w wait) bool {
		if w.node != h.Node || w.home != h.Home {
			return false
		}
		n++
		return true
	})
	return n
}

// ofHeld answers what is asked about things that are held.
func (s *sight) ofHeld(a *Answer) (more bool, code tree.Code) {
	if s.q.Kind == ReadHelds {
		return s.heldList(a)
	}
	path, code := s.who.named(s.q.Of, s.q.Name, PermRead)
	switch {
	case code != tree.OK:
		return false, code
	case s.q.Of > commandpb.Kind_KIND_ONCE, s.q.Key != "" && s.q.Of != commandpb.Kind_KIND_ONCE, len(s.q.Key) > nameBytes:
		return false, tree.ErrInvalidArgument
	case s.q.Key != "":
		path = runPath(path, s.q.Key)
	case s.q.Of == commandpb.Kind_KIND_ONCE:
		if last := lastRunOf(s.runs.Ascend, path); last != "" {
			path = last
		}
	}
	a.Held = []HeldState{s.state(path)}
	return false, tree.OK
}

func (s *sight) state(path string) HeldState {
	t, _ := s.things.Get(&thing{path: path})
	return stateOf(t, path, s.holds.Ascend)
}

// room is the path in the whole tree of what is above all names of a kind.
func (s *sight) room() (string, tree.Code) {
	room, known := rooms[s.q.Of]
	if !known || s.q.Name != "" && !CheckName(s.q.Name) {
		return "", tree.ErrInvalidArgument
	}
	return s.who.resolve(tree.Reserved + "/" + room)
}

// heldList is of the things of a kind that are held or waited for. What the
// caller may not look at is left out.
func (s *sight) heldList(a *Answer) (more bool, code tree.Code) {
	room, code := s.room()
	switch {
	case code != tree.OK:
		return false, code
	case s.q.Of >= commandpb.Kind_KIND_ONCE:
		return false, tree.ErrInvalidArgument
	}
	prefix, from := room+"/"+s.q.Name, room+"/"+max(s.q.Name, s.from.Name)
	s.things.Ascend(&thing{path: from}, func(t *thing) bool {
		if len(t.path) < len(prefix) || t.path[:len(prefix)] != prefix {
			return false
		}
		if s.from.Name != "" && t.path == from || !s.who.allows(t.path, PermRead) {
			return true
		}
		if more = len(a.Held) >= max(s.q.Limit, 1); !more {
			a.Held = append(a.Held, stateOf(t, t.path, s.holds.Ascend))
		}
		return !more
	})
	return more, tree.OK
}

// nameList is of the names of a kind whose nodes are there. What the caller may
// not look at is left out.
func (s *sight) nameList(a *Answer) (more bool, code tree.Code) {
	room, code := s.room()
	if code != tree.OK {
		return false, code
	}
	limit, after, prefix := max(s.q.Limit, 1), s.from.Name, s.q.Name
	add := func(name string) bool {
		if more = len(a.Names) >= limit; !more && s.who.allows(room+"/"+name, PermRead) {
			a.Names = append(a.Names, name)
		}
		return !more
	}
	if after == "" && prefix != "" {
		if _, ok := s.tree.Get(room + "/" + prefix); ok {
			add(prefix)
		}
		after = prefix
	}
	for goes := true; goes && !more; {
		var kids []tree.Node
		kids, goes, _ = s.tree.Children(room, tree.Page{After: after, Limit: limit + 1})
		for _, k := range kids {
			if after = tree.Name(k.Path); len(after) < len(prefix) || after[:len(prefix)] != prefix {
				return more, tree.OK
			}
			if !add(after) {
				break
			}
		}
	}
	return more, tree.OK
}

// holdNames are the holds of a session as a fence names them, as far as the
// caller can name them.
func (s *sight) holdNames(id quorum.Zxid) (names []string) {
	s.holdsOf.Ascend(&hold{session: id}, func(h *hold) bool {
		if h.session != id {
			return false
		}
		if path, ok := s.who.shown(h.path); ok {
			at := nothingAt(path)
			name := rooms[at.Kind] + "/" + at.Name
			if at.Run.Key != "" {
				name += "/" + at.Run.Key
			}
			if len(names) == 0 || names[len(names)-1] != name {
				names = append(names, name)
			}
		}
		return true
	})
	return names
}
