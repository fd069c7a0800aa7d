package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// change has members changed at a node; it must succeed.
func change(t testing.TB, at *running, want lease.MembersChange) quorum.Zxid {
	t.Helper()
	z, err := at.ChangeMembers(t.Context(), want)
	if err != nil {
		t.Fatalf("%+v: %v", want, err)
	}
	return z
}

func voter(p quorum.Peer) quorum.MemberChange {
	return quorum.MemberChange{ID: p.ID, Role: quorum.RoleVoter, Addr: p.Addr}
}

// wantMembers waits until every running node names these members, 4o for an
// observer.
func (c *cluster) wantMembers(want string) {
	c.t.Helper()
	until(c.t, "of members "+want, func() bool {
		for _, n := range c.nodes {
			var got []string
			for _, m := range n.Status().Members {
				got = append(got, fmt.Sprintf("%d%s", m.ID, map[quorum.Role]string{quorum.RoleObserver: "o"}[m.Role]))
			}
			if strings.Join(got, " ") != want {
				return false
			}
		}
		return true
	})
}

// TestMembersComeAndGo: two nodes that the others never heard of are added at
// once; a follower and then the leader are removed; all of it is still so after
// everybody was started with the lists of the beginning.
func TestMembersComeAndGo(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		must(t, c.leader().Node, putCommand("/before", "x"), "")
		four, five := c.newcomer(4), c.newcomer(5)
		until(t, "told what to do", func() bool {
			return strings.Contains(c.nodes[4].Status().NotReady, "POST /v1/cluster/members")
		})
		change(t, c.nodes[1], lease.MembersChange{Set: []quorum.MemberChange{voter(four), voter(five)}})
		c.wantMembers("1 2 3 4 5")
		get(t, c.nodes[5].Node, "/before", lease.At{Linearizable: true})

		leader := c.leader()
		gone := c.follower()
		change(t, c.follower(), lease.MembersChange{Remove: []quorum.NodeID{gone.cfg.ID}}) // of itself, perhaps
		c.wantRemoved(gone)
		change(t, c.follower(), lease.MembersChange{Remove: []quorum.NodeID{leader.cfg.ID}})
		c.wantRemoved(leader)
		if now := c.leader(); now == leader || now == gone {
			t.Fatalf("node %d leads", now.cfg.ID)
		}
		must(t, c.leader().Node, putCommand("/after", "y"), "")
		c.agree()

		left := c.ids()
		for _, id := range left {
			c.stop(id)
		}
		for _, id := range left {
			c.start(id)
		}
		must(t, c.leader().Node, putCommand("/again", "z"), "")
		c.wantMembers(strings.Trim(fmt.Sprint(left), "[]"))
		c.agree()

		// One that was removed comes back, with the data of its first life.
		id := gone.cfg.ID
		c.start(id)
		change(t, c.nodes[left[0]], lease.MembersChange{Set: []quorum.MemberChange{voter(gone.cfg.listed(id))}})
		get(t, c.nodes[id].Node, "/again", lease.At{Linearizable: true})
		c.agree()
	})
}

// ids are those of the running nodes.
func (c *cluster) ids() (ids []quorum.NodeID) {
	for id := range c.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// wantRemoved waits until a node says that it was removed and serves nobody,
// and stops it.
func (c *cluster) wantRemoved(n *running) {
	c.t.Helper()
	until(c.t, "told of its removal", func() bool { return strings.Contains(n.Status().NotReady, "was removed") })
	if _, err := n.Read(c.t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/before"}); err == nil {
		c.t.Errorf("node %d was removed and serves", n.cfg.ID)
	}
	c.stop(n.cfg.ID)
}

// TestMembersRefused: what cannot be had is refused before anything changes.
func TestMembersRefused(t *testing.T) {
	c := newCluster(t, newMemNet(2), nil)
	n := c.leader()
	for name, x := range map[string]struct {
		want lease.MembersChange
		err  error
		text string
	}{
		"no member":   {lease.MembersChange{Remove: []quorum.NodeID{9}}, lease.ErrNoMember, "node 9"},
		"two voters":  {lease.MembersChange{Remove: []quorum.NodeID{2}}, tree.ErrInvalidArgument, "force"},
		"nobody":      {lease.MembersChange{Remove: []quorum.NodeID{1, 2, 3}}, tree.ErrInvalidArgument, "0 voters"},
		"an address":  {lease.MembersChange{Set: []quorum.MemberChange{voter(quorum.Peer{ID: 7, Addr: "here"})}}, tree.ErrInvalidArgument, "host:port"},
		"not private": {lease.MembersChange{Set: []quorum.MemberChange{voter(quorum.Peer{ID: 7, Addr: "10.0.0.1:7501"})}}, tree.ErrInvalidArgument, "loopback"},
		"its address": {lease.MembersChange{Set: []quorum.MemberChange{voter(quorum.Peer{ID: 7, Addr: c.peers[1].Addr})}}, tree.ErrInvalidArgument, "nodes 2 and 7"},
	} {
		_, err := n.ChangeMembers(t.Context(), x.want)
		if !errors.Is(err, x.err) || !strings.Contains(err.Error(), x.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.wantMembers("1 2 3")
	at := n.view().Zxid()
	if z := change(t, n, lease.MembersChange{Set: []quorum.MemberChange{voter(c.peers[1])}}); z != at {
		t.Errorf("naming a member as it is made %v after %v", z, at)
	}
}
