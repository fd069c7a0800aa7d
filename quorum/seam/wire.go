package seam

import (
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// This is the one codec of what goes over the seam: questions here, errors in
// wireerrors.go, answers in wireanswers.go, wireheld.go and wirestatus.go. Two
// functions stand side by side for every type, and a test by reflection sees to
// it that no field is forgotten.

// MarshalRead encodes a question.
func MarshalRead(q *lease.Read) ([]byte, error) { return proto.Marshal(toRead(q)) }

// UnmarshalRead is the reverse of MarshalRead. Any bytes give a question or an
// error.
func UnmarshalRead(body []byte) (lease.Read, error) {
	in := new(seampb.Read)
	if err := proto.Unmarshal(body, in); err != nil {
		return lease.Read{}, err
	}
	return fromRead(in), nil
}

// MarshalAnswer encodes an answer and the error that came with it.
func MarshalAnswer(a *lease.Answer, err error) ([]byte, error) {
	return proto.Marshal(&seampb.Answer{Error: toError(err), Answer: &seampb.Answer_Reading{Reading: toReading(a)}})
}

// UnmarshalAnswer is the reverse of MarshalAnswer. Rubbish is false.
func UnmarshalAnswer(body []byte) (a lease.Answer, err error, ok bool) {
	in := new(seampb.Answer)
	if proto.Unmarshal(body, in) != nil {
		return a, nil, false
	}
	return fromReading(in.GetReading()), fromError(in.GetError()), in.GetReading() != nil
}

// each turns a list into another; an empty one becomes nil.
func each[A, B any](list []A, turn func(*A) B) []B {
	if len(list) == 0 {
		return nil
	}
	out := make([]B, len(list))
	for i := range list {
		out[i] = turn(&list[i])
	}
	return out
}

// back is each for a list of messages.
func back[A, B any](list []*A, turn func(*A) B) []B {
	return each(list, func(a **A) B { return turn(*a) })
}

type number interface{ ~uint16 | ~uint32 | ~uint64 }

// numbers turns a list of numbers into one of another type.
func numbers[B, A number](list []A) []B { return each(list, func(a *A) B { return B(*a) }) }

func toAt(at *lease.At) *seampb.At {
	return &seampb.At{Linearizable: at.Linearizable, Floor: uint64(at.Floor), WaitNs: int64(at.Wait)}
}

func fromAt(in *seampb.At) lease.At {
	return lease.At{Linearizable: in.GetLinearizable(), Floor: quorum.Zxid(in.GetFloor()), Wait: time.Duration(in.GetWaitNs())}
}

func toRead(q *lease.Read) *seampb.Read {
	return &seampb.Read{
		Kind: uint32(q.Kind), Caller: q.Caller, Path: q.Path, Name: q.Name, Of: q.Of, Key: q.Key, Fencing: uint64(q.Fencing),
		Depth: int64(q.Depth), Ops: q.Ops, Session: uint64(q.Session), Token: []byte(q.Token), At: toAt(&q.At),
		Limit: int64(q.Limit), PageToken: []byte(q.PageToken), WithData: q.WithData,
	}
}

func fromRead(in *seampb.Read) lease.Read {
	return lease.Read{
		Kind: lease.ReadKind(in.GetKind()), Caller: in.GetCaller(), Path: in.GetPath(), Name: in.GetName(), Of: in.GetOf(),
		Key: in.GetKey(), Fencing: quorum.Zxid(in.GetFencing()), Depth: int(in.GetDepth()), Ops: in.GetOps(),
		Session: quorum.Zxid(in.GetSession()), Token: string(in.GetToken()), At: fromAt(in.GetAt()),
		Limit: int(in.GetLimit()), PageToken: string(in.GetPageToken()), WithData: in.GetWithData(),
	}
}

func toEventQuery(q *lease.EventQuery) *seampb.EventQuery {
	return &seampb.EventQuery{
		Caller: q.Caller, Path: q.Path, Scope: uint32(q.Scope), Since: uint64(q.Since), Now: q.Now, FloorNs: int64(q.Floor),
		Limit: int64(q.Limit), Token: []byte(q.Token), Parked: q.Parked,
	}
}

func fromEventQuery(in *seampb.EventQuery) lease.EventQuery {
	return lease.EventQuery{
		Caller: in.GetCaller(), Path: in.GetPath(), Scope: tree.Scope(in.GetScope()), Since: quorum.Zxid(in.GetSince()),
		Now: in.GetNow(), Floor: time.Duration(in.GetFloorNs()), Limit: int(in.GetLimit()), Token: string(in.GetToken()), Parked: in.GetParked(),
	}
}

func toInterest(i *lease.Interest) *seampb.Interest {
	return &seampb.Interest{State: i.State, Caller: i.Caller, Path: i.Path, Scope: uint32(i.Scope), Since: uint64(i.Since)}
}

func fromInterest(in *seampb.Interest) lease.Interest {
	return lease.Interest{
		State: in.GetState(), Caller: in.GetCaller(), Path: in.GetPath(), Scope: tree.Scope(in.GetScope()),
		Since: quorum.Zxid(in.GetSince()),
	}
}

func toMembersChange(c *lease.MembersChange) *seampb.MembersChange {
	return &seampb.MembersChange{
		Caller: c.Caller, Set: each(c.Set, toMemberChange), Remove: numbers[uint32](c.Remove), Force: c.Force,
	}
}

func fromMembersChange(in *seampb.MembersChange) lease.MembersChange {
	return lease.MembersChange{
		Caller: in.GetCaller(), Set: back(in.GetSet(), fromMemberChange), Remove: numbers[quorum.NodeID](in.GetRemove()),
		Force: in.GetForce(),
	}
}

func toMemberChange(m *quorum.MemberChange) *seampb.MemberChange {
	return &seampb.MemberChange{Id: uint32(m.ID), Role: uint32(m.Role), Addr: m.Addr, Replace: m.Replace}
}

func fromMemberChange(in *seampb.MemberChange) quorum.MemberChange {
	return quorum.MemberChange{
		ID: quorum.NodeID(in.GetId()), Role: quorum.Role(in.GetRole()), Addr: in.GetAddr(), Replace: in.GetReplace(),
	}
}

// hash reads a SHA-256; false for anything of another length.
func hash(b []byte) (h [32]byte, ok bool) { return h, copy(h[:], b) == len(h) && len(b) == len(h) }
