package tree

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"perch/quorum"
)

// slowHistory keeps everything and filters by the words of API.md rule 9.
type slowHistory struct {
	all     []kept
	trimmed quorum.Zxid
}

func slowWants(path string, s Scope, e Event) bool {
	switch s {
	case ScopeNode:
		return e.Path == path
	case ScopeChildren:
		child := e.Path != "/" && Parent(e.Path) == path
		return child && (e.Type == EventCreated || e.Type == EventDeleted) || e.Path == path && e.Type == EventDeleted
	}
	for p := e.Path; p != ""; p = Parent(p) {
		if p == path {
			return true
		}
	}
	return false
}

func (h *slowHistory) trim(now, age uint64, bytes int64) {
	for len(h.all) > 0 {
		var size int64
		for _, k := range h.all {
			size += 128 + int64(len(k.Path))
		}
		first, last := h.all[0], h.all[len(h.all)-1]
		if now-first.age < age && (size <= bytes || first.Zxid == last.Zxid) {
			return
		}
		h.all = slices.DeleteFunc(h.all, func(k kept) bool { return k.Zxid == first.Zxid })
		h.trimmed = first.Zxid
	}
}

// query gives whole transactions while they fit, at least one.
func (h *slowHistory) query(path string, s Scope, since quorum.Zxid, b Bounds) (out []Event, more bool) {
	var groups [][]Event
	for _, k := range h.all {
		if k.Zxid <= since || !slowWants(path, s, k.Event) {
			continue
		}
		if n := len(groups); n > 0 && groups[n-1][0].Zxid == k.Zxid {
			groups[n-1] = append(groups[n-1], k.Event)
		} else {
			groups = append(groups, []Event{k.Event})
		}
	}
	for i, g := range groups {
		size := 0
		for _, e := range append(slices.Clone(out), g...) {
			size += answerOverhead + len(e.Path)
		}
		if i > 0 && (b.Events > 0 && len(out)+len(g) > b.Events || b.Bytes > 0 && size > b.Bytes) {
			return out, true
		}
		out = append(out, g...)
	}
	return out, false
}

var historyPaths = []string{"/", "/a", "/a/b", "/a/b/c", "/ab", "/b", "/b/a", "/a/c"}

func drawTransaction(t *rapid.T, z quorum.Zxid) (events []Event) {
	for range rapid.IntRange(0, 4).Draw(t, "events") {
		typ := EventType(rapid.IntRange(1, 3).Draw(t, "type"))
		path := rapid.SampledFrom(historyPaths).Draw(t, "path")
		events = append(events, Event{Zxid: z, Type: typ, Cause: CauseRequest, Path: path})
	}
	return events
}

func TestHistoryAgainstSlowModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, slow := NewHistory(0), slowHistory{}
		var age uint64
		z := quorum.MakeZxid(1, 0)
		bytes := int64(rapid.IntRange(0, 400_000).Draw(t, "bytes"))
		// Many plain events first, so that there are blocks.
		for range rapid.IntRange(0, 1500).Draw(t, "before") {
			z++
			e := []Event{{Zxid: z, Type: EventChanged, Path: fmt.Sprintf("/x/%d", z%7)}}
			h.Append(e, age)
			slow.all = append(slow.all, kept{e[0], age})
		}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			z++
			age += uint64(rapid.IntRange(0, 3).Draw(t, "time"))
			events := drawTransaction(t, z)
			h.Append(events, age)
			for _, e := range events {
				slow.all = append(slow.all, kept{e, age})
			}
			h.Trim(age, 60, bytes)
			slow.trim(age, 60, bytes)
			compareHistories(t, h, &slow, z)
		}
	})
}

