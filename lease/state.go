// Package lease is the whole replicated state: the tree of nodes, the sessions
// and the history of events, with the one function that applies a committed
// transaction to them (DESIGN.md, decisions 1 to 3).
//
// It guarantees that the state, every result, every event and the digest
// depend on nothing but the entries applied, in their order (RULES.md R5): it
// reads no clock, file, random source or setting of its node. A View is
// immutable and may be used by any number of goroutines while Apply goes on. A
// state restored from a snapshot behaves as the one that wrote it.
//
// It does not guard a State against concurrent use: one goroutine owns it. Who
// asks has been found out elsewhere; what that lets him do is decided here, by
// the policy of the position (access.go). Deadlines of sessions are no part of
// the state; the leader keeps them in a Tracker.
package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
	"perch/tree/cow"
)

// Format is the highest format of commands that this code applies, and the
// highest feature level that it knows. A command without a format has format 1.
//
// What may be proposed, and what a command means, follows the replicated level
// at its zxid and never the program that applies it (RULES.md R6).
const Format = 4

// accessLevel is the level, and the format of commands, from which on there are
// callers and everything that only matters with them: authentication, ACLs,
// quotas, multi, nodes that end by themselves.
const accessLevel = 2

// heldLevel is the level, and the format of commands, from which on things are
// held, counted and queued, and keys make commands happen once.
const heldLevel = 3

// ErrFormat ends Apply and Restore when they meet a format that this code does
// not know: the node must stop, since going on would be guessing.
var ErrFormat = errors.New("format is newer than this program")

// ErrOrder ends Apply when an entry does not come after the one before: the
// node must stop.
var ErrOrder = errors.New("entry out of order")

// State is the replicated state. One goroutine owns it.
//
// Invariants: the owner of every ephemeral is a live session; tokens lists the
// live sessions that a client's token opened; ended and endedByAge hold the
// same tokens, none of them in tokens; heldBy lists the sessions that principals
// opened, holders their numbers; apiTokens and apiSecrets hold the same tokens,
// each of a principal that exists; every hold and every place is of a live session
// and of a thing that is listed, and nothing that is due or listed by session,
// home or age is not in a record; sum is the sum of the digests of all sessions,
// ended tokens, principals, API tokens and records.
type State struct {
	zxid     quorum.Zxid
	age      uint64 // cluster age in milliseconds; never goes back (RULES.md R20)
	settings Settings
	level    uint32 // feature level; never goes back
	known    uint32 // highest level that this program knows: Format, but in tests

	gaps gaps // in the positions, by restores

	tree    *tree.Tree
	history tree.History

	sessions   *cow.Table[*session]
	tokens     *cow.Table[token]
	ended      *cow.Table[*ended]
	endedByAge *cow.Table[*ended]
	heldBy     *cow.Table[heldSession]
	holders    *cow.Table[holder]

	auth       bool // authentication is on; it never goes off
	principals *cow.Table[*principal]
	apiTokens  *cow.Table[*apiToken]
	apiSecrets *cow.Table[*apiToken]

	dues *cow.Table[due]

	holding // locks and all else that is held
	keeping // idempotency records, queues, barriers

	tables []table // all of the above

	sum uint64

	// The transaction that is applied, and its result. They are large, and here
	// they are not allocated anew for each.
	work struct {
		txn txn
		res Result
	}

	view *View       // of the present state; nil when it is to be made
	head settingsSum // of the settings
}

// New is the state of a cluster before its first transaction. The settings must
// be valid (Settings.Validate).
func New(settings Settings) *State {
	s := &State{
		settings: settings, level: 1, known: Format, tree: tree.New(),
		sessions: cow.New(sessionLess), tokens: cow.New(tokenLess),
		ended: cow.New(endedLess), endedByAge: cow.New(endedOlder),
		heldBy: cow.New(heldLess), holders: cow.New(holderLess),
		principals: cow.New(principalLess), apiTokens: cow.New(apiTokenLess), apiSecrets: cow.New(apiSecretLess),
		dues: cow.New(dueLess), holding: newHolding(), keeping: newKeeping(),
	}
	s.list()
	return s
}

// list notes all tables, after one of them was replaced.
func (s *State) list() {
	s.tables = []table{
		s.tree, s.sessions, s.tokens, s.ended, s.endedByAge, s.heldBy, s.holders,
		s.principals, s.apiTokens, s.apiSecrets, s.dues,
	}
	s.tables = append(append(s.tables, s.holding.tables()...), s.keeping.tables()...)
}

