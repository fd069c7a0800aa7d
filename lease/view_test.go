package lease

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// A view is the same one until something is applied, and stays what it was.
func TestViewsArePinned(t *testing.T) {
	b := newBench(t, DefaultSettings())
	b.must(put(&commandpb.Put{Path: "/a", Data: []byte("1")}))
	v := b.s.View()
	if v != b.s.View() {
		t.Error("a second view of the same state")
	}
	b.must(put(&commandpb.Put{Path: "/a", Data: []byte("2")}))
	b.must(put(&commandpb.Put{Path: "/b"}))
	if n, _ := v.tree.Get("/a"); string(n.Data) != "1" || v.Nodes() != 2 || v.Zxid() != quorum.MakeZxid(1, 1) {
		t.Error(n, v.Nodes(), v.Zxid())
	}
	for _, p := range []string{"", "a", "//", "/a/", "x/a", "/a\x00"} {
		if _, ok := v.tree.Get(p); ok {
			t.Errorf("a node at %q", p)
		}
		if _, _, ok := v.tree.Children(p, tree.Page{}); ok {
			t.Errorf("children of %q", p)
		}
	}
}

func TestPagesEndByBytes(t *testing.T) {
	b := newBench(t, DefaultSettings())
	for i := range 5 {
		b.must(put(&commandpb.Put{Path: fmt.Sprint("/n", i), Data: make([]byte, 100)}))
	}
	v := b.s.View()
	for _, c := range []struct {
		page tree.Page
		n    int
		more bool
	}{
		{tree.Page{Limit: 10, Bytes: 250, WithData: true}, 3, true},
		{tree.Page{Limit: 10, Bytes: 1, WithData: true}, 1, true},
		{tree.Page{Limit: 10, Bytes: 250}, 5, false},
		{tree.Page{Limit: 5}, 5, false},
		{tree.Page{Limit: 4}, 4, true},
		{tree.Page{After: "n3", Limit: 4}, 1, false},
		{tree.Page{After: "n2x", Limit: 4}, 2, false},
		{tree.Page{After: "n4", Limit: 4}, 0, false},
		{tree.Page{}, 1, true},
	} {
		kids, more, ok := v.tree.Children("/", c.page)
		if len(kids) != c.n || more != c.more || !ok {
			t.Errorf("%+v: %d %v", c.page, len(kids), more)
		}
	}
}

func TestLookup(t *testing.T) {
	b := newBench(t, DefaultSettings())
	drawn := b.must(openSession(2000)).Session
	client := b.must(with(byToken("one"), openSession(3000))).Session
	gone := b.must(openSession(2000)).Session
	b.must(closeSession(gone.ID))
	v := b.s.View()
	for _, c := range []struct {
		ref  *commandpb.SessionRef
		info Info
		want Known
	}{
		{byID(drawn.ID), drawn, KnownAlive},
		{byToken("one"), client, KnownAlive},
		{byID(client.ID), Info{}, KnownEnded}, // not the server's token
		{byID(gone.ID), Info{}, KnownEnded},
		{byID(b.zxid + 1), Info{}, KnownNot},
		{byToken("two"), Info{}, KnownNot},
	} {
		if info, known := v.Lookup(c.ref, ""); info != c.info || known != c.want {
			t.Errorf("%v: %+v %v", c.ref, info, known)
		}
	}
	list, more := sessionsIn(v, 0, 1)
	if !more || !reflect.DeepEqual(list, []Info{drawn}) {
		t.Error(list, more)
	}
	if list, more = sessionsIn(v, drawn.ID, 1); more || !reflect.DeepEqual(list, []Info{client}) {
		t.Error(list, more)
	}
}

