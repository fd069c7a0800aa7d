package handlers

import (
	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// inTheWay is what a refusal tells of a thing that is held, counted or queued.
type inTheWay struct {
	name     string
	held     lease.HeldState
	position int
	waiting  int
	receipts *lease.Receipts
}

// aboutThings are the refusals that tell of the thing that the command is about.
var aboutThings = map[tree.Code]bool{
	tree.ErrLockHeld: true, tree.ErrLockDelayed: true, tree.ErrNoPermits: true, tree.ErrLimitMismatch: true, tree.ErrModeMismatch: true,
	tree.ErrSuperseded: true, tree.ErrNotLeader: true, tree.ErrBarrierWaiting: true, tree.ErrOnceRunning: true, tree.ErrOnceDone: true,
	tree.ErrOnceFailed: true, tree.ErrCounterOverflow: true, tree.ErrVersionMismatch: true, tree.ErrNoQueue: true, tree.ErrHoldLost: true,
	tree.ErrReceiptLost: true, tree.ErrTooManyWaiters: true, tree.ErrNotEmpty: true, tree.ErrQuotaExceeded: true,
	tree.ErrNoNode: true, // a counter
}

// obstacle is what stood in the way of a command on a thing; nil when it is not
// about one.
func obstacle(cmd *commandpb.Command, res *lease.Result) *inTheWay {
	if res.Code == tree.ErrFenceStale {
		return staleFence(&res.Held)
	}
	name := thingName(cmd)
	if res.Held.Name != "" {
		name = res.Held.Name // of a lock set, which one
	}
	if name == "" || !aboutThings[res.Code] {
		return nil
	}
	w := &inTheWay{name: name, held: res.Held, position: res.Place.Position, waiting: res.Held.Waiting}
	switch res.Code {
	case tree.ErrReceiptLost:
		w.receipts = &res.Receipts
	case tree.ErrBarrierWaiting, tree.ErrLimitMismatch:
		w.waiting = max(w.waiting, int(res.Barrier.Entered))
	}
	return w
}

// staleFence names the fence that was not met; nil when it was no fence but a
// part of a multi.
func staleFence(h *lease.HeldState) *inTheWay {
	if h.Name == "" {
		return nil
	}
	return &inTheWay{name: rooms[h.Kind] + "/" + h.Name}
}

// thingName is the name of the one thing that a command is about; "" without
// one.
func thingName(cmd *commandpb.Command) string {
	switch op := cmd.Op.(type) {
	case *commandpb.Command_Acquire:
		if len(op.Acquire.Wants) == 1 {
			return op.Acquire.Wants[0].Name
		}
	case *commandpb.Command_Release:
		if len(op.Release.Names) == 1 {
			return op.Release.Names[0]
		}
	case *commandpb.Command_Enqueue:
		return op.Enqueue.Queue
	case *commandpb.Command_Claim:
		return op.Claim.Queue
	case *commandpb.Command_Settle:
		return op.Settle.Queue
	case *commandpb.Command_ConfigureQueue:
		return op.ConfigureQueue.Queue
	case *commandpb.Command_DeleteQueue:
		return op.DeleteQueue.Queue
	case *commandpb.Command_Redrive:
		return op.Redrive.Queue
	}
	return plainName(cmd)
}

// plainName is thingName of the commands that say name.
func plainName(cmd *commandpb.Command) string {
	for _, op := range [...]interface{ GetName() string }{
		cmd.GetBreak(), cmd.GetRevoke(), cmd.GetProclaim(), cmd.GetComplete(), cmd.GetForget(), cmd.GetAddCounter(), cmd.GetSetCounter(),
		cmd.GetDeleteCounter(), cmd.GetEnter(), cmd.GetDepart(), cmd.GetCloseBarrier(), cmd.GetOpenBarrier(),
	} {
		if name := op.GetName(); name != "" { // they take nil
			return name
		}
	}
	return ""
}

// render adds it to a problem.
func (w *inTheWay) render(p *api.Problem) {
	p.Name = &w.name
	p.Position, p.Waiting = some(clampInt32(w.position)), some(clampInt32(w.waiting))
	if w.held.Name != "" {
		waiting := clampInt32(w.waiting)
		p.Waiting = &waiting // none is told, too
	}
	p.Limit = some(max(w.held.Limit, deref(p.Limit)))
	if len(w.held.Holders) > 0 {
		holder := renderHolder(w.held.Kind, &w.held.Holders[0])
		p.Holder = &holder
	}
	if w.held.Kind == commandpb.Kind_KIND_ONCE && w.held.Name != "" {
		state := renderOnce(&w.held, detail{data: true})
		p.Once = &state
	}
	if w.receipts != nil {
		results := renderReceipts(w.receipts)
		p.Receipts = &results
	}
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
