package lease

import (
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"perch/gen/commandpb"
	"perch/tree"
)

// What the model's callers ask, and what they may see.

var modelNames = []string{"root", "root", "a", "a", "b", "c"}

// administrator is somebody who may see everything; nil while everybody may
// whom no ACL keeps out.
func (m *model) administrator() *commandpb.Caller {
	if !m.auth {
		return nil
	}
	return named(m.governors()[0])
}

// drawCaller draws who gives a command; nil when it tells of nobody.
func drawCaller(t *rapid.T, m *model) *commandpb.Caller {
	if !m.auth && rapid.Bool().Draw(t, "anonymous") || rapid.IntRange(0, 20).Draw(t, "nobody") == 0 {
		return nil
	}
	c := named(rapid.SampledFrom(append([]string{""}, modelNames...)).Draw(t, "caller"))
	if rapid.IntRange(0, 2).Draw(t, "known") == 0 {
		c.Digests = []string{ann}
	}
	if rapid.IntRange(0, 6).Draw(t, "with token") == 0 {
		c.Token = drawKey(t, m)
	}
	if rapid.IntRange(0, 6).Draw(t, "with roles") == 0 {
		c.Roles = rapid.SliceOfN(rapid.SampledFrom(modelNames), 1, 2).Draw(t, "roles")
	}
	return c
}

func drawKey(t *rapid.T, m *model) string {
	ids := []string{"t7", "x"}
	for _, z := range slices.Sorted(maps.Keys(m.keys)) {
		ids = append(ids, m.keys[z].ID)
	}
	return rapid.SampledFrom(ids).Draw(t, "token id")
}

// drawAccess draws what changes who may do what, and multis.
func drawAccess(t *rapid.T, m *model) *commandpb.Command {
	if m.level == 1 {
		return raise(2)
	}
	if m.set.PrincipalNodes == 0 && rapid.IntRange(0, 3).Draw(t, "bound") == 0 {
		most := func(n int64) *int64 { return &n }
		return by(nil, configure(&commandpb.Configure{PrincipalSessions: most(2), PrincipalNodes: most(6), PrincipalBytes: most(30)}))
	}
	name := rapid.SampledFrom(modelNames).Draw(t, "name")
	var who *commandpb.Caller
	if m.auth && rapid.Bool().Draw(t, "by an administrator") {
		who = m.administrator()
	}
	secret := secretOf(fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "secret")))
	switch n := rapid.IntRange(0, 14).Draw(t, "access"); {
	case n < 2 && !m.auth:
		c := enabling("root")
		c.GetEnableAuth().Admin = drawPrincipal(t, m, "root")
		return c
	case n < 5:
		return by(who, putPrincipal(drawPrincipal(t, m, name)))
	case n < 7:
		return by(who, deletePrincipal(&commandpb.DeletePrincipal{Name: name, Condition: drawDemand(t, m, name)}))
	case n < 10:
		expires := rapid.SampledFrom([]int64{0, 0, 300, 900}).Draw(t, "expires")
		return by(who, createToken(&commandpb.CreateToken{Principal: name, SecretSha256: secret, ExpiresMs: expires}))
	case n == 10:
		return by(who, revokeToken(drawKey(t, m)))
	}
	c := multi(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *commandpb.Op { return drawOp(t, m) }), 0, 4).Draw(t, "ops")...)
	c.Session = drawRef(t, m)
	return by(who, c)
}

func drawPrincipal(t *rapid.T, m *model, name string) *commandpb.PutPrincipal {
	p := &commandpb.PutPrincipal{Name: name, Condition: drawDemand(t, m, name), Disabled: rapid.IntRange(0, 7).Draw(t, "disabled") == 0}
	if name == "root" && rapid.IntRange(0, 3).Draw(t, "as usual") > 0 {
		p.Grants = granting("/", PermAll)
		return p
	}
	p.Root = rapid.SampledFrom([]string{"", "/", "/a", "/a/b", "/b", "/ab", "/a/b/c/d/e", "/perch/x", "/a/"}).Draw(t, "root")
	for range rapid.IntRange(0, 2).Draw(t, "grants") {
		prefix := rapid.SampledFrom([]string{"/", "/", "/a", "/a/b", "/b", "b"}).Draw(t, "prefix")
		p.Grants = append(p.Grants, granting(prefix, Perm(rapid.SampledFrom([]uint32{1, 3, 31, 31, 13, 14, 127, 0, 128}).Draw(t, "perms")))...)
	}
	return p
}

func drawDemand(t *rapid.T, m *model, name string) *commandpb.Condition {
	return rapid.SampledFrom([]*commandpb.Condition{
		nil, nil, nil, nil, ifETag(m.people[name].ETag), ifETag(3), ifAbsent(), ifPresent(), ifVersion(0),
	}).Draw(t, "demand")
}

func drawOp(t *rapid.T, m *model) *commandpb.Op {
	switch c := drawCommand(t, m); {
	case c.GetCreate() != nil:
		return opCreate(c.GetCreate())
	case c.GetPut() != nil:
		return opPut(c.GetPut())
	case c.GetDelete() != nil:
		return opDelete(c.GetDelete())
	}
	path := rapid.SampledFrom(append(slices.Sorted(maps.Keys(m.nodes)), modelPaths...)).Draw(t, "looked at")
	if rapid.Bool().Draw(t, "get") {
		return opGet(path)
	}
	return opCheck(&commandpb.Check{Path: path, Condition: drawCondition(t, m, path)})
}

