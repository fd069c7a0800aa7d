package lease

import (
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
	"perch/tree/cow"
)

// Queues: messages that are claimed for a while, in the order of their priorities
// and ids, until somebody acks them.

// Bounds of what is asked of queues. They are part of what heldLevel means.
const (
	claimMost     = 100     // messages of one claim, and receipts of one command
	claimBytes    = 1 << 20 // of the data of one claim, or one message
	claimTTLMinMs = 1_000
	claimTTLMaxMs = 43_200_000
	delayMostMs   = 365 * 86_400_000
	attemptsMost  = 1 << 31
	deadSuffix    = ".dead"
)

// queue is one queue. It is immutable once it is in a table.
type queue struct {
	path     string
	tag      quorum.Zxid // of the last change
	last     uint64      // id of the youngest message; none ever repeats
	attempts uint64      // claims after which a message that comes back is dead; 0: no bound
	dead     string      // where it goes; "": to the queue's own

	// Made of its messages.
	ready, leased, delayed int64
	bytes                  int64
}

func queueLess(a, b *queue) bool { return a.path < b.path }

func (q *queue) digest() uint64 {
	return sumOf(digestQueue, []uint64{uint64(q.tag), q.last, q.attempts}, q.path, q.dead)
}

// len is the number of messages.
func (q *queue) len() int64 { return q.ready + q.leased + q.delayed }

// deadName is the name of the queue that takes the dead.
func (q *queue) deadName() string {
	if q.dead == "" {
		return tree.Name(q.path) + deadSuffix
	}
	return q.dead
}

// tallyOf counts a message in or out.
func (q *queue) tallyOf(m *message, n int64) {
	switch m.state {
	case messageReady:
		q.ready += n
	case messageLeased:
		q.leased += n
	case messageDelayed:
		q.delayed += n
	}
	q.bytes += n * int64(len(m.data))
}

// messageState says where a message is.
type messageState uint8

const (
	messageReady   messageState = 1
	messageLeased  messageState = 2
	messageDelayed messageState = 3
)

func (m messageState) String() string {
	return [...]string{"", "ready", "leased", "delayed"}[m]
}

// message is one message. It is immutable once it is in a table.
type message struct {
	path     string // of its queue
	id       uint64
	priority int32
	data     []byte
	dataHash uint64
	state    messageState
	attempts uint64
	enqueued int64  // wall
	since    uint64 // cluster age at which it came into this queue; rises with the id
	due      uint64 // cluster age at which the claim or the delay ends
	deadFrom string
	claim    quorum.Zxid // zxid of the claim: its fencing token
	by       quorum.Zxid // the command, and so the place, that claimed it
	attach   uint32      // of that place
}

func messageLess(a, b *message) bool {
	if a.path != b.path {
		return a.path < b.path
	}
	return a.id < b.id
}

func (m *message) digest() uint64 {
	return sumOf(digestMessage, []uint64{
		m.id, uint64(m.priority), m.dataHash, uint64(len(m.data)), uint64(m.state), m.attempts, uint64(m.enqueued), m.since, m.due,
		uint64(m.claim), uint64(m.by), uint64(m.attach),
	}, m.path, m.deadFrom)
}

// turn is the place of a ready message in its queue.
type turn struct {
	path     string
	priority int32
	id       uint64
}

func turnLess(a, b turn) bool {
	switch {
	case a.path != b.path:
		return a.path < b.path
	case a.priority != b.priority:
		return a.priority < b.priority
	}
	return a.id < b.id
}

// taken lists a claimed message under the place that claimed it.
type taken struct {
	by   quorum.Zxid
	path string
	id   uint64
}

func takenLess(a, b taken) bool {
	switch {
	case a.by != b.by:
		return a.by < b.by
	case a.path != b.path:
		return a.path < b.path
	}
	return a.id < b.id
}

