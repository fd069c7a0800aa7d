package lease

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/cespare/xxhash/v2"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// TokenHash stands for a token that a client drew: its SHA-256, or where there
// is a principal, a hash of that one and of his name. So a session is found by
// whoever opened it, and to everybody else its token is like one that nobody has
// ever drawn. The state never holds a token (RULES.md R19).
type TokenHash [sha256.Size]byte

// session is one live session. It is immutable once it is in a table.
type session struct {
	id        quorum.Zxid // the transaction that opened it
	ttlMs     uint64
	drawn     bool // by a client: hash is valid
	hash      TokenHash
	principal string // who opened it; "": nobody
	transient bool   // it ends with what it holds, and is forgotten
	left      uint64 // ms of its TTL by the last checkpoint; 0: all
}

func sessionLess(a, b *session) bool { return a.id < b.id }

// heldSession lists a session under the principal who opened it.
type heldSession struct {
	principal string
	id        quorum.Zxid
}

func heldLess(a, b heldSession) bool {
	if a.principal != b.principal {
		return a.principal < b.principal
	}
	return a.id < b.id
}

// holder counts the sessions of a principal.
type holder struct {
	principal string
	n         int
}

func holderLess(a, b holder) bool { return a.principal < b.principal }

// token finds the session that a client's token opened.
type token struct {
	hash TokenHash
	id   quorum.Zxid
}

func tokenLess(a, b token) bool { return lessHash(&a.hash, &b.hash) }

// ended remembers a client's token after the end of its session, so that it
// opens no other one.
type ended struct {
	hash TokenHash
	age  uint64 // cluster age at the end
}

func endedLess(a, b *ended) bool { return lessHash(&a.hash, &b.hash) }

// endedOlder is the order in which they are forgotten.
func endedOlder(a, b *ended) bool {
	if a.age != b.age {
		return a.age < b.age
	}
	return lessHash(&a.hash, &b.hash)
}

func lessHash(a, b *TokenHash) bool {
	for i := 0; i < len(a); i += 8 {
		x, y := binary.BigEndian.Uint64(a[i:]), binary.BigEndian.Uint64(b[i:])
		if x != y {
			return x < y
		}
	}
	return false
}

// digest is the session's part of the sum over the state.
func (s *session) digest() uint64 {
	b := make([]byte, 50, 50+len(s.principal))
	b[0] = 'S'
	if s.drawn {
		b[1] = 1
	}
	binary.LittleEndian.PutUint64(b[2:], uint64(s.id))
	binary.LittleEndian.PutUint64(b[10:], s.ttlMs)
	copy(b[18:], s.hash[:])
	if s.transient {
		b[1] |= 2
	}
	if s.left != 0 {
		b[1] |= 4
		b = binary.LittleEndian.AppendUint64(b, s.left)
	}
	return xxhash.Sum64(append(b, s.principal...))
}

// digest is the ended token's part of the sum over the state.
func (e *ended) digest() uint64 {
	var b [41]byte
	b[0] = 'X'
	binary.LittleEndian.PutUint64(b[1:], e.age)
	copy(b[9:], e.hash[:])
	return xxhash.Sum64(b[:])
}

func (s *session) info(ephemerals int) Info {
	return Info{
		ID: s.id, TTL: time.Duration(s.ttlMs) * time.Millisecond, Ephemerals: ephemerals, Principal: s.principal,
	}
}

// hashOf is the hash of the token of ref in the hands of a principal; false when
// ref has none of the right size.
func hashOf(ref *commandpb.SessionRef, principal string) (h TokenHash, ok bool) {
	r, is := ref.GetRef().(*commandpb.SessionRef_TokenHash)
	switch {
	case !is || len(r.TokenHash) != len(h):
		return h, false
	case principal != "":
		return sha256.Sum256(append([]byte(principal+"\x00"), r.TokenHash...)), true
	}
	copy(h[:], r.TokenHash)
	return h, true
}

// found says whether a principal has s by a token that the server drew; where a
// client drew it, the client has the token and not the server.
func (s *session) found(principal string) bool { return !s.drawn && s.principal == principal }

