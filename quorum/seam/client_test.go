package seam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/tree"
)

// fake is a link to nodes that answer with what the test says.
type fake struct {
	near   []quorum.NodeID
	answer func(to quorum.NodeID, q *seampb.Question) (*seampb.Answer, error)
	push   func(quorum.NodeID, []byte)
}

func (f *fake) Nodes() []quorum.NodeID                { return f.near }
func (f *fake) OnPush(fn func(quorum.NodeID, []byte)) { f.push = fn }
func (f *fake) OnChange(func())                       {}

func (f *fake) Ask(_ context.Context, to quorum.NodeID, body []byte) ([]byte, error) {
	in := new(seampb.ToNode)
	if err := proto.Unmarshal(body, in); err != nil {
		return nil, err
	}
	a, err := f.answer(to, in.GetQuestion())
	if err != nil {
		return nil, err
	}
	return proto.Marshal(a)
}

func (f *fake) Tell(quorum.NodeID, []byte) error { return nil }

// beats is a beat of a node of a cluster.
func (f *fake) beats(t *testing.T, c *Client, node quorum.NodeID, cluster byte, change func(*seampb.Beat)) {
	t.Helper()
	c.mu.Lock()
	link := c.remote(node).link
	c.mu.Unlock()
	status := lease.Status{Node: node, Cluster: quorum.ClusterID{cluster}, Ready: true}
	beat := &seampb.Beat{Status: toStatus(&status)}
	if change != nil {
		change(beat)
	}
	body, err := proto.Marshal(&seampb.ToGateway{Link: link, Life: 1, Beat: beat})
	if err != nil {
		t.Fatal(err)
	}
	f.push(node, body)
}

func faked(t *testing.T, test func(t *testing.T, f *fake, c *Client)) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{near: []quorum.NodeID{1, 2, 3}}
		c := New(f, discard)
		defer c.Close()
		test(t, f, c)
	})
}

func picked(c *Client) quorum.NodeID {
	if r, _, _ := c.pick(0, nil); r != nil {
		return r.id
	}
	return 0
}

// The nearest node is asked that beats, is of the first one's cluster, goes on and
// has a leader, or at least does not know better.
func TestWhoIsAsked(t *testing.T) {
	faked(t, func(t *testing.T, f *fake, c *Client) {
		if !c.Auth() || picked(c) != 0 {
			t.Error("before any beat authentication is on, and nobody is asked")
		}
		f.beats(t, c, 2, 7, nil)
		if c.Auth() || picked(c) != 2 {
			t.Errorf("one node: %v is asked", picked(c))
		}
		f.beats(t, c, 1, 8, nil)
		f.beats(t, c, 3, 7, func(b *seampb.Beat) { b.Auth = true })
		if picked(c) != 2 || !c.Auth() {
			t.Errorf("a nearer one of another cluster: %v is asked", picked(c))
		}
		f.beats(t, c, 2, 7, func(b *seampb.Beat) { b.Status.Ready = false })
		if picked(c) != 3 || !c.Auth() {
			t.Errorf("a farther one with a leader: %v is asked, authentication %v", picked(c), c.Auth())
		}
		f.beats(t, c, 3, 7, func(b *seampb.Beat) { b.Draining = true })
		if picked(c) != 2 {
			t.Errorf("one without a leader, and one that stops: %v is asked", picked(c))
		}
		f.beats(t, c, 2, 7, func(b *seampb.Beat) { b.Status.Soft.Doubt = 1 })
		if picked(c) != 0 {
			t.Errorf("only one in doubt: %v is asked", picked(c))
		}
		if why := c.Status().NotReady; !strings.Contains(why, "another cluster; restart this gateway") {
			t.Errorf("of nodes of which one is of another cluster it says %q", why)
		}
		f.beats(t, c, 2, 7, nil)
		<-time.After(lostAfter + helloEvery)
		if picked(c) != 0 || c.Status().Ready {
			t.Errorf("silent: %v is asked, %+v", picked(c), c.Status())
		}
	})
}

