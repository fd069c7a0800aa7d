package lease

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

func small() Settings {
	s := DefaultSettings()
	s.ValueBytes, s.PathBytes, s.PathSegments, s.TxnNodes = 8, 40, 4, 5
	s.SessionEphemerals, s.Sessions, s.ClosedAgeMs = 2, 3, 1000
	return s
}

const ttl = 2000

// API.md rule 5: what stands in the way of a create, with ZooKeeper's order of
// checks.
func TestCreateRules(t *testing.T) {
	b := newBench(t, small())
	made := b.must(create(&commandpb.Create{Path: "/a", Data: []byte("x")}))
	if made.Node.Path != "/a" || !made.Created || made.Node.Data != nil || made.Node.Stat.Czxid != made.Zxid {
		t.Fatal(made)
	}
	b.must(with(opening(byToken("one"), ttl), create(&commandpb.Create{Path: "/e", Mode: ephemeral})))
	for _, c := range []struct {
		code tree.Code
		op   *commandpb.Create
	}{
		{tree.ErrNodeExists, &commandpb.Create{Path: "/a"}},
		{tree.ErrInvalidArgument, &commandpb.Create{Path: "/"}},
		{tree.ErrNoParent, &commandpb.Create{Path: "/x/y"}},
		{tree.ErrNoChildrenForEphemeral, &commandpb.Create{Path: "/e/y"}},
		{tree.ErrNoChildrenForEphemeral, &commandpb.Create{Path: "/e/y/z", Parents: true}},
		{tree.ErrInvalidPath, &commandpb.Create{Path: "/a/"}},
		{tree.ErrInvalidPath, &commandpb.Create{Path: "/a/../b"}},
		{tree.ErrInvalidPath, &commandpb.Create{Path: ""}},
		{tree.ErrInvalidPath, &commandpb.Create{Path: "/1/2/3/4/5", Parents: true}},
		{tree.ErrInvalidPath, &commandpb.Create{Path: "/" + strings.Repeat("p", 30), Sequential: true}},
		{tree.ErrReservedPath, &commandpb.Create{Path: "/perch"}},
		{tree.ErrReservedPath, &commandpb.Create{Path: "/perch/x", Parents: true}},
		{tree.ErrReservedPath, &commandpb.Create{Path: "/perch/", Sequential: true, Parents: true}},
		{tree.ErrInvalidArgument, &commandpb.Create{Path: "/f", Mode: ephemeral}}, // without a session
		{tree.ErrInvalidArgument, &commandpb.Create{Path: "/f", Mode: 9}},
		{tree.ErrTooLarge, &commandpb.Create{Path: "/f", Data: []byte("123456789")}},
	} {
		r := b.refused(c.code, create(c.op))
		if holder := c.code == tree.ErrNodeExists; holder != (r.Node.Path == "/a") {
			t.Errorf("%v: holder %v", c.op, r.Node)
		}
	}
	if b.has("/perch") {
		t.Error("/perch came to be")
	}
}

func TestParentsAreMade(t *testing.T) {
	b := newBench(t, small())
	r, events := b.apply(create(&commandpb.Create{Path: "/a/b/c", Data: []byte("x"), Parents: true}))
	var paths []string
	for _, e := range events {
		paths = append(paths, e.Path)
		if e.Type != tree.EventCreated || e.Zxid != r.Zxid || e.Cause != tree.CauseRequest {
			t.Error(e)
		}
	}
	if !reflect.DeepEqual(paths, []string{"/a", "/a/b", "/a/b/c"}) || r.Node.Path != "/a/b/c" {
		t.Fatal(paths, r)
	}
	b.must(create(&commandpb.Create{Path: "/a/b/d", Parents: true}))
	if s := b.stat("/a/b"); s.NumChildren != 2 || s.Cversion != 2 || s.Pzxid != b.zxid || s.DataLength != 0 {
		t.Fatal(s)
	}
	set := small()
	set.TxnNodes = 2
	c := newBench(t, set)
	c.refused(tree.ErrTooLarge, create(&commandpb.Create{Path: "/a/b/c", Parents: true}))
	c.must(create(&commandpb.Create{Path: "/a/b", Parents: true}))
	// An ephemeral that has parents made: those are persistent.
	c.must(with(opening(byToken("t"), ttl), put(&commandpb.Put{Path: "/p/e", Mode: ephemeral, Parents: true})))
	if c.stat("/p").EphemeralOwner != 0 || c.stat("/p/e").EphemeralOwner != c.zxid {
		t.Fatal(c.stat("/p"), c.stat("/p/e"))
	}
}

