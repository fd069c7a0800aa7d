package lease

import (
	"encoding/binary"
	"errors"
	"slices"

	"perch/gen/commandpb"
	"perch/gen/snapshotpb"
	"perch/quorum"
	"perch/tree"
)

// A cluster that was restored goes on from a state of the past (RULES.md R9). What
// happened behind that is lost, and clients may still hold positions from there.
// The epochs of the new cluster begin far above all of them, so between the state
// that was restored and its first transaction there is a gap in the positions, and
// the state keeps it for good: who comes with a position from it is told that its
// history is lost, and is never taken for somebody who has seen what is here.

// restoredLevel is the level, and the format of snapshots, from which on there can
// be gaps. A restore raises the level to it by itself: only programs that know it
// have found the cluster together.
const restoredLevel = 4

// gap is the positions z with past < z < first that a restore has left out.
//
// RULES.md R9 writes (past, first]. No old position is first, which is in an epoch
// of the new cluster; but clients of that are told first as the position that they
// have read at, and go on from there. So it does not count.
type gap struct {
	past  quorum.Zxid // of the state that was restored
	first quorum.Zxid // of the new cluster's first transaction
}

func (g gap) holds(z quorum.Zxid) bool { return g.past < z && z < g.first }

// gapsMost bounds the gaps that are kept, one for each restore of a restored state,
// so nobody comes near it. They accumulate, since an ETag or a min_zxid from behind
// the first restore is as wrong after the second. The oldest beyond the bound is
// forgotten: a cursor from there is cursor_expired as before, an ETag, a receipt
// or a fence matches nothing. It is part of what restoredLevel means.
const gapsMost = 1000

// gaps are those of a state, rising. They are never changed in place.
type gaps []gap

// hold says whether z is in one of the gaps; 0 is no position.
func (gs gaps) hold(z quorum.Zxid) bool {
	i, _ := slices.BinarySearchFunc(gs, z, func(g gap, z quorum.Zxid) int {
		if g.first <= z {
			return -1
		}
		return 1
	})
	return i < len(gs) && gs[i].holds(z)
}

// after is the position below which nothing is of this cluster; 0 when nothing was
// restored.
func (gs gaps) after() quorum.Zxid {
	if len(gs) == 0 {
		return 0
	}
	return gs[len(gs)-1].first
}

func (gs gaps) digest(b []byte) []byte {
	for _, g := range gs {
		b = binary.LittleEndian.AppendUint64(b, uint64(g.past))
		b = binary.LittleEndian.AppendUint64(b, uint64(g.first))
	}
	return b
}

// beginAnew is the first transaction of a cluster that was restored. All sessions
// end as if their time were over, since nobody has kept them alive; with them goes
// what they own and hold. That is one transaction whatever its size, so that no
// later one sees a part of it.
func (s *State) beginAnew(x *txn, res *Result) {
	s.gaps = append(slices.Clip(s.gaps[max(0, len(s.gaps)-gapsMost+1):]), gap{past: s.zxid, first: x.Zxid})
	s.level = max(s.level, restoredLevel)
	all := new(commandpb.ExpireSessions)
	s.sessions.Freeze().Scan(func(n *session) bool {
		all.Ids = append(all.Ids, uint64(n.id))
		return true
	})
	s.evaluate(x, &commandpb.Command{Format: s.level, Op: &commandpb.Command_ExpireSessions{ExpireSessions: all}}, res)
}

// forgetPast has the history of events begin behind a transaction: who has a cursor
// of the past starts over, whatever he has seen.
func (s *State) forgetPast(x *txn) { s.history = tree.NewHistory(x.Zxid) }

// lost says whether cmd relies on a position that is in a gap: an ETag, a fence, a
// fencing token, a receipt. Of a multi it says which operation does; -1: none.
func (gs gaps) lost(cmd *commandpb.Command) (lost bool, failed int) {
	if len(gs) == 0 {
		return false, -1
	}
	for _, f := range cmd.Fences {
		if gs.hold(quorum.Zxid(f.Token)) {
			return true, -1
		}
	}
	if op := cmd.GetMulti(); op != nil {
		failed = slices.IndexFunc(op.Ops, gs.lostOp)
		return failed >= 0, failed
	}
	return gs.inOp(cmd), -1
}

