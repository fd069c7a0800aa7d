package lease

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"perch/gen/commandpb"
	"perch/gen/snapshotpb"
	"perch/quorum"
	"perch/tree"
)

// Idempotency records: what a command with a key did, so that the same one again
// does nothing and is answered the same (API.md rule 11, RULES.md R13 and R21).
// A record is found by its key for as long as it is kept, which depends on
// cluster age and on committed settings alone (R5, R20).

// record is what one command did. It is immutable once it is in a table.
type record struct {
	hash, digest TokenHash
	zxid         quorum.Zxid // of the command; no two records have the same
	age          uint64      // cluster age of the command
	principal    string
	told         []byte // a snapshotpb.Told, in as few bytes as that takes
}

func recordLess(a, b *record) bool { return lessHash(&a.hash, &b.hash) }

// recordOlder is the order in which they are forgotten.
func recordOlder(a, b *record) bool { return a.zxid < b.zxid }

// recordRoom is what a record takes besides its texts: itself, its places in two
// tables and what allocation rounds up. It is part of what heldLevel means.
const recordRoom = 64 + 2*sha256.Size + 2*8

// size counts against Settings.RecordBytes.
func (r *record) size() int64 { return recordRoom + int64(len(r.principal)+len(r.told)) }

// digestSum is the record's part of the sum over the state.
func (r *record) digestSum() uint64 {
	return sumOf(digestRecord, []uint64{uint64(r.zxid), r.age}, string(r.hash[:]), string(r.digest[:]), r.principal, string(r.told))
}

// recordsAtOnce is how many records one transaction forgets at most. It is part
// of what heldLevel means.
const recordsAtOnce = 1000

func (s *State) addRecord(r *record) {
	s.records.Set(r)
	s.recordsByAge.Set(r)
	s.countRecord(r, 1)
}

func (s *State) dropRecord(r *record) {
	s.records.Delete(r)
	s.recordsByAge.Delete(r)
	s.countRecord(r, -1)
}

func (s *State) countRecord(r *record, n int64) {
	s.count(tallyAllRecords, "", 0, n*r.size())
	s.count(tallyRecords, r.principal, 0, n*r.size())
	s.sum += uint64(n) * r.digestSum()
}

// retell has a record tell something else from now on.
func (s *State) retell(r *record, m *snapshotpb.Told) {
	s.dropRecord(r)
	next := *r
	next.told = toldBytes(m)
	s.addRecord(&next)
}

// recordOf is the record that the command at z made; nil when there is none.
func (s *State) recordOf(z quorum.Zxid) *record {
	r, _ := s.recordsByAge.Get(&record{zxid: z})
	return r
}

// forgetRecords drops what is older than it is kept, and while there is too much
// the oldest that may go.
func (s *State) forgetRecords() {
	for range recordsAtOnce {
		r, ok := s.recordsByAge.Min()
		if !ok {
			return
		}
		age := s.age - min(s.age, r.age)
		full := s.tally(tallyAllRecords, "", 0) > s.settings.RecordBytes && age >= uint64(s.settings.RecordLeastMs)
		if !full && age < uint64(s.settings.RecordAgeMs) {
			return
		}
		s.dropRecord(r)
	}
}

// crowded says whether a principal's next record must wait: all room is taken by
// records too young to go, and more than a quarter of it by his. What all
// together may take beyond the bound is bounded too.
func (s *State) crowded(x *txn) bool {
	all, most := s.tally(tallyAllRecords, "", 0), s.settings.RecordBytes
	if all < most {
		return false
	}
	if r, ok := s.recordsByAge.Min(); ok && x.age-min(x.age, r.age) >= uint64(s.settings.RecordLeastMs) {
		return false
	}
	return all >= 2*most || s.tally(tallyRecords, x.who.name, 0) > most/4
}

// keyed is what a transaction knows of the key of its command.
type keyed struct {
	hash, digest TokenHash
	keep         bool    // what comes of it is to be stored
	told         bool    // the result is that of an earlier command
	old          *record // of the handle that is asked for again; nil when there is none
	handle       *snapshotpb.Handle
	through      bool // it is that of a barrier which has opened since: no session is needed
	same         bool // it is the answer
}

// recall looks for what a command with this key did. It fills in what it finds
// and says true when that is the answer.
func (s *State) recall(x *txn, cmd *commandpb.Command, res *Result) (tree.Code, bool) {
	if cmd.Key == nil || ofCluster(cmd) || renews(cmd) {
		return tree.OK, false
	}
	k := &x.key
	if !readHash(&k.digest, cmd.Key.Digest) || !readHash(&k.hash, cmd.Key.Hash) || gets(cmd) {
		return tree.ErrInvalidArgument, true
	}
	asOneSession(&k.hash, cmd)
	r, ok := s.records.Get(&record{hash: k.hash})
	switch {
	case ok && r.digest != k.digest:
		return tree.ErrKeyReused, true
	case ok:
		return s.tellAgain(x, r, cmd, res)
	case s.crowded(x):
		return tree.ErrOverloaded, true
	}
	k.keep = true
	return tree.OK, false
}

func readHash(h *TokenHash, b []byte) bool {
	return copy(h[:], b) == len(b) && len(b) == len(h)
}

