package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/seam"
	"perch/tree"
)

// behind is a gateway in front of three nodes, all of which it knows.
func behind(t *testing.T, test func(t *testing.T, c *cluster, client *seam.Client, link *memGateway)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		c.leader()
		client, link := c.gateway(1, 1, 2, 3)
		ready(t, client)
		pass(t, time.Second)
		test(t, c, client, link)
	})
}

func addCommand(name string, key string) *commandpb.Command {
	cmd := &commandpb.Command{Op: &commandpb.Command_AddCounter{AddCounter: &commandpb.AddCounter{Name: name, Add: 1}}}
	if key != "" {
		hash, digest := sha256.Sum256([]byte(key)), sha256.Sum256([]byte(name))
		cmd.Key = &commandpb.Key{Hash: hash[:], Digest: digest[:]}
	}
	return cmd
}

func count(t *testing.T, n *Node, name string) int64 {
	t.Helper()
	a, err := n.Read(t.Context(), lease.Read{Kind: lease.ReadCounter, Name: name, At: lease.At{Linearizable: true}})
	if err != nil {
		t.Fatal(err)
	}
	return a.Counter.Value
}

func isWrite(q *seampb.Question) bool { return q.GetWrite() != nil }

// isResult tells answers to writes and acquisitions.
func isResult(m proto.Message) bool {
	a, ok := m.(*seampb.Answer)
	return ok && a.GetResult() != nil
}

// A command without a key is never asked twice once it may have been done; one
// with a key is, and is done once.
func TestWhatIsAskedAgain(t *testing.T) {
	for _, one := range []struct {
		name  string
		key   string
		lose  func(*memGateway) // in the middle of the question
		asked int               // times that it reached a node
		value int64
		err   error
	}{
		{"the connection is cut, no key", "", func(g *memGateway) { g.connect(1, false) }, 1, 1, lease.ErrCommitTimeout},
		{"the connection is cut, a key", "k", func(g *memGateway) { g.connect(1, false) }, 2, 1, nil},
		{"the node falls silent, no key", "", func(g *memGateway) { g.freeze(1, true) }, 1, 1, lease.ErrCommitTimeout},
		{"the node falls silent, a key", "k", func(g *memGateway) { g.freeze(1, true) }, 2, 1, nil},
	} {
		t.Run(one.name, func(t *testing.T) {
			behind(t, func(t *testing.T, c *cluster, client *seam.Client, link *memGateway) {
				lost := make(chan struct{}, 1)
				link.lose(once(func(m proto.Message) bool {
					if isResult(m) {
						lost <- struct{}{}
					}
					return isResult(m)
				}))
				go func() { <-lost; one.lose(link) }()
				res, err := client.Write(t.Context(), addCommand("n", one.key), "")
				if !errors.Is(err, one.err) || (err == nil) != (one.err == nil) {
					t.Errorf("%+v, %v", res, err)
				}
				if err == nil && (!res.Replayed || res.Counter.Value != 1) {
					t.Errorf("the answer of the second node: %+v", res)
				}
				if n := link.questions(isWrite); n != one.asked {
					t.Errorf("asked %d times", n)
				}
				if v := count(t, c.leader().Node, "n"); v != one.value {
					t.Errorf("done %d times", v)
				}
			})
		})
	}
}

// A node that is not there, or that stops, has not taken a command: another one is
// asked, whatever the command is. A question that comes twice is done once.
func TestWhatWasNotTaken(t *testing.T) {
	behind(t, func(t *testing.T, c *cluster, client *seam.Client, link *memGateway) {
		c.net.node(1).HandleGateways(nil) // as when it is about to close
		if _, err := client.Write(t.Context(), addCommand("n", ""), ""); err != nil {
			t.Error(err)
		}
		link.prefer(2, 3, 1)
		c.nodes[2].drain.Store(true)
		if _, err := client.Write(t.Context(), addCommand("n", ""), ""); err != nil {
			t.Error(err)
		}
		c.nodes[2].drain.Store(false)
		link.set(gateFaults{twice: 1})
		for range 10 {
			if _, err := client.Write(t.Context(), addCommand("n", ""), ""); err != nil {
				t.Error(err)
			}
		}
		link.set(gateFaults{})
		if v := count(t, c.leader().Node, "n"); v != 12 {
			t.Errorf("done %d times", v)
		}
	})
}

// Without a node that answers requests end in time, with what is true of them.
func TestNobodyToAsk(t *testing.T) {
	behind(t, func(t *testing.T, c *cluster, client *seam.Client, link *memGateway) {
		for id := range c.dirs {
			link.connect(id, false)
		}
		began := time.Now()
		if _, err := client.Write(t.Context(), addCommand("n", "k"), ""); !errors.Is(err, lease.ErrNoLeader) {
			t.Error(err)
		}
		if took := time.Since(began); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("took %v", took)
		}
		if s := client.Status(); s.Ready || s.NotReady == "" {
			t.Errorf("%+v", s)
		}
		link.connect(2, true)
		if _, err := client.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/"}); err != nil {
			t.Error(err)
		}
	})
}

