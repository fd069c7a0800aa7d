package lease

import (
	"perch/gen/commandpb"
	"perch/tree"
	"perch/tree/cow"
)

// What is counted, queued and gathered: the doors to counters, queues and
// barriers.

// keptOp says whether runKept runs a command.
func keptOp(cmd *commandpb.Command) bool {
	switch cmd.Op.(type) {
	case *commandpb.Command_AddCounter, *commandpb.Command_SetCounter, *commandpb.Command_DeleteCounter:
		return true
	}
	return false
}

func (s *State) runKept(x *txn, cmd *commandpb.Command, res *Result) tree.Code {
	switch op := cmd.Op.(type) {
	case *commandpb.Command_AddCounter:
		return s.addCounter(x, op.AddCounter, res)
	case *commandpb.Command_SetCounter:
		return s.setCounter(x, op.SetCounter, res)
	case *commandpb.Command_DeleteCounter:
		return s.deleteCounter(x, op.DeleteCounter)
	}
	return tree.ErrInvalidArgument
}

// keptStep runs an operation of a multi.
func (s *State) keptStep(x *txn, one *commandpb.Op) (out OpResult, code tree.Code) {
	var res Result
	switch op := one.Op.(type) {
	case *commandpb.Op_Add:
		out.Path = mirrorOf(commandpb.Kind_KIND_COUNTER, op.Add.Name)
		code = s.addCounter(x, op.Add, &res)
		out.Value = res.Counter.Value
		return out, code
	}
	return out, tree.ErrInvalidArgument
}

// mirrorOf is the path, as its users see it, of the node that shows something.
func mirrorOf(kind commandpb.Kind, name string) string {
	return tree.Reserved + "/" + rooms[kind] + "/" + name
}

// keptView is what a View has of these, and of idempotency records.
type keptView struct {
	records      cow.Frozen[*record]
	recordsByAge cow.Frozen[*record]
}

func (s *State) keptView() keptView {
	return keptView{records: s.records.Freeze(), recordsByAge: s.recordsByAge.Freeze()}
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

// kept answers about them.
func (s *sight) kept(a *Answer) (more bool, code tree.Code) {
	switch s.q.Kind {
	case ReadCounter:
		return false, s.counterRead(a)
	}
	return false, tree.ErrInvalidArgument
}
