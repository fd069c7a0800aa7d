package lease

import (
	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
)

// FormatOf is the least format in which cmd means what it says: programs that
// know only older ones would not see all of it. Its caller does not count, since
// before accessLevel nothing depends on who asks.
func FormatOf(cmd *commandpb.Command) uint32 {
	all := proto.Clone(cmd).(*commandpb.Command)
	all.Caller = nil
	for format := uint32(1); format < Format; format++ {
		seen := proto.Clone(all).(*commandpb.Command)
		older(seen, format)
		if proto.Equal(all, seen) {
			return format
		}
	}
	return Format
}

// modeUnknown stands for a mode that was made after a format.
const modeUnknown commandpb.Mode = -1

// older makes of cmd what a program sees of it that knows no format above one.
// So a command of an older format means the same to every program, whatever else
// it holds (RULES.md R6).
func older(cmd *commandpb.Command, format uint32) {
	if format < heldLevel {
		withoutHolds(cmd)
	}
	if format < accessLevel {
		withoutAccess(cmd)
	}
}

// withoutHolds takes away what heldLevel brought.
func withoutHolds(cmd *commandpb.Command) {
	cmd.Key, cmd.Fences = nil, nil
	switch op := cmd.Op.(type) {
	case *commandpb.Command_Acquire, *commandpb.Command_Leave, *commandpb.Command_Release, *commandpb.Command_Break,
		*commandpb.Command_Revoke, *commandpb.Command_Proclaim, *commandpb.Command_Withdraw, *commandpb.Command_Lapse,
		*commandpb.Command_Checkpoint, *commandpb.Command_Complete, *commandpb.Command_Forget,
		*commandpb.Command_AddCounter, *commandpb.Command_SetCounter, *commandpb.Command_DeleteCounter,
		*commandpb.Command_Enqueue, *commandpb.Command_Claim, *commandpb.Command_Settle,
		*commandpb.Command_ConfigureQueue, *commandpb.Command_DeleteQueue, *commandpb.Command_Redrive,
		*commandpb.Command_Enter, *commandpb.Command_Depart, *commandpb.Command_CloseBarrier,
		*commandpb.Command_OpenBarrier:
		cmd.Op = nil
	case *commandpb.Command_Multi:
		for _, part := range op.Multi.Ops {
			switch part.Op.(type) {
			case *commandpb.Op_CheckLock, *commandpb.Op_Add, *commandpb.Op_Enqueue, *commandpb.Op_Ack:
				part.Op = nil
			}
		}
	case *commandpb.Command_Configure:
		c := op.Configure
		c.RecordBytes, c.RecordAgeMs, c.RecordLeastMs, c.OverAgeMs = nil, nil, nil, nil
		c.Waiting, c.SessionHolds, c.QueueMessages, c.QueueBytes = nil, nil, nil, nil
	}
}

// withoutAccess takes away what accessLevel brought.
func withoutAccess(cmd *commandpb.Command) {
	cmd.Caller = nil
	switch op := cmd.Op.(type) {
	case *commandpb.Command_Create:
		olderMode(&op.Create.Mode)
		op.Create.TtlMs, op.Create.Acl = 0, nil
	case *commandpb.Command_Put:
		olderMode(&op.Put.Mode)
		op.Put.TtlMs, op.Put.Existing = 0, false
		olderCondition(op.Put.Condition)
	case *commandpb.Command_Delete:
		olderCondition(op.Delete.Condition)
	case *commandpb.Command_Multi, *commandpb.Command_SetAcl, *commandpb.Command_SetDefaultAcl,
		*commandpb.Command_SetQuota, *commandpb.Command_Reap, *commandpb.Command_EnableAuth,
		*commandpb.Command_PutPrincipal, *commandpb.Command_DeletePrincipal,
		*commandpb.Command_CreateToken, *commandpb.Command_RevokeToken:
		cmd.Op = nil
	case *commandpb.Command_Configure:
		op.Configure.PrincipalSessions, op.Configure.PrincipalNodes, op.Configure.PrincipalBytes = nil, nil, nil
	}
}

func olderMode(m *commandpb.Mode) {
	if *m > commandpb.Mode_MODE_EPHEMERAL {
		*m = modeUnknown
	}
}

func olderCondition(c *commandpb.Condition) {
	if c != nil {
		c.AlsoEtag = nil
	}
}
