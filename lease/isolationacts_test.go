package lease

import (
	"fmt"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// tenant is somebody who does this and that in a place of its own, and tries to
// get out of it.
type tenant struct {
	*world
	name, other string // principals
	top         string // before the paths of its place; "" with a root
	token       string // id of its API token
	tells       bool   // keeps a transcript
	lines       []string

	made    []string      // nodes
	own     []quorum.Zxid // its transactions: sessions and tags among them
	cursors []quorum.Zxid // positions that it was told
}

func (n *tenant) act() {
	switch n.rng.IntN(8) {
	case 0, 1, 2:
		n.reads()
	case 3:
		n.watches()
	default:
		n.writes()
	}
}

func (n *tenant) tell(what string, outcome func() string) {
	if n.tells {
		n.lines = append(n.lines, what+" -> "+outcome())
	}
}

func (n *tenant) writes() {
	c := n.command()
	c.Format, c.Caller = heldLevel, n.caller()
	if c.Session == nil && c.GetOpenSession() == nil && n.flag() {
		c.Session = n.session()
	}
	r, _ := n.apply(c)
	if n.own = append(n.own, n.zxid); n.tells {
		n.ranked = append(n.ranked, n.zxid)
	} else {
		n.others = append(n.others, n.zxid)
	}
	if r.Created {
		n.made = append(n.made, r.Node.Path)
	}
	n.tell(fmt.Sprintf("%T", c.Op), func() string { return n.result(r) })
}

// caller is the tenant, who now and then shows the API token of another.
func (n *tenant) caller() *commandpb.Caller {
	c := &commandpb.Caller{Principal: n.name, Token: n.token, Address: "192.0.2.1", Digests: []string{"u:2jmj7l5rSw0yVb/vlWAYkK/YBwk="}}
	if n.rng.IntN(30) == 0 {
		c.Token = tokenID(n.foreign())
	}
	return c
}

// foreign is a position of the other tenant, where there is one, or one that
// nobody has.
func (n *tenant) foreign() quorum.Zxid {
	pick := n.rng.IntN(1000)
	from := n.others
	if !n.tells {
		from = n.ranked
	}
	if len(from) == 0 {
		return quorum.MakeZxid(9, uint32(pick+1))
	}
	return from[pick%len(from)]
}

// position is one of the tenant's transactions, or seldom another one.
func (n *tenant) position() quorum.Zxid {
	if pick := n.rng.IntN(1000); pick > 200 && len(n.own) > 0 {
		return n.own[pick%len(n.own)]
	}
	return n.foreign()
}

// session is one by a token, which the other tenant draws as well, or by an id.
func (n *tenant) session() *commandpb.SessionRef {
	if n.rng.IntN(5) == 0 {
		return byID(n.position())
	}
	return opening(byToken(fmt.Sprint("shared token ", n.rng.IntN(3))), ttl)
}

func pickOne[T any](n *tenant, from ...T) T { return from[n.rng.IntN(len(from))] }

func (n *tenant) path() string {
	if len(n.made) > 0 && n.rng.IntN(2) == 0 {
		return pickOne(n, n.made...)
	}
	inside := n.top + pickOne(n, "/a", "/a", "/a", "/a/b", "/a/b", "/a/b/c", "/c", "/"+n.other, "/"+n.other+"/a", "/tenants", "")
	if n.rng.IntN(9) > 0 && inside != "" {
		return inside
	}
	return pickOne(n, "/", "/"+n.other, "/"+n.other+"/a", "/tenants/"+n.other, "/tenants/"+n.other+"/a", "/../"+n.other, "/a/../../"+n.other,
		n.top+"/", n.top+"//a", "/perch/x", "/"+n.other+"/new", "a", "")
}

func (n *tenant) data() []byte { return make([]byte, n.rng.IntN(5)) }

func (n *tenant) flag() bool { return n.rng.IntN(3) == 0 }

func (n *tenant) acl() []*commandpb.AclEntry {
	if n.rng.IntN(3) > 0 {
		return nil
	}
	some := uint32(n.rng.IntN(32))
	list := []*commandpb.AclEntry{pickOne(n,
		&commandpb.AclEntry{Scheme: "auth", Perms: 31}, &commandpb.AclEntry{Scheme: "ip", Id: "192.0.2.0/24", Perms: 31},
		&commandpb.AclEntry{Scheme: "world", Id: "anyone", Perms: 31}, &commandpb.AclEntry{Scheme: "principal", Id: n.name, Perms: some})}
	if n.flag() {
		list = append(list, pickOne(n,
			&commandpb.AclEntry{Scheme: "world", Id: "anyone", Perms: some}, &commandpb.AclEntry{Scheme: "principal", Id: n.other, Perms: 31},
			&commandpb.AclEntry{Scheme: "none", Perms: 1}))
	}
	return list
}

func (n *tenant) condition() *commandpb.Condition {
	return pickOne(n, nil, nil, nil, nil, nil, ifVersion(int64(n.rng.IntN(3)-1)), ifETag(n.position()), ifAbsent(), ifPresent())
}

func (n *tenant) create() *commandpb.Create {
	op := &commandpb.Create{Path: n.path(), Data: n.data(), Mode: commandpb.Mode(n.rng.IntN(5)), Sequential: n.flag(), Parents: !n.flag(), Acl: n.acl()}
	if op.Mode == commandpb.Mode_MODE_TTL {
		op.TtlMs = ttl
	}
	return op
}

func (n *tenant) put() *commandpb.Put {
	op := &commandpb.Put{Path: n.path(), Data: n.data(), Mode: pickOne(n, commandpb.Mode_MODE_UNSPECIFIED, ephemeral, commandpb.Mode_MODE_TTL),
		Parents: !n.flag(), Takeover: n.rng.IntN(9) == 0, Existing: n.rng.IntN(9) == 0, Condition: n.condition()}
	if op.Mode == commandpb.Mode_MODE_TTL {
		op.TtlMs = ttl
	}
	return op
}

func (n *tenant) delete() *commandpb.Delete {
	return &commandpb.Delete{Path: n.path(), Recursive: n.flag(), Condition: n.condition()}
}

func (n *tenant) steps(readOnly bool) (ops []*commandpb.Op) {
	for range n.rng.IntN(4) + 1 {
		kind := n.rng.IntN(6)
		if readOnly {
			kind = kind%2 + 4
		}
		switch kind {
		case 0, 1:
			ops = append(ops, opCreate(n.create()))
		case 2:
			ops = append(ops, opPut(n.put()))
		case 3:
			ops = append(ops, opDelete(n.delete()))
		case 4:
			ops = append(ops, opCheck(&commandpb.Check{Path: n.path(), Condition: n.condition()}))
		default:
			ops = append(ops, opGet(n.path()))
		}
	}
	return ops
}

func (n *tenant) command() *commandpb.Command {
	switch n.rng.IntN(24) {
	case 0, 1, 2, 3, 4, 5:
		return create(n.create())
	case 6, 7, 8:
		return put(n.put())
	case 9:
		return del(n.delete())
	case 10:
		return multi(n.steps(false)...)
	case 11:
		return setACL(&commandpb.SetAcl{Path: n.path(), Acl: n.acl()})
	case 12:
		return setDefaultACL(&commandpb.SetDefaultAcl{Path: n.path(), Acl: n.acl()})
	case 13:
		most := int64(n.rng.IntN(9))
		return setQuota(&commandpb.SetQuota{Path: n.path(), MaxNodes: &most})
	case 14:
		return pickOne(n, openSession(ttl), with(n.session(), openSession(ttl)))
	case 15:
		return pickOne(n, with(n.session(), closeSession(0)), closeSession(n.position()), with(n.session(), setTTL(ttl+1)))
	case 16:
		return n.ofOthers()
	}
	return pickOne(n, n.heldCommand, n.keptCommand)()
}

// ofOthers is a command that only an administrator may give.
func (n *tenant) ofOthers() *commandpb.Command {
	return pickOne(n,
		putPrincipal(&commandpb.PutPrincipal{Name: n.name, Grants: granting("/", PermAll)}),
		deletePrincipal(&commandpb.DeletePrincipal{Name: n.other}),
		createToken(&commandpb.CreateToken{Principal: n.other, SecretSha256: secretOf("stolen")}),
		revokeToken(tokenID(n.foreign())))
}

// readKinds are all questions, the frequent ones twice.
var readKinds = []ReadKind{
	ReadNode, ReadNode, ReadChildren, ReadChildren, ReadTree, ReadTree, ReadStat, ReadStat, ReadACL, ReadDefaultACL, ReadQuota, ReadMulti,
	ReadSession, ReadSessions, ReadSessions, ReadPrincipal, ReadPrincipals, ReadTokens, ReadWhoami,
	ReadHeld, ReadHeld, ReadHelds, ReadNames, ReadQueue, ReadMessages, ReadCounter, ReadBarrier,
}

// reads asks one question, lists to their end.
func (n *tenant) reads() {
	q := Read{Kind: pickOne(n, readKinds...), Caller: n.caller(), Path: n.path(), Name: n.other, Depth: n.rng.IntN(3), Limit: n.rng.IntN(3) + 1, WithData: n.flag()}
	if q.Kind == ReadSession {
		q.Session = n.position()
	}
	if q.Kind >= ReadHeld {
		q.Name, q.Of = pickOne(n, heldNames...), commandpb.Kind(n.rng.IntN(7))
	}
	if q.Kind == ReadMulti {
		q.Ops = n.steps(true)
	}
	for from, more := (Cursor{}), true; more; {
		var a Answer
		var err error
		a, more, err = n.s.View().Read(q, from, n.wall)
		n.cursors = append(n.cursors, a.Zxid)
		n.tell(fmt.Sprint("read ", q.Kind, q.Path), func() string { return n.answer(a, more, err) })
		if more {
			from = After(q.Kind, a)
		}
	}
}

// watches reads the events of an interest after a position that it knows.
func (n *tenant) watches() {
	q := EventQuery{Caller: n.caller(), Path: n.path(), Scope: pickOne(n, tree.ScopeNode, tree.ScopeChildren, tree.ScopeSubtree, tree.ScopeSubtree)}
	if len(n.cursors) > 0 && n.flag() {
		q.Since = n.cursors[n.rng.IntN(len(n.cursors))]
	}
	for more := true; more; {
		e, err := n.s.View().Events(q, tree.Bounds{Events: n.rng.IntN(3)}, n.wall)
		n.tell(fmt.Sprint("events of ", q.Path, q.Scope), func() string { return n.batch(e, err) })
		more, q.Since = e.More, e.Cursor
		n.cursors = append(n.cursors, e.Cursor)
	}
}