// API.md rule 9: what a cursor may be, and what it becomes.
func TestEventCursors(t *testing.T) {
	set := DefaultSettings()
	set.EventAgeMs = 100
	b := newBench(t, set)
	events := func(since quorum.Zxid, limit int) (EventBatch, error) {
		return eventsOf(b.s.View(), "/a", tree.ScopeSubtree, since, tree.Bounds{Events: limit})
	}
	first := b.must(put(&commandpb.Put{Path: "/a"})).Zxid
	b.must(put(&commandpb.Put{Path: "/b"}))
	third := b.must(put(&commandpb.Put{Path: "/a"})).Zxid
	// From the beginning, while nothing was trimmed.
	for _, since := range []quorum.Zxid{0, 1, first - 1} {
		if batch, err := events(since, 1); err != nil || len(batch.Events) != 1 || !batch.More || batch.Cursor != first || batch.Oldest != 0 {
			t.Fatalf("since %v: %+v %v", since, batch, err)
		}
	}
	if batch, _ := events(first, 1); len(batch.Events) != 1 || batch.More || batch.Cursor != third {
		t.Fatal(batch)
	}
	// An empty batch moves the cursor; one from the future does not go back.
	if batch, _ := events(third-1, 0); len(batch.Events) != 1 || batch.Cursor != third {
		t.Fatal(batch)
	}
	b.must(put(&commandpb.Put{Path: "/b"}))
	if batch, _ := events(third, 0); batch.Events != nil || batch.Cursor != b.zxid {
		t.Fatal(batch)
	}
	if batch, err := events(b.zxid+100, 0); err != nil || batch.Events != nil || batch.Cursor != b.zxid+100 {
		t.Fatal(batch, err)
	}
	b.age = 100
	b.must(put(&commandpb.Put{Path: "/b"}))
	oldest := b.s.View().Oldest()
	if batch, err := events(first, 0); err != tree.ErrCursorExpired || batch.Oldest != oldest || oldest != b.zxid-1 || batch.Cursor != b.zxid {
		t.Fatal(batch, err)
	}
	if batch, err := events(oldest, 0); err != nil || batch.Cursor != b.zxid {
		t.Fatal(batch, err)
	}
}

// A transaction is never split, however small the limit.
func TestBatchesHoldWholeTransactions(t *testing.T) {
	b := newBench(t, DefaultSettings())
	b.must(create(&commandpb.Create{Path: "/a/b/c", Parents: true}))
	b.must(del(&commandpb.Delete{Path: "/a", Recursive: true}))
	v := b.s.View()
	batch, _ := eventsOf(v, "/", tree.ScopeSubtree, 0, tree.Bounds{Events: 1, Bytes: 1})
	if len(batch.Events) != 3 || !batch.More {
		t.Fatal(batch)
	}
	batch, _ = eventsOf(v, "/", tree.ScopeSubtree, batch.Cursor, tree.Bounds{Events: 3})
	if len(batch.Events) != 3 || batch.More || batch.Events[0].Path != "/a/b/c" || batch.Events[2].Path != "/a" {
		t.Fatal(batch)
	}
	batch, _ = eventsOf(v, "/a", tree.ScopeChildren, 0, tree.Bounds{})
	var got []string
	for _, e := range batch.Events {
		got = append(got, fmt.Sprint(e.Type, e.Path))
	}
	if !reflect.DeepEqual(got, []string{"1/a/b", "3/a/b", "3/a"}) {
		t.Fatal(got)
	}
}

func TestExpireCommandsAreBounded(t *testing.T) {
	set := small()
	set.Sessions = 10
	b := newBench(t, set)
	var ids []quorum.Zxid
	for i := range 7 {
		ref := opening(byToken(fmt.Sprint(i)), 2000)
		ids = append(ids, b.must(with(ref, create(&commandpb.Create{Path: fmt.Sprint("/a", i), Mode: ephemeral}))).Zxid)
		b.must(with(ref, create(&commandpb.Create{Path: fmt.Sprint("/b", i), Mode: ephemeral})))
	}
	cmds := b.s.View().ExpireCommands(ids, 0)
	if len(cmds) != 4 { // 2 nodes each, 5 a transaction
		t.Fatal(cmds)
	}
	for _, c := range cmds {
		if _, events := b.apply(c); len(events) > set.TxnNodes {
			t.Fatal(len(events))
		}
	}
	if v := b.s.View(); v.Sessions() != 0 || v.Nodes() != 1 || v.ExpireCommands(nil, 0) != nil {
		t.Fatal(v.Sessions(), v.Nodes())
	}
}

