package tree

import (
	"slices"
	"strings"
	"testing"
)

func family(t *testing.T) *hand {
	h := newHand(t)
	// Names that sort around the slash, which a plain order of paths would mix up.
	h.make("/a", "/a!", "/a!/x", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b-", "/a/b-/z", "/a0", "/a0/y", "/b")
	for _, p := range []string{"/a/b", "/a/b-/z", "/a!"} {
		h.ok(h.put(PutOp{Path: p, Data: []byte(p)}))
	}
	return h
}

var preorder = []string{"/", "/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b-", "/a/b-/z", "/a!", "/a!/x", "/a0", "/a0/y", "/b"}

func pathsOf(list []Node) (paths []string) {
	for _, n := range list {
		paths = append(paths, n.Path)
	}
	return paths
}

func TestTreeList(t *testing.T) {
	r := family(t).tree.Freeze()
	for _, top := range preorder {
		for depth := range 5 {
			var want []string
			for _, p := range preorder {
				if Under(p, top) && (depth == 0 || strings.Count(strings.TrimSuffix(p, "/"), "/")-strings.Count(strings.TrimSuffix(top, "/"), "/") <= depth) {
					want = append(want, p)
				}
			}
			for limit := 1; limit <= len(preorder)+1; limit++ {
				var got []string
				page := TreePage{Page: Page{Limit: limit}, Depth: depth}
				for {
					list, more, ok := r.Tree(top, page)
					if !ok || len(list) > limit {
						t.Fatal(list, ok)
					}
					got = append(got, pathsOf(list)...)
					if !more {
						break
					}
					page.After = got[len(got)-1]
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%s to depth %d by %d: %v, want %v", top, depth, limit, got, want)
				}
			}
		}
	}
}

func TestTreeBounds(t *testing.T) {
	r := family(t).tree.Freeze()
	if _, _, ok := r.Tree("/none", TreePage{}); ok {
		t.Fatal("a list of nothing")
	}
	for _, after := range []string{"/b", "/a0", "/", "x"} {
		if list, more, ok := r.Tree("/a", TreePage{Page: Page{After: after, Limit: 10}}); list != nil || more || !ok {
			t.Fatal(after, list, more, ok)
		}
	}
	// The node of a cursor may be gone.
	if list, _, _ := r.Tree("/a", TreePage{Page: Page{After: "/a/b!/gone", Limit: 1}}); !slices.Equal(pathsOf(list), []string{"/a/b-"}) {
		t.Fatal(list)
	}
	list, more, _ := r.Tree("/a", TreePage{Page: Page{Limit: 100, Bytes: len("/a") + 2*len("/a/b"), WithData: true}})
	if !slices.Equal(pathsOf(list), []string{"/a", "/a/b"}) || !more || string(list[1].Data) != "/a/b" {
		t.Fatal(list, more)
	}
	if list, _, _ := r.Tree("/a", TreePage{Page: Page{Limit: 2}}); list[1].Data != nil {
		t.Fatal("data that was not asked for")
	}
}

// TestTreeGuard: who may not read a node sees that it is there, and neither its
// data nor what is below it, on any page.
func TestTreeGuard(t *testing.T) {
	h := family(t)
	h.closeTo("/a/b", principal("ann", PermAll))
	h.closeTo("/a0", principal("ann", PermAll))
	r := h.tree.Freeze()
	page := TreePage{Page: Page{Limit: 1, WithData: true}, Guard: as("bob")}
	var got []string
	for {
		list, more, _ := r.Tree("/", page)
		got = append(got, list[0].Path)
		if list[0].Path == "/a/b" && list[0].Data != nil {
			t.Fatal("data that may not be read")
		}
		if page.After = list[0].Path; !more {
			break
		}
	}
	want := []string{"/", "/a", "/a/b", "/a/b-", "/a/b-/z", "/a!", "/a!/x", "/a0", "/b"}
	if !slices.Equal(got, want) {
		t.Fatal(got)
	}
}

func TestCount(t *testing.T) {
	r := family(t).tree.Freeze()
	for _, top := range preorder {
		var nodes, bytes int64
		for _, p := range preorder {
			if n, _ := r.Get(p); Under(p, top) {
				nodes++
				bytes += int64(len(n.Data))
			}
		}
		if n, b, ok := r.Count(top); n != nodes || b != bytes || !ok {
			t.Errorf("%s: %d and %d, want %d and %d", top, n, b, nodes, bytes)
		}
	}
	if _, _, ok := r.Count("/none"); ok {
		t.Error("a count of nothing")
	}
	if _, ok := r.Quota(""); ok {
		t.Error("a quota of nothing")
	}
}
