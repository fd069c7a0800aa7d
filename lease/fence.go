package lease

import (
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// fences says whether all that must be held for a command is held. What is not
// stands in res by its name.
func (s *State) fences(x *txn, list []*commandpb.Fence, res *Result) tree.Code {
	if len(list) > wantsMost {
		return tree.ErrInvalidArgument
	}
	for _, f := range list {
		if code := s.fence(x, f); code != tree.OK {
			if code == tree.ErrFenceStale {
				res.Held = HeldState{Kind: f.Kind, Name: f.Name}
			}
			return code
		}
	}
	return tree.OK
}

// fence says whether what f names is held by who f says.
func (s *State) fence(x *txn, f *commandpb.Fence) tree.Code {
	path, code := s.heldPath(x, f.Kind, f.Name, PermUse|PermRead)
	if code == tree.OK && !s.holdsStill(x, path, quorum.Zxid(f.Token)) {
		code = tree.ErrFenceStale
	}
	return code
}

// heldPath is the path of what can be held under a name; of once, the run after
// a slash, or the last one.
func (s *State) heldPath(x *txn, kind commandpb.Kind, name string, any Perm) (string, tree.Code) {
	if kind > commandpb.Kind_KIND_ONCE {
		return "", tree.ErrInvalidArgument
	}
	name, key, keyed := strings.Cut(name, "/")
	if keyed && (kind != commandpb.Kind_KIND_ONCE || key == "" || len(key) > nameBytes) {
		return "", tree.ErrInvalidArgument
	}
	path, code := x.who.named(kind, name, any)
	switch {
	case code != tree.OK || kind != commandpb.Kind_KIND_ONCE:
		return path, code
	case keyed:
		return runPath(path, key), code
	}
	if last := s.lastRun(path); last != "" {
		return last, code
	}
	return path, code
}

// holdsStill says whether the thing at a path is held by whoever has the token,
// or with none by the session of the request. What several may hold needs the
// session besides the token (RULES.md R14).
func (s *State) holdsStill(x *txn, path string, token quorum.Zxid) bool {
	if first := s.firstHold(path); token != 0 && first != nil && s.thing(path).exclusive() && !first.shared {
		return first.proves(token)
	}
	if x.sess == nil {
		return false
	}
	for _, h := range s.holdsAt(x.sess.id, path) {
		if token == 0 || h.proves(token) {
			return true
		}
	}
	return false
}