// queueing are the tables of queues. What is not marked as made of others stands
// in snapshots.
type queueing struct {
	queues   *cow.Table[*queue]
	messages *cow.Table[*message]
	receipts *cow.Table[*acked]
	waiters  *cow.Table[*waiter]

	// Made of those above.
	turns       *cow.Table[turn]    // ready messages
	takens      *cow.Table[taken]   // claimed messages
	receiptsOld *cow.Table[*acked]  // by age
	lines       *cow.Table[*waiter] // by queue
}

func newQueueing() queueing {
	return queueing{
		queues: cow.New(queueLess), messages: cow.New(messageLess), receipts: cow.New(ackedLess), waiters: cow.New(waiterLess),
		turns: cow.New(turnLess), takens: cow.New(takenLess), receiptsOld: cow.New(ackedOlder), lines: cow.New(waiterFirst),
	}
}

func (q *queueing) tables() []table {
	return []table{q.queues, q.messages, q.receipts, q.waiters, q.turns, q.takens, q.receiptsOld, q.lines}
}

// What is due by cluster age.
const (
	dueMessage dueKind = 10 // the end of a delay
	dueClaim   dueKind = 11 // the end of a claim
)

func init() {
	lapses[dueMessage] = func(s *State, x *txn, d due) {
		m := s.message(d.path, d.id)
		next := *m
		next.state, next.due = messageReady, 0
		s.changeMessage(x, m, &next)
	}
	lapses[dueClaim] = func(s *State, x *txn, d due) { s.comeBack(x, s.message(d.path, d.id), 0) }
}

func (s *State) queueAt(path string) *queue {
	q, _ := s.queues.Get(&queue{path: path})
	return q
}

func (s *State) message(path string, id uint64) *message {
	m, _ := s.messages.Get(&message{path: path, id: id})
	return m
}

// alterQueue changes a queue, which is made if there is none. Without a
// transaction it is only counted anew, for a state that is restored.
func (s *State) alterQueue(x *txn, path string, f func(q *queue)) {
	next := queue{path: path}
	if old := s.queueAt(path); old != nil {
		s.sum -= old.digest()
		next = *old
	}
	f(&next)
	if x != nil {
		next.tag = x.Zxid
		x.affect(path, (*State).passQueue)
	}
	s.sum += next.digest()
	s.queues.Set(&next)
}

// changeMessage puts next into the place of old; either may be nil.
func (s *State) changeMessage(x *txn, old, next *message) {
	if old != nil {
		s.sum -= old.digest()
		s.listMessage(old, false)
		if next == nil || messageLess(old, next) || messageLess(next, old) {
			s.messages.Delete(old)
		}
		s.alterQueue(x, old.path, func(q *queue) { q.tallyOf(old, -1) })
	}
	if next != nil {
		s.sum += next.digest()
		s.messages.Set(next)
		s.listMessage(next, true)
		s.alterQueue(x, next.path, func(q *queue) { q.tallyOf(next, 1) })
	}
}

// listMessage puts a message into, or takes it out of, the tables that its state
// says.
func (s *State) listMessage(m *message, in bool) {
	switch m.state {
	case messageReady:
		setIn(s.turns, turn{m.path, m.priority, m.id}, in)
	case messageLeased:
		setIn(s.takens, taken{m.by, m.path, m.id}, in)
		setIn(s.dues, due{age: m.due, what: dueClaim, path: m.path, id: m.id}, in)
	case messageDelayed:
		setIn(s.dues, due{age: m.due, what: dueMessage, path: m.path, id: m.id}, in)
	}
}

// setIn puts an item into a table, or takes it out.
func setIn[T any](t *cow.Table[T], item T, in bool) {
	if in {
		t.Set(item)
	} else {
		t.Delete(item)
	}
}

// passQueue gives ready messages to those who wait for them, and shows what has
// become of a queue.
func (s *State) passQueue(x *txn, path string) {
	s.serveClaims(x, path)
	q := s.queueAt(path)
	if q == nil {
		s.tree.DropOwn(&x.Txn, path)
		return
	}
	s.mirror(x, path, struct {
		Ready       int64  `json:"ready"`
		Leased      int64  `json:"leased"`
		Delayed     int64  `json:"delayed"`
		MaxAttempts uint64 `json:"max_attempts,omitempty"`
		DeadLetter  string `json:"dead_letter,omitempty"`
	}{q.ready, q.leased, q.delayed, q.attempts, q.dead})
}

