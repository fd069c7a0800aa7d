package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"perch/lease"
	"perch/quorum"
)

func TestChildrenComeInPagesOfOneState(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		first, second := c.leader().Node, c.follower().Node
		for i := range 25 {
			must(t, first, putCommand(fmt.Sprintf("/list/%02d", i), "v"), "")
		}
		q := lease.Read{Kind: lease.ReadChildren, Path: "/list", Limit: 10, WithData: true, At: lease.At{Linearizable: true}}
		var names []string
		var at quorum.Zxid
		for turn := 0; ; turn++ {
			n := first
			if turn%2 == 1 {
				n = second
			}
			a, err := n.Read(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if at == 0 {
				at = a.Zxid
			}
			if a.Zxid != at {
				t.Fatalf("a page at %v, the first was at %v", a.Zxid, at)
			}
			for _, k := range a.Children {
				if string(k.Data) != "v" || k.Stat.DataLength != 1 {
					t.Fatalf("entry %+v", k)
				}
				names = append(names, k.Path)
			}
			if a.NextPage == "" {
				break
			}
			q.PageToken = a.NextPage
			must(t, first, putCommand(fmt.Sprintf("/list/new-%d", turn), "v"), "")
		}
		if len(names) != 25 {
			t.Fatalf("%d entries: %v", len(names), names)
		}
	})
}

// pageComes says whether the page is there; if not it must have expired.
func pageComes(n *Node, q lease.Read) bool {
	_, err := n.Read(context.Background(), q)
	return !errors.Is(err, lease.ErrPageExpired)
}

func TestPagesExpire(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	for i := range 5 {
		must(t, n.Node, putCommand(fmt.Sprintf("/list/%d", i), "v"), "")
	}
	q := lease.Read{Kind: lease.ReadChildren, Path: "/list", Limit: 2}
	a, err := n.Read(t.Context(), q)
	if err != nil || a.NextPage == "" {
		t.Fatalf("first page: %+v, %v", a, err)
	}
	q.PageToken = a.NextPage
	other := q
	other.Path = "/"
	if _, err := n.Read(t.Context(), other); !errors.Is(err, lease.ErrPageExpired) {
		t.Fatalf("the token of another list: %v", err)
	}
	newer := q
	if newer.At.Floor = a.Zxid; !pageComes(n.Node, newer) {
		t.Fatal("a page is not taken for the state that it shows")
	}
	if newer.At.Floor++; pageComes(n.Node, newer) {
		t.Fatal("a page shows less than was demanded")
	}
	n.pages.mu.Lock()
	for _, p := range n.pages.pins {
		p.used = time.Now().Add(-pageLifetime)
	}
	n.pages.mu.Unlock()
	if _, err := n.Read(t.Context(), q); !errors.Is(err, lease.ErrPageExpired) {
		t.Fatalf("an unused page: %v", err)
	}
}

func TestPinsAreBounded(t *testing.T) {
	cfg := alone(t, t.TempDir())
	cfg.Pins = 3
	n := start(t, cfg)
	defer n.end(t)
	for i := range 5 {
		must(t, n.Node, putCommand(fmt.Sprintf("/list/%d", i), "v"), "")
	}
	var tokens []string
	for i := range 5 {
		must(t, n.Node, putCommand("/list/0", fmt.Sprint(i)), "")
		a, err := n.Read(t.Context(), lease.Read{Kind: lease.ReadChildren, Path: "/list", Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, a.NextPage)
	}
	if len(n.pages.pins) != 3 {
		t.Fatalf("%d states are pinned", len(n.pages.pins))
	}
	for i, token := range tokens {
		_, err := n.Read(t.Context(), lease.Read{Kind: lease.ReadChildren, Path: "/list", Limit: 2, PageToken: token})
		if gone := errors.Is(err, lease.ErrPageExpired); gone != (i < 2) {
			t.Fatalf("page %d: %v", i, err)
		}
	}
}

func FuzzPageToken(f *testing.F) {
	p := newPages(Config{ID: 1, Secret: testSecret, Pins: 1}, func() quorum.ClusterID { return quorum.ClusterID{1} })
	f.Add("")
	f.Add("AAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, token string) {
		if _, ok := p.open(token); ok {
			t.Fatalf("%q was taken for a token", token)
		}
	})
}
