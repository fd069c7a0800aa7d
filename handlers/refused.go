package handlers

import (
	"fmt"
	"strconv"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// refused is the refusal of a command by apply, with what stood in its way.
func (e *edge) refused(cmd *commandpb.Command, res *lease.Result) *failure {
	f := asFailure(res.Code).at(res.Zxid)
	f.path, f.etag = res.Node.Path, res.Node.Stat.Mzxid
	f.about = obstacle(cmd, res)
	if res.Counter.Name != "" {
		f.tag = counterTag(&res.Counter)
		f.detail = "the counter is " + strconv.FormatInt(res.Counter.Value, 10)
	}
	switch res.Code {
	case tree.ErrNodeExists:
		f.holder = res.Node.Stat.EphemeralOwner
	case tree.ErrQuotaExceeded:
		if res.Overrun == (tree.Overrun{}) {
			return f // a queue is full
		}
		o := &res.Overrun
		f.path, f.limit, f.detail = o.Path, o.Limit, overrunText(o)
		return f // a path that is not shown is not replaced by another
	case tree.ErrInvalidArgument:
		if cmd.GetEnter().GetGeneration() != 0 { // all else has been looked at before
			f.field, f.detail = "/generation", "the barrier has not come so far"
		}
	case tree.ErrLockHeld, tree.ErrNoPermits:
		if len(res.Held.Holders) == 0 && res.Held.Waiting > 0 {
			f.detail = "others wait before"
		}
	case tree.ErrTooLarge:
		f.detail, f.limit = e.oversize(cmd, res.Failed)
	}
	if f.path == "" && ofNode[res.Code] {
		f.path = subject(cmd)
	}
	return f
}

// ofNode are the refusals that tell of the node that the command is about.
var ofNode = map[tree.Code]bool{
	tree.ErrNoNode: true, tree.ErrNoParent: true, tree.ErrNodeExists: true, tree.ErrNotEmpty: true,
	tree.ErrNoChildrenForEphemeral: true, tree.ErrVersionMismatch: true, tree.ErrETagMismatch: true, tree.ErrTooLarge: true,
}

// subject is the path of the one node that a command is about; "" without one.
func subject(cmd *commandpb.Command) string {
	switch op := cmd.Op.(type) {
	case *commandpb.Command_Create:
		return op.Create.Path
	case *commandpb.Command_Put:
		return op.Put.Path
	case *commandpb.Command_Delete:
		return op.Delete.Path
	case *commandpb.Command_SetAcl:
		return op.SetAcl.Path
	case *commandpb.Command_SetDefaultAcl:
		return op.SetDefaultAcl.Path
	case *commandpb.Command_SetQuota:
		return op.SetQuota.Path
	case *commandpb.Command_DeleteCounter:
		return mirror(commandpb.Kind_KIND_COUNTER, op.DeleteCounter.Name)
	}
	return ""
}

func overrunText(o *tree.Overrun) string {
	what, where := "nodes", "above"
	if o.Bytes {
		what = "bytes of data"
	}
	if o.Path != "" {
		where = "of " + o.Path
	}
	return fmt.Sprintf("the quota %s is %d %s", where, o.Limit, what)
}

// oversize says which bound a command that the edge has let pass meets in apply;
// failed is the operation of a multi that met it.
func (e *edge) oversize(cmd *commandpb.Command, failed int) (detail string, limit int64) {
	settings := &e.recent().Settings
	nodes, size := int64(settings.TxnNodes), 0
	switch op := cmd.Op.(type) {
	case *commandpb.Command_SetAcl, *commandpb.Command_SetDefaultAcl:
		return "auth stands for so much that the ACL has too many entries", aclEntriesMax
	case *commandpb.Command_DeletePrincipal:
		return "its sessions own more nodes than one transaction may touch: disable it, close its sessions one by one, then delete it", nodes
	case *commandpb.Command_Delete:
		return "more is below the node than one transaction may delete: delete parts of it first", nodes
	case *commandpb.Command_Create:
		size = len(op.Create.Data)
	case *commandpb.Command_Put:
		size = len(op.Put.Data)
	case *commandpb.Command_Enqueue:
		size = len(op.Enqueue.Data)
	case *commandpb.Command_Complete:
		size = len(op.Complete.Data)
	case *commandpb.Command_Multi:
		if failed >= 0 && failed < len(op.Multi.Ops) {
			one := op.Multi.Ops[failed]
			if one.GetGet() != nil {
				return answerTooLarge, multiBytesMax
			}
			size = len(one.GetCreate().GetData()) + len(one.GetPut().GetData()) + len(one.GetEnqueue().GetData())
		}
	}
	if size > settings.ValueBytes {
		return "the value is too large", int64(settings.ValueBytes)
	}
	return "more nodes change than one transaction may touch", nodes
}

// answerTooLarge is why a multi does not show what its gets have found.
const answerTooLarge = "the values that its gets answer with are too large together"
