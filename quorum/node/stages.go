package node

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/nodepb"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/tracing"
)

// Bounds of what is remembered for traces.
const (
	stageRing   = 4096                   // groups that a stage remembers: more than a second of them
	stageNotes  = 1024                   // traced writes that wait to be told of
	stageSend   = 256                    // of them in one question to a member
	stageEvery  = 250 * time.Millisecond // between two looks at them
	stageSettle = 500 * time.Millisecond // until every stage of a write is over everywhere
)

// stages make the spans of traced writes. The log, the core and apply work on
// groups, so what is noted on the way is when each group passed a stage, and up to
// which position. A trace takes no part in a command or in the protocol: once the
// home of a traced write knows its position it tells the other members, and each
// looks up when that position passed its own stages. So every span is of the clock
// of the member that made it.
//
// A nil *stages notes nothing.
type stages struct {
	node   *Node
	tracer *tracing.Tracer

	mu     sync.Mutex
	passed [stageCount]ring
	fresh  []tracedWrite // of this node's clients, nobody has been told yet
	told   []tracedWrite // waiting for their stages to be over
}

// stage is what a transaction goes through at a member.
type stage uint8

const (
	stageLogged    stage = iota // handed to the log; by a leader to the network too
	stageWritten                // written and fsynced
	stageCommitted              // known to be committed
	stageApplied                // applied
	stageCount
)

// tracedWrite is a write whose stages are to be told.
type tracedWrite struct {
	of        tracing.Parent // the edge's span at its home; elsewhere the home's span
	zxid      quorum.Zxid
	at        time.Time // when its stages are looked up
	own       bool      // this node is its home; then:
	began     time.Time
	submitted time.Time // to the core
	ended     time.Time
}

func newStages(n *Node, t *tracing.Tracer) *stages {
	if t == nil {
		return nil
	}
	s := &stages{node: n, tracer: t}
	soft := n.Soft()
	for what, z := range [stageCount]quorum.Zxid{soft.Last, soft.Durable, soft.Commit, n.positions.now()} {
		s.passed[what].add(passage{upTo: z}) // before this life; what comes is after it
	}
	return s
}

// pass notes that everything up to z passed a stage.
func (s *stages) pass(what stage, z quorum.Zxid, begin, end time.Time) {
	if s == nil || z == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed[what].add(passage{z, begin, end})
}

// proceed notes what the core has decided.
func (s *stages) proceed(r *quorum.Ready, now time.Time) {
	s.pass(stageLogged, lastEntry(r.WAL), now, now)
	if n := len(r.Committed); n > 0 {
		s.pass(stageCommitted, r.Committed[n-1].Zxid, now, now)
	}
}

// lastEntry is the last position among records; 0 when there is none.
func lastEntry(records []quorum.Record) quorum.Zxid {
	for i := len(records) - 1; i >= 0; i-- {
		if records[i].Type == quorum.RecordEntry {
			return records[i].Entry.Zxid
		}
	}
	return 0
}

// done notes a traced write of this node's clients that has its result.
func (s *stages) done(r *request, z quorum.Zxid) {
	if s == nil || !r.trace.Valid() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.fresh) >= stageNotes {
		s.tracer.Dropped(1)
		return
	}
	s.fresh = append(s.fresh, tracedWrite{of: r.trace, zxid: z, own: true, began: r.began, submitted: r.submitted, ended: time.Now()})
}

// now is the time where it is wanted; reading the clock costs, if little.
func (s *stages) now() time.Time {
	if s == nil {
		return time.Time{}
	}
	return time.Now()
}

// read makes the spans of a linearizable read that is served now: its position was
// asked for, and confirmed.
func (s *stages) read(of tracing.Parent, began, confirmed time.Time) {
	s.tracer.Record(of, "confirm", began, confirmed)
	s.tracer.Record(of, "catch up", confirmed, time.Now())
}

// run tells of traced writes until ctx ends.
func (s *stages) run(ctx context.Context) {
	ticker := time.NewTicker(stageEvery)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			s.tell(ctx, s.begin(now))
			for _, w := range s.due(now) {
				s.record(&w)
			}
		case <-ctx.Done():
			return
		}
	}
}

// begin makes the spans of the writes that have just ended, which those of all
// members belong to.
func (s *stages) begin(now time.Time) []tracedWrite {
	s.mu.Lock()
	fresh := s.fresh
	s.fresh = nil
	s.mu.Unlock()
	for i := range fresh {
		w := &fresh[i]
		w.of = s.tracer.Record(w.of, "write", w.began, w.ended, s.place(w.zxid)...)
		s.tracer.Record(w.of, "queue", w.began, w.submitted)
		w.at = now.Add(stageSettle)
	}
	s.keep(fresh)
	return fresh
}

