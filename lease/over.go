package lease

import (
	"perch/gen/commandpb"
	"perch/quorum"
)

// endHow says how a hold or a place has ended.
type endHow uint8

const (
	howBroken    endHow = 0 // by an administrator, or with whoever held it
	howReleased  endHow = 1
	howExpired   endHow = 2
	howCompleted endHow = 3 // a run, with a result
	howLost      endHow = 4 // nobody was told that it was granted
)

// own says whether it was the holder who ended it.
func (h endHow) own() bool { return h == howReleased || h == howCompleted }

// over is a hold or a place that has ended, for whoever asks again whether he
// still has it: his session may be gone with it.
type over struct {
	path  string      // "": all that the session held
	ref   string      // of the session
	token quorum.Zxid // of the hold, or the id of the place
	how   endHow
	age   uint64
}

// overLess has the youngest hold of a session first.
func overLess(a, b *over) bool {
	switch {
	case a.path != b.path:
		return a.path < b.path
	case a.ref != b.ref:
		return a.ref < b.ref
	}
	return a.token > b.token
}

func overOlder(a, b *over) bool {
	if a.age != b.age {
		return a.age < b.age
	}
	return overLess(a, b)
}

func (o *over) digest() uint64 {
	d := digester(append(make([]byte, 0, 160), 'V', byte(o.how)))
	d.text(o.path)
	d.text(o.ref)
	d.num(uint64(o.token))
	d.num(o.age)
	return d.sum()
}

// overMost is how many are remembered. It is part of what heldLevel means.
const overMost = 1 << 18

// over notes that something has ended.
func (s *State) over(x *txn, path, ref string, token quorum.Zxid, how endHow) {
	o := &over{path: path, ref: ref, token: token, how: how, age: x.age}
	if old, ok := s.overs.Get(o); ok {
		s.forgetOver(old)
	}
	s.listOver(o)
}

func (s *State) listOver(o *over) {
	s.overs.Set(o)
	s.oversOld.Set(o)
	s.sum += o.digest()
}

func (s *State) forgetOver(o *over) {
	s.overs.Delete(o)
	s.oversOld.Delete(o)
	s.sum -= o.digest()
}

// forgetOvers drops what was remembered for long enough.
func (s *State) forgetOvers() {
	for s.oversOld.Len() > 0 {
		o, _ := s.oversOld.Min()
		old := s.age >= o.age && s.age-o.age >= uint64(s.settings.OverAgeMs)
		if !old && s.oversOld.Len() <= overMost {
			return
		}
		s.forgetOver(o)
	}
}

// endedHow is how what a session held at a path has ended: the hold with the token,
// or with none the last one. False when that is not known.
func (s *State) endedHow(path, ref string, token quorum.Zxid) (how endHow, known bool) {
	return endedHow(s.overs.Ascend, path, ref, token)
}

// endedHow is the same; overs lists what is remembered, in order.
func endedHow(overs func(*over, func(*over) bool), path, ref string, token quorum.Zxid) (how endHow, known bool) {
	from := &over{path: path, ref: ref, token: token}
	if token == 0 {
		from.token = ^quorum.Zxid(0)
	}
	overs(from, func(o *over) bool {
		if o.path == path && o.ref == ref && (token == 0 || o.token == token) {
			how, known = o.how, true
		}
		return false
	})
	return how, known
}

// ref is how what n held is remembered when n is gone.
func (n *session) ref() string {
	if n.drawn {
		return "h" + string(n.hash[:])
	}
	return idRef(n.id)
}

func idRef(id quorum.Zxid) string {
	d := digester("i")
	d.num(uint64(id))
	return string(d)
}

// refOf is ref of the session that a request means, in the hands of a principal.
func refOf(r *commandpb.SessionRef, principal string) string {
	if hash, ok := hashOf(r, principal); ok {
		return "h" + string(hash[:])
	}
	return idRef(quorum.Zxid(r.GetId()))
}

// noteWall keeps the wall time of the last command, which bounds how far a
// window may be ahead (RULES.md R20).
func (s *State) noteWall(x *txn) {
	if s.level >= heldLevel && x.Wall != 0 {
		s.wall, s.wallAge = x.Wall, x.age
	}
}

func (s *State) wallDigest(b []byte) []byte {
	if s.level < heldLevel {
		return b
	}
	d := digester(b)
	d.num(uint64(s.wall))
	d.num(s.wallAge)
	return d
}