// renews says whether a command is one that may be repeated as it is, and whose
// key says nothing.
func renews(cmd *commandpb.Command) bool { return cmd.GetSetTtl() != nil || cmd.GetLeave() != nil }

// gets says whether a command is a multi that reads: of data no record is kept.
func gets(cmd *commandpb.Command) bool {
	return slices.ContainsFunc(cmd.GetMulti().GetOps(), func(part *commandpb.Op) bool { return part.GetGet() != nil })
}

// asOneSession makes the key of what hands something to a session one of that
// session, if the request names it: with another session the same key is another
// contender (RULES.md R15).
func asOneSession(hash *TokenHash, cmd *commandpb.Command) {
	switch cmd.Op.(type) {
	case *commandpb.Command_OpenSession, *commandpb.Command_Acquire, *commandpb.Command_Enter:
	default:
		return
	}
	switch ref := cmd.Session.GetRef().(type) {
	case *commandpb.SessionRef_TokenHash:
		*hash = sha256.Sum256(append(append(hash[:], 't'), ref.TokenHash...))
	case *commandpb.SessionRef_Id:
		*hash = sha256.Sum256(binary.BigEndian.AppendUint64(append(hash[:], 'i'), ref.Id))
	}
}

// tellAgain answers from a record, or prepares that a handle is asked for again.
func (s *State) tellAgain(x *txn, r *record, cmd *commandpb.Command, res *Result) (tree.Code, bool) {
	m := toldOf(r.told)
	h := m.Handle
	if h == nil {
		x.key.told = true
		*res = resultOf(r, m, cmd)
		return res.Code, true
	}
	live, _ := s.sessions.Get(&session{id: quorum.Zxid(h.Session)})
	switch cmd.Op.(type) {
	case *commandpb.Command_OpenSession:
		if live == nil {
			return tree.ErrSessionExpired, true
		}
		x.key.told = true
		*res = resultOf(r, m, cmd)
		res.Session = live.info(s.tree.Owned(live.id))
		return tree.OK, true
	case *commandpb.Command_Acquire:
		if live == nil && h.Token != 0 {
			return tree.ErrHoldLost, true
		}
	}
	x.key.old, x.key.handle, x.key.keep = r, h, true
	if op := cmd.GetEnter(); op != nil {
		x.key.through = s.through(x, op, h)
	}
	if live != nil {
		x.sess, x.Owner, x.ref = live, live.id, live.ref()
	}
	return tree.OK, false
}

// repeated looks at what came of a handle that was asked for again: it is the
// same, or one that the key gets because its wait had failed, or lost.
func (x *txn) repeated(cmd *commandpb.Command, res *Result) tree.Code {
	k := &x.key
	if k.old == nil {
		return tree.OK
	}
	k.same = res.Replayed
	if cmd.GetAcquire() != nil { // also an owner's second request is a replay
		k.same = res.Place.ID == k.old.zxid || k.handle.Token != 0 && uint64(res.Hold.Token) == k.handle.Token
		res.Replayed = k.same
	}
	if !k.same && k.handle.Token != 0 {
		return tree.ErrHoldLost
	}
	return tree.OK
}

// stored says whether a refusal is one that the same key is told again.
func stored(code tree.Code) bool {
	switch code {
	case tree.OK,
		tree.ErrNoNode, tree.ErrNoParent, tree.ErrNoSession, tree.ErrNoQueue, tree.ErrNoPrincipal, tree.ErrNoToken,
		tree.ErrNodeExists, tree.ErrNotEmpty, tree.ErrNoChildrenForEphemeral, tree.ErrLimitMismatch,
		tree.ErrVersionMismatch, tree.ErrETagMismatch, tree.ErrFenceStale:
		return true
	}
	return false
}

// keep stores what came of a command with a key, after its success or after its
// refusal was rolled back.
func (s *State) keep(x *txn, cmd *commandpb.Command, res *Result) {
	s.finish(res.Outcomes)
	k := &x.key
	if !k.keep || k.same || k.old != nil && res.Code == tree.ErrFenceStale {
		return
	}
	m := tellOf(x, cmd, res)
	if m == nil {
		return
	}
	if k.old != nil {
		s.dropRecord(k.old)
	}
	r := &record{hash: k.hash, digest: k.digest, zxid: x.Zxid, age: x.age, principal: x.who.name, told: toldBytes(m)}
	if p := s.principal(r.principal); p != nil {
		r.principal = p.Name // one string for all of them
	}
	s.addRecord(r)
}

// finish writes down what has come of the claims and acquisitions whose wait has
// ended.
func (s *State) finish(ends []Outcome) {
	for i := range ends {
		o := &ends[i]
		r := s.recordOf(o.Place)
		if r == nil || o.Code == tree.ErrSuperseded {
			continue
		}
		m := toldOf(r.told)
		switch {
		case m.Handle == nil || m.Handle.Token != 0:
		case o.Code == tree.OK:
			m.Handle = handleOf(o.Hold, o.Claimed)
			s.retell(r, m)
		default:
			s.dropRecord(r)
		}
	}
}

// unkeep drops the record of the command at z, which has come to nothing, or to
// something that nobody received and that was taken back: its key is as new.
func (s *State) unkeep(z quorum.Zxid) {
	if r := s.recordOf(z); r != nil {
		s.dropRecord(r)
	}
}