// keep has the stages of writes looked up later.
func (s *stages) keep(writes []tracedWrite) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := max(0, 4*stageNotes-len(s.told))
	if lost := len(writes) - room; lost > 0 {
		s.tracer.Dropped(lost)
		writes = writes[:room]
	}
	s.told = append(s.told, writes...)
}

// due takes the writes whose stages should be over.
func (s *stages) due(now time.Time) []tracedWrite {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.told) && !s.told[n].at.After(now) {
		n++
	}
	due := s.told[:n:n]
	s.told = s.told[n:]
	return due
}

// tell has the other members look up their own stages, all at once. One that does
// not answer is not asked again: its spans are missing then.
func (s *stages) tell(ctx context.Context, writes []tracedWrite) {
	ctx, cancel := context.WithTimeout(ctx, stageEvery)
	defer cancel()
	var asked sync.WaitGroup
	defer asked.Wait()
	for len(writes) > 0 && s.node.net != nil {
		some := writes[:min(len(writes), stageSend)]
		writes = writes[len(some):]
		req := new(nodepb.TraceRequest)
		for i := range some {
			req.Writes = append(req.Writes, &nodepb.TracedWrite{Zxid: uint64(some[i].zxid), Trace: some[i].of.Encode()})
		}
		body, err := proto.Marshal(req)
		if err != nil {
			return
		}
		for _, m := range s.node.members.Load().all {
			if m.ID != s.node.cfg.ID {
				asked.Go(func() { _, _ = s.node.net.Ask(ctx, m.ID, natsnet.KindTrace, body) })
			}
		}
	}
}

// serve takes what another member tells. A node that does not trace takes it too,
// so that the others need not know who does.
func (s *stages) serve(_ quorum.NodeID, body []byte) ([]byte, error) {
	req := new(nodepb.TraceRequest)
	if err := proto.Unmarshal(body, req); err != nil || s == nil {
		return nil, err
	}
	at := time.Now().Add(stageSettle)
	var writes []tracedWrite
	for _, w := range req.GetWrites() {
		if of := tracing.Decode(w.GetTrace()); of.Valid() {
			writes = append(writes, tracedWrite{of: of, zxid: quorum.Zxid(w.GetZxid()), at: at})
		}
	}
	s.keep(writes)
	return nil, nil
}

// record makes the spans of a write's stages at this member. What is not
// remembered any more has none.
func (s *stages) record(w *tracedWrite) {
	at, found := s.lookUp(w.zxid)
	if !found {
		return
	}
	logged, written, committed, applied := at[stageLogged], at[stageWritten], at[stageCommitted], at[stageApplied]
	of := w.of
	if w.own {
		s.tracer.Record(of, "propose", w.submitted, logged.begin) // at a follower: to the leader and back
	} else {
		of = s.tracer.Record(of, "replicate", logged.begin, latest(written.end, applied.end), s.place(w.zxid)...)
	}
	s.tracer.Record(of, "fsync", written.begin, written.end)
	s.tracer.Record(of, "commit", logged.begin, committed.end)
	s.tracer.Record(of, "apply", applied.begin, applied.end)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// lookUp finds when z passed all stages.
func (s *stages) lookUp(z quorum.Zxid) (at [stageCount]passage, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for what := range at {
		if at[what], found = s.passed[what].find(z); !found {
			return at, false
		}
	}
	return at, true
}

// place is where a span was made, and of what position it is.
func (s *stages) place(z quorum.Zxid) []tracing.Attribute {
	soft, role := s.node.Soft(), "follower"
	switch {
	case soft.Leader == s.node.cfg.ID:
		role = "leader"
	case soft.State == quorum.StateObserving:
		role = "observer"
	}
	return []tracing.Attribute{
		tracing.Number("perch.node", int64(s.node.cfg.ID)), tracing.Text("perch.role", role), tracing.Number("perch.zxid", int64(z)),
	}
}

// passage says that everything up to a position passed a stage, and when.
type passage struct {
	upTo       quorum.Zxid
	begin, end time.Time
}

// ring remembers the newest passages of a stage.
type ring struct {
	list []passage // grows to stageRing
	next int       // where the oldest is, once it has
}

func (r *ring) add(p passage) {
	if len(r.list) < stageRing {
		r.list = append(r.list, p)
		return
	}
	r.list[r.next] = p
	r.next = (r.next + 1) % stageRing
}

// find is the passage that z was in: the first up to z or beyond. It is not known
// unless the one before is still there.
func (r *ring) find(z quorum.Zxid) (p passage, ok bool) {
	for i := range r.list {
		q := r.list[(r.next-1-i+2*len(r.list))%len(r.list)] // from the newest back
		if q.upTo < z {
			return p, ok
		}
		p, ok = q, true
	}
	return passage{}, false
}