// find is the live session of ref in the hands of a principal, and nil when
// there is none; known is false only for a client's token that the state does
// not remember at all.
func (s *State) find(ref *commandpb.SessionRef, principal string) (live *session, known bool) {
	hash, client := hashOf(ref, principal)
	if !client {
		live, _ = s.sessions.Get(&session{id: quorum.Zxid(ref.GetId())})
		if live != nil && !live.found(principal) {
			live = nil
		}
		return live, true
	}
	if t, ok := s.tokens.Get(token{hash: hash}); ok {
		live, _ = s.sessions.Get(&session{id: t.id})
		return live, true
	}
	_, known = s.ended.Get(&ended{hash: hash})
	return nil, known
}

// open adds a session with the id of this transaction.
func (s *State) open(x *txn, ref *commandpb.SessionRef, ttlMs uint64) (*session, tree.Code) {
	switch {
	case !s.settings.validTTL(ttlMs):
		return nil, tree.ErrInvalidArgument
	case s.sessions.Len() >= s.settings.Sessions,
		x.who.name != "" && s.held(x.who.name) >= s.settings.PrincipalSessions:
		return nil, tree.ErrTooManySessions
	}
	n := &session{id: x.Zxid, ttlMs: ttlMs, principal: x.who.name}
	n.hash, n.drawn = hashOf(ref, n.principal)
	if n.drawn {
		s.tokens.Set(token{n.hash, n.id})
	}
	s.sessions.Set(n)
	s.hold(n)
	s.sum += n.digest()
	x.opened = true
	return n, tree.OK
}

// held is the number of sessions of a principal.
func (s *State) held(principal string) int {
	h, _ := s.holders.Get(holder{principal: principal})
	return h.n
}

// hold lists a session under its principal, if it has one.
func (s *State) hold(n *session) {
	if n.principal == "" {
		return
	}
	s.heldBy.Set(heldSession{n.principal, n.id})
	s.holders.Set(holder{n.principal, s.held(n.principal) + 1})
}

// letGo is the reverse of hold.
func (s *State) letGo(n *session) {
	if n.principal == "" {
		return
	}
	s.heldBy.Delete(heldSession{n.principal, n.id})
	if left := s.held(n.principal) - 1; left > 0 {
		s.holders.Set(holder{n.principal, left})
	} else {
		s.holders.Delete(holder{principal: n.principal})
	}
}

// sessionsOf are the sessions of a principal, by rising id.
func (s *State) sessionsOf(principal string) []*session {
	list := make([]*session, 0, s.held(principal))
	s.heldBy.Ascend(heldSession{principal: principal}, func(h heldSession) bool {
		if h.principal != principal {
			return false
		}
		n, _ := s.sessions.Get(&session{id: h.id})
		list = append(list, n)
		return true
	})
	return list
}

// end removes a session with all that is its own. Its token opens no other one.
func (s *State) end(x *txn, n *session) {
	s.endHeld(x, n)
	s.endEntries(x, n.id)
	s.drop(x, n)
	if n.drawn {
		s.remember(&ended{hash: n.hash, age: x.age})
	}
}

// drop removes a session that holds nothing any more, with its ephemerals.
func (s *State) drop(x *txn, n *session) {
	s.tree.DropOwned(&x.Txn, n.id)
	s.sessions.Delete(n)
	s.letGo(n)
	s.sum -= n.digest()
	if n.drawn {
		s.tokens.Delete(token{hash: n.hash})
	}
	x.ended = append(x.ended, n.id)
}

func (s *State) remember(e *ended) {
	s.ended.Set(e)
	s.endedByAge.Set(e)
	s.sum += e.digest()
}

// forget drops what was remembered of ended sessions for long enough, and the
// oldest beyond as many as there may be sessions.
func (s *State) forget() {
	for s.endedByAge.Len() > 0 {
		e, _ := s.endedByAge.Min()
		old := s.age >= e.age && s.age-e.age >= uint64(s.settings.ClosedAgeMs)
		if !old && s.endedByAge.Len() <= s.settings.Sessions {
			return
		}
		s.endedByAge.Delete(e)
		s.ended.Delete(e)
		s.sum -= e.digest()
	}
}

// setTTL gives n another TTL.
func (s *State) setTTL(n *session, ttlMs uint64) *session {
	changed := *n
	changed.ttlMs, changed.left = ttlMs, 0
	return s.replace(n, &changed)
}

// replace has next be what old was.
func (s *State) replace(old, next *session) *session {
	s.sum += next.digest() - old.digest()
	s.sessions.Set(next)
	return next
}
