package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

var (
	admin       = &commandpb.Caller{Principal: "admin"}
	adminSecret = sha256.Sum256([]byte("a secret of the administrator"))
)

// governed is a cluster with authentication on, and principals a and b with
// roots of their own.
func governed(t *testing.T, c *cluster) {
	t.Helper()
	if turned, err := c.leader().EnableAuth(t.Context(), "admin", adminSecret); err != nil || !turned {
		t.Fatal(turned, err)
	}
	for _, name := range []string{"a", "b"} {
		must(t, c.leader().Node, principalCommand(name, "/t/"+name), "")
	}
}

func principalCommand(name, root string) *commandpb.Command {
	return &commandpb.Command{Caller: admin, Op: &commandpb.Command_PutPrincipal{PutPrincipal: &commandpb.PutPrincipal{
		Name: name, Root: root, Grants: []*commandpb.Grant{{Prefix: "/", Perms: uint32(lease.PermAll &^ lease.PermCluster)}},
	}}}
}

func by(name string, cmd *commandpb.Command) *commandpb.Command {
	cmd.Caller = &commandpb.Caller{Principal: name}
	return cmd
}

// However many nodes turn authentication on at their start, one of them does,
// and afterwards every node knows the administrator's token.
func TestEnableAuthAtEveryNode(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	var work sync.WaitGroup
	var mu sync.Mutex
	turns := 0
	for _, n := range c.nodes {
		work.Go(func() {
			turned, err := n.EnableAuth(t.Context(), "admin", adminSecret)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if turned {
				turns++
			}
		})
	}
	work.Wait()
	if turns != 1 {
		t.Errorf("%d nodes turned it on", turns)
	}
	for _, n := range c.nodes {
		id, err := n.Authenticate(t.Context(), adminSecret)
		if err != nil || id.Principal != "admin" || id.Token != lease.FirstToken {
			t.Errorf("node %d: %+v, %v", n.cfg.ID, id, err)
		}
		if _, err := n.Authenticate(t.Context(), sha256.Sum256(nil)); !errors.Is(err, tree.ErrUnauthenticated) {
			t.Errorf("node %d: a stranger: %v", n.cfg.ID, err)
		}
		if !n.Auth() {
			t.Errorf("node %d does not know that it is on", n.cfg.ID)
		}
	}
	c.agree()
}

// A token that was just made is known at once at every node.
func TestANewTokenIsKnownEverywhere(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	governed(t, c)
	for i := range 10 {
		secret := sha256.Sum256(fmt.Append(nil, i))
		name := fmt.Sprint("p", i)
		must(t, c.leader().Node, principalCommand(name, ""), "")
		must(t, c.leader().Node, &commandpb.Command{Caller: admin, Op: &commandpb.Command_CreateToken{
			CreateToken: &commandpb.CreateToken{Principal: name, SecretSha256: secret[:]},
		}}, "")
		if id, err := c.follower().Authenticate(t.Context(), secret); err != nil || id.Principal != name {
			t.Fatalf("%+v, %v", id, err)
		}
	}
}

func TestEveryQuestionHasACaller(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	governed(t, c)
	n := c.follower().Node
	opened := must(t, n, by("a", openCommand(time.Minute)), clientToken)
	must(t, n, by("a", putCommand("/x", "mine")), "")
	a, b := &commandpb.Caller{Principal: "a"}, &commandpb.Caller{Principal: "b"}
	at := lease.At{Floor: n.positions.now()}

	got, err := n.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Caller: a, Path: "/x", Token: clientToken, At: at})
	if err != nil || string(got.Node.Data) != "mine" || got.Node.Path != "/x" {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = n.Read(t.Context(), lease.Read{Kind: lease.ReadSession, Caller: a, Token: clientToken, At: at})
	if err != nil || got.Sessions[0].ID != opened.Session.ID || got.Sessions[0].Principal != "a" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, c := range []struct {
		q    lease.Read
		want error
	}{
		{lease.Read{Kind: lease.ReadNode, Caller: b, Path: "/x"}, tree.ErrNoNode},
		{lease.Read{Kind: lease.ReadNode, Caller: b, Path: "/", Token: clientToken}, tree.ErrSessionExpired},
		{lease.Read{Kind: lease.ReadNode, Path: "/"}, tree.ErrUnauthenticated},
		{lease.Read{Kind: lease.ReadNode, Path: "/", Token: clientToken}, tree.ErrUnauthenticated},
	} {
		c.q.At = at
		if _, err := n.Read(t.Context(), c.q); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.q, err, c.want)
		}
	}
	if held, err := n.Touch(t.Context(), a, clientToken, 2*time.Minute); err != nil || held.Principal != "a" || held.TTL != 2*time.Minute {
		t.Errorf("%+v, %v", held, err)
	}
	if _, err := n.Touch(t.Context(), b, clientToken, 0); !errors.Is(err, tree.ErrSessionExpired) {
		t.Errorf("another's touch: %v", err)
	}
	if _, err := n.Events(t.Context(), lease.EventQuery{Path: "/", Scope: tree.ScopeSubtree, Now: true}); !errors.Is(err, tree.ErrUnauthenticated) {
		t.Errorf("a watch of nobody: %v", err)
	}
	if err := n.Await(t.Context(), lease.Interest{Path: "/", Scope: tree.ScopeSubtree, Since: n.positions.now()}); err != nil {
		t.Errorf("nobody waits for %v", err)
	}
}