// enqueue adds a message. Its queue is made when there is none.
func (s *State) enqueue(x *txn, op *commandpb.Enqueue, res *Result) tree.Code {
	path, code := x.who.named(commandpb.Kind_KIND_QUEUE, op.Queue, PermUse)
	switch {
	case code != tree.OK:
		return code
	case op.DelayMs > delayMostMs:
		return tree.ErrInvalidArgument
	case len(op.Data) > s.settings.ValueBytes:
		return tree.ErrTooLarge
	}
	if code := s.housed(path); code != tree.OK {
		return code
	}
	if !s.takes(x, path, 1, int64(len(op.Data))) {
		return tree.ErrQuotaExceeded
	}
	m := &message{
		path: path, priority: op.Priority, data: op.Data, dataHash: xxhash.Sum64(op.Data), state: messageReady, enqueued: x.Wall,
	}
	if op.DelayMs > 0 {
		m.state, m.due = messageDelayed, x.age+op.DelayMs
	}
	res.Message = int64(s.addMessage(x, m))
	return tree.OK
}

// takes says whether a queue has room, and if not, which bound is in the way.
func (s *State) takes(x *txn, path string, messages, bytes int64) bool {
	q := s.queueAt(path)
	if q == nil {
		q = &queue{}
	}
	switch {
	case q.len()+messages > s.settings.QueueMessages:
		x.Overrun = tree.Overrun{Path: path, Limit: s.settings.QueueMessages}
	case q.bytes+bytes > s.settings.QueueBytes:
		x.Overrun = tree.Overrun{Path: path, Bytes: true, Limit: s.settings.QueueBytes}
	default:
		return true
	}
	return false
}

// addMessage gives a message the next id of its queue.
func (s *State) addMessage(x *txn, m *message) uint64 {
	s.alterQueue(x, m.path, func(q *queue) {
		// The former cluster may have come further behind what was restored, with
		// queues that are not here. No queue ever had as many messages as there are
		// zxids up to an epoch of today.
		q.last = max(q.last, uint64(s.gaps.after())) + 1
		m.id = q.last
	})
	m.since = x.age
	s.changeMessage(x, nil, m)
	return m.id
}

// comeBack returns a claimed message to its queue, or to the dead when it was
// claimed too often.
func (s *State) comeBack(x *txn, m *message, delayMs uint64) {
	next := *m
	next.state, next.due, next.claim, next.by, next.attach = messageReady, 0, 0, 0, 0
	q := s.queueAt(m.path)
	switch {
	case q.attempts > 0 && m.attempts >= q.attempts:
		s.changeMessage(x, m, nil)
		next.path, next.deadFrom = tree.Parent(m.path)+"/"+q.deadName(), tree.Name(m.path)
		s.addMessage(x, &next)
		return
	case delayMs > 0:
		next.state, next.due = messageDelayed, x.age+delayMs
	}
	s.changeMessage(x, m, &next)
}

// configureQueue says when a message is dead, and where it goes then.
func (s *State) configureQueue(x *txn, op *commandpb.ConfigureQueue, res *Result) tree.Code {
	path, code := x.who.named(commandpb.Kind_KIND_QUEUE, op.Queue, PermUse)
	if code != tree.OK {
		return code
	}
	dead := op.DeadLetter
	if dead == "" {
		dead = op.Queue + deadSuffix
	}
	if op.MaxAttempts > 0 || op.DeadLetter != "" { // whoever sends messages there must be allowed to
		_, code = x.who.named(commandpb.Kind_KIND_QUEUE, dead, PermUse)
	}
	switch {
	case code != tree.OK:
		return code
	case op.MaxAttempts > attemptsMost, dead == op.Queue:
		return tree.ErrInvalidArgument
	}
	if code := s.housed(path); code != tree.OK {
		return code
	}
	s.alterQueue(x, path, func(q *queue) { q.attempts, q.dead = op.MaxAttempts, op.DeadLetter })
	res.Queue = s.queueAt(path).told(oldestAge(s.messages.Ascend, path, x.age))
	return tree.OK
}

