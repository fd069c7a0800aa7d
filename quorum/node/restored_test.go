package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/restore"
	"perch/tree"
)

// download takes a backup by its pieces, each asked for twice, and writes it to a
// file.
func download(t testing.TB, n *Node) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	var content []byte
	q := lease.SnapshotQuery{Limit: 1000}
	for {
		p, err := n.Snapshot(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Data) == 0 {
			if int64(len(content)) != p.Size {
				t.Fatalf("%d bytes of %d", len(content), p.Size)
			}
			break
		}
		q.From = p.From
		if again, err := n.Snapshot(t.Context(), q); err != nil || string(again.Data) != string(p.Data) || again.Size != p.Size {
			t.Fatalf("the piece at %d comes differently the second time: %v", q.Offset, err)
		}
		content = append(content, p.Data...)
		q.Offset = int64(len(content))
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// source reads a backup.
func source(t testing.TB, path string) restore.Source {
	t.Helper()
	b, err := restore.OpenBackup(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	state, err := lease.Restore(b)
	if err != nil {
		t.Fatal(err)
	}
	return restore.Source{View: state.View(), Epoch: b.Epoch}
}

// A backup holds all that was acknowledged before it was asked for, and is handed
// out to those who run the cluster.
func TestDownload(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	last := must(t, n.Node, putCommand("/a", strings.Repeat("x", 5000)), "")
	s := source(t, download(t, n.Node))
	if v := s.View; v.Zxid() < last.Zxid || v.Nodes() < 2 || s.Epoch != n.Soft().Epoch {
		t.Errorf("%v after %v, epoch %d", v.Zxid(), last.Zxid, s.Epoch)
	}
	first, err := n.Snapshot(t.Context(), lease.SnapshotQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []lease.SnapshotFrom{
		{Node: 2, Zxid: first.From.Zxid, Hash: first.From.Hash}, {Node: 1, Zxid: 5, Hash: first.From.Hash}, {Node: 1, Zxid: first.From.Zxid, Hash: 5},
	} {
		if _, err := n.Snapshot(t.Context(), lease.SnapshotQuery{From: from}); !errors.Is(err, lease.ErrPageExpired) {
			t.Errorf("%+v: %v", from, err)
		}
	}
	if _, err := n.EnableAuth(t.Context(), "admin", [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	for _, q := range []lease.SnapshotQuery{{}, {From: first.From}} {
		if _, err := n.Snapshot(t.Context(), q); !errors.Is(err, tree.ErrUnauthenticated) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	n.end(t)
}

// RULES.md R9, over both transports: nothing is answered from the state of the
// past; when all voters are there the cluster forms, far above the former one.
func TestARestoredClusterForms(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		must(t, c.leader().Node, openCommand(time.Minute), clientToken)
		must(t, c.leader().Node, ephemeralCommand("/mine"), clientToken)
		must(t, c.leader().Node, putCommand("/a", "kept"), "")
		s := source(t, download(t, c.follower().Node))
		past, former := s.View.Zxid(), c.leader().cluster()
		lost := must(t, c.leader().Node, putCommand("/b", "lost"), "").Zxid
		page := lease.Read{Kind: lease.ReadChildren, Path: "/", Limit: 1, At: lease.At{Linearizable: true}}
		list, err := c.leader().Read(t.Context(), page)
		if err != nil || list.NextPage == "" || list.Zxid < lost {
			t.Fatal(list.Zxid, list.NextPage, err)
		}
		page.PageToken = list.NextPage
		ids := []quorum.NodeID{1, 2, 3}
		for _, id := range ids {
			c.kill(id)
		}
		for _, id := range ids {
			if err := os.RemoveAll(c.dirs[id]); err != nil {
				t.Fatal(err)
			}
			if _, err := restore.Into(c.dirs[id], s, restore.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range ids[:2] {
			c.start(id)
		}
		n := c.nodes[1]
		until(t, "two waiting for the third", func() bool { return strings.Contains(n.Soft().Refusal, "waiting for voters [3]") })
		if _, err := n.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/a"}); !errors.Is(err, lease.ErrNoQuorum) || n.Status().Ready {
			t.Errorf("it answers from the past: %v", err)
		}
		if _, err := n.Events(t.Context(), lease.EventQuery{Path: "/", Scope: tree.ScopeSubtree, Since: 1}); !errors.Is(err, lease.ErrNoQuorum) {
			t.Errorf("it tells events of the past: %v", err)
		}
		c.start(ids[2])
		for _, id := range ids {
			until(t, fmt.Sprintf("node %d ready", id), func() bool { return c.nodes[id].Status().Ready })
		}
		for _, id := range ids {
			n := c.nodes[id]
			a := get(t, n.Node, "/a", lease.At{})
			if string(a.Node.Data) != "kept" || a.Zxid < quorum.MakeZxid(s.Epoch+quorum.RestoredEpochs, 1) || n.cluster() == former {
				t.Errorf("node %d: %q at %v", id, a.Node.Data, a.Zxid)
			}
			for _, read := range []lease.Read{
				{Kind: lease.ReadNode, Path: "/a", At: lease.At{Floor: lost}},
				{Kind: lease.ReadNode, Path: "/a", At: lease.At{Floor: lost, Linearizable: true}}, page,
			} {
				if _, err := n.Read(t.Context(), read); !errors.Is(err, tree.ErrHistoryLost) {
					t.Errorf("node %d: %+v: %v", id, read, err)
				}
			}
			for z, want := range map[quorum.Zxid]error{lost: tree.ErrHistoryLost, past: tree.ErrCursorExpired} {
				if _, err := n.Events(t.Context(), lease.EventQuery{Path: "/a", Since: z}); !errors.Is(err, want) {
					t.Errorf("node %d: since %v: %v, want %v", id, z, err, want)
				}
			}
			if v := n.view(); v.Sessions() != 0 || v.Age() < s.View.Age() {
				t.Errorf("node %d: %d sessions, age %d", id, v.Sessions(), v.Age())
			}
		}
		must(t, c.leader().Node, putCommand("/c", "new"), "")
		c.agree()
	})
}

// What a directory was restored from is damaged before a cluster has formed: it is
// said, and nothing is set aside, since there is nobody to rebuild it.
func TestARestoredStoreIsDamaged(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	must(t, c.leader().Node, putCommand("/a", "1"), "")
	s := source(t, download(t, c.leader().Node))
	dir := t.TempDir()
	if _, err := restore.Into(dir, s, restore.Options{}); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(dir, "snap", "*.snap"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	if err := os.Truncate(kept[0], 100); err != nil {
		t.Fatal(err)
	}
	cfg := c.nodes[1].cfg
	cfg.Dir = dir
	for range 2 {
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "restore it again") {
			t.Errorf("%v", err)
		}
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, asidePrefix+"*")); len(aside) > 0 {
		t.Errorf("set aside: %v", aside)
	}
}