// inOp is lost for the operation of a command that is no multi.
func (gs gaps) inOp(cmd *commandpb.Command) bool {
	switch op := cmd.Op.(type) {
	case *commandpb.Command_Put:
		return gs.lostTag(op.Put.Condition)
	case *commandpb.Command_Delete:
		return gs.lostTag(op.Delete.Condition)
	case *commandpb.Command_PutPrincipal:
		return gs.lostTag(op.PutPrincipal.Condition)
	case *commandpb.Command_DeletePrincipal:
		return gs.lostTag(op.DeletePrincipal.Condition)
	case *commandpb.Command_SetAcl:
		return gs.hold(quorum.Zxid(op.SetAcl.Czxid))
	case *commandpb.Command_SetDefaultAcl:
		return gs.hold(quorum.Zxid(op.SetDefaultAcl.Etag))
	case *commandpb.Command_Release:
		return gs.hold(quorum.Zxid(op.Release.Token))
	case *commandpb.Command_Proclaim:
		return gs.hold(quorum.Zxid(op.Proclaim.Token))
	case *commandpb.Command_Complete:
		return gs.hold(quorum.Zxid(op.Complete.Token))
	case *commandpb.Command_Settle:
		return gs.lostReceipt(op.Settle)
	}
	return false
}

// lostOp is lost for one operation of a multi.
func (gs gaps) lostOp(one *commandpb.Op) bool {
	switch op := one.Op.(type) {
	case *commandpb.Op_Put:
		return gs.lostTag(op.Put.Condition)
	case *commandpb.Op_Delete:
		return gs.lostTag(op.Delete.Condition)
	case *commandpb.Op_Check:
		return gs.lostTag(op.Check.Condition)
	case *commandpb.Op_CheckLock:
		return gs.hold(quorum.Zxid(op.CheckLock.Token))
	case *commandpb.Op_Ack:
		return gs.lostReceipt(op.Ack)
	}
	return false
}

func (gs gaps) lostTag(c *commandpb.Condition) bool {
	return c != nil && (gs.hold(quorum.Zxid(c.GetEtag())) || gs.hold(quorum.Zxid(c.GetAlsoEtag())))
}

func (gs gaps) lostReceipt(op *commandpb.Settle) bool {
	return slices.ContainsFunc(op.GetReceipts(), func(receipt string) bool {
		_, claim, ok := parseReceipt(receipt)
		return ok && gs.hold(claim)
	})
}

// InGap says whether z is a position of a former cluster that a restore has left
// out: what was written there is not here, and nothing here has it.
func (v *View) InGap(z quorum.Zxid) bool { return v.gaps.hold(z) }

// lost says whether a question relies on such a position.
func (v *View) lost(q *Read) bool {
	return v.gaps.hold(q.Fencing) || len(v.gaps) > 0 && slices.ContainsFunc(q.Ops, v.gaps.lostOp)
}

func (gs gaps) message() (out []*snapshotpb.Gap) {
	for _, g := range gs {
		out = append(out, &snapshotpb.Gap{Past: uint64(g.past), First: uint64(g.first)})
	}
	return out
}

func readGaps(head *snapshotpb.Header) (gs gaps, err error) {
	if len(head.Gaps) > gapsMost || len(head.Gaps) > 0 && head.Format < restoredLevel {
		return nil, errors.New("impossible gaps")
	}
	last := quorum.Zxid(0)
	for _, m := range head.Gaps {
		g := gap{past: quorum.Zxid(m.Past), first: quorum.Zxid(m.First)}
		if g.past < last || g.first <= g.past || g.first > quorum.Zxid(head.Zxid) {
			return nil, errors.New("gaps out of order")
		}
		gs, last = append(gs, g), g.first
	}
	return gs, nil
}
