package lease

import (
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/snapshotpb"
	"perch/quorum"
	"perch/tree"
)

// What an idempotency record holds: a result, with nothing in it that the same
// command says already, or a handle.

// toldBytes is m as a record holds it. The bytes are part of the state;
// Deterministic has no effect without maps, and says what is relied on.
func toldBytes(m *snapshotpb.Told) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // a text that is not UTF-8; the transaction comes to nothing
	}
	return b
}

// toldOf is the reverse of toldBytes.
func toldOf(b []byte) *snapshotpb.Told {
	m := new(snapshotpb.Told)
	if err := proto.Unmarshal(b, m); err != nil {
		panic(err) // Restore has looked at them
	}
	return m
}

// tellOf is what is to be told again of a command; nil when nothing is, and the
// same key runs again.
func tellOf(x *txn, cmd *commandpb.Command, res *Result) *snapshotpb.Told {
	if !stored(res.Code) {
		return nil
	}
	if res.Code == tree.OK {
		switch cmd.Op.(type) {
		case *commandpb.Command_OpenSession:
			return &snapshotpb.Told{Opened: res.Opened, Handle: &snapshotpb.Handle{Session: uint64(res.Session.ID)}}
		case *commandpb.Command_Acquire:
			if res.Hold.Token == 0 {
				return &snapshotpb.Told{Handle: &snapshotpb.Handle{Session: uint64(x.Owner)}}
			}
			return &snapshotpb.Told{Handle: handleOf(res.Hold, nil)}
		case *commandpb.Command_Claim:
			if len(res.Claimed) == 0 && res.Place.ID == 0 {
				return nil // an empty claim
			}
			return &snapshotpb.Told{Handle: handleOf(Hold{}, res.Claimed)}
		case *commandpb.Command_Enter:
			return &snapshotpb.Told{Handle: &snapshotpb.Handle{Session: uint64(x.Owner), Generation: res.Barrier.Mine}}
		}
	}
	return plainTold(x.Zxid, res)
}

func handleOf(h Hold, claimed []Message) *snapshotpb.Handle {
	m := &snapshotpb.Handle{Session: uint64(h.Session), Token: uint64(h.Token)}
	for i := range claimed {
		m.Token = uint64(claimed[i].Token)
		m.Ids = append(m.Ids, claimed[i].ID)
	}
	return m
}

// plainTold is a result that is told again as it is.
func plainTold(z quorum.Zxid, res *Result) *snapshotpb.Told {
	m := &snapshotpb.Told{
		Code: uint32(res.Code), Created: res.Created, Opened: res.Opened, Failed: int64(res.Failed),
		Node: toldNode(z, &res.Node), Acl: aclMessage(res.ACL), Quota: toldQuota(res.Quota),
		QuotaNodes: uint64(res.Quota.Nodes), QuotaBytes: uint64(res.Quota.Bytes),
		Principal: toldPrincipal(&res.Principal), ApiToken: toldToken(&res.APIToken), Held: toldHeld(&res.Held),
		Message: res.Message, Moved: int64(res.Moved),
	}
	for i := range res.Ops {
		o := &res.Ops[i]
		n := toldNode(z, &o.Node)
		if n != nil && n.Path == o.Path {
			n.Path = ""
		}
		m.Ops = append(m.Ops, &snapshotpb.ToldOp{Path: o.Path, Node: n, Created: o.Created, Tagged: o.Tagged, Value: o.Value, Id: o.ID})
	}
	if q := &res.Queue; q.Name != "" {
		m.Queue = &snapshotpb.ToldQueue{
			Name: q.Name, Tag: uint64(q.Tag), Ready: q.Ready, Leased: q.Leased, Delayed: q.Delayed,
			MaxAttempts: q.MaxAttempts, DeadLetter: q.DeadLetter, OldestMs: q.Oldest.Milliseconds(),
		}
	}
	if c := &res.Counter; c.Name != "" {
		m.Counter = &snapshotpb.ToldCounter{Name: c.Name, Value: c.Value, Previous: c.Previous, Tag: uint64(c.Tag)}
	}
	if b := &res.Barrier; b.Name != "" {
		m.Barrier = &snapshotpb.ToldBarrier{
			Name: b.Name, Tag: uint64(b.Tag), Entered: b.Entered, Leaving: b.Leaving, Count: b.Count,
			Open: b.Open, Generation: b.Generation, Mine: b.Mine,
		}
	}
	if i := &res.Session; i.ID != 0 {
		m.Info = &snapshotpb.ToldSession{
			Id: uint64(i.ID), TtlMs: uint64(i.TTL.Milliseconds()), Ephemerals: uint64(i.Ephemerals), Principal: i.Principal,
		}
	}
	return m
}

