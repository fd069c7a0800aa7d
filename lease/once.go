package lease

import (
	"strconv"
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// runState is what has become of a run.
type runState uint8

const (
	runIdle    runState = 0 // begun at least once, and not to its end
	runRunning runState = 1
	runDone    runState = 2
	runFailed  runState = 3
)

// run is a run of once, or how one is to be run.
type run struct {
	key         string
	state       runState
	attempts    int64
	maxAttempts int64 // 0: no bound
	keep        uint64
	period      uint64
	offset      uint64
	data        []byte
	completed   int64       // wall; 0: not
	begun       quorum.Zxid // the last grant
	forgetAt    uint64      // cluster age; 0: not while it is running
}

func (r *run) digest(d *digester) {
	d.text(r.key)
	d.text(string(r.data))
	*d = append(*d, byte(r.state))
	for _, v := range []uint64{
		uint64(r.attempts), uint64(r.maxAttempts), r.keep, r.period, r.offset, uint64(r.completed), uint64(r.begun), r.forgetAt,
	} {
		d.num(v)
	}
}

// runSpot finds the runs of a name, the last begun first.
type runSpot struct {
	name  string // the path above that of the run
	begun quorum.Zxid
	path  string
}

func runSpotLess(a, b runSpot) bool {
	switch {
	case a.name != b.name:
		return a.name < b.name
	case a.begun != b.begun:
		return a.begun > b.begun
	}
	return a.path < b.path
}

// runNames are the states as the contract names them.
var runNames = [...]string{runIdle: "idle", runRunning: "running", runDone: "done", runFailed: "failed"}

// told is a run as others are told of it.
func (r *run) told() RunState {
	out := RunState{
		Key: r.key, State: runNames[r.state], Attempts: r.attempts, Data: r.data, Completed: r.completed,
	}
	if n, err := strconv.ParseInt(r.key, 10, 64); r.period > 0 && err == nil {
		out.Next = (n+1)*int64(r.period) + int64(r.offset)
	}
	return out
}

// keepDefault is how long a run is remembered: seven days of cluster age.
const keepDefault = 7 * 86_400_000

// keepMost bounds how long a run is remembered, and how long a period is.
const keepMost = 366 * 86_400_000

// windowAhead is how far a window may be ahead of the time that the last command
// and the cluster age since then give, in milliseconds (RULES.md R20).
const windowAhead = 5000

// runOf is the run that op means, begun at the time of x.
func (s *State) runOf(x *txn, op *commandpb.Run) (run, tree.Code) {
	r := run{key: op.GetKey(), maxAttempts: int64(min(op.GetMaxAttempts(), 1<<31)), keep: op.GetKeepMs(), period: op.GetPeriodMs(), offset: op.GetOffsetMs()}
	if r.keep == 0 {
		r.keep = keepDefault
	}
	switch {
	case r.keep > keepMost || r.period > keepMost || (r.key == "") == (r.period == 0):
		return r, tree.ErrInvalidArgument
	case r.period == 0:
		if len(r.key) > nameBytes || r.offset != 0 {
			return r, tree.ErrInvalidArgument
		}
		return r, tree.OK
	case r.offset >= r.period:
		return r, tree.ErrInvalidArgument
	case s.wall != 0 && x.Wall > s.wall+int64(x.age-s.wallAge)+windowAhead:
		return r, tree.ErrOverloaded
	}
	at, period := x.Wall-int64(r.offset), int64(r.period)
	n := at / period
	if at%period < 0 {
		n--
	}
	r.key = strconv.FormatInt(n, 10)
	return r, tree.OK
}

// runPath is the path of a run below that of its name.
func runPath(name, key string) string { return name + "/" + escapeKey(key) }

// spent is why a run cannot be begun by whoever asks for it so; OK for whatever
// is no run, and for one that runs or may be begun.
func spent(t *thing, want *run) tree.Code {
	switch {
	case t == nil || t.run == nil:
		return tree.OK
	case t.run.state == runDone:
		return tree.ErrOnceDone
	case t.run.state == runFailed:
		return tree.ErrOnceFailed
	case t.run.state == runIdle && want.maxAttempts > 0 && t.run.attempts >= want.maxAttempts:
		return tree.ErrOnceFailed
	}
	return tree.OK
}

// startRun begins a run once more.
func (s *State) startRun(x *txn, t *thing, want *run) {
	next, name := *want, tree.Parent(t.path)
	if t.run != nil {
		s.runs.Delete(runSpot{name, t.run.begun, t.path})
		s.undueRun(t)
		next.attempts = t.run.attempts
	}
	next.attempts++
	next.state, next.begun = runRunning, x.Zxid
	t.run = &next
	s.runs.Set(runSpot{name, next.begun, t.path})
}

// stopRun ends an attempt. One that comes to nothing was the last if no more are
// allowed.
func (s *State) stopRun(x *txn, t *thing, state runState) {
	next := *t.run
	if state == runIdle && next.maxAttempts > 0 && next.attempts >= next.maxAttempts {
		state = runFailed
	}
	next.state = state
	s.undueRun(t)
	next.forgetAt = x.age + next.keep
	t.run = &next
	s.dues.Set(due{age: next.forgetAt, what: dueRun, path: t.path})
}

func (s *State) undueRun(t *thing) {
	if t.run.forgetAt > 0 {
		s.dues.Delete(due{age: t.run.forgetAt, what: dueRun, path: t.path})
	}
}

// lastRun is the path of the run of a name that was begun last; "" when there is
// none.
func (s *State) lastRun(name string) string { return lastRunOf(s.runs.Ascend, name) }

func lastRunOf(runs func(runSpot, func(runSpot) bool), name string) (path string) {
	runs(runSpot{name: name, begun: ^quorum.Zxid(0)}, func(r runSpot) bool {
		if r.name == name {
			path = r.path
		}
		return false
	})
	return path
}

// complete records the result of a run.
func (s *State) complete(x *txn, op *commandpb.Complete, res *Result) tree.Code {
	name, code := x.who.named(commandpb.Kind_KIND_ONCE, op.Name, PermUse)
	switch {
	case code != tree.OK:
		return code
	case len(op.Data) > s.settings.ValueBytes:
		return tree.ErrTooLarge
	}
	h := s.ownRun(x, name, quorum.Zxid(op.Token))
	if h == nil {
		return s.completed(x, name, quorum.Zxid(op.Token), res)
	}
	state := runDone
	if op.Failed {
		state = runIdle // failed, if it was the last attempt
	}
	s.alter(x, h.path, 0, func(t *thing) {
		s.stopRun(x, t, state)
		next := *t.run
		next.data = append([]byte(nil), op.Data...)
		if next.state != runIdle {
			next.completed = x.Wall
		}
		t.run = &next
	})
	n, _ := s.sessions.Get(&session{id: h.session})
	s.endHold(x, n, h, howCompleted)
	x.shows = h.path
	return tree.OK
}

// completedMost is how many of the last runs are looked at for one that a session
// has completed.
const completedMost = 100

// completed answers a Complete that comes again.
func (s *State) completed(x *txn, name string, token quorum.Zxid, res *Result) tree.Code {
	lost := tree.ErrHoldLost
	if token == 0 && x.sess == nil {
		lost = tree.ErrSessionExpired
		if x.ref == "" {
			lost = tree.ErrInvalidArgument
		}
	}
	from, tries := runSpot{name: name, begun: ^quorum.Zxid(0)}, completedMost
	if token != 0 {
		from.begun, tries = token, 1
	}
	s.runs.Ascend(from, func(r runSpot) bool {
		if r.name != name || token != 0 && r.begun != token {
			return false
		}
		how, known := s.endedHow(r.path, x.ref, r.begun)
		if known && how == howCompleted {
			lost, res.Replayed, x.shows = tree.OK, true, r.path
		}
		tries--
		return !known && tries > 0
	})
	return lost
}

// ownRun is the hold of a run of the name that the session of the request has,
// or that the token is of.
func (s *State) ownRun(x *txn, name string, token quorum.Zxid) (own *hold) {
	if token != 0 {
		s.runs.Ascend(runSpot{name: name, begun: token}, func(r runSpot) bool {
			if r.name != name || r.begun != token {
				return false
			}
			own = s.firstHold(r.path)
			return own == nil
		})
		return own
	}
	if x.sess == nil {
		return nil
	}
	s.holdsOf.Ascend(&hold{session: x.sess.id, path: name + "/"}, func(h *hold) bool {
		if h.session == x.sess.id && strings.HasPrefix(h.path, name+"/") {
			own = h
		}
		return false
	})
	return own
}

// firstHold is the hold with the least token; nil when there is none.
func (s *State) firstHold(path string) (first *hold) {
	s.holds.Ascend(&hold{path: path}, func(h *hold) bool {
		if h.path == path {
			first = h
		}
		return false
	})
	return first
}

// forgetRuns drops what is known of runs that are not running.
func (s *State) forgetRuns(x *txn, op *commandpb.Forget) tree.Code {
	name, code := x.who.named(commandpb.Kind_KIND_ONCE, op.Name, PermUse)
	if code != tree.OK {
		return code
	}
	var paths []string
	if op.Key != "" {
		path := runPath(name, op.Key)
		if t := s.thing(path); t != nil && t.holds > 0 {
			return tree.ErrOnceRunning
		}
		paths = append(paths, path)
	} else {
		s.runs.Ascend(runSpot{name: name, begun: ^quorum.Zxid(0)}, func(r runSpot) bool {
			if r.name == name {
				paths = append(paths, r.path)
			}
			return r.name == name
		})
	}
	for _, path := range paths {
		s.forgetRun(x, path)
	}
	return tree.OK
}

// forgetRun drops a run that nobody runs. Places that nobody asks for are lost
// with it.
func (s *State) forgetRun(x *txn, path string) {
	t := s.thing(path)
	if t == nil || t.run == nil || t.holds > 0 {
		return
	}
	s.alter(x, path, 0, func(t *thing) {
		s.undueRun(t)
		s.runs.Delete(runSpot{tree.Parent(path), t.run.begun, path})
		t.run = nil
	})
}
