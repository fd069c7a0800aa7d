package tree

import "testing"

func TestOwnTop(t *testing.T) {
	for path, want := range map[string]string{
		"/perch/locks/a": "/perch", "/perch/once/a/k": "/perch", "/perch/once/perch": "/perch", "/perch/once/perch/perch": "/perch",
		"/perch/locks/perch": "/perch", "/t/perch/queues/q": "/t/perch", "/t/perch/once/perch/k": "/t/perch",
		"/x/perch/t/perch/once/a/k": "/x/perch/t/perch",
	} {
		if got := OwnTop(path); got != want {
			t.Errorf("%s is in %s, want %s", path, got, want)
		}
	}
}

// A node of the tree's own is made, and changed, only where nothing ends by
// itself.
func TestPutOwn(t *testing.T) {
	h := newHand(t)
	h.owner = 7
	h.make("/t")
	h.ok(h.create(CreateOp{Path: "/e", Mode: ModeEphemeral}))
	h.make("/f")
	h.ok(h.create(CreateOp{Path: "/f/perch", Mode: ModeContainer}))
	h.make("/g", "/g/perch", "/g/perch/locks")
	h.ok(h.create(CreateOp{Path: "/g/perch/locks/a", Mode: ModeTTL, TTLMs: 100}))
	for path, want := range map[string]Code{
		"/perch/locks/a": OK, "/perch/once/perch/k": OK, "/t/perch/locks/a": OK, "/g/perch/locks/b": OK,
		"/none/perch/locks/a": ErrNoParent, "/none/x/perch/once/a/k": ErrNoParent, "/e/perch/locks/a": ErrNoChildrenForEphemeral,
		"/f/perch/locks/a": ErrNoChildrenForEphemeral, "/f/perch/once/perch/k": ErrNoChildrenForEphemeral,
		"/g/perch/locks/a": ErrNoChildrenForEphemeral,
	} {
		for range 2 { // first made, then changed
			h.want(want, h.tree.OwnSite(path))
			h.ok(h.do(func(x *Txn) Code {
				if n, ok := h.tree.PutOwn(x, path, []byte("x")); ok != (want == OK) || ok && n.Path != path {
					t.Errorf("%s: %v, %+v", path, ok, n)
				}
				return OK
			}))
			if (len(h.last) > 0) != (want == OK) {
				t.Errorf("%s: %v", path, h.last)
			}
		}
	}
}