func TestClusterNeedsThePermission(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	governed(t, c)
	n := c.follower().Node
	for caller, want := range map[*commandpb.Caller]error{nil: tree.ErrUnauthenticated, {Principal: "a"}: tree.ErrPermissionDenied} {
		if err := n.Transfer(t.Context(), caller, n.cfg.ID); !errors.Is(err, want) {
			t.Errorf("a transfer by %v: %v", caller, err)
		}
		if _, err := n.ChangeMembers(t.Context(), lease.MembersChange{Caller: caller, Remove: []quorum.NodeID{n.cfg.ID}}); !errors.Is(err, want) {
			t.Errorf("a change by %v: %v", caller, err)
		}
	}
	if err := n.Transfer(t.Context(), admin, n.cfg.ID); err != nil {
		t.Error(err)
	}
}

// A node that is alone says so to those alone who may change the members.
func TestANodeThatIsAloneAsksFirst(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	if turned, err := n.EnableAuth(t.Context(), "admin", adminSecret); err != nil || !turned {
		t.Fatal(turned, err)
	}
	must(t, n.Node, principalCommand("a", "/t/a"), "")
	for caller, want := range map[*commandpb.Caller]error{
		nil: tree.ErrUnauthenticated, {Principal: "a"}: tree.ErrPermissionDenied, admin: tree.ErrInvalidArgument,
	} {
		if _, err := n.ChangeMembers(t.Context(), lease.MembersChange{Caller: caller, Remove: []quorum.NodeID{2}}); !errors.Is(err, want) {
			t.Errorf("a change by %v: %v, want %v", caller, err, want)
		}
	}
}

// A page is continued by who began it, at whichever node he asks.
func TestAPageIsItsPrincipals(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	governed(t, c)
	n, other := c.leader().Node, c.follower().Node
	for i := range 6 {
		must(t, n, by("a", putCommand(fmt.Sprint("/list/", i), "v")), "")
	}
	q := lease.Read{Kind: lease.ReadTree, Caller: &commandpb.Caller{Principal: "a"}, Path: "/list", Limit: 3, Depth: 1}
	first, err := n.Read(t.Context(), q)
	if err != nil || len(first.Children) != 3 || first.NextPage == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	q.PageToken = first.NextPage
	for _, at := range []*Node{n, other} {
		second, err := at.Read(t.Context(), q)
		if err != nil || len(second.Children) != 3 || second.Children[0].Path != "/list/2" || second.Zxid != first.Zxid {
			t.Errorf("node %d: %+v, %v", at.cfg.ID, second, err)
		}
		stolen := q
		stolen.Caller = &commandpb.Caller{Principal: "b"}
		if _, err := at.Read(t.Context(), stolen); !errors.Is(err, lease.ErrPageExpired) {
			t.Errorf("node %d: %v", at.cfg.ID, err)
		}
	}
	must(t, n, &commandpb.Command{Caller: admin, Op: &commandpb.Command_DeletePrincipal{DeletePrincipal: &commandpb.DeletePrincipal{Name: "a"}}}, "")
	if _, err := n.Read(t.Context(), q); !errors.Is(err, tree.ErrUnauthenticated) {
		t.Errorf("a page of somebody who is gone: %v", err)
	}
	list := lease.Read{Kind: lease.ReadTokens, Caller: admin, Limit: 1}
	must(t, n, &commandpb.Command{Caller: admin, Op: &commandpb.Command_CreateToken{
		CreateToken: &commandpb.CreateToken{Principal: "b", SecretSha256: make([]byte, 32), Label: "ci"},
	}}, "")
	page, err := n.Read(t.Context(), list)
	if err != nil || page.NextPage == "" {
		t.Fatalf("%+v, %v", page, err)
	}
	list.PageToken = page.NextPage
	if page, err = other.Read(t.Context(), list); err != nil || len(page.APITokens) != 1 || page.APITokens[0].Label != "ci" {
		t.Errorf("%+v, %v", page, err)
	}
}

