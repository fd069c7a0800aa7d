package lease

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

var modelPaths = []string{
	"/", "/a", "/a/b", "/a/b/c", "/a/b/c/d", "/b", "/b/x", "/b/y", "/ab", "/a/", "/perch", "/perch/x", "/a/../b", "/a/b/c/d/e",
}

// modelTimes are what may pass between two commands, in milliseconds.
var modelTimes = []int{0, -5, 1, 3, 7, 12, 20, 500}

func modelSettings() Settings {
	s := small()
	s.EventAgeMs, s.EventBytes, s.ClosedAgeMs, s.TTLMinMs, s.TTLMaxMs, s.TxnNodes = 60, 3000, 100, 10, 1000, 3
	return s
}

// drawEphemeral draws what sessions do to each other's nodes.
func drawEphemeral(t *rapid.T, m *model) *commandpb.Command {
	path := rapid.SampledFrom([]string{"/a", "/b", "/c"}).Draw(t, "path")
	ref := byToken(fmt.Sprint("token", rapid.IntRange(0, 3).Draw(t, "token")))
	ref.OpenTtlMs = 500
	op := rapid.IntRange(0, 9).Draw(t, "op")
	switch {
	case op < 3:
		return with(ref, create(&commandpb.Create{Path: path, Mode: ephemeral, Sequential: op == 0}))
	case op < 6:
		return with(ref, put(&commandpb.Put{Path: path, Mode: ephemeral, Takeover: op == 3}))
	case op == 6:
		return with(ref, put(&commandpb.Put{Path: path}))
	case op == 7:
		return with(ref, closeSession(0))
	case op == 8:
		return del(&commandpb.Delete{Path: path})
	}
	return expire(drawSession(t, m))
}

// drawCommand draws commands that often meet what is there.
func drawCommand(t *rapid.T, m *model) *commandpb.Command {
	switch rapid.IntRange(0, 8).Draw(t, "focus") {
	case 0, 1:
		return drawEphemeral(t, m)
	case 2:
		return drawPolicy(t, m)
	case 3, 4:
		return drawAccess(t, m)
	}
	path := rapid.SampledFrom(modelPaths).Draw(t, "path")
	if rapid.Bool().Draw(t, "existing") {
		path = rapid.SampledFrom(slices.Sorted(maps.Keys(m.nodes))).Draw(t, "node")
	}
	data := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "data")
	mode := rapid.SampledFrom([]commandpb.Mode{0, 0, ephemeral, ephemeral, persistent}).Draw(t, "mode")
	flag := func(name string) bool { return rapid.IntRange(0, 2).Draw(t, name) == 0 }
	var c *commandpb.Command
	switch rapid.IntRange(0, 11).Draw(t, "op") {
	case 0, 1, 2:
		c = create(&commandpb.Create{Path: path, Data: data, Mode: mode, Sequential: flag("sequential"), Parents: flag("parents")})
	case 3, 4, 5:
		if mode == persistent {
			mode = 0
		}
		c = put(&commandpb.Put{
			Path: path, Data: data, Mode: mode, Takeover: mode == ephemeral && flag("takeover"), Parents: flag("parents"),
			Condition: drawCondition(t, m, path),
		})
	case 6, 7:
		c = del(&commandpb.Delete{Path: path, Recursive: flag("recursive"), Condition: drawCondition(t, m, path)})
	case 8:
		c = openSession(drawTTL(t))
	case 9:
		c = closeSession(rapid.SampledFrom([]quorum.Zxid{0, 0, drawSession(t, m)}).Draw(t, "closed"))
	case 10:
		if c = setTTL(drawTTL(t)); flag("configure") {
			v := int64(rapid.IntRange(-1, 4000).Draw(t, "event bytes"))
			c = configure(&commandpb.Configure{EventBytes: &v})
		}
	default:
		c = expire(drawSession(t, m), drawSession(t, m))
	}
	c.Session = drawRef(t, m)
	return c
}

func drawTTL(t *rapid.T) uint64 {
	return rapid.SampledFrom([]uint64{0, 9, 10, 500, 1000, 1001}).Draw(t, "ttl")
}

func drawSession(t *rapid.T, m *model) quorum.Zxid {
	ids := append([]quorum.Zxid{12345}, slices.Sorted(maps.Keys(m.sessions))...)
	return rapid.SampledFrom(ids).Draw(t, "session")
}