// What one gateway has told is the least that it tells later, at whichever node.
func TestAnswersOfAGatewayDoNotGoBack(t *testing.T) {
	behind(t, func(t *testing.T, c *cluster, client *seam.Client, link *memGateway) {
		var late quorum.NodeID
		for id := range c.dirs {
			if id != c.leader().cfg.ID {
				late = id
			}
		}
		c.net.isolate(late, true)
		until(t, "left behind", func() bool { return c.nodes[late].Soft().Leader == 0 })
		link.connect(late, false)
		res, err := client.Write(t.Context(), putCommand("/new", "x"), "")
		if err != nil {
			t.Fatal(err)
		}
		for id := range c.dirs {
			link.connect(id, id == late)
		}
		q := lease.Read{Kind: lease.ReadNode, Path: "/new"}
		if a, err := c.nodes[late].Read(t.Context(), q); !errors.Is(err, tree.ErrNoNode) || a.Zxid >= res.Zxid {
			t.Fatalf("the node is not behind: %+v, %v", a, err)
		}
		if a, err := client.Read(t.Context(), q); !errors.Is(err, lease.ErrNotCaughtUp) {
			t.Errorf("read %+v, %v", a.Node, err)
		}
		if b, err := client.Events(t.Context(), lease.EventQuery{Path: "/new", Scope: tree.ScopeNode, Since: 1}); !errors.Is(err, lease.ErrNotCaughtUp) {
			t.Errorf("events up to %v, %v", b.Cursor, err)
		}
		for id := range c.dirs {
			link.connect(id, true)
		}
		link.prefer(late, 1, 2, 3)
		if a, err := client.Read(t.Context(), q); err != nil || a.Zxid < res.Zxid {
			t.Errorf("read at %v, %v", a.Zxid, err)
		}
		c.net.isolate(late, false)
	})
}

func acquires(ctx context.Context, svc lease.Service, cmd *commandpb.Command, wait time.Duration) <-chan acquired {
	got := make(chan acquired, 1)
	go func() {
		res, err := svc.Acquire(ctx, cmd, "", wait)
		got <- acquired{res, err}
	}()
	return got
}

// An acquisition that loses its node goes on at another, in its place.
func TestAnAcquisitionOutlivesItsNode(t *testing.T) {
	const ttl = 60 * time.Second
	for name, lose := range map[string]func(c *cluster, link *memGateway){
		"cut":    func(_ *cluster, link *memGateway) { link.connect(1, false) },
		"frozen": func(_ *cluster, link *memGateway) { link.freeze(1, true) },
		"killed": func(c *cluster, _ *memGateway) { c.kill(1) },
		"stops":  func(c *cluster, _ *memGateway) { c.stop(1) },
	} {
		t.Run(name, func(t *testing.T) {
			behind(t, func(t *testing.T, c *cluster, client *seam.Client, link *memGateway) {
				holder := locks(t, c.nodes[2].Node, lockCommand("l", "a", ttl, false), "")
				first := acquires(t.Context(), client, lockCommand("l", "b", ttl, true), time.Hour)
				waiting(t, c.nodes[2].Node, "l", 1)
				second := wants(t.Context(), c.nodes[2].Node, lockCommand("l", "c", ttl, true), "", time.Hour)
				waiting(t, c.nodes[2].Node, "l", 2)
				lose(c, link)
				pass(t, 6*time.Second)
				waiting(t, c.nodes[2].Node, "l", 2)
				must(t, c.nodes[2].Node, releaseCommand("l"), holder.Token)
				res := granted(t, first, ttl)
				none(t, second)
				if res.Token == "" {
					t.Fatal("the session has no token")
				}
				if _, err := client.Touch(t.Context(), nil, res.Token, 0); err != nil {
					t.Errorf("the session of the grant: %v", err)
				}
				if r, err := client.Write(t.Context(), releaseCommand("l"), res.Token); err != nil || r.Code != tree.OK {
					t.Errorf("released: %+v, %v", r, err)
				}
				granted(t, second, ttl)
			})
		})
	}
}

// A client that goes away leaves its place, and gives back what it was granted
// without hearing of it.
func TestAClientThatGoesAwayGivesBack(t *testing.T) {
	const ttl = 60 * time.Second
	behind(t, func(t *testing.T, c *cluster, client *seam.Client, link *memGateway) {
		holder := locks(t, c.nodes[2].Node, lockCommand("l", "a", ttl, false), "")
		ctx, cancel := context.WithCancel(t.Context())
		got := acquires(ctx, client, lockCommand("l", "b", ttl, true), time.Hour)
		waiting(t, c.nodes[2].Node, "l", 1)
		cancel()
		if a := <-got; !errors.Is(a.err, context.Canceled) {
			t.Errorf("%+v, %v", a.res, a.err)
		}
		waiting(t, c.nodes[2].Node, "l", 0)
		must(t, c.nodes[2].Node, releaseCommand("l"), holder.Token)

		for _, wait := range []time.Duration{0, time.Hour} {
			ctx, cancel := context.WithCancel(t.Context())
			link.lose(once(func(m proto.Message) bool {
				if isResult(m) {
					cancel() // while the answer is on its way
				}
				return isResult(m)
			}))
			if a := <-acquires(ctx, client, lockCommand("l", "b", ttl, wait > 0), wait); !errors.Is(a.err, context.Canceled) {
				t.Errorf("%+v, %v", a.res, a.err)
			}
			until(t, "given back", func() bool { return lock(t, c.nodes[2].Node, "l").Held == 0 })
		}
	})
}

