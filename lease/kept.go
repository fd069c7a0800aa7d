package lease

import (
	"bytes"
	"encoding/json"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
	"perch/tree/cow"
)

// What is counted, queued, gathered and remembered: the tables of idempotency
// records, queues and barriers, and the doors to their operations.

// keeping are those tables.
type keeping struct {
	records      *cow.Table[*record]
	recordsByAge *cow.Table[*record]
	tallies      *cow.Table[tally] // made of others
	queueing
	gathering
}

func newKeeping() keeping {
	return keeping{
		records: cow.New(recordLess), recordsByAge: cow.New(recordOlder), tallies: cow.New(tallyLess),
		queueing: newQueueing(), gathering: newGathering(),
	}
}

func (k *keeping) tables() []table {
	list := []table{k.records, k.recordsByAge, k.tallies}
	return append(append(list, k.queueing.tables()...), k.gathering.tables()...)
}

// keptView is what a View has of them.
type keptView struct {
	records      cow.Frozen[*record]
	recordsByAge cow.Frozen[*record]
	queues       cow.Frozen[*queue]
	messages     cow.Frozen[*message]
	receipts     cow.Frozen[*acked]
	waiters      cow.Frozen[*waiter]
	barriers     cow.Frozen[*barrier]
	entries      cow.Frozen[*entry]
}

func (k *keeping) freeze() keptView {
	return keptView{
		records: k.records.Freeze(), recordsByAge: k.recordsByAge.Freeze(),
		queues: k.queues.Freeze(), messages: k.messages.Freeze(), receipts: k.receipts.Freeze(), waiters: k.waiters.Freeze(),
		barriers: k.barriers.Freeze(), entries: k.entries.Freeze(),
	}
}

// runKept runs the operations on counters, queues and barriers; false when cmd is
// none of them.
func (s *State) runKept(x *txn, cmd *commandpb.Command, res *Result) (code tree.Code, is bool) {
	switch op := cmd.Op.(type) {
	case *commandpb.Command_AddCounter:
		return s.addCounter(x, op.AddCounter, res), true
	case *commandpb.Command_SetCounter:
		return s.setCounter(x, op.SetCounter, res), true
	case *commandpb.Command_DeleteCounter:
		return s.deleteCounter(x, op.DeleteCounter), true
	case *commandpb.Command_Enqueue:
		return s.enqueue(x, op.Enqueue, res), true
	case *commandpb.Command_Claim:
		return s.claim(x, op.Claim, res), true
	case *commandpb.Command_Settle:
		return s.settleClaims(x, op.Settle, res), true
	case *commandpb.Command_ConfigureQueue:
		return s.configureQueue(x, op.ConfigureQueue, res), true
	case *commandpb.Command_DeleteQueue:
		return s.deleteQueue(x, op.DeleteQueue), true
	case *commandpb.Command_Redrive:
		return s.redrive(x, op.Redrive, res), true
	case *commandpb.Command_Enter:
		return s.enter(x, op.Enter, res), true
	case *commandpb.Command_Depart:
		return s.depart(x, op.Depart, res), true
	case *commandpb.Command_CloseBarrier:
		return s.closeBarrier(x, op.CloseBarrier, res), true
	case *commandpb.Command_OpenBarrier:
		return s.openBarrier(x, op.OpenBarrier, res), true
	}
	return tree.OK, false
}

// keptStep runs an operation of a multi.
func (s *State) keptStep(x *txn, one *commandpb.Op) (out OpResult, code tree.Code) {
	var res Result
	switch op := one.Op.(type) {
	case *commandpb.Op_Add:
		out.Path = mirrorOf(commandpb.Kind_KIND_COUNTER, op.Add.Name)
		code = s.addCounter(x, op.Add, &res)
		out.Value = res.Counter.Value
	case *commandpb.Op_Enqueue:
		out.Path = mirrorOf(commandpb.Kind_KIND_QUEUE, op.Enqueue.Queue)
		code = s.enqueue(x, op.Enqueue, &res)
		out.ID = res.Message
	case *commandpb.Op_Ack:
		if op.Ack.How != commandpb.Settle_HOW_ACK || len(op.Ack.Receipts) != 1 {
			return out, tree.ErrInvalidArgument
		}
		out.Path = mirrorOf(commandpb.Kind_KIND_QUEUE, op.Ack.Queue)
		if code = s.settleClaims(x, op.Ack, &res); len(res.Receipts.Lost) > 0 {
			code = tree.ErrReceiptLost // all or nothing
		}
	default:
		return out, tree.ErrInvalidArgument
	}
	return out, code
}

// mirrorOf is the path, as its users see it, of the node that shows something.
func mirrorOf(kind commandpb.Kind, name string) string {
	return tree.Reserved + "/" + rooms[kind] + "/" + name
}

// mirror has a node show something, if it does not already.
func (s *State) mirror(x *txn, path string, shown any) {
	data, err := json.Marshal(shown)
	if err != nil {
		panic(err) // of plain fields there is none
	}
	if n, code := s.tree.Get(new(tree.Txn), path); code != tree.OK || !bytes.Equal(n.Data, data) {
		s.tree.PutOwn(&x.Txn, path, data)
	}
}

// carries is how much a session holds and waits for.
func (s *State) carries(id quorum.Zxid) int {
	l, _ := s.loads.Get(load{session: id})
	return l.n
}

// OldestRecord is the age in milliseconds of the oldest idempotency record; 0
// when there is none.
func (v *View) OldestRecord() (age uint64) {
	v.recordsByAge.Ascend(&record{}, func(r *record) bool {
		age = v.age - min(v.age, r.age)
		return false
	})
	return age
}

// kept answers about counters, queues and barriers.
func (s *sight) kept(a *Answer) (more bool, code tree.Code) {
	switch s.q.Kind {
	case ReadQueue, ReadMessages:
		return s.queueRead(a)
	case ReadCounter:
		return false, s.counterRead(a)
	case ReadBarrier:
		return false, s.barrierRead(a)
	}
	return false, tree.ErrInvalidArgument
}