func drawRef(t *rapid.T, m *model) *commandpb.SessionRef {
	switch rapid.IntRange(0, 5).Draw(t, "ref") {
	case 0, 1:
		return nil
	case 2:
		return byID(drawSession(t, m))
	case 3: // of a live session
		if s := m.sessions[drawSession(t, m)]; s != nil && s.hash != "" {
			return &commandpb.SessionRef{Ref: &commandpb.SessionRef_TokenHash{TokenHash: []byte(s.hash)}}
		}
	}
	ref := byToken(fmt.Sprint("token", rapid.IntRange(0, 4).Draw(t, "token")))
	if rapid.Bool().Draw(t, "opening") {
		ref.OpenTtlMs = drawTTL(t)
	}
	return ref
}

func drawCondition(t *rapid.T, m *model, path string) *commandpb.Condition {
	var version int64
	var etag quorum.Zxid
	if n := m.nodes[path]; n != nil {
		version, etag = n.version, n.mzxid
	}
	switch rapid.IntRange(0, 9).Draw(t, "condition") {
	case 0:
		return ifVersion(version)
	case 1:
		return ifVersion(rapid.Int64Range(-1, 2).Draw(t, "version"))
	case 2:
		return ifETag(etag)
	case 3:
		return ifETag(etag + 1)
	case 4:
		return ifAbsent()
	case 5:
		return ifPresent()
	}
	return nil
}

// Every result, event and answer is that of the slow model; a panic at any
// change is an internal outcome on the unchanged state; a state restored at any
// point behaves as the one that it came from.
func TestStateAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := New(modelSettings()), newModel(modelSettings())
		z := quorum.MakeZxid(3, 0)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			z++
			if rapid.IntRange(0, 30).Draw(t, "new epoch") == 0 {
				z = quorum.MakeZxid(z.Epoch()+1, 1)
			}
			wall := int64(rapid.IntRange(1, 1000).Draw(t, "wall"))
			m = stepWithModel(t, s, m, z, wall)
			compareView(t, s.View(), m)
			compareSight(t, s.View(), m, wall)
			if rapid.IntRange(0, 6).Draw(t, "restore") == 0 {
				s = restored(t, s)
			}
		}
		restored(t, s)
	})
}

// stepWithModel applies one command to both, and compares what they make of it.
func stepWithModel(t *rapid.T, s *State, m *model, z quorum.Zxid, wall int64) *model {
	cmd := drawCommand(t, m)
	if cmd.Caller == nil {
		if c := drawCaller(t, m); c != nil {
			by(c, cmd)
		}
	}
	data, err := proto.Marshal(cmd)
	if err != nil {
		t.Fatal(err)
	}
	e := &quorum.Entry{Zxid: z, Kind: quorum.EntryCommand, Data: data, Stamp: quorum.Stamp{
		Wall: wall, Age: uint64(max(int64(m.age)+int64(rapid.SampledFrom(modelTimes).Draw(t, "time")), 0)),
	}}
	faulty := armFault(s, z, rapid.IntRange(0, 60).Draw(t, "fault at"))
	old := s.View()
	oldBytes := contents(t, old)
	res, events, err := s.Apply(e)
	if err != nil {
		t.Fatal(err)
	}
	m, want, wantEvents := m.apply(e, cmd, *faulty)
	sameACL := slices.Equal(res.ACL.List(), want.ACL.List())
	res.Fault, res.ACL, want.ACL = "", nil, nil
	for _, ops := range [][]OpResult{res.Ops, want.Ops} {
		for i := range ops {
			ops[i].Node.Data = append([]byte(nil), ops[i].Node.Data...) // no data is no data, whether nil or empty
		}
	}
	if !sameACL || !reflect.DeepEqual(res, want) || !slices.Equal(plainEvents(events), plainEvents(wantEvents)) {
		t.Fatalf("%v\n got %+v %+v\nwant %+v %+v", cmd, res, events, want, wantEvents)
	}
	if contents(t, old) != oldBytes {
		t.Fatalf("%v: a view changed", cmd)
	}
	return m
}