// A refusal to take a question sends it to the next node, until all have refused:
// then the reason is the answer.
func TestUntakenQuestions(t *testing.T) {
	for why, want := range map[seampb.Untaken]error{
		seampb.Untaken_UNTAKEN_CLUSTER: lease.ErrNoLeader, seampb.Untaken_UNTAKEN_FULL: lease.ErrOverloaded,
		seampb.Untaken_UNTAKEN_BEHIND: lease.ErrNotCaughtUp, seampb.Untaken_UNTAKEN_UNKNOWN: lease.ErrNotCaughtUp,
	} {
		faked(t, func(t *testing.T, f *fake, c *Client) {
			f.beats(t, c, 1, 7, nil)
			f.beats(t, c, 2, 7, nil)
			f.answer = func(to quorum.NodeID, _ *seampb.Question) (*seampb.Answer, error) {
				if to == 1 {
					return &seampb.Answer{Untaken: why}, nil
				}
				return &seampb.Answer{Answer: &seampb.Answer_Held{Held: &seampb.Held{Zxid: 9}}}, nil
			}
			if h, err := c.Touch(t.Context(), nil, "x", 0); err != nil || h.Zxid != 9 {
				t.Errorf("%v: %+v, %v", why, h, err)
			}
			f.answer = func(quorum.NodeID, *seampb.Question) (*seampb.Answer, error) {
				return &seampb.Answer{Untaken: why}, nil
			}
			if _, err := c.Touch(t.Context(), nil, "x", 0); !errors.Is(err, want) {
				t.Errorf("%v everywhere: %v", why, err)
			}
		})
	}
}

// A node that ends a question by itself, as it does when it has not heard of the
// gateway for a while, leaves open what came of it.
func TestQuestionsThatTheNodeEnds(t *testing.T) {
	faked(t, func(t *testing.T, f *fake, c *Client) {
		f.beats(t, c, 1, 7, nil)
		f.beats(t, c, 2, 7, nil)
		f.answer = func(to quorum.NodeID, _ *seampb.Question) (*seampb.Answer, error) {
			if to == 1 {
				return &seampb.Answer{Error: toError(context.Canceled)}, nil
			}
			return &seampb.Answer{Answer: &seampb.Answer_Result{Result: &seampb.Result{Zxid: 3}}}, nil
		}
		if _, err := c.Write(t.Context(), &commandpb.Command{}, ""); !errors.Is(err, lease.ErrCommitTimeout) {
			t.Errorf("without a key: %v", err)
		}
		if res, err := c.Write(t.Context(), &commandpb.Command{Key: &commandpb.Key{}}, ""); err != nil || res.Zxid != 3 {
			t.Errorf("with a key: %+v, %v", res, err)
		}
	})
}

// A session that was drawn here is drawn anew when the wait under it has failed
// and nobody has heard of that.
func TestADrawnSessionThatEndedUnheard(t *testing.T) {
	faked(t, func(t *testing.T, f *fake, c *Client) {
		f.beats(t, c, 1, 7, nil)
		f.beats(t, c, 2, 7, nil)
		var tokens []string
		f.answer = func(_ quorum.NodeID, q *seampb.Question) (*seampb.Answer, error) {
			tokens = append(tokens, string(q.GetAcquire().GetToken()))
			switch len(tokens) {
			case 1:
				return nil, natsnet.ErrLost
			case 2:
				return &seampb.Answer{Answer: &seampb.Answer_Result{Result: &seampb.Result{Code: uint32(tree.ErrSessionExpired)}}}, nil
			}
			return &seampb.Answer{Answer: &seampb.Answer_Result{Result: &seampb.Result{Hold: &seampb.Hold{Token: 5}}}}, nil
		}
		cmd := &commandpb.Command{
			Session: &commandpb.SessionRef{OpenTtlMs: 1000}, Op: &commandpb.Command_Acquire{Acquire: &commandpb.Acquire{}},
		}
		res, err := c.Acquire(t.Context(), cmd, "", time.Minute)
		if err != nil || res.Hold.Token != 5 || len(tokens) != 3 || tokens[0] != tokens[1] || tokens[2] == tokens[1] || res.Token != tokens[2] {
			t.Errorf("%+v, %v, %q", res, err, tokens)
		}
	})
}

// waiting is a link to nodes that let every question wait, and notes what is told.
type waiting struct {
	*fake
	cancelled atomic.Int64
}