// compareSight asks as somebody, and compares with what the model lets him see.
func compareSight(t *rapid.T, v *View, m *model, wall int64) {
	c := drawCaller(t, m)
	x := &mtxn{model: m}
	who, ok := m.caller(c, wall)
	x.who = who
	path := rapid.SampledFrom(append(slices.Sorted(maps.Keys(m.nodes)), "/a", "/b", "/x", "/ab/x")).Draw(t, "seen")
	for kind, want := range map[ReadKind]func() Answer{
		ReadNode: func() Answer { return x.seeNode(path, tree.PermRead, true) },
		ReadStat: func() Answer { return x.seeNode(path, 0, false) },
		ReadChildren: func() Answer {
			a := x.seeNode(path, tree.PermRead, false)
			for _, p := range m.children(who.full(path)) {
				a.Children = append(a.Children, x.listed(p))
			}
			return a
		},
		ReadTree: func() Answer {
			a := x.seeNode(path, tree.PermRead, false)
			a.Children = x.seeTree(who.full(path))
			return a
		},
		ReadSessions:   func() Answer { return Answer{Sessions: x.seeSessions()} },
		ReadPrincipals: x.seePeople,
		ReadTokens:     x.seeKeys,
	} {
		want, code := tried(ok, want)
		got, more, err := v.Read(Read{Kind: kind, Caller: c, Path: path, Limit: 100, WithData: kind != ReadStat}, Cursor{}, wall)
		got.Zxid = 0
		if more || codeOf(err) != code || code == tree.OK && !sameAnswer(got, want) {
			t.Fatalf("read %d of %s as %v:\n got %+v %v\nwant %+v %v", kind, path, c, got, err, want, code)
		}
	}
	compareWatch(t, v, x, c, ok, path, wall)
}

// tried is what see gives, or why it refuses.
func tried(known bool, see func() Answer) (a Answer, code tree.Code) {
	if !known {
		return a, tree.ErrUnauthenticated
	}
	defer func() {
		if r, ok := recover().(refusal); ok {
			code = tree.Code(r)
		}
	}()
	return see(), tree.OK
}

// sameAnswer compares but for slices that are nil or empty.
func sameAnswer(a, b Answer) bool { return fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b) }

func (x *mtxn) seeNode(path string, p tree.Perms, data bool) (a Answer) {
	full := x.who.full(path)
	x.granted(full, tree.PermRead)
	n := x.nodes[full]
	if n == nil {
		refuse(tree.ErrNoNode)
	}
	if p != 0 {
		x.need(full, p)
	}
	a.Node = tree.Node{Path: x.who.shown(full), Stat: x.stat(full)}
	if data {
		a.Node.Data = n.data
	}
	return a
}

// listed is a node as a list shows it: with its data to who may read that.
func (x *mtxn) listed(path string) tree.Node {
	n := tree.Node{Path: x.who.shown(path), Stat: x.stat(path)}
	if x.who.passes(x.nodes[path].acl, tree.PermRead) {
		n.Data = x.nodes[path].data
	}
	return n
}

func (x *mtxn) seeTree(path string) []tree.Node {
	list := []tree.Node{x.listed(path)}
	if x.who.passes(x.nodes[path].acl, tree.PermRead) {
		for _, c := range x.children(path) {
			list = append(list, x.seeTree(c)...)
		}
	}
	return list
}

func (x *mtxn) seeSessions() (list []Info) {
	for _, id := range slices.Sorted(maps.Keys(x.sessions)) {
		if i := x.info(id); x.who.governs() || i.Principal == x.who.name {
			list = append(list, i)
		}
	}
	return list
}

func (x *mtxn) seePeople() (a Answer) {
	if !x.who.governs() {
		refuse(tree.ErrPermissionDenied)
	}
	for _, name := range slices.Sorted(maps.Keys(x.people)) {
		a.Principals = append(a.Principals, x.people[name])
	}
	return a
}

func (x *mtxn) seeKeys() (a Answer) {
	for _, p := range x.seePeople().Principals {
		for _, z := range slices.Sorted(maps.Keys(x.keys)) {
			if x.keys[z].Principal == p.Name {
				a.APITokens = append(a.APITokens, x.keys[z].APIToken)
			}
		}
	}
	return a
}

// compareWatch asks for all events of a subtree: those that the caller may read
// now, by the ACL of then.
func compareWatch(t *rapid.T, v *View, x *mtxn, c *commandpb.Caller, known bool, path string, wall int64) {
	var want []tree.Event
	_, code := tried(known, func() Answer {
		full := x.who.full(path)
		x.granted(full, tree.PermRead)
		for _, e := range x.events {
			if e.Type != tree.EventACL && tree.Under(e.Path, full) && x.who.passes(e.ACL.List(), tree.PermRead) {
				e.Path = x.who.shown(e.Path)
				want = append(want, e.Event)
			}
		}
		return Answer{}
	})
	batch, err := v.Events(EventQuery{Caller: c, Path: path, Scope: tree.ScopeSubtree, Since: x.trimmed}, tree.Bounds{}, wall)
	if codeOf(err) != code || !slices.Equal(plainEvents(batch.Events), plainEvents(want)) || batch.Cursor != x.zxid {
		t.Fatalf("events of %s as %v:\n got %+v %v\nwant %+v %v", path, c, batch, err, want, code)
	}
}
