package lease

import (
	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
	"perch/tree/cow"
)

// View is the state at one zxid. It never changes and may be used by any number
// of goroutines; holding one keeps the memory of what it shows.
type View struct {
	zxid     quorum.Zxid
	age      uint64
	settings Settings
	level    uint32
	digest   uint64
	gaps     gaps
	tree     *tree.Reader
	history  tree.History
	sessions cow.Frozen[*session]
	tokens   cow.Frozen[token]
	ended    cow.Frozen[*ended]
	heldBy   cow.Frozen[heldSession]

	auth       bool
	principals cow.Frozen[*principal]
	apiTokens  cow.Frozen[*apiToken]
	apiSecrets cow.Frozen[*apiToken]

	dues cow.Frozen[due]

	heldView
	keptView
}

// View is the present state. It takes constant time, and less when nothing was
// applied since the last call.
func (s *State) View() *View {
	if s.view == nil {
		s.view = &View{
			zxid: s.zxid, age: s.age, settings: s.settings, level: s.level, digest: s.digest(), gaps: s.gaps,
			tree: s.tree.Freeze(), history: s.history,
			sessions: s.sessions.Freeze(), tokens: s.tokens.Freeze(), ended: s.ended.Freeze(),
			heldBy: s.heldBy.Freeze(), auth: s.auth, principals: s.principals.Freeze(),
			apiTokens: s.apiTokens.Freeze(), apiSecrets: s.apiSecrets.Freeze(),
			dues: s.dues.Freeze(), heldView: s.holding.freeze(), keptView: s.keeping.freeze(),
		}
	}
	return s.view
}

// Zxid is the position of the state.
func (v *View) Zxid() quorum.Zxid { return v.zxid }

// Age is the cluster age at the position, in milliseconds.
func (v *View) Age() uint64 { return v.age }

// Digest is a function of the state alone: equal states have equal digests on
// all nodes, whether they came from a log or from a snapshot.
func (v *View) Digest() uint64 { return v.digest }

// Settings are those in force.
func (v *View) Settings() Settings { return v.settings }

// Level is the feature level: the highest format of commands that may be
// proposed (RULES.md R6).
func (v *View) Level() uint32 { return v.level }

// Nodes is the number of nodes, the root included.
func (v *View) Nodes() int { return v.tree.Len() }

// Sessions is the number of live sessions.
func (v *View) Sessions() int { return v.sessions.Len() }

// Oldest is the least position that Events accepts: 0 while no event was
// trimmed.
func (v *View) Oldest() quorum.Zxid { return v.history.Oldest() }

// KeptEvents is the number of events in the history.
func (v *View) KeptEvents() int { return v.history.Len() }

// EventBytes is what they count against Settings.EventBytes.
func (v *View) EventBytes() int64 { return v.history.Bytes() }

// OldestEvent is the age in milliseconds of the oldest of them at the position; 0
// when there is none.
func (v *View) OldestEvent() uint64 {
	age, ok := v.history.First()
	if !ok {
		return 0
	}
	return v.age - min(v.age, age)
}

// Held is the number of holds: of locks, semaphores, elections and runs of once.
func (v *View) Held() int { return v.holds.Len() }

// Places is the number of places in the queues of what is held.
func (v *View) Places() int { return v.places.Len() }

// Records is the number of idempotency records.
func (v *View) Records() int { return v.records.Len() }

// Events are those of q's interest after q.Since that its caller may read at
// wall, Unix milliseconds: whole transactions, at least one. Cursor is the
// position up to which the batch is complete, never below since; with
// tree.ErrCursorExpired it is the position of the View. What the caller may read
// is decided by the grants that he has now and the ACL that the node had then.
func (v *View) Events(q EventQuery, b tree.Bounds, wall int64) (EventBatch, error) {
	gone := EventBatch{Cursor: v.zxid, Oldest: v.Oldest()}
	who, code := v.policy().access(q.Caller, wall)
	if code != tree.OK {
		return gone, code
	}
	if v.InGap(q.Since) {
		return gone, tree.ErrHistoryLost
	}
	want := tree.Interest{Scope: q.Scope}
	if want.Path, code = who.resolve(q.Path); code != tree.OK {
		return gone, code
	}
	if !who.Path(want.Path, tree.PermRead) {
		return gone, tree.ErrPermissionDenied
	}
	batch := EventBatch{Cursor: max(q.Since, v.zxid), Oldest: v.Oldest()}
	for since := q.Since; ; since = batch.Cursor {
		events, more, code := v.history.Query(want, since, b)
		if code != tree.OK {
			return gone, code
		}
		if batch.More = more; more {
			batch.Cursor = events[len(events)-1].Zxid
		} else {
			batch.Cursor = max(q.Since, v.zxid)
		}
		if batch.Events = who.visible(events); len(batch.Events) > 0 || !more {
			return batch, nil
		}
	}
}