// An end of sessions that one leader decided has no effect under the next, which
// has given them their whole time (RULES.md R23, R26).
func TestExpiryBelongsToItsReign(t *testing.T) {
	b := newBench(t, small())
	id := b.must(with(byToken("s"), openSession(2000))).Zxid
	late := b.s.View().ExpireCommands([]quorum.Zxid{id}, 1)
	b.zxid = quorum.MakeZxid(2, 0)
	if r, events := b.apply(late[0]); r.Code != tree.ErrInvalidArgument || len(r.Ended) != 0 || len(events) != 0 {
		t.Fatal(r, events)
	}
	if r := b.must(b.s.View().ExpireCommands([]quorum.Zxid{id}, 2)[0]); len(r.Ended) != 1 {
		t.Fatal(r)
	}
}

// The events of a transaction are the difference between the states before and
// after it, in an order in which a mirror can follow: parents are there first
// and go last (RELIABILITY.md G5).
func TestEventsAreTheDifference(t *testing.T) {
	b := newBench(t, small())
	mirror := stats(b.s.View())
	for i := range 500 {
		b.age += 10
		r, events := b.apply(scripted(i))
		for _, e := range events {
			_, there := mirror[e.Path]
			_, parent := mirror[tree.Parent(e.Path)]
			switch {
			case e.Zxid != r.Zxid, there == (e.Type == tree.EventCreated), !parent && e.Path != "/":
				t.Fatalf("step %d: %+v", i, e)
			case e.Type == tree.EventDeleted:
				delete(mirror, e.Path)
			default:
				mirror[e.Path] = e.Stat
			}
		}
		now := stats(b.s.View())
		for path, stat := range now {
			// What a parent shows of its children has no event of its own.
			old := mirror[path]
			old.Pzxid, old.Cversion, old.NumChildren = stat.Pzxid, stat.Cversion, stat.NumChildren
			if old != stat {
				t.Fatalf("step %d: %s is %+v, events say %+v", i, path, stat, old)
			}
		}
		if len(now) != len(mirror) {
			t.Fatalf("step %d: %d nodes, events say %d", i, len(now), len(mirror))
		}
	}
}

func stats(v *View) map[string]tree.Stat {
	m := map[string]tree.Stat{}
	v.tree.Scan(func(r tree.Record) bool { m[r.Path] = r.Stat; return true })
	return m
}

// Readers and a snapshot run beside Apply; the race detector watches.
func TestReadersBesideApply(t *testing.T) {
	b := newBench(t, DefaultSettings())
	done := make(chan error)
	readers := 0
	for i := range 300 {
		b.age += 5000
		b.must(put(&commandpb.Put{Path: fmt.Sprintf("/n%d/x", i%40), Data: []byte("data"), Parents: true}))
		b.apply(scripted(i))
		if i%10 == 0 {
			readers++
			go func(v *View) { done <- useView(v) }(b.s.View())
		}
	}
	for range readers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func useView(v *View) error {
	var buf bytes.Buffer
	if _, err := v.WriteTo(&buf); err != nil {
		return err
	}
	s, err := Restore(&buf)
	if err != nil {
		return err
	}
	if s.View().Digest() != v.Digest() {
		return io.ErrUnexpectedEOF
	}
	v.tree.Get("/n1/x")
	v.tree.Children("/", tree.Page{Limit: 100, WithData: true})
	sessionsIn(v, 0, 100)
	_, err = eventsOf(v, "/", tree.ScopeSubtree, v.Oldest(), tree.Bounds{})
	return err
}
