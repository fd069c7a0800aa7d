package lease

import (
	"errors"
	"math"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"perch/gen/snapshotpb"
	"perch/quorum"
	"perch/tree"
)

// Idempotency records, queues and barriers in snapshots.

// Kinds of frames.
const (
	frameRecord  = 32
	frameQueue   = 33
	frameMessage = 34
	frameReceipt = 35
	frameWaiter  = 36
	frameBarrier = 37
	frameEntry   = 38
)

func init() {
	snapshotParts = append(snapshotParts,
		snapshotPart{frameRecord, func(v *View) int { return v.records.Len() }, writeRecords, readRecord},
		snapshotPart{frameQueue, func(v *View) int { return v.queues.Len() }, writeQueues, readQueue},
		snapshotPart{frameMessage, func(v *View) int { return v.messages.Len() }, writeMessages, readMessage},
		snapshotPart{frameReceipt, func(v *View) int { return v.receipts.Len() }, writeReceipts, readReceipt},
		snapshotPart{frameWaiter, func(v *View) int { return v.waiters.Len() }, writeWaiters, readWaiter},
		snapshotPart{frameBarrier, func(v *View) int { return v.barriers.Len() }, writeBarriers, readBarrier},
		snapshotPart{frameEntry, func(v *View) int { return v.entries.Len() }, writeEntries, readEntry},
	)
}

func writeRecords(v *View, f *frameWriter) {
	var m snapshotpb.Record
	v.records.Scan(func(r *record) bool {
		m.Hash, m.Digest, m.Zxid, m.AgeMs = r.hash[:], r.digest[:], uint64(r.zxid), r.age
		m.Principal, m.Told = r.principal, r.told
		return f.frame(frameRecord, &m)
	})
}

func readRecord(s *State, f *frameReader) error {
	var m snapshotpb.Record
	if err := f.next(frameRecord, &m); err != nil {
		return err
	}
	r := &record{zxid: quorum.Zxid(m.Zxid), age: m.AgeMs, principal: m.Principal, told: m.Told}
	if !readHash(&r.hash, m.Hash) || !readHash(&r.digest, m.Digest) {
		return errors.New("a hash of another size")
	}
	_, twice := s.records.Get(r)
	if twice || s.recordOf(r.zxid) != nil || r.zxid > s.zxid || r.age > s.age {
		return errors.New("an impossible idempotency record")
	}
	if p := s.principal(r.principal); p != nil {
		r.principal = p.Name
	}
	s.addRecord(r)
	return proto.Unmarshal(r.told, new(snapshotpb.Told))
}

func writeQueues(v *View, f *frameWriter) {
	var m snapshotpb.Queue
	v.queues.Scan(func(q *queue) bool {
		m.Path, m.Tag, m.LastId, m.MaxAttempts, m.DeadLetter = q.path, uint64(q.tag), q.last, q.attempts, q.dead
		return f.frame(frameQueue, &m)
	})
}

func readQueue(s *State, f *frameReader) error {
	var m snapshotpb.Queue
	if err := f.next(frameQueue, &m); err != nil {
		return err
	}
	q := &queue{path: m.Path, tag: quorum.Zxid(m.Tag), last: m.LastId, attempts: m.MaxAttempts, dead: m.DeadLetter}
	if s.queueAt(q.path) != nil || q.tag > s.zxid || q.attempts > attemptsMost || q.dead != "" && !CheckName(q.dead) {
		return errors.New("an impossible queue")
	}
	s.queues.Set(q)
	s.sum += q.digest()
	return tree.CheckPath(q.path, tree.PathLimits{})
}

func writeMessages(v *View, f *frameWriter) {
	var m snapshotpb.Message
	v.messages.Scan(func(n *message) bool {
		m.Path, m.Id, m.Priority, m.Data, m.State, m.Attempts = n.path, n.id, n.priority, n.data, uint32(n.state), n.attempts
		m.EnqueuedMs, m.SinceMs, m.DueMs, m.DeadFrom = n.enqueued, n.since, n.due, n.deadFrom
		m.Claim, m.By, m.Attach = uint64(n.claim), uint64(n.by), n.attach
		return f.frame(frameMessage, &m)
	})
}