// resultOf is what the command of a record did, for the same command.
func resultOf(r *record, m *snapshotpb.Told, cmd *commandpb.Command) Result {
	res := Result{
		Zxid: r.zxid, Code: tree.Code(m.Code), Created: m.Created, Opened: m.Opened, Failed: int(m.Failed),
		Node: nodeTold(r.zxid, m.Node), ACL: aclOf(m.Acl), Principal: principalTold(m.Principal), APIToken: tokenTold(m.ApiToken),
		Held: heldTold(m.Held, cmd), Message: m.Message, Moved: int(m.Moved), Replayed: true,
	}
	if q := m.Quota; q != nil {
		res.Quota = tree.Quota{MaxNodes: q.MaxNodes, MaxBytes: q.MaxBytes}
	}
	res.Quota.Nodes, res.Quota.Bytes = int64(m.QuotaNodes), int64(m.QuotaBytes)
	for _, o := range m.Ops {
		n := nodeTold(r.zxid, o.Node)
		if o.Node != nil && n.Path == "" {
			n.Path = o.Path
		}
		res.Ops = append(res.Ops, OpResult{Path: o.Path, Node: n, Created: o.Created, Tagged: o.Tagged, Value: o.Value, ID: o.Id})
	}
	if op := cmd.GetSettle(); op != nil && res.Code == tree.OK {
		res.Receipts.OK = op.Receipts // else it would not have been stored
	}
	if q := m.Queue; q != nil {
		res.Queue = QueueState{
			Name: q.Name, Tag: quorum.Zxid(q.Tag), Ready: q.Ready, Leased: q.Leased, Delayed: q.Delayed,
			MaxAttempts: q.MaxAttempts, DeadLetter: q.DeadLetter, Oldest: millis(q.OldestMs),
		}
	}
	if c := m.Counter; c != nil {
		res.Counter = Counter{Name: c.Name, Value: c.Value, Previous: c.Previous, Tag: quorum.Zxid(c.Tag)}
	}
	if b := m.Barrier; b != nil {
		res.Barrier = Barrier{
			Name: b.Name, Tag: quorum.Zxid(b.Tag), Entered: b.Entered, Leaving: b.Leaving, Count: b.Count,
			Open: b.Open, Generation: b.Generation, Mine: b.Mine,
		}
	}
	if i := m.Info; i != nil {
		res.Session = Info{ID: quorum.Zxid(i.Id), TTL: millis(int64(i.TtlMs)), Ephemerals: int(i.Ephemerals), Principal: i.Principal}
	}
	return res
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// toldNode is a node's path and stat; nil for none.
func toldNode(z quorum.Zxid, n *tree.Node) *snapshotpb.ToldNode {
	s := &n.Stat
	if n.Path == "" && *s == (tree.Stat{}) {
		return nil
	}
	less := func(of quorum.Zxid) int64 { return int64(of - z) }
	return &snapshotpb.ToldNode{
		Path: n.Path, Czxid: less(s.Czxid), Mzxid: less(s.Mzxid), Pzxid: less(s.Pzxid),
		CtimeMs: s.Ctime, MtimeMs: s.Mtime - s.Ctime, Version: s.Version, Cversion: s.Cversion, Aversion: s.Aversion,
		Owner: uint64(s.EphemeralOwner), DataLength: uint64(s.DataLength), Children: uint64(s.NumChildren),
		Mode: uint32(s.Mode), TtlMs: s.TTLMs,
	}
}

func nodeTold(z quorum.Zxid, m *snapshotpb.ToldNode) tree.Node {
	if m == nil {
		return tree.Node{}
	}
	more := func(by int64) quorum.Zxid { return z + quorum.Zxid(by) }
	return tree.Node{Path: m.Path, Stat: tree.Stat{
		Czxid: more(m.Czxid), Mzxid: more(m.Mzxid), Pzxid: more(m.Pzxid),
		Ctime: m.CtimeMs, Mtime: m.CtimeMs + m.MtimeMs, Version: m.Version, Cversion: m.Cversion, Aversion: m.Aversion,
		EphemeralOwner: quorum.Zxid(m.Owner), DataLength: int(m.DataLength), NumChildren: int(m.Children),
		Mode: tree.Mode(m.Mode), TTLMs: m.TtlMs,
	}}
}

func toldQuota(q tree.Quota) *snapshotpb.Quota {
	if q.MaxNodes == nil && q.MaxBytes == nil {
		return nil
	}
	return quotaMessage(&q)
}

func toldPrincipal(p *Principal) *snapshotpb.Principal {
	if p.Name == "" {
		return nil
	}
	m := &snapshotpb.Principal{Name: p.Name, Root: p.Root, Disabled: p.Disabled, Etag: uint64(p.ETag)}
	for _, g := range p.Grants {
		m.Grants = append(m.Grants, &commandpb.Grant{Prefix: g.Prefix, Perms: uint32(g.Perms)})
	}
	return m
}

func principalTold(m *snapshotpb.Principal) Principal {
	p := Principal{Name: m.GetName(), Root: m.GetRoot(), Disabled: m.GetDisabled(), ETag: quorum.Zxid(m.GetEtag())}
	for _, g := range m.GetGrants() {
		p.Grants = append(p.Grants, Grant{Prefix: g.Prefix, Perms: Perm(g.Perms)})
	}
	return p
}

func toldToken(t *APIToken) *snapshotpb.Token {
	if t.ID == "" {
		return nil
	}
	id, _ := parseTokenID(t.ID)
	return &snapshotpb.Token{Id: uint64(id), Principal: t.Principal, Label: t.Label, CreatedMs: t.Created, ExpiresMs: t.Expires}
}

func tokenTold(m *snapshotpb.Token) APIToken {
	if m == nil {
		return APIToken{}
	}
	return APIToken{
		ID: tokenID(quorum.Zxid(m.Id)), Principal: m.Principal, Label: m.Label, Created: m.CreatedMs, Expires: m.ExpiresMs,
	}
}