// A parked interest wakes for what its caller may see, and for nothing else.
func TestAHiddenChangeWakesNobody(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	joe := &commandpb.Caller{Digests: []string{"joe:AAAAAAAAAAAAAAAAAAAAAAAAAAA="}}
	hidden := &commandpb.Command{Caller: joe, Op: &commandpb.Command_Create{Create: &commandpb.Create{
		Path: "/hidden", Acl: []*commandpb.AclEntry{{Scheme: "auth", Perms: uint32(tree.PermAll)}},
	}}}
	since := must(t, n.Node, putCommand("/a", "0"), "").Zxid
	woken := make(chan error, 2)
	await := func(caller *commandpb.Caller) {
		woken <- n.Await(t.Context(), lease.Interest{Caller: caller, Path: "/", Scope: tree.ScopeSubtree, Since: since})
	}
	go await(nil)
	until(t, "parked", func() bool { return n.watches.count() == 1 })
	must(t, n.Node, hidden, "")
	go await(joe)
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
	until(t, "parked again", func() bool { return n.watches.count() == 1 })
	must(t, n.Node, putCommand("/a", "1"), "")
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
}

// What only level 2 has waits for the last member, and is refused if that stays
// as old as it is.
func TestAnOldMemberHoldsUpNewOperations(t *testing.T) {
	c := newCluster(t, newMemNet(1), func(cfg *Config) {
		if cfg.ID == 2 {
			cfg.Level = 1
		}
	})
	n := c.leader().Node
	must(t, n, putCommand("/a", "x"), "")
	container := &commandpb.Command{Op: &commandpb.Command_Create{Create: &commandpb.Create{Path: "/c", Mode: commandpb.Mode_MODE_CONTAINER}}}
	var refused *lease.Refused
	if _, err := n.Write(t.Context(), container, ""); !errors.As(err, &refused) || !errors.Is(err, lease.ErrNotCaughtUp) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := n.EnableAuth(ctx, "admin", adminSecret); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// The leader ends TTL nodes and empty containers within a second of their time.
func TestNodesAreReaped(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		n := c.leader().Node
		must(t, n, &commandpb.Command{Op: &commandpb.Command_Create{Create: &commandpb.Create{Path: "/ttl", Mode: commandpb.Mode_MODE_TTL, TtlMs: 1000}}}, "")
		must(t, n, &commandpb.Command{Op: &commandpb.Command_Create{Create: &commandpb.Create{Path: "/box", Mode: commandpb.Mode_MODE_CONTAINER}}}, "")
		must(t, n, putCommand("/box/x", ""), "")
		made := time.Now()
		must(t, n, &commandpb.Command{Op: &commandpb.Command_Delete{Delete: &commandpb.Delete{Path: "/box/x"}}}, "")
		until(t, "reaped", func() bool { return !exists(n, "/ttl") && !exists(n, "/box") })
		if took := time.Since(made); took > 3*time.Second {
			t.Errorf("after %v", took)
		}
		for path, cause := range map[string]tree.Cause{"/ttl": tree.CauseTTL, "/box": tree.CauseContainer} {
			batch, err := n.Events(t.Context(), lease.EventQuery{Path: path, Scope: tree.ScopeNode})
			if err != nil || batch.Events[len(batch.Events)-1].Cause != cause {
				t.Errorf("%s: %+v, %v", path, batch, err)
			}
		}
		c.agree()
	})
}