// armFault has the n-th change that the command at z makes to a table panic; 0
// and what is beyond its changes do not. The result tells afterwards whether it
// did.
func armFault(s *State, z quorum.Zxid, n int) *bool {
	fired := new(bool)
	hook := func() {
		if n--; n == 0 && s.zxid < z { // at z only old records are trimmed
			*fired = true
			panic("injected")
		}
	}
	if n == 0 || n > 6 {
		hook = nil
	}
	s.tree.SetHook(hook)
	s.sessions.Hook, s.tokens.Hook, s.ended.Hook, s.endedByAge.Hook = hook, hook, hook, hook
	s.heldBy.Hook, s.holders.Hook, s.principals.Hook, s.apiTokens.Hook, s.apiSecrets.Hook = hook, hook, hook, hook, hook
	hookHolding(&s.holding, hook)
	hookKept(s, hook)
	return fired
}

// restored is s after a snapshot and a restore, which must be the same.
func restored(t *rapid.T, s *State) *State {
	data := snapshotBytes(t, s.View())
	again, err := Restore(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if again.View().Digest() != s.View().Digest() || !bytes.Equal(snapshotBytes(t, again.View()), data) {
		t.Fatal("a restored state differs")
	}
	return again
}

// compareView asks the view for everything that the model knows.
func compareView(t *rapid.T, v *View, m *model) {
	if v.Zxid() != m.zxid || v.Age() != m.age || v.Nodes() != len(m.nodes) || v.Sessions() != len(m.sessions) ||
		v.Oldest() != m.trimmed || v.KeptEvents() != len(m.events) || v.Settings() != m.set {
		t.Fatalf("at %v, %d ms: %d nodes, %d sessions, %d events after %v", v.Zxid(), v.Age(), v.Nodes(), v.Sessions(), v.KeptEvents(), v.Oldest())
	}
	for path, n := range m.nodes {
		got, ok := v.tree.Get(path)
		if !ok || got.Path != path || !bytes.Equal(got.Data, n.data) || got.Stat != m.stat(path) {
			t.Fatalf("%s: %+v, want %+v", path, got, m.stat(path))
		}
		comparePages(t, v, m, path)
		comparePolicy(t, v, m, path)
	}
	for _, p := range modelPaths {
		if _, ok := v.tree.Get(p); ok != (m.nodes[p] != nil) {
			t.Fatalf("%s exists: %v", p, ok)
		}
	}
	all, more, err := v.Read(Read{Kind: ReadSessions, Caller: m.administrator(), Limit: 100}, Cursor{}, 0)
	if more || err != nil || len(all.Sessions) != len(m.sessions) {
		t.Fatal(all, more, err)
	}
	for _, i := range all.Sessions {
		if i != m.info(i.ID) || !slices.Equal(v.tree.OwnedPaths(i.ID), m.owned(i.ID)) {
			t.Fatalf("%+v", i)
		}
	}
	compareEvents(t, v, m)
}

func comparePages(t *rapid.T, v *View, m *model, path string) {
	want := m.children(path)
	var got []string
	for after := ""; ; {
		kids, more, ok := v.tree.Children(path, tree.Page{After: after, Limit: 2, WithData: true})
		if !ok || more && len(kids) != 2 {
			t.Fatal(kids, more, ok)
		}
		for _, k := range kids {
			if k.Stat != m.stat(k.Path) || !bytes.Equal(k.Data, m.nodes[k.Path].data) {
				t.Fatal(k)
			}
			got = append(got, k.Path)
			after = tree.Name(k.Path)
		}
		if !more {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("children of %s: %v, want %v", path, got, want)
	}
}

func compareEvents(t *rapid.T, v *View, m *model) {
	var all []tree.Event
	for _, e := range m.events {
		all = append(all, e.Event)
	}
	since := m.zxid - min(m.zxid, quorum.Zxid(rapid.IntRange(0, 40).Draw(t, "back")))
	who := m.administrator()
	batch, err := v.Events(EventQuery{Caller: who, Path: "/", Scope: tree.ScopeSubtree, Since: since}, tree.Bounds{}, 0)
	if since < m.trimmed {
		if err != tree.ErrCursorExpired || batch.Oldest != m.trimmed {
			t.Fatal(since, err, batch)
		}
		return
	}
	want := slices.DeleteFunc(all, func(e tree.Event) bool {
		return e.Zxid <= since || e.Type == tree.EventACL || who == nil && !e.ACL.Allows(tree.Identities{}, tree.PermRead)
	})
	if err != nil || !slices.Equal(plainEvents(batch.Events), plainEvents(want)) || batch.Cursor != m.zxid || batch.More {
		t.Fatalf("since %v: %+v %v, want %v", since, batch, err, want)
	}
}