func (w *waiting) Ask(ctx context.Context, _ quorum.NodeID, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (w *waiting) Tell(_ quorum.NodeID, body []byte) error {
	in := new(seampb.ToNode)
	if err := proto.Unmarshal(body, in); err != nil {
		return err
	}
	if in.GetCancel() != nil {
		w.cancelled.Add(1)
	}
	return nil
}

// A gateway that drains answers those who wait in a queue. No node is told when
// they may ask again elsewhere, in their session or under their key: they keep
// their place. What nobody else can ask for is given back.
func TestDrainLeavesPlaces(t *testing.T) {
	named := &commandpb.SessionRef{Ref: &commandpb.SessionRef_Id{Id: 7}}
	acquire := &commandpb.Command_Acquire{Acquire: &commandpb.Acquire{}}
	claim := &commandpb.Command_Claim{Claim: &commandpb.Claim{}}
	for name, test := range map[string]struct {
		cmd   *commandpb.Command
		leave int64
	}{
		"lock in a session":    {&commandpb.Command{Session: named, Op: acquire}, 0},
		"lock without session": {&commandpb.Command{Session: &commandpb.SessionRef{OpenTtlMs: 1000}, Op: acquire}, 1},
		"claim":                {&commandpb.Command{Session: named, Op: claim}, 1},
		"claim with a key":     {&commandpb.Command{Session: named, Op: claim, Key: &commandpb.Key{}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &waiting{fake: &fake{near: []quorum.NodeID{1}}}
				c := New(w, discard)
				defer c.Close()
				w.beats(t, c, 1, 7, nil)
				began := time.Now()
				time.AfterFunc(time.Second, c.Drain)
				_, err := c.Acquire(t.Context(), test.cmd, "", time.Minute)
				if took := time.Since(began); !errors.Is(err, lease.ErrCommitTimeout) || took != time.Second {
					t.Errorf("%v after %v", err, took)
				}
				if got := w.cancelled.Load(); got != test.leave {
					t.Errorf("%d cancelled, not %d", got, test.leave)
				}
			})
		})
	}
}

// What a gateway may have under way at a node has a bound, in number and bytes.
func TestBoundsOfAGate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g := newGate(&Server{ctx: ctx}, natsnet.GatewayID{1})
	if _, why, first := g.begin(1, questionsMem+1); why != seampb.Untaken_UNTAKEN_FULL || !first {
		t.Error(why, first)
	}
	for id := range uint64(questionsMax) {
		if _, why, _ := g.begin(id+2, 1); why != seampb.Untaken_UNTAKEN_NO {
			t.Fatal(id, why)
		}
	}
	if _, why, _ := g.begin(questionsMax+2, 1); why != seampb.Untaken_UNTAKEN_FULL {
		t.Error(why)
	}
	if _, _, first := g.begin(questionsMax+1, 1); first {
		t.Error("a question that came before is taken")
	}
	g.done(2, 1)
	asked, why, _ := g.begin(questionsMax+3, 1)
	if why != seampb.Untaken_UNTAKEN_NO {
		t.Fatal(why)
	}
	g.drop()
	if !errors.Is(context.Cause(asked), ErrSilent) {
		t.Errorf("ended by %v", context.Cause(asked))
	}
}

// A gateway has at most so many interests; those that nobody waits for make room.
func TestBoundOfInterests(t *testing.T) {
	faked(t, func(t *testing.T, _ *fake, c *Client) {
		join := func(i int) (*interest, error) {
			return c.join(&lease.Interest{Path: fmt.Sprint("/", i), Scope: tree.ScopeNode})
		}
		var last *interest
		for i := range interestsMax {
			in, err := join(i)
			if err != nil {
				t.Fatal(err)
			}
			last = in
		}
		if _, err := join(interestsMax); !errors.Is(err, lease.ErrTooManyWaiters) {
			t.Errorf("one too many: %v", err)
		}
		c.leave(last)
		if _, err := join(interestsMax); err != nil {
			t.Errorf("in place of one that nobody waits for: %v", err)
		}
	})
}

// An answer is shared only by those who asked before its question was put.
func TestFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var work sync.WaitGroup
		f := flights[int]{work: &work, ctx: t.Context()}
		go1, asked := make(chan struct{}), 0
		ask := func(ctx context.Context) (int, error) {
			asked++
			n := asked
			select {
			case <-go1:
				return n, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		got := make(chan int, 3)
		put := func(ctx context.Context) {
			n, _ := f.do(ctx, "q", ask)
			got <- n
		}
		go put(t.Context())
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		go put(ctx)
		go put(t.Context())
		synctest.Wait()
		cancel()
		if n := <-got; n != 0 {
			t.Errorf("who has gone is told %d", n)
		}
		go1 <- struct{}{}
		if n := <-got; n != 1 {
			t.Errorf("the first is told %d", n)
		}
		go1 <- struct{}{}
		if n := <-got; n != 2 {
			t.Errorf("who came meanwhile is told %d", n)
		}
		ctx, cancel = context.WithCancel(t.Context())
		go put(ctx)
		synctest.Wait()
		cancel()
		<-got
		work.Wait() // nobody waits for it: it is given up
		if len(f.of) != 0 {
			t.Errorf("%d are under way", len(f.of))
		}
	})
}