// deleteQueue deletes a queue, with its messages only when it is forced to. Those
// who wait for messages go on waiting.
func (s *State) deleteQueue(x *txn, op *commandpb.DeleteQueue) tree.Code {
	path, code := x.who.named(commandpb.Kind_KIND_QUEUE, op.Queue, PermUse)
	if code != tree.OK {
		return code
	}
	q := s.queueAt(path)
	switch {
	case q == nil:
		return tree.ErrNoQueue
	case q.len() > 0 && !op.Force:
		return tree.ErrNotEmpty
	case q.len() > int64(s.settings.TxnNodes):
		return tree.ErrTooLarge
	}
	for _, m := range s.firstMessages(path, int(q.len())) {
		s.changeMessage(x, m, nil)
	}
	q = s.queueAt(path)
	s.sum -= q.digest()
	s.queues.Delete(q)
	x.affect(path, (*State).passQueue)
	return tree.OK
}

// firstMessages are up to n messages of a queue, by id.
func (s *State) firstMessages(path string, n int) (list []*message) {
	s.messages.Ascend(&message{path: path}, func(m *message) bool {
		if m.path != path || len(list) == n {
			return false
		}
		list = append(list, m)
		return true
	})
	return list
}

// redrive moves ready messages of one queue to another one, as if they were new.
func (s *State) redrive(x *txn, op *commandpb.Redrive, res *Result) tree.Code {
	from, code := x.who.named(commandpb.Kind_KIND_QUEUE, op.Queue, PermUse)
	if code != tree.OK {
		return code
	}
	to, code := x.who.named(commandpb.Kind_KIND_QUEUE, op.To, PermUse)
	switch {
	case code != tree.OK:
		return code
	case from == to:
		return tree.ErrInvalidArgument
	case s.queueAt(from) == nil:
		return tree.ErrNoQueue
	}
	if code := s.housed(to); code != tree.OK {
		return code
	}
	limit := s.settings.TxnNodes
	if op.Limit > 0 {
		limit = int(min(uint64(limit), op.Limit))
	}
	for ; res.Moved < limit; res.Moved++ {
		m := s.firstReady(from)
		if m == nil {
			break
		}
		if !s.takes(x, to, 1, int64(len(m.data))) {
			if res.Moved == 0 {
				return tree.ErrQuotaExceeded
			}
			break
		}
		next := *m
		next.path, next.attempts, next.deadFrom = to, 0, ""
		s.changeMessage(x, m, nil)
		s.addMessage(x, &next)
	}
	return tree.OK
}

// firstReady is the message of a queue whose turn it is; nil when none is ready.
func (s *State) firstReady(path string) (first *message) {
	const least = -1 << 31
	s.turns.Ascend(turn{path: path, priority: least}, func(t turn) bool {
		if t.path == path {
			first = s.message(path, t.id)
		}
		return false
	})
	return first
}

// receiptOf names a claim of a message.
func receiptOf(id uint64, claim quorum.Zxid) string {
	return strconv.FormatUint(id, 10) + "-" + strconv.FormatUint(uint64(claim), 10)
}

// parseReceipt is the reverse; a receipt has one spelling.
func parseReceipt(text string) (id uint64, claim quorum.Zxid, ok bool) {
	first, second, _ := strings.Cut(text, "-")
	id, err := strconv.ParseUint(first, 10, 63)
	n, err2 := strconv.ParseUint(second, 10, 64)
	claim = quorum.Zxid(n)
	return id, claim, err == nil && err2 == nil && text == receiptOf(id, claim)
}