// table is what a transaction can take back.
type table interface {
	Begin()
	Rollback()
}

// Know has the state behave as in a program whose highest level is level, for
// tests of programs of several ages together.
func (s *State) Know(level uint32) { s.known = level }

// txn is one transaction while it is applied.
type txn struct {
	tree.Txn
	age    uint64
	who    *access  // of the request
	sess   *session // of the request
	opened bool     // sess was opened by this transaction
	ended  []quorum.Zxid
	holdTxn
	key keyed // of the request
}

// Apply applies the next committed entry. Every entry takes its place and has a
// Result, also one that is refused; then the state is as before but for zxid,
// age and what their advance trims. A panic while a command is evaluated, and
// bytes that are no command, become ErrInternal in this way.
//
// The error is ErrFormat or ErrOrder; then nothing was applied and the node
// must stop. The events belong to the caller.
func (s *State) Apply(e *quorum.Entry) (Result, []tree.Event, error) {
	if e.Zxid <= s.zxid {
		return Result{}, nil, fmt.Errorf("%w: %v after %v", ErrOrder, e.Zxid, s.zxid)
	}
	cmd, err := s.decode(e)
	if err != nil {
		return Result{}, nil, err
	}
	x, res := &s.work.txn, &s.work.res
	*x = txn{age: max(s.age, e.Stamp.Age), who: everybody}
	x.Txn = tree.Txn{Zxid: e.Zxid, Wall: e.Stamp.Wall, Age: x.age, Cause: tree.CauseRequest, Limits: s.settings.limits()}
	*res = Result{Zxid: e.Zxid}
	switch e.Kind {
	case quorum.EntryCommand:
		s.evaluate(x, cmd, res)
	case quorum.EntryRestored:
		s.beginAnew(x, res)
	}
	s.advance(x)
	if e.Kind == quorum.EntryRestored {
		s.forgetPast(x)
	}
	return *res, x.Events, nil
}

// decode is the command of e; nil when its bytes are none. The error is
// ErrFormat.
func (s *State) decode(e *quorum.Entry) (*commandpb.Command, error) {
	switch e.Kind {
	case quorum.EntryConfig:
		return nil, nil // the quorum's own
	case quorum.EntryRestored:
		if s.known < restoredLevel {
			return nil, fmt.Errorf("%w: the cluster was restored at %v; start a newer program", ErrFormat, e.Zxid)
		}
		return nil, nil
	case quorum.EntryCommand:
	default:
		return nil, fmt.Errorf("%w: entry %v is of kind %d", ErrFormat, e.Zxid, e.Kind)
	}
	cmd := new(commandpb.Command)
	if proto.Unmarshal(e.Data, cmd) != nil {
		return nil, nil
	}
	if need := max(cmd.Format, cmd.GetRaiseLevel().GetLevel()); need > s.known {
		return nil, fmt.Errorf("%w: the cluster speaks format %d since %v, known is %d; start a newer program", ErrFormat, need, e.Zxid, s.known)
	}
	return cmd, nil
}

// advance ends a transaction: its events become history, and time moves on.
func (s *State) advance(x *txn) {
	s.begin()
	s.zxid, s.age, s.view = x.Zxid, x.age, nil
	s.noteWall(x)
	s.history.Append(x.Events, s.age)
	s.history.Trim(s.age, uint64(s.settings.EventAgeMs), s.settings.EventBytes)
	s.forget()
	s.forgetOvers()
	s.forgetRecords()
	s.forgetAcked()
}

// begin starts a transaction that rollback can take back.
func (s *State) begin() {
	for _, t := range s.tables {
		t.Begin()
	}
}

func (s *State) rollback(sum uint64, settings Settings) {
	for _, t := range s.tables {
		t.Rollback()
	}
	s.sum, s.settings = sum, settings
}