// ZooKeeper numbers sequential nodes by the creates that the parent has seen,
// whatever their kind; deletes do not move the number.
func TestSequences(t *testing.T) {
	b := newBench(t, DefaultSettings())
	seq := func(path string) string {
		t.Helper()
		return b.must(create(&commandpb.Create{Path: path, Sequential: true, Parents: true})).Node.Path
	}
	for _, want := range []string{"/p/n-0000000000", "/p/n-0000000001"} {
		if got := seq("/p/n-"); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	b.must(create(&commandpb.Create{Path: "/p/plain"}))
	if got := seq("/p/"); got != "/p/0000000003" {
		t.Fatal(got)
	}
	b.must(del(&commandpb.Delete{Path: "/p/0000000003"}))
	if got := seq("/p/"); got != "/p/0000000004" {
		t.Fatal(got)
	}
	if got := seq("/"); got != "/0000000001" {
		t.Fatal(got)
	}
	if got := seq("/perch"); got != "/perch0000000002" {
		t.Fatal(got)
	}
	// Taken by hand: as in ZooKeeper that is node_exists.
	b.must(create(&commandpb.Create{Path: "/p/x0000000006"}))
	r := b.refused(tree.ErrNodeExists, create(&commandpb.Create{Path: "/p/x", Sequential: true}))
	if r.Node.Path != "/p/x0000000006" {
		t.Fatal(r.Node)
	}
	b.must(create(&commandpb.Create{Path: "/p/y"}))
	if got := seq("/p/x"); got != "/p/x0000000007" {
		t.Fatal(got)
	}
}

// cversion is what ZooKeeper shows: each create and each delete of a child adds
// one; pzxid follows both; a change of data moves neither.
func TestStat(t *testing.T) {
	b := newBench(t, small())
	c := b.must(create(&commandpb.Create{Path: "/a", Data: []byte("abc")}))
	b.must(create(&commandpb.Create{Path: "/a/x"}))
	b.must(create(&commandpb.Create{Path: "/a/y"}))
	d := b.must(del(&commandpb.Delete{Path: "/a/x"}))
	p := b.must(put(&commandpb.Put{Path: "/a", Data: []byte("12")}))
	b.must(put(&commandpb.Put{Path: "/a/y", Data: []byte("1")}))
	want := tree.Stat{
		Czxid: c.Zxid, Mzxid: p.Zxid, Pzxid: d.Zxid, Ctime: 1001, Mtime: 1005,
		Version: 1, Cversion: 3, DataLength: 2, NumChildren: 1,
	}
	if got := b.stat("/a"); got != want || p.Node.Stat != want {
		t.Fatalf("%+v\n%+v, want\n%+v", got, p.Node.Stat, want)
	}
	if s := b.stat("/"); s.Cversion != 1 || s.NumChildren != 1 || s.Czxid != 0 {
		t.Fatal(s)
	}
	b.must(del(&commandpb.Delete{Path: "/a", Recursive: true}))
	b.must(put(&commandpb.Put{Path: "/a"}))
	if s := b.stat("/a"); s.Version != 0 || s.Cversion != 0 || s.Czxid != b.zxid {
		t.Fatal(s)
	}
}

type refusedPut struct {
	code tree.Code
	ref  *commandpb.SessionRef
	op   *commandpb.Put
}

// refusedPuts are refused where /a was written at etag, and the sessions one
// and two own /e and /f.
func refusedPuts(etag quorum.Zxid) []refusedPut {
	return []refusedPut{
		{tree.ErrETagMismatch, nil, &commandpb.Put{Path: "/a", Condition: ifAbsent()}},
		{tree.ErrETagMismatch, nil, &commandpb.Put{Path: "/x", Condition: ifPresent()}},
		{tree.ErrETagMismatch, nil, &commandpb.Put{Path: "/x", Condition: ifETag(etag)}},
		{tree.ErrETagMismatch, nil, &commandpb.Put{Path: "/a", Condition: ifETag(etag + 1)}},
		{tree.ErrETagMismatch, nil, &commandpb.Put{Path: "/a", Condition: ifETag(0)}},
		{tree.ErrETagMismatch, nil, &commandpb.Put{Path: "/", Condition: ifETag(0)}}, // the root has mzxid 0
		{tree.ErrNoNode, nil, &commandpb.Put{Path: "/x", Condition: ifVersion(0)}},
		{tree.ErrNoNode, nil, &commandpb.Put{Path: "/x/y/z", Condition: ifVersion(-1)}},
		{tree.ErrVersionMismatch, nil, &commandpb.Put{Path: "/a", Condition: ifVersion(1)}},
		{tree.ErrInvalidArgument, nil, &commandpb.Put{Path: "/a", Condition: ifVersion(-2)}},
		{tree.ErrNoParent, nil, &commandpb.Put{Path: "/x/y"}},
		{tree.ErrNoParent, nil, &commandpb.Put{Path: "/x/y", Condition: ifAbsent()}},
		{tree.ErrNoChildrenForEphemeral, nil, &commandpb.Put{Path: "/e/y"}},
		{tree.ErrReservedPath, nil, &commandpb.Put{Path: "/perch"}},
		{tree.ErrReservedPath, nil, &commandpb.Put{Path: "/perch/locks/x", Parents: true}},
		{tree.ErrInvalidPath, nil, &commandpb.Put{Path: "/a/"}},
		{tree.ErrTooLarge, nil, &commandpb.Put{Path: "/a", Data: []byte("123456789")}},
		{tree.ErrInvalidArgument, nil, &commandpb.Put{Path: "/a", Mode: persistent}},
		{tree.ErrInvalidArgument, nil, &commandpb.Put{Path: "/x", Mode: ephemeral}},
		{tree.ErrInvalidArgument, byToken("one"), &commandpb.Put{Path: "/f", Takeover: true}},
		{tree.ErrNodeExists, byToken("one"), &commandpb.Put{Path: "/a", Mode: ephemeral}},
		{tree.ErrNodeExists, byToken("one"), &commandpb.Put{Path: "/a", Mode: ephemeral, Takeover: true}},
		{tree.ErrNodeExists, byToken("one"), &commandpb.Put{Path: "/f", Mode: ephemeral}},
		{tree.ErrNodeExists, byToken("one"), &commandpb.Put{Path: "/f"}},
		{tree.ErrNodeExists, byToken("one"), &commandpb.Put{Path: "/f", Condition: ifVersion(7)}},
		{tree.ErrETagMismatch, byToken("one"), &commandpb.Put{Path: "/f", Mode: ephemeral, Condition: ifAbsent()}},
		{tree.ErrVersionMismatch, byToken("one"), &commandpb.Put{Path: "/f", Mode: ephemeral, Takeover: true, Condition: ifVersion(7)}},
		{tree.ErrSessionExpired, byToken("new"), &commandpb.Put{Path: "/f"}},
		{tree.ErrSessionExpired, opening(byToken("new"), ttl), &commandpb.Put{Path: "/f"}}, // only an ephemeral opens
	}
}

func TestPutRules(t *testing.T) {
	b := newBench(t, small())
	a := b.must(put(&commandpb.Put{Path: "/a", Data: []byte("1")}))
	if !a.Created || a.Node.Stat.Version != 0 {
		t.Fatal(a)
	}
	b.must(with(opening(byToken("one"), ttl), put(&commandpb.Put{Path: "/e", Mode: ephemeral})))
	b.must(with(opening(byToken("two"), ttl), put(&commandpb.Put{Path: "/f", Mode: ephemeral})))
	for _, c := range refusedPuts(a.Zxid) {
		r := b.refused(c.code, with(c.ref, put(c.op)))
		if c.code == tree.ErrNodeExists && r.Node.Path != c.op.Path {
			t.Errorf("%v: holder %v", c.op, r.Node)
		}
	}
	for _, op := range []*commandpb.Put{
		{Path: "/a", Condition: ifVersion(0)}, {Path: "/a", Condition: ifVersion(-1)}, {Path: "/a", Condition: ifPresent()},
		{Path: "/b", Condition: ifAbsent()}, {Path: "/"}, {Path: "/e", Data: []byte("2")},
	} {
		b.must(put(op))
	}
	b.must(put(&commandpb.Put{Path: "/a", Condition: ifETag(b.stat("/a").Mzxid)}))
	if s := b.stat("/a"); s.Version != 4 {
		t.Fatal(s)
	}
	if s := b.stat("/e"); s.EphemeralOwner == 0 || s.Version != 1 {
		t.Fatal("a PUT without mode changed kind or owner", s)
	}
}

func TestTakeover(t *testing.T) {
	b := newBench(t, small())
	one := b.must(with(opening(byToken("one"), ttl), put(&commandpb.Put{Path: "/m", Mode: ephemeral}))).Session.ID
	two := b.must(openSession(ttl)).Session.ID
	again := b.must(with(byToken("one"), put(&commandpb.Put{Path: "/m", Mode: ephemeral, Data: []byte("r")})))
	if again.Created || again.Node.Stat.EphemeralOwner != one || again.Node.Stat.Version != 1 {
		t.Fatal(again)
	}
	r, ev := b.apply(with(byID(two), put(&commandpb.Put{Path: "/m", Mode: ephemeral, Takeover: true})))
	if r.Code != tree.OK || r.Created || len(ev) != 1 || ev[0].Type != tree.EventChanged || ev[0].Stat.EphemeralOwner != two {
		t.Fatal(r, ev)
	}
	v := b.s.View()
	if i, _ := v.Session(one); i.Ephemerals != 0 {
		t.Fatal(i)
	}
	if i, _ := v.Session(two); i.Ephemerals != 1 || !reflect.DeepEqual(v.tree.OwnedPaths(two), []string{"/m"}) {
		t.Fatal(i)
	}
	b.must(with(byToken("one"), closeSession(0)))
	if !b.has("/m") {
		t.Fatal("the former owner took the node with it")
	}
	// The limit counts for a takeover too, but not for a refresh.
	b.must(with(byID(two), put(&commandpb.Put{Path: "/n", Mode: ephemeral})))
	b.must(with(byID(two), put(&commandpb.Put{Path: "/n", Mode: ephemeral, Takeover: true})))
	b.must(with(opening(byToken("three"), ttl), put(&commandpb.Put{Path: "/o", Mode: ephemeral})))
	b.refused(tree.ErrTooManyNodes, with(byID(two), put(&commandpb.Put{Path: "/o", Mode: ephemeral, Takeover: true})))
	b.refused(tree.ErrTooManyNodes, with(byID(two), create(&commandpb.Create{Path: "/q", Mode: ephemeral})))
}

func TestDeleteRules(t *testing.T) {
	b := newBench(t, small())
	for _, p := range []string{"/a", "/a/b", "/a/b/c", "/a/d", "/ab"} {
		b.must(create(&commandpb.Create{Path: p}))
	}
	for _, c := range []struct {
		code tree.Code
		op   *commandpb.Delete
	}{
		{tree.ErrInvalidArgument, &commandpb.Delete{Path: "/"}},
		{tree.ErrInvalidArgument, &commandpb.Delete{Path: "/", Recursive: true}},
		{tree.ErrInvalidArgument, &commandpb.Delete{Path: "/a", Condition: ifAbsent()}},
		{tree.ErrInvalidPath, &commandpb.Delete{Path: "/a/"}},
		{tree.ErrReservedPath, &commandpb.Delete{Path: "/perch", Recursive: true}},
		{tree.ErrNoNode, &commandpb.Delete{Path: "/x"}},
		{tree.ErrNoNode, &commandpb.Delete{Path: "/x/y"}},
		{tree.ErrNoNode, &commandpb.Delete{Path: "/x", Condition: ifVersion(3)}},
		{tree.ErrETagMismatch, &commandpb.Delete{Path: "/x", Condition: ifETag(3)}},
		{tree.ErrETagMismatch, &commandpb.Delete{Path: "/x", Condition: ifPresent()}},
		{tree.ErrVersionMismatch, &commandpb.Delete{Path: "/a", Condition: ifVersion(3)}}, // before not_empty
		{tree.ErrETagMismatch, &commandpb.Delete{Path: "/a", Condition: ifETag(3)}},
		{tree.ErrNotEmpty, &commandpb.Delete{Path: "/a"}},
		{tree.ErrNotEmpty, &commandpb.Delete{Path: "/a", Condition: ifVersion(0)}},
	} {
		b.refused(c.code, del(c.op))
	}
	r, ev := b.apply(del(&commandpb.Delete{Path: "/a", Recursive: true, Condition: ifPresent()}))
	var paths []string
	for _, e := range ev {
		paths = append(paths, e.Path)
		if e.Type != tree.EventDeleted || e.Stat != (tree.Stat{}) {
			t.Error(e)
		}
	}
	if r.Code != tree.OK || !reflect.DeepEqual(paths, []string{"/a/b/c", "/a/b", "/a/d", "/a"}) {
		t.Fatal(r, paths)
	}
	if b.has("/a") || !b.has("/ab") || b.s.View().Nodes() != 2 {
		t.Fatal("deleted too little or too much")
	}
	if s := b.stat("/"); s.Cversion != 3 || s.Pzxid != r.Zxid {
		t.Fatal(s)
	}
}

// RULES.md R5: one transaction touches at most TxnNodes nodes.
func TestRecursiveDeleteIsBounded(t *testing.T) {
	b := newBench(t, small())
	for _, p := range []string{"/a", "/a/1", "/a/2", "/a/1/x", "/a/1/y", "/a/1/z"} {
		b.must(create(&commandpb.Create{Path: p}))
	}
	b.refused(tree.ErrTooLarge, del(&commandpb.Delete{Path: "/a", Recursive: true})) // 6
	b.must(del(&commandpb.Delete{Path: "/a/2"}))
	b.must(del(&commandpb.Delete{Path: "/a", Recursive: true})) // 5
	if b.s.View().Nodes() != 1 {
		t.Fatal("nodes left")
	}
}

// RULES.md R5: limits are replicated and change at one zxid.
func TestConfigure(t *testing.T) {
	b := newBench(t, small())
	n := func(v int64) *int64 { return &v }
	b.refused(tree.ErrInvalidArgument, configure(&commandpb.Configure{}))
	b.refused(tree.ErrInvalidArgument, configure(&commandpb.Configure{TxnNodes: n(0)}))
	b.refused(tree.ErrInvalidArgument, configure(&commandpb.Configure{ValueBytes: n(16), EventBytes: n(-1)}))
	b.refused(tree.ErrInvalidArgument, configure(&commandpb.Configure{TtlMinMs: n(5000), TtlMaxMs: n(4000)}))
	before := b.s.View().Digest()
	b.must(configure(&commandpb.Configure{ValueBytes: n(9)}))
	if b.s.View().Settings().ValueBytes != 9 || b.s.View().Digest() == before {
		t.Fatal(b.s.View().Settings())
	}
	b.must(put(&commandpb.Put{Path: "/a", Data: []byte("123456789")}))
	want := DefaultSettings()
	b.must(configure(want.Command(1)))
	if got := b.s.View().Settings(); got != want {
		t.Fatalf("%+v", got)
	}
	if want.Validate() != nil {
		t.Fatal(want.Validate())
	}
}

// Every field of Settings is one of fields, and every field of the command too.
func TestSettingsAreComplete(t *testing.T) {
	s := DefaultSettings()
	if n, m := len(s.fields(Format)), reflect.TypeOf(s).NumField(); n != m {
		t.Errorf("%d of %d settings", n, m)
	}
	c := s.Command(Format).ProtoReflect()
	fields := c.Descriptor().Fields()
	for i := range fields.Len() {
		if !c.Has(fields.Get(i)) {
			t.Errorf("%s is not set", fields.Get(i).Name())
		}
	}
	for i, f := range s.fields(Format) {
		if string(fields.Get(i).Name()) != f.name {
			t.Errorf("%s stands where %s should", f.name, fields.Get(i).Name())
		}
		f.set(f.least - 1)
		if s.Validate() == nil {
			t.Errorf("%s below its bound is accepted", f.name)
		}
		f.set(f.least)
	}
}

// What stops a node does so without a trace in the state.
func TestFatalErrors(t *testing.T) {
	b := newBench(t, small())
	b.must(put(&commandpb.Put{Path: "/a"}))
	before := b.s.View()
	newer := put(&commandpb.Put{Path: "/b"})
	newer.Format = Format + 1
	for _, c := range []struct {
		entry quorum.Entry
		want  error
	}{
		{quorum.Entry{Zxid: b.zxid + 1, Kind: quorum.EntryCommand, Data: marshal(t, newer)}, ErrFormat},
		{quorum.Entry{Zxid: b.zxid + 1, Kind: quorum.EntryRestored + 1}, ErrFormat},
		{quorum.Entry{Zxid: b.zxid + 1}, ErrFormat},
		{quorum.Entry{Zxid: b.zxid, Kind: quorum.EntryCommand, Data: marshal(t, put(&commandpb.Put{Path: "/b"}))}, ErrOrder},
	} {
		if _, ev, err := b.s.Apply(&c.entry); !errors.Is(err, c.want) || ev != nil || b.s.View() != before {
			t.Errorf("%v: %v, want %v", c.entry.Zxid, err, c.want)
		}
	}
}

// Bytes that are no command take their place, and so does the quorum's own.
func TestEntriesWithoutCommand(t *testing.T) {
	b := newBench(t, small())
	b.must(put(&commandpb.Put{Path: "/a"}))
	before := contents(t, b.s.View())
	for _, e := range []struct {
		entry quorum.Entry
		want  tree.Code
	}{
		{quorum.Entry{Kind: quorum.EntryCommand, Data: []byte{0xff}}, tree.ErrInternal},
		{quorum.Entry{Kind: quorum.EntryCommand}, tree.ErrInvalidArgument},
		{quorum.Entry{Kind: quorum.EntryConfig, Data: []byte{0xff}, Stamp: quorum.Stamp{Age: 9}}, tree.OK},
	} {
		b.zxid++
		e.entry.Zxid = b.zxid
		r, ev, err := b.s.Apply(&e.entry)
		if r.Code != e.want || ev != nil || err != nil || b.s.View().Zxid() != b.zxid || contents(t, b.s.View()) != before {
			t.Errorf("%v: %+v %v %v", e.entry, r, ev, err)
		}
	}
	if b.s.View().Age() != 9 {
		t.Error(b.s.View().Age())
	}
}
