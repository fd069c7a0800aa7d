package seam

import (
	"time"

	"perch/gen/commandpb"
	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

func toReading(a *lease.Answer) *seampb.Reading {
	return &seampb.Reading{
		Zxid: uint64(a.Zxid), Node: toNode(&a.Node), Children: each(a.Children, toNode), Sessions: each(a.Sessions, toInfo),
		NextPage: a.NextPage, Paths: a.Paths, Acl: toACL(a.ACL), Etag: uint64(a.ETag), Quota: toQuota(&a.Quota),
		Ops: each(a.Ops, toOpResult), Principals: each(a.Principals, toPrincipal), Governs: a.Governs,
		ApiTokens: each(a.APITokens, toAPIToken), Held: each(a.Held, toHeldState), Hold: toHold(&a.Hold),
		Queue: toQueueState(&a.Queue), Messages: each(a.Messages, toMessage), Counter: toCounter(&a.Counter),
		Barrier: toBarrier(&a.Barrier), Names: a.Names, Holds: a.Holds,
	}
}

func fromReading(in *seampb.Reading) lease.Answer {
	return lease.Answer{
		Zxid: quorum.Zxid(in.GetZxid()), Node: fromNode(in.GetNode()), Children: back(in.GetChildren(), fromNode),
		Sessions: back(in.GetSessions(), fromInfo), NextPage: in.GetNextPage(), Paths: in.GetPaths(), ACL: fromACL(in.GetAcl()),
		ETag: quorum.Zxid(in.GetEtag()), Quota: fromQuota(in.GetQuota()), Ops: back(in.GetOps(), fromOpResult),
		Principals: back(in.GetPrincipals(), fromPrincipal), Governs: in.GetGoverns(),
		APITokens: back(in.GetApiTokens(), fromAPIToken), Held: back(in.GetHeld(), fromHeldState), Hold: fromHold(in.GetHold()),
		Queue: fromQueueState(in.GetQueue()), Messages: back(in.GetMessages(), fromMessage),
		Counter: fromCounter(in.GetCounter()), Barrier: fromBarrier(in.GetBarrier()), Names: in.GetNames(), Holds: in.GetHolds(),
	}
}

func toResult(r *lease.Result) *seampb.Result {
	return &seampb.Result{
		Zxid: uint64(r.Zxid), Code: uint32(r.Code), Node: toNode(&r.Node), Created: r.Created, Ops: each(r.Ops, toOpResult),
		Failed: int64(r.Failed), Acl: toACL(r.ACL), Quota: toQuota(&r.Quota), Overrun: toOverrun(&r.Overrun),
		Principal: toPrincipal(&r.Principal), ApiToken: toAPIToken(&r.APIToken), Session: toInfo(&r.Session), Opened: r.Opened,
		Ended: numbers[uint64](r.Ended), Hold: toHold(&r.Hold), Place: toPlace(&r.Place), Held: toHeldState(&r.Held),
		Claimed: each(r.Claimed, toMessage), Receipts: &seampb.Receipts{Ok: r.Receipts.OK, Lost: r.Receipts.Lost},
		Queue: toQueueState(&r.Queue), Message: r.Message, Moved: int64(r.Moved), Counter: toCounter(&r.Counter),
		Barrier: toBarrier(&r.Barrier), Outcomes: each(r.Outcomes, toOutcome), Touched: numbers[uint64](r.Touched),
		Replayed: r.Replayed, Fault: r.Fault, Token: r.Token, RemainingNs: int64(r.Remaining),
	}
}

func fromResult(in *seampb.Result) lease.Result {
	return lease.Result{
		Zxid: quorum.Zxid(in.GetZxid()), Code: tree.Code(in.GetCode()), Node: fromNode(in.GetNode()), Created: in.GetCreated(),
		Ops: back(in.GetOps(), fromOpResult), Failed: int(in.GetFailed()), ACL: fromACL(in.GetAcl()),
		Quota: fromQuota(in.GetQuota()), Overrun: fromOverrun(in.GetOverrun()), Principal: fromPrincipal(in.GetPrincipal()),
		APIToken: fromAPIToken(in.GetApiToken()), Session: fromInfo(in.GetSession()), Opened: in.GetOpened(),
		Ended: numbers[quorum.Zxid](in.GetEnded()), Hold: fromHold(in.GetHold()), Place: fromPlace(in.GetPlace()),
		Held: fromHeldState(in.GetHeld()), Claimed: back(in.GetClaimed(), fromMessage),
		Receipts: lease.Receipts{OK: in.GetReceipts().GetOk(), Lost: in.GetReceipts().GetLost()},
		Queue:    fromQueueState(in.GetQueue()), Message: in.GetMessage(), Moved: int(in.GetMoved()),
		Counter: fromCounter(in.GetCounter()), Barrier: fromBarrier(in.GetBarrier()),
		Outcomes: back(in.GetOutcomes(), fromOutcome), Touched: numbers[quorum.Zxid](in.GetTouched()),
		Replayed: in.GetReplayed(), Fault: in.GetFault(), Token: in.GetToken(), Remaining: time.Duration(in.GetRemainingNs()),
	}
}

func toEventBatch(b *lease.EventBatch) *seampb.EventBatch {
	return &seampb.EventBatch{Events: each(b.Events, toEvent), Cursor: uint64(b.Cursor), More: b.More, Oldest: uint64(b.Oldest)}
}

func fromEventBatch(in *seampb.EventBatch) lease.EventBatch {
	return lease.EventBatch{
		Events: back(in.GetEvents(), fromEvent), Cursor: quorum.Zxid(in.GetCursor()), More: in.GetMore(),
		Oldest: quorum.Zxid(in.GetOldest()),
	}
}

func toEvent(e *tree.Event) *seampb.Event {
	return &seampb.Event{
		Zxid: uint64(e.Zxid), Type: uint32(e.Type), Cause: uint32(e.Cause), Path: e.Path, Stat: toStat(&e.Stat), Acl: toACL(e.ACL),
	}
}

func fromEvent(in *seampb.Event) tree.Event {
	return tree.Event{
		Zxid: quorum.Zxid(in.GetZxid()), Type: tree.EventType(in.GetType()), Cause: tree.Cause(in.GetCause()),
		Path: in.GetPath(), Stat: fromStat(in.GetStat()), ACL: fromACL(in.GetAcl()),
	}
}

func toHeld(h *lease.Held) *seampb.Held {
	return &seampb.Held{Info: toInfo(&h.Info), RemainingNs: int64(h.Remaining), Zxid: uint64(h.Zxid)}
}

func fromHeld(in *seampb.Held) lease.Held {
	return lease.Held{Info: fromInfo(in.GetInfo()), Remaining: time.Duration(in.GetRemainingNs()), Zxid: quorum.Zxid(in.GetZxid())}
}

func toIdentity(id *lease.Identity) *seampb.Identity {
	return &seampb.Identity{Principal: id.Principal, Token: id.Token, Expires: id.Expires}
}

func fromIdentity(in *seampb.Identity) lease.Identity {
	return lease.Identity{Principal: in.GetPrincipal(), Token: in.GetToken(), Expires: in.GetExpires()}
}

func toNode(n *tree.Node) *seampb.Node {
	return &seampb.Node{Path: n.Path, Data: n.Data, Stat: toStat(&n.Stat)}
}

func fromNode(in *seampb.Node) tree.Node {
	return tree.Node{Path: in.GetPath(), Data: in.GetData(), Stat: fromStat(in.GetStat())}
}

func toStat(s *tree.Stat) *seampb.Stat {
	return &seampb.Stat{
		Czxid: uint64(s.Czxid), Mzxid: uint64(s.Mzxid), Pzxid: uint64(s.Pzxid), Ctime: s.Ctime, Mtime: s.Mtime,
		Version: s.Version, Cversion: s.Cversion, Aversion: s.Aversion, EphemeralOwner: uint64(s.EphemeralOwner),
		DataLength: int64(s.DataLength), NumChildren: int64(s.NumChildren), Mode: uint32(s.Mode), TtlMs: s.TTLMs,
	}
}

func fromStat(in *seampb.Stat) tree.Stat {
	return tree.Stat{
		Czxid: quorum.Zxid(in.GetCzxid()), Mzxid: quorum.Zxid(in.GetMzxid()), Pzxid: quorum.Zxid(in.GetPzxid()),
		Ctime: in.GetCtime(), Mtime: in.GetMtime(), Version: in.GetVersion(), Cversion: in.GetCversion(),
		Aversion: in.GetAversion(), EphemeralOwner: quorum.Zxid(in.GetEphemeralOwner()), DataLength: int(in.GetDataLength()),
		NumChildren: int(in.GetNumChildren()), Mode: tree.Mode(in.GetMode()), TTLMs: in.GetTtlMs(),
	}
}

func toACL(a *tree.ACL) *seampb.Acl {
	if a == nil {
		return nil
	}
	return &seampb.Acl{Entries: each(a.Entries, func(e *tree.ACLEntry) *commandpb.AclEntry {
		return &commandpb.AclEntry{Scheme: e.Scheme, Id: e.ID, Perms: uint32(e.Perms)}
	})}
}

func fromACL(in *seampb.Acl) *tree.ACL {
	if in == nil {
		return nil
	}
	return &tree.ACL{Entries: back(in.GetEntries(), func(e *commandpb.AclEntry) tree.ACLEntry {
		return tree.ACLEntry{Scheme: e.GetScheme(), ID: e.GetId(), Perms: tree.Perms(e.GetPerms())}
	})}
}

func toQuota(q *tree.Quota) *seampb.Quota {
	return &seampb.Quota{MaxNodes: q.MaxNodes, MaxBytes: q.MaxBytes, Nodes: q.Nodes, Bytes: q.Bytes}
}

func fromQuota(in *seampb.Quota) tree.Quota {
	if in == nil {
		return tree.Quota{}
	}
	return tree.Quota{MaxNodes: in.MaxNodes, MaxBytes: in.MaxBytes, Nodes: in.GetNodes(), Bytes: in.GetBytes()}
}

func toOverrun(o *tree.Overrun) *seampb.Overrun {
	return &seampb.Overrun{Path: o.Path, Bytes: o.Bytes, Limit: o.Limit}
}

func fromOverrun(in *seampb.Overrun) tree.Overrun {
	return tree.Overrun{Path: in.GetPath(), Bytes: in.GetBytes(), Limit: in.GetLimit()}
}

func toOpResult(o *lease.OpResult) *seampb.OpResult {
	return &seampb.OpResult{
		Path: o.Path, Node: toNode(&o.Node), Created: o.Created, Tagged: o.Tagged, Code: uint32(o.Code), Value: o.Value, Id: o.ID,
	}
}

func fromOpResult(in *seampb.OpResult) lease.OpResult {
	return lease.OpResult{
		Path: in.GetPath(), Node: fromNode(in.GetNode()), Created: in.GetCreated(), Tagged: in.GetTagged(),
		Code: tree.Code(in.GetCode()), Value: in.GetValue(), ID: in.GetId(),
	}
}

func toInfo(i *lease.Info) *seampb.Info {
	return &seampb.Info{Id: uint64(i.ID), TtlNs: int64(i.TTL), Ephemerals: int64(i.Ephemerals), Principal: i.Principal}
}

func fromInfo(in *seampb.Info) lease.Info {
	return lease.Info{
		ID: quorum.Zxid(in.GetId()), TTL: time.Duration(in.GetTtlNs()), Ephemerals: int(in.GetEphemerals()),
		Principal: in.GetPrincipal(),
	}
}

func toPrincipal(p *lease.Principal) *seampb.Principal {
	return &seampb.Principal{
		Name: p.Name, Root: p.Root, Disabled: p.Disabled, Etag: uint64(p.ETag),
		Grants: each(p.Grants, func(g *lease.Grant) *commandpb.Grant {
			return &commandpb.Grant{Prefix: g.Prefix, Perms: uint32(g.Perms)}
		}),
	}
}

func fromPrincipal(in *seampb.Principal) lease.Principal {
	return lease.Principal{
		Name: in.GetName(), Root: in.GetRoot(), Disabled: in.GetDisabled(), ETag: quorum.Zxid(in.GetEtag()),
		Grants: back(in.GetGrants(), func(g *commandpb.Grant) lease.Grant {
			return lease.Grant{Prefix: g.GetPrefix(), Perms: lease.Perm(g.GetPerms())}
		}),
	}
}

func toAPIToken(t *lease.APIToken) *seampb.ApiToken {
	return &seampb.ApiToken{Id: t.ID, Principal: t.Principal, Label: t.Label, Created: t.Created, Expires: t.Expires}
}

func fromAPIToken(in *seampb.ApiToken) lease.APIToken {
	return lease.APIToken{
		ID: in.GetId(), Principal: in.GetPrincipal(), Label: in.GetLabel(), Created: in.GetCreated(), Expires: in.GetExpires(),
	}
}
