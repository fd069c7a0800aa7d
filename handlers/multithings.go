package handlers

import (
	"perch/gen/api"
	"perch/gen/commandpb"
)

// parseThing reads an operation on something that is held, counted or queued.
func (m *multi) parseThing(op *api.Op) (*commandpb.Op, error) {
	switch op.Op {
	case api.CheckLock:
		return parseCheckLock(op)
	case api.Add:
		if op.Add == nil {
			return nil, badArgument("add", "it is missing")
		}
		add := &commandpb.AddCounter{Name: deref(op.Counter), Add: *op.Add}
		return &commandpb.Op{Op: &commandpb.Op_Add{Add: add}}, checkThing("counter", add.Name)
	case api.Enqueue:
		data, err := m.value(op)
		if err == nil {
			err = checkThing("queue", deref(op.Queue))
		}
		return &commandpb.Op{Op: &commandpb.Op_Enqueue{Enqueue: &commandpb.Enqueue{Queue: deref(op.Queue), Data: data}}}, err
	}
	if err := checkReceipt("receipt", deref(op.Receipt)); err != nil {
		return nil, err
	}
	settle := &commandpb.Settle{Queue: deref(op.Queue), Receipts: []string{*op.Receipt}}
	return &commandpb.Op{Op: &commandpb.Op_Ack{Ack: settle}}, checkThing("queue", settle.Queue)
}

func parseCheckLock(op *api.Op) (*commandpb.Op, error) {
	token, err := fencingToken("fencing_token", op.FencingToken)
	if err != nil {
		return nil, err
	}
	fence, ok := parseHeld(deref(op.Lock), token)
	if !ok {
		return nil, badArgument("lock", "it is NAME or kind/NAME, as in fence")
	}
	return &commandpb.Op{Op: &commandpb.Op_CheckLock{CheckLock: fence}}, nil
}