func readMessage(s *State, f *frameReader) error {
	var m snapshotpb.Message
	if err := f.next(frameMessage, &m); err != nil {
		return err
	}
	n := &message{
		path: m.Path, id: m.Id, priority: m.Priority, data: m.Data, dataHash: xxhash.Sum64(m.Data), state: messageState(m.State),
		attempts: m.Attempts, enqueued: m.EnqueuedMs, since: m.SinceMs, due: m.DueMs, deadFrom: m.DeadFrom,
		claim: quorum.Zxid(m.Claim), by: quorum.Zxid(m.By), attach: m.Attach,
	}
	q := s.queueAt(n.path)
	switch {
	case q == nil, n.id == 0, n.id > q.last, s.message(n.path, n.id) != nil,
		m.State < uint32(messageReady), m.State > uint32(messageDelayed), n.since > s.age, n.claim > s.zxid,
		n.state == messageLeased && n.attempts == 0:
		return errors.New("an impossible message")
	}
	s.changeMessage(nil, nil, n)
	return nil
}

func writeReceipts(v *View, f *frameWriter) {
	var m snapshotpb.Receipt
	v.receipts.Scan(func(a *acked) bool {
		m.Path, m.Id, m.Claim, m.AgeMs = a.path, a.id, uint64(a.claim), a.age
		return f.frame(frameReceipt, &m)
	})
}

func readReceipt(s *State, f *frameReader) error {
	var m snapshotpb.Receipt
	if err := f.next(frameReceipt, &m); err != nil {
		return err
	}
	a := &acked{path: m.Path, id: m.Id, claim: quorum.Zxid(m.Claim), age: m.AgeMs}
	if _, twice := s.receipts.Get(a); twice || a.age > s.age || a.claim > s.zxid {
		return errors.New("an impossible receipt")
	}
	s.addAcked(a)
	return nil
}

func writeWaiters(v *View, f *frameWriter) {
	var m snapshotpb.Waiter
	v.waiters.Scan(func(w *waiter) bool {
		m.Path, m.Place, m.Attach, m.Node, m.Instance = w.path, uint64(w.place), w.attach, uint32(w.node), w.home
		m.Count, m.TtlMs = w.count, w.ttlMs
		return f.frame(frameWaiter, &m)
	})
}

func readWaiter(s *State, f *frameReader) error {
	var m snapshotpb.Waiter
	if err := f.next(frameWaiter, &m); err != nil {
		return err
	}
	w := &waiter{
		path: m.Path, place: quorum.Zxid(m.Place), attach: m.Attach, node: quorum.NodeID(m.Node), home: m.Instance,
		count: m.Count, ttlMs: m.TtlMs,
	}
	if s.waiterAt(w.place) != nil || w.place > s.zxid || m.Node > math.MaxUint16 || m.Count == 0 || m.Count > claimMost ||
		m.TtlMs > claimTTLMaxMs {
		return errors.New("an impossible claim")
	}
	s.addWaiter(w)
	return tree.CheckPath(w.path, tree.PathLimits{})
}

func writeBarriers(v *View, f *frameWriter) {
	var m snapshotpb.Barrier
	v.barriers.Scan(func(b *barrier) bool {
		m.Path, m.Tag, m.Generation, m.Count, m.Closed = b.path, uint64(b.tag), b.generation, b.count, b.closed
		return f.frame(frameBarrier, &m)
	})
}

func readBarrier(s *State, f *frameReader) error {
	var m snapshotpb.Barrier
	if err := f.next(frameBarrier, &m); err != nil {
		return err
	}
	b := &barrier{path: m.Path, tag: quorum.Zxid(m.Tag), generation: m.Generation, count: m.Count, closed: m.Closed}
	if _, twice := s.barriers.Get(b); twice || b.tag > s.zxid || b.generation > 1<<62 || b.count > barrierCount {
		return errors.New("an impossible barrier")
	}
	s.barriers.Set(b)
	s.sum += b.digest()
	if b.closed {
		s.countClosed(b)
	}
	return tree.CheckPath(b.path, tree.PathLimits{})
}

func writeEntries(v *View, f *frameWriter) {
	var m snapshotpb.Entry
	v.entries.Scan(func(e *entry) bool {
		m.Path, m.Session, m.Generation, m.Owner, m.Made = e.path, uint64(e.session), e.generation, e.owner, uint64(e.made)
		m.Told = e.told
		return f.frame(frameEntry, &m)
	})
}

func readEntry(s *State, f *frameReader) error {
	var m snapshotpb.Entry
	if err := f.next(frameEntry, &m); err != nil {
		return err
	}
	e := &entry{
		path: m.Path, session: quorum.Zxid(m.Session), generation: m.Generation, owner: m.Owner, made: quorum.Zxid(m.Made), told: m.Told,
	}
	_, live := s.sessions.Get(&session{id: e.session})
	b, known := s.barriers.Get(&barrier{path: e.path})
	if !live || !known || s.entryOf(e.session, e.path) != nil || e.generation > b.generation+1 || e.made > s.zxid ||
		e.told && e.generation > b.generation {
		return errors.New("an impossible entry")
	}
	s.addEntry(nil, e)
	return nil
}