// evaluate runs a command: it changes the state and fills res and the events of
// x, or it is refused and changes nothing.
func (s *State) evaluate(x *txn, cmd *commandpb.Command, res *Result) {
	s.begin()
	sum, settings := s.sum, s.settings
	refuse := func(code tree.Code) {
		s.rollback(sum, settings)
		holder, way := res.Node, *res
		*res = Result{Zxid: x.Zxid, Code: code, Failed: res.Failed}
		if code != tree.ErrInternal {
			res.Held, res.Place = way.Held, way.Place // what is in the way
		}
		switch code {
		case tree.ErrNodeExists:
			res.Node = holder
		case tree.ErrQuotaExceeded:
			res.Overrun = x.who.overrun(x.Overrun)
		case tree.ErrVersionMismatch:
			res.Counter = way.Counter
		case tree.ErrLimitMismatch:
			res.Barrier = way.Barrier
		}
		x.Events = nil
	}
	if cmd.GetMulti() != nil {
		res.Failed = -1
	}
	defer func() {
		if fault := recover(); fault != nil {
			refuse(tree.ErrInternal)
			res.Fault = fmt.Sprintf("panic: %v\n%s", fault, debug.Stack())
		}
	}()
	if cmd == nil {
		refuse(tree.ErrInternal)
		res.Fault = "the entry holds no command"
		return
	}
	code := s.run(x, cmd, res)
	switch {
	case x.key.told:
		return
	case code != tree.OK:
		refuse(code)
		s.keep(x, cmd, res)
		return
	}
	res.Code = x.answer
	res.Ended, res.Outcomes, res.Touched = x.ended, x.outcomes, x.touched
	if x.sess != nil {
		res.Opened = x.opened
		if x.opened || showsSession(cmd) {
			res.Session = x.sess.info(s.tree.Owned(x.sess.id))
		}
	}
	s.keep(x, cmd, res)
}

// run is the order inside apply (DESIGN.md, decision 2): it is known who asks,
// the idempotency record, the session is alive, no position of a history that was
// lost, the fence, the operation with its
// permissions, its events. The record is stored behind that.
func (s *State) run(x *txn, cmd *commandpb.Command, res *Result) tree.Code {
	switch {
	case cmd.Format > s.level:
		return tree.ErrInvalidArgument // proposed before every member knew it
	case cmd.Format < heldLevel:
		older(cmd, cmd.Format)
	}
	if !ofCluster(cmd) {
		if code := s.identify(x, cmd.Caller); code != tree.OK {
			return code
		}
	}
	if code, told := s.recall(x, cmd, res); told {
		return code
	}
	if x.sess == nil && !x.key.through { // that of a handle is known
		if code := s.attach(x, cmd); code != tree.OK {
			return code
		}
	}
	if lost, failed := s.gaps.lost(cmd); lost {
		res.Failed = failed
		return tree.ErrHistoryLost
	}
	if x.key.old == nil { // else they were met when it was handed out
		if code := s.fences(x, cmd.Fences, res); code != tree.OK {
			return code
		}
	}
	if code := s.do(x, cmd, res); code != tree.OK {
		return code
	}
	if code := x.repeated(cmd, res); code != tree.OK {
		return code
	}
	s.settle(x, res)
	return tree.OK
}

// do is the operation itself.
func (s *State) do(x *txn, cmd *commandpb.Command, res *Result) tree.Code {
	switch op := cmd.Op.(type) {
	case *commandpb.Command_Create:
		return s.create(x, op.Create, res)
	case *commandpb.Command_Put:
		return s.put(x, op.Put, res)
	case *commandpb.Command_Delete:
		return s.delete(x, op.Delete)
	case *commandpb.Command_Multi:
		return s.multi(x, op.Multi, res)
	case *commandpb.Command_OpenSession:
		return s.openSession(x, cmd.Session, op.OpenSession)
	case *commandpb.Command_CloseSession:
		return s.closeSession(x, op.CloseSession)
	case *commandpb.Command_SetTtl:
		return s.setSessionTTL(x, op.SetTtl)
	}
	if ofCluster(cmd) {
		return s.runOfCluster(x, cmd, res)
	}
	if code, is := s.runHold(x, cmd, res); is {
		return code
	}
	if code, is := s.runKept(x, cmd, res); is {
		return code
	}
	return s.runPolicy(x, cmd, res)
}

// identify finds out what the caller may do from here on.
func (s *State) identify(x *txn, c *commandpb.Caller) (code tree.Code) {
	if x.who, code = s.policy().access(c, x.Wall); code != tree.OK {
		return code
	}
	x.Guard, x.Caller, x.Creator = x.who, x.who.ids, x.who.name
	return tree.OK
}

func (s *State) policy() policy {
	return policy{auth: s.auth, principals: s.principals, tokens: s.apiTokens}
}