// The places of a gateway that is silent go, and its node's own stay (RULES.md
// R17).
func TestPlacesOfASilentGatewayGo(t *testing.T) {
	const ttl = 60 * time.Second
	behind(t, func(t *testing.T, c *cluster, client *seam.Client, link *memGateway) {
		home := c.nodes[1].Node
		locks(t, home, lockCommand("l", "a", ttl, false), "")
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 5 {
			acquires(ctx, client, lockCommand("l", fmt.Sprint(i), ttl, true), time.Hour)
		}
		waiting(t, home, "l", 5)
		wants(t.Context(), home, lockCommand("l", "own", ttl, true), "", time.Hour)
		waiting(t, home, "l", 6)
		pass(t, 10*time.Second)
		waiting(t, home, "l", 6)
		for id := range c.dirs {
			link.freeze(id, true)
		}
		began := time.Now()
		waiting(t, home, "l", 1)
		if took := time.Since(began); took < 2*time.Second || took > 5*time.Second {
			t.Errorf("gone after %v", took)
		}
		cancel()
	})
}

// A node that has not heard of a gateway for long does not take back what that has
// asked for again at another one.
func TestASilentGatewayMayAskElsewhere(t *testing.T) {
	const ttl = 60 * time.Second
	behind(t, func(t *testing.T, c *cluster, client *seam.Client, link *memGateway) {
		home := c.follower()
		link.prefer(home.cfg.ID, 1, 2, 3)
		c.net.isolate(home.cfg.ID, true) // its requests wait
		got := acquires(t.Context(), client, lockCommand("l", "a", ttl, false), 0)
		synctest.Wait()
		link.freeze(home.cfg.ID, true)
		res := granted(t, got, ttl)
		c.net.isolate(home.cfg.ID, false)
		pass(t, 4*time.Second)
		link.freeze(home.cfg.ID, false)
		pass(t, 4*time.Second)
		if l := lock(t, c.leader().Node, "l"); l.Held != 1 || l.Holders[0].Token != res.Hold.Token {
			t.Errorf("%+v", l)
		}
	})
}

// Who waits for a state is woken by what he may not see as events, too.
func TestAStateIsAwaited(t *testing.T) {
	behind(t, func(t *testing.T, c *cluster, client *seam.Client, _ *memGateway) {
		z := must(t, c.leader().Node, putCommand("/a", "0"), "").Zxid
		woken := func() <-chan error {
			done := make(chan error, 1)
			go func() {
				done <- client.Await(t.Context(), lease.Interest{State: true, Path: "/a", Scope: tree.ScopeNode, Since: z})
			}()
			return done
		}
		for _, change := range []*commandpb.Command{
			aclCommand("/a", &commandpb.AclEntry{Scheme: "world", Id: "anyone", Perms: 31}), putCommand("/a", "1"),
		} {
			done := woken()
			pass(t, 700*time.Millisecond)
			select {
			case err := <-done:
				t.Fatalf("woken by nothing: %v", err)
			default:
			}
			change.Caller = nil
			z = must(t, c.leader().Node, change, "").Zxid
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if a, err := client.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/a", At: lease.At{Floor: z}}); err != nil || a.Zxid < z {
				t.Errorf("read at %v, %v", a.Zxid, err)
			}
		}
	})
}

// Everybody who asks the same at once shares an answer, and it is of a time after
// the question.
func TestEqualQuestionsShareAnAnswer(t *testing.T) {
	behind(t, func(t *testing.T, c *cluster, client *seam.Client, link *memGateway) {
		reads := func(q *seampb.Question) bool { return q.GetRead() != nil }
		before, answers := link.questions(reads), make(chan error, 500)
		link.freeze(1, true)
		for range cap(answers) {
			go func() {
				_, err := client.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/", At: lease.At{Linearizable: true}})
				answers <- err
			}()
		}
		synctest.Wait()
		link.freeze(1, false)
		for range cap(answers) {
			if err := <-answers; err != nil {
				t.Fatal(err)
			}
		}
		if n := link.questions(reads) - before; n != 2 {
			t.Errorf("%d questions for %d who ask", n, cap(answers))
		}
		for i := range 50 {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = client.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/x", At: lease.At{Linearizable: true}})
			}()
			z := must(t, c.leader().Node, putCommand("/x", fmt.Sprint(i)), "").Zxid
			a, err := client.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/x", At: lease.At{Linearizable: true}})
			if err != nil || a.Node.Stat.Mzxid != z {
				t.Fatalf("read %v after %v, %v", a.Node.Stat.Mzxid, z, err)
			}
			<-done
		}
	})
}