// Happened says whether something of an interest came after its Since, at wall,
// Unix milliseconds, or whether that cannot be told.
func (v *View) Happened(i Interest, wall int64) bool {
	one := tree.Bounds{Events: 1}
	if !i.State {
		batch, err := v.Events(EventQuery{Caller: i.Caller, Path: i.Path, Scope: i.Scope, Since: i.Since}, one, wall)
		return err != nil || len(batch.Events) > 0
	}
	path, code := v.Resolve(i.Caller, i.Path, wall)
	if code != tree.OK {
		return true
	}
	events, _, code := v.history.Query(tree.Interest{Path: path, Scope: i.Scope, ACL: true}, i.Since, one)
	return code != tree.OK || len(events) > 0
}

// visible are the events that the caller may read, with the paths that he knows.
func (a *access) visible(events []tree.Event) []tree.Event {
	seen := events[:0] // a query's result is its own
	for _, e := range events {
		if a.reads(e.Path, e.ACL) {
			e.Path, _ = a.shown(e.Path)
			seen = append(seen, e)
		}
	}
	return seen
}

// Session is the live session with the id; false when there is none.
func (v *View) Session(id quorum.Zxid) (Info, bool) {
	n, ok := v.sessions.Get(&session{id: id})
	if !ok {
		return Info{}, false
	}
	return v.info(n), true
}

func (v *View) info(n *session) Info { return n.info(v.tree.Owned(n.id)) }

// Known says what a view knows of the session of a token.
type Known uint8

const (
	// KnownNot: the token was never seen here; a later state may know it.
	KnownNot Known = 0
	// KnownAlive: the session lives.
	KnownAlive Known = 1
	// KnownEnded: the session has ended; no later state will know it alive
	// until the token is forgotten (Settings.ClosedAgeMs).
	KnownEnded Known = 2
)

// Lookup is the session that ref names in the hands of a principal, "" for
// nobody, and what is known of it. A server's token carries the zxid that opened
// its session, so one above the position of the view is not known yet, and any
// other that is not alive, or another's, has ended.
func (v *View) Lookup(ref *commandpb.SessionRef, principal string) (Info, Known) {
	hash, client := hashOf(ref, principal)
	if !client {
		id := quorum.Zxid(ref.GetId())
		if n, ok := v.sessions.Get(&session{id: id}); ok && n.found(principal) {
			return v.info(n), KnownAlive
		}
		if id > v.zxid {
			return Info{}, KnownNot
		}
		return Info{}, KnownEnded
	}
	if t, ok := v.tokens.Get(token{hash: hash}); ok {
		info, _ := v.Session(t.id)
		return info, KnownAlive
	}
	if _, ok := v.ended.Get(&ended{hash: hash}); ok {
		return Info{}, KnownEnded
	}
	return Info{}, KnownNot
}

// Due lists up to limit nodes whose time is over at a cluster age, in
// milliseconds, longest ago first.
func (v *View) Due(age uint64, limit int) []string {
	if at, ok := v.tree.NextDue(); !ok || at > age {
		return nil
	}
	return v.tree.Due(age, limit)
}

// ExpireCommands are commands that end the sessions, split so that one
// transaction touches no more nodes, holds and places than Settings.TxnNodes, if
// no single session owns more. They have an effect only if they are committed in the epoch
// of the leader that makes them.
func (v *View) ExpireCommands(ids []quorum.Zxid, epoch quorum.Epoch) []*commandpb.Command {
	var out []*commandpb.Command
	var op *commandpb.ExpireSessions
	nodes := 0
	for _, id := range ids {
		n := v.tree.Owned(id) + v.load(id)
		if op == nil || nodes+n > v.settings.TxnNodes || len(op.Ids) >= expireMost {
			op, nodes = &commandpb.ExpireSessions{Epoch: uint32(epoch)}, 0
			out = append(out, &commandpb.Command{Format: v.level, Op: &commandpb.Command_ExpireSessions{ExpireSessions: op}})
		}
		op.Ids = append(op.Ids, uint64(id))
		nodes += n
	}
	return out
}

// expireMost is the most sessions in one command.
const expireMost = 1000