// ofCluster says whether cmd is one that the cluster makes for itself, and
// nobody may or may not.
func ofCluster(cmd *commandpb.Command) bool {
	switch cmd.Op.(type) {
	case *commandpb.Command_ExpireSessions, *commandpb.Command_Reap, *commandpb.Command_Configure,
		*commandpb.Command_RaiseLevel, *commandpb.Command_EnableAuth,
		*commandpb.Command_Withdraw, *commandpb.Command_Lapse, *commandpb.Command_Checkpoint, *commandpb.Command_Leave:
		return true
	}
	return false
}

func (s *State) runOfCluster(x *txn, cmd *commandpb.Command, res *Result) tree.Code {
	switch op := cmd.Op.(type) {
	case *commandpb.Command_ExpireSessions:
		return s.expireSessions(x, op.ExpireSessions)
	case *commandpb.Command_Reap:
		return s.reap(x, op.Reap)
	case *commandpb.Command_Configure:
		return s.configure(op.Configure)
	case *commandpb.Command_RaiseLevel:
		s.level = max(s.level, op.RaiseLevel.Level)
		return tree.OK
	case *commandpb.Command_EnableAuth:
		return s.enableAuth(x, op.EnableAuth, res)
	case *commandpb.Command_Lapse:
		return s.lapse(x)
	case *commandpb.Command_Leave:
		return s.leave(x, op.Leave, res)
	case *commandpb.Command_Withdraw:
		return s.withdraw(x, op.Withdraw)
	case *commandpb.Command_Checkpoint:
		return s.checkpoint(x, op.Checkpoint)
	}
	return tree.ErrInvalidArgument
}

// runPolicy runs what says who may do what, and how much.
func (s *State) runPolicy(x *txn, cmd *commandpb.Command, res *Result) tree.Code {
	switch op := cmd.Op.(type) {
	case *commandpb.Command_SetAcl:
		return s.setACL(x, op.SetAcl, res)
	case *commandpb.Command_SetDefaultAcl:
		return s.setDefaultACL(x, op.SetDefaultAcl, res)
	case *commandpb.Command_SetQuota:
		return s.setQuota(x, op.SetQuota, res)
	case nil:
		return tree.ErrInvalidArgument
	}
	if !x.who.cluster() {
		return tree.ErrPermissionDenied
	}
	switch op := cmd.Op.(type) {
	case *commandpb.Command_PutPrincipal:
		return s.keepsAdmin(x, func() tree.Code { return s.putPrincipal(x, op.PutPrincipal, res) })
	case *commandpb.Command_DeletePrincipal:
		return s.keepsAdmin(x, func() tree.Code { return s.deletePrincipal(x, op.DeletePrincipal) })
	case *commandpb.Command_CreateToken:
		return s.createToken(x, op.CreateToken, x.Zxid, res)
	case *commandpb.Command_RevokeToken:
		return s.keepsAdmin(x, func() tree.Code { return s.revokeToken(op.RevokeToken) })
	}
	return tree.ErrInvalidArgument
}

// settingsSum remembers the hash of settings, which seldom change.
type settingsSum struct {
	of    Settings
	level uint32
	sum   uint64
}

func (h *settingsSum) digest(of Settings, level uint32) uint64 {
	if h.of != of || h.level != level || h.sum == 0 {
		b := []byte{'L'}
		for _, f := range of.fields(level) {
			b = binary.LittleEndian.AppendUint64(b, uint64(f.get()))
		}
		h.of, h.level, h.sum = of, level, xxhash.Sum64(b)
	}
	return h.sum
}

// digest is a hash of the whole state: the sum, modulo 2^64, of a hash of every
// record, so that a change costs as much as what it changes.
func (s *State) digest() uint64 {
	b := make([]byte, 29, 30)
	b[0] = 'H'
	binary.LittleEndian.PutUint64(b[1:], uint64(s.zxid))
	binary.LittleEndian.PutUint64(b[9:], s.age)
	binary.LittleEndian.PutUint64(b[17:], uint64(s.history.Oldest()))
	binary.LittleEndian.PutUint32(b[25:], s.level)
	if s.auth {
		b = append(b, 1)
	}
	b = s.gaps.digest(s.wallDigest(b))
	return xxhash.Sum64(b) + s.head.digest(s.settings, s.level) + s.tree.Sum() + s.history.Sum() + s.sum
}