func compareHistories(t *rapid.T, h History, slow *slowHistory, now quorum.Zxid) {
	if h.Len() != len(slow.all) || h.Oldest() != slow.trimmed {
		t.Fatalf("%d events after %v, want %d after %v", h.Len(), h.Oldest(), len(slow.all), slow.trimmed)
	}
	path := rapid.SampledFrom(historyPaths).Draw(t, "asked")
	scope := Scope(rapid.IntRange(1, 3).Draw(t, "scope"))
	since := now - min(now, quorum.Zxid(rapid.IntRange(0, 1600).Draw(t, "back")))
	b := Bounds{Events: rapid.IntRange(0, 8).Draw(t, "limit"), Bytes: rapid.IntRange(0, 4000).Draw(t, "size")}
	got, more, code := h.Query(Interest{Path: path, Scope: scope}, since, b)
	if since < slow.trimmed {
		if code != ErrCursorExpired {
			t.Fatalf("since %v: %v", since, code)
		}
		return
	}
	want, wantMore := slow.query(path, scope, since, b)
	if code != OK || !slices.Equal(got, want) || more != wantMore {
		t.Fatalf("since %v %+v: %v %v %v, want %v %v", since, b, got, more, code, want, wantMore)
	}
}

// A restored history, built from what Scan gives, has the same sum.
func TestHistorySumDependsOnContentsOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := NewHistory(0)
		z := quorum.MakeZxid(1, 0)
		for range rapid.IntRange(0, 900).Draw(t, "transactions") {
			z++
			e := Event{Zxid: z, Type: EventCreated, Path: "/x"}
			h.Append([]Event{e, {Zxid: z, Type: EventDeleted, Path: "/y"}}, uint64(z&0xff))
			h.Trim(uint64(z&0xff), 1<<40, 100_000)
		}
		again := NewHistory(h.Oldest())
		var group []Event
		var last uint64
		h.Scan(func(e *Event, age uint64) bool {
			if len(group) > 0 && group[0].Zxid != e.Zxid {
				again.Append(group, last)
				group = nil
			}
			group, last = append(group, *e), age
			return true
		})
		again.Append(group, last)
		if again.Sum() != h.Sum() || again.Bytes() != h.Bytes() || again.Len() != h.Len() {
			t.Fatalf("%x %d, want %x %d", again.Sum(), again.Bytes(), h.Sum(), h.Bytes())
		}
		again.Trim(1<<50, 0, 0)
		if again.Sum() != 0 || again.Bytes() != 0 {
			t.Fatalf("an empty history has sum %x and %d bytes", again.Sum(), again.Bytes())
		}
	})
}

// A copy taken before keeps its events while the owner appends and trims.
func TestHistoryCopiesStay(t *testing.T) {
	h := NewHistory(0)
	type old struct {
		h    History
		n    int
		last quorum.Zxid
	}
	var olds []old
	for z := quorum.Zxid(1); z <= 3000; z++ {
		h.Append([]Event{{Zxid: z, Type: EventChanged, Path: "/a"}}, uint64(z))
		h.Trim(uint64(z), 700, 1<<30)
		olds = append(olds, old{h, h.Len(), z})
	}
	for _, o := range olds {
		if o.h.Len() != o.n || o.h.at(o.n-1).Zxid != o.last || o.n > 700 {
			t.Fatalf("copy at %v changed", o.last)
		}
	}
}

// The filters must let a query pass over most blocks that do not concern it.
func TestFiltersPassOver(t *testing.T) {
	h := NewHistory(0)
	for z := quorum.Zxid(1); z <= 200*blockEvents; z++ {
		h.Append([]Event{{Zxid: z, Type: EventCreated, Path: fmt.Sprintf("/app/%d/nodes/n%d", z%5, z)}}, 0)
	}
	through := 0
	for i := range h.blocks {
		if h.blocks[i].filter.mayHave(Interest{Path: "/app/9", Scope: ScopeSubtree}.key()) {
			through++
		}
	}
	if through > 20 {
		t.Errorf("%d of %d filters let a foreign interest through", through, len(h.blocks))
	}
	got, _, _ := h.Query(Interest{Path: "/app/3/nodes/n70003", Scope: ScopeNode}, 0, Bounds{})
	if len(got) != 1 {
		t.Error(got)
	}
}
