package lease

import (
	"encoding/json"
	"strconv"
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// holdersShown is how many holders are listed.
const holdersShown = 16

// heldState is what others are told of the thing at a path.
func (s *State) heldState(path string) HeldState {
	return stateOf(s.thing(path), path, s.holds.Ascend)
}

// stateOf is what others are told of a thing; holds lists holds in order.
func stateOf(t *thing, path string, holds func(*hold, func(*hold) bool)) HeldState {
	out := nothingAt(path)
	if t == nil {
		return out
	}
	out.Kind, out.Tag, out.Held, out.Waiting = t.kind, t.tag, t.holds, t.waiting
	out.Limit, out.Value, out.Revoked, out.Reason = t.limit, t.value, t.revokedAt != 0, t.reason
	if t.run != nil {
		out.Run = t.run.told()
	}
	holds(&hold{path: t.path}, func(h *hold) bool {
		if h.path != t.path || len(out.Holders) == holdersShown {
			return false
		}
		out.Holders = append(out.Holders, Holder{
			Owner: h.owner, Session: h.session, Token: h.shown(), Shared: h.shared, Permits: h.permits, Since: h.since,
		})
		return true
	})
	return out
}

// nothingAt is the state of what nobody holds, or has ever used.
func nothingAt(path string) HeldState {
	room, name, _ := strings.Cut(path[len(tree.OwnTop(path))+1:], "/")
	out := HeldState{Name: name}
	for kind, r := range rooms {
		if r == room {
			out.Kind = kind
		}
	}
	if out.Kind == commandpb.Kind_KIND_ONCE {
		name, key, _ := strings.Cut(name, "/")
		out.Name, out.Run = name, RunState{Key: unescapeKey(key), State: runNames[runIdle]}
	}
	return out
}

// shownHolder and shownThing are the JSON of the nodes. Their fields and order
// are part of what heldLevel means.
type shownHolder struct {
	Owner   string      `json:"owner,omitempty"`
	Session quorum.Zxid `json:"session_id"`
	Token   quorum.Zxid `json:"fencing_token"`
	Mode    string      `json:"mode"`
	Permits int64       `json:"permits,omitempty"`
	Since   int64       `json:"since_ms"`
}

type shownThing struct {
	Holders  []shownHolder `json:"holders,omitempty"`
	Held     int           `json:"held"`
	Waiting  int           `json:"waiting"`
	Limit    int64         `json:"limit,omitempty"`
	Value    string        `json:"value,omitempty"`
	Revoked  bool          `json:"revoked,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Key      string        `json:"key,omitempty"`
	State    string        `json:"state,omitempty"`
	Attempts int64         `json:"attempts,omitempty"`
}

// show writes the node of a thing.
func (s *State) show(x *txn, t *thing) {
	state := s.heldState(t.path)
	out := shownThing{
		Held: state.Held, Waiting: state.Waiting, Limit: state.Limit, Value: state.Value,
		Revoked: state.Revoked, Reason: state.Reason,
		Key: state.Run.Key, State: state.Run.State, Attempts: state.Run.Attempts,
	}
	for _, h := range state.Holders {
		one := shownHolder{Owner: h.Owner, Session: h.Session, Token: h.Token, Mode: "exclusive", Since: h.Since}
		if h.Shared {
			one.Mode = "shared"
		}
		if t.kind == commandpb.Kind_KIND_SEMAPHORE {
			one.Permits = h.Permits
		}
		out.Holders = append(out.Holders, one)
	}
	data, err := json.Marshal(out)
	if err != nil {
		panic(err) // of plain fields there is none
	}
	s.tree.PutOwn(&x.Txn, t.path, data)
	if t.kind == commandpb.Kind_KIND_ONCE {
		s.showLast(x, tree.Parent(t.path))
	}
}

// hide removes the node of a thing that is no more.
func (s *State) hide(x *txn, t *thing) {
	s.tree.DropOwn(&x.Txn, t.path)
	if t.kind == commandpb.Kind_KIND_ONCE {
		s.showLast(x, tree.Parent(t.path))
	}
}

// showLast writes the node above the runs of a name, so that whoever waits for
// the last one is woken.
func (s *State) showLast(x *txn, name string) {
	last := s.lastRun(name)
	if last == "" {
		s.tree.DropOwn(&x.Txn, name)
		return
	}
	t := s.thing(last)
	data, err := json.Marshal(shownThing{
		Held: t.holds, Waiting: t.waiting, Key: t.run.key, State: runNames[t.run.state], Attempts: t.run.attempts,
	})
	if err != nil {
		panic(err)
	}
	s.tree.PutOwn(&x.Txn, name, data)
}

// escapeKey makes of the key of a run one segment of a path: what is not a
// letter, a digit, or one of _ - : and, but in front, a dot is percent-encoded.
func escapeKey(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-', c == ':', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte("0123456789ABCDEF"[c>>4])
			b.WriteByte("0123456789ABCDEF"[c&15])
		}
	}
	return b.String()
}

func unescapeKey(segment string) string {
	var b strings.Builder
	for i := 0; i < len(segment); i++ {
		if segment[i] == '%' && i+2 < len(segment) {
			if v, err := strconv.ParseUint(segment[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		b.WriteByte(segment[i])
	}
	return b.String()
}
