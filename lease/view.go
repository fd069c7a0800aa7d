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
	tree     *tree.Reader
	history  tree.History
	sessions cow.Frozen[*session]
	tokens   cow.Frozen[token]
	ended    cow.Frozen[*ended]
}

// View is the present state. It takes constant time, and less when nothing was
// applied since the last call.
func (s *State) View() *View {
	if s.view == nil {
		s.view = &View{
			zxid: s.zxid, age: s.age, settings: s.settings, level: s.level, digest: s.digest(),
			tree: s.tree.Freeze(), history: s.history,
			sessions: s.sessions.Freeze(), tokens: s.tokens.Freeze(), ended: s.ended.Freeze(),
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

// Get is the node at a canonical path, with its data; false when there is none.
func (v *View) Get(path string) (tree.Node, bool) { return v.tree.Get(path) }

// Children is one page of the children of path, sorted by name, and whether
// there are more. The third result is false when there is no node at path.
func (v *View) Children(path string, p tree.Page) (kids []tree.Node, more, ok bool) {
	return v.tree.Children(path, p)
}

// Events are those of the interest after since: whole transactions, at least
// one. Cursor is the position up to which the batch is complete, never below
// since; with tree.ErrCursorExpired it is the position of the View.
func (v *View) Events(path string, scope tree.Scope, since quorum.Zxid, b tree.Bounds) (EventBatch, error) {
	batch := EventBatch{Cursor: max(since, v.zxid), Oldest: v.Oldest()}
	events, more, code := v.history.Query(tree.Interest{Path: path, Scope: scope}, since, b)
	if code != tree.OK {
		return EventBatch{Cursor: v.zxid, Oldest: v.Oldest()}, code
	}
	if batch.Events, batch.More = events, more; more {
		batch.Cursor = events[len(events)-1].Zxid
	}
	return batch, nil
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

// Lookup is the session that ref names, and what is known of it. A server's
// token carries the zxid that opened its session, so one above the position of
// the view is not known yet, and any other that is not alive has ended.
func (v *View) Lookup(ref *commandpb.SessionRef) (Info, Known) {
	hash, client := hashOf(ref)
	if !client {
		id := quorum.Zxid(ref.GetId())
		if n, ok := v.sessions.Get(&session{id: id}); ok && !n.drawn {
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

// SessionList is one page of the live sessions with ids above after, in rising
// order, and whether there are more.
func (v *View) SessionList(after quorum.Zxid, limit int) (list []Info, more bool) {
	v.sessions.Ascend(&session{id: after + 1}, func(n *session) bool {
		if len(list) >= max(limit, 1) {
			more = true
			return false
		}
		list = append(list, v.info(n))
		return true
	})
	return list, more
}

// EphemeralPaths lists the ephemerals of a session, sorted.
func (v *View) EphemeralPaths(id quorum.Zxid) []string { return v.tree.OwnedPaths(id) }

// ExpireCommands are commands that end the sessions, split so that one
// transaction touches no more nodes than Settings.TxnNodes, if no single
// session owns more. They have an effect only if they are committed in the epoch
// of the leader that makes them.
func (v *View) ExpireCommands(ids []quorum.Zxid, epoch quorum.Epoch) []*commandpb.Command {
	var out []*commandpb.Command
	var op *commandpb.ExpireSessions
	nodes := 0
	for _, id := range ids {
		n := v.tree.Owned(id)
		if op == nil || nodes+n > v.settings.TxnNodes || len(op.Ids) >= expireMost {
			op, nodes = &commandpb.ExpireSessions{Epoch: uint32(epoch)}, 0
			out = append(out, &commandpb.Command{Format: Format, Op: &commandpb.Command_ExpireSessions{ExpireSessions: op}})
		}
		op.Ids = append(op.Ids, uint64(id))
		nodes += n
	}
	return out
}

// expireMost is the most sessions in one command.
const expireMost = 1000
