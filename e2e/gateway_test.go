package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// gated is three nodes with gateways apart.
type gated struct {
	*cluster
	gateways []*node
}

// startGated starts three nodes and gateways to all of them, and waits until all
// are ready.
func startGated(t testing.TB, gateways int) *gated {
	t.Helper()
	g := &gated{cluster: newCluster(t)}
	addrs := freeAddrs(t, 3+gateways)
	for i, n := range g.nodes {
		n.args = append(n.args, "--nats", addrs[i])
	}
	for i, addr := range addrs[3:] {
		w := &node{t: t, id: 101 + i, role: "gateway", addr: addr}
		w.dir = filepath.Join(filepath.Dir(g.nodes[0].dir), fmt.Sprintf("gateway%d", i+1))
		w.args = []string{"--nodes", strings.Join(addrs[:3], ","), "--http", w.addr}
		t.Cleanup(w.stop)
		g.gateways = append(g.gateways, w)
	}
	g.spawnAll()
	for _, w := range g.gateways {
		w.spawn()
	}
	g.waitReady()
	for _, w := range g.gateways {
		w.waitReady()
	}
	return g
}

// used is the node that a gateway answers from.
func (g *gated) used(gateway *node) *node {
	g.t.Helper()
	var used *node
	eventually(g.t, patience, "the gateway has a node", func() error {
		s, err := gateway.status()
		if err != nil {
			return err
		}
		for _, n := range g.nodes {
			if fmt.Sprint(n.id) == s.Node {
				used = n
				return nil
			}
		}
		return fmt.Errorf("it names node %q", s.Node)
	})
	return used
}

// held is a lock that a client has.
type held struct {
	name    string
	session string
	grant
}

func (n *node) hold(name, body string) held {
	n.t.Helper()
	a := n.must(http.StatusOK, "POST", "/v1/locks/"+name+"/acquire", body)
	var got struct {
		grant
		Session string `json:"session_token"`
	}
	decode(n.t, a, &got)
	if got.Session == "" || got.Token == 0 {
		n.t.Fatalf("granted: %s", a.body)
	}
	return held{name, got.Session, got.grant}
}

// A gateway is killed under a hundred polls and ten held locks. The clients go on
// through the other one: no event is missing or comes twice, and no lock is lost.
func TestGatewayKilled(t *testing.T) {
	g := startGated(t, 2)
	victim, other := g.gateways[0], g.gateways[1]
	var locks []held
	for i := range 10 {
		locks = append(locks, victim.hold(fmt.Sprintf("held%d", i), `{"ttl_ms":60000}`))
	}
	cursor := victim.must(http.StatusOK, http.MethodGet, "/v1/watch/events?scope=subtree", "").header.Get("Perch-Zxid")
	stop, ended := make(chan struct{}), make(chan error, 100)
	var pollers []*poller
	for range cap(ended) {
		p := &poller{node: victim, spare: other, root: "/events", cursor: cursor, events: map[string]uint64{}}
		pollers = append(pollers, p)
		go func() { ended <- p.run(stop) }()
	}
	l := &load{root: "/events", nodes: []*node{other}, writers: 2, pause: 10 * time.Millisecond}
	l.start()
	defer l.finish()
	l.waitAcked(t, 50)
	eventually(t, patience, "polls are parked", func() error {
		if got := victim.metric("perch_http_parked_requests"); got < 50 {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
	victim.kill()
	l.waitAcked(t, 100)
	l.finish()
	until := other.must(http.StatusOK, http.MethodGet, "/v1/watch/events?scope=subtree", "").zxid()
	for _, p := range pollers {
		p.until = until
	}
	close(stop)
	for range pollers {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range pollers {
		p.check(t, l)
	}
	for _, h := range locks {
		a := other.must(http.StatusOK, "POST", "/v1/locks/"+h.name+"/renew", "", "Perch-Session", h.session)
		var again grant
		if decode(t, a, &again); again.Token != h.Token {
			t.Errorf("%s: token %d, was %d", h.name, again.Token, h.Token)
		}
		other.must(http.StatusConflict, "POST", "/v1/locks/"+h.name+"/acquire", `{"ttl_ms":1000,"wait_ms":0}`)
		other.must(http.StatusNoContent, "POST", "/v1/locks/"+h.name+"/release", "", "Perch-Session", h.session)
	}
	for i, r := range l.records {
		if r.zxid == 0 {
			t.Errorf("write %d failed at a gateway that lives", i)
		}
	}
	t.Logf("%d pollers saw the same %d events, %d locks kept their tokens", len(pollers), len(pollers[0].events), len(locks))
}

// The node that a gateway uses is killed, and another freezes. Whoever waits
// through the gateway, for a change or for a lock, has his one answer.
func TestGatewayLosesItsNode(t *testing.T) {
	g := startGated(t, 1)
	gateway := g.gateways[0]
	for round, fault := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		flag, lock := fmt.Sprintf("/flags/f%d", round), fmt.Sprintf("l%d", round)
		cursor := gateway.put(flag, "down").header.Get("Perch-Zxid")
		holder := gateway.hold(lock, `{"ttl_ms":600000}`)
		polls := park(t, gateway, 50, "/v1/watch"+flag+"?wait_ms=50000&since="+cursor)
		granted := make(chan grant, 3)
		var waiters sync.WaitGroup
		for range cap(granted) {
			waiters.Go(func() { takeTurn(t, gateway, lock, granted) })
		}
		eventually(t, patience, "all are parked", func() error {
			if got := gateway.metric("perch_http_parked_requests"); got < 53 {
				return fmt.Errorf("%v of 53", got)
			}
			return nil
		})
		used := g.used(gateway)
		used.signal(fault)
		began := time.Now()
		gateway.put(flag, "up")
		polls.answers(t, func(resp *http.Response, body string) error {
			if resp.StatusCode != http.StatusOK || strings.Count(body, `"zxid"`) != 1 {
				return fmt.Errorf("status %d: %s", resp.StatusCode, body)
			}
			return nil
		})
		woken := time.Since(began)
		// Under a key, so that the gateway may ask another node when this one is lost.
		gateway.must(http.StatusNoContent, "POST", "/v1/locks/"+lock+"/release", "", "Perch-Session", holder.session, "Idempotency-Key", "release-"+lock)
		waiters.Wait()
		close(granted)
		last := holder.Token
		for got := range granted {
			if got.Token <= last {
				t.Errorf("token %d after %d", got.Token, last)
			}
			last = got.Token
		}
		t.Logf("%v of node %d: polls answered after %v, locks after %v", fault, used.id, woken.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		if fault == syscall.SIGSTOP {
			used.signal(syscall.SIGCONT)
		} else {
			used.wait()
			used.spawn()
		}
		g.waitReady()
	}
}

// takeTurn waits for a lock, with one request, and lets it go.
func takeTurn(t *testing.T, n *node, lock string, granted chan<- grant) {
	session := rand.Text()
	a, err := send(context.Background(), "POST", n.url()+"/v1/locks/"+lock+"/acquire", `{"ttl_ms":600000,"wait_ms":35000}`, "Perch-Session", session)
	if err != nil || a.status != http.StatusOK {
		t.Errorf("the wait for %s ended: status %d, %v: %s", lock, a.status, err, a.body)
		return
	}
	var got grant
	decode(t, a, &got)
	granted <- got
	if a, err := send(context.Background(), "POST", n.url()+"/v1/locks/"+lock+"/release", "", "Perch-Session", session, "Idempotency-Key", session); err != nil || a.status != http.StatusNoContent {
		t.Errorf("release: status %d, %v: %s", a.status, err, a.body)
	}
}

// Every node and gateway is restarted in turn, under load. No request fails that
// is safe to repeat: a gateway that answers does what it is asked, and one that
// stops says so or is gone, and the other one answers. Meanwhile others contend
// for a lock, which nobody is granted while another may believe that he has it.
func TestRollingRestartOfEverything(t *testing.T) {
	g := startGated(t, 2)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var (
		clients sync.WaitGroup
		done    atomic.Int64
	)
	for w := range 8 {
		clients.Go(func() { g.useGateways(ctx, w, &done) })
	}
	k := &contenders{t: t, nodes: g.gateways}
	for i := range 4 {
		clients.Go(func() { k.work(ctx, i+1) })
	}
	progress := func() {
		goal := done.Load() + 100
		eventually(t, patience, "requests are answered", func() error {
			if got := done.Load(); got < goal {
				return fmt.Errorf("%d of %d", got, goal)
			}
			return nil
		})
	}
	for range scaled(1, 5) {
		for _, n := range append(append([]*node{}, g.nodes...), g.gateways...) {
			progress()
			n.signal(syscall.SIGTERM)
			if code := n.wait(); code != 0 {
				t.Errorf("%d: exit code %d\n%s", n.id, code, n.tail())
			}
			n.spawn()
			n.waitReady()
		}
	}
	progress()
	stop()
	clients.Wait()
	g.sameState()
	var sum struct{ Value int64 }
	decode(t, g.nodes[0].must(http.StatusOK, "GET", "/v1/counters/hits", ""), &sum)
	if sum.Value != done.Load() {
		t.Errorf("the counter is at %d after %d additions", sum.Value, done.Load())
	}
	t.Logf("%d rounds of a keyed addition, a write and two reads, none failed; %d times the lock", done.Load(), k.cycles.Load())
}

// useGateways is one client: what it asks is safe to repeat.
func (g *gated) useGateways(ctx context.Context, me int, done *atomic.Int64) {
	own := fmt.Sprintf("/v1/nodes/clients/c%d", me)
	for at := me; ctx.Err() == nil; at++ {
		value := fmt.Sprint(at)
		g.insist(at, "POST", "/v1/counters/hits/add", `{"add":1}`, "Idempotency-Key", rand.Text())
		wrote := g.insist(at, "PUT", own+"?parents=true", value, "Idempotency-Key", rand.Text())
		for i, path := range []string{own, own + "?consistency=local&min_zxid=" + fmt.Sprint(wrote.zxid())} {
			if a := g.insist(at+i, "GET", path, ""); a.body != value {
				g.t.Errorf("%s: read %q after %q was written", path, a.body, value)
			}
		}
		done.Add(1)
	}
}

// insist sends a request to a gateway, and to the next one only if the first has
// gone or says that it stops.
func (g *gated) insist(at int, method, path, body string, header ...string) reply {
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); at++ {
		a, err := send(context.Background(), method, g.gateways[at%len(g.gateways)].url()+path, body, header...)
		switch {
		case err != nil:
			last = err.Error()
		case a.status/100 == 2:
			return a
		case strings.Contains(a.body, "shutting_down"):
			last = a.body
		default:
			g.t.Errorf("%s %s: status %d: %s", method, path, a.status, a.body)
			return a
		}
		sleep(context.Background(), 10*time.Millisecond)
	}
	g.t.Errorf("%s %s: no gateway answers: %s", method, path, last)
	return reply{}
}

// Without a node a gateway is alive and not ready, and says what to do. It stops
// within a second all the same.
func TestGatewayWithoutNodes(t *testing.T) {
	g := startGated(t, 1)
	gateway := g.gateways[0]
	cursor := gateway.put("/flag", "up").header.Get("Perch-Zxid")
	for _, n := range g.nodes {
		n.kill()
	}
	eventually(t, patience, "the gateway is not ready", func() error {
		if a, err := gateway.get("/readyz"); err != nil || a.status != http.StatusServiceUnavailable {
			return fmt.Errorf("status %d, %v", a.status, err)
		}
		return nil
	})
	gateway.must(http.StatusOK, "GET", "/livez", "")
	for _, method := range []string{"GET", "PUT"} {
		a := gateway.must(http.StatusServiceUnavailable, method, "/v1/nodes/flag", "")
		if !strings.Contains(a.body, `"no_leader"`) || a.header.Get("Retry-After") != "1" {
			t.Errorf("%s: Retry-After %q: %s", method, a.header.Get("Retry-After"), a.body)
		}
	}
	if got := gateway.metric("perch_gateway_nodes_connected"); got != 0 {
		t.Errorf("%v nodes are connected", got)
	}
	g.spawnAll()
	gateway.waitReady()
	polls := park(t, gateway, 10, "/v1/watch/flag?wait_ms=50000&since="+cursor)
	eventually(t, patience, "all polls are parked", func() error {
		if got := gateway.metric("perch_http_parked_requests"); got < 10 {
			return fmt.Errorf("%v of 10", got)
		}
		return nil
	})
	began := time.Now()
	gateway.signal(syscall.SIGTERM)
	polls.answers(t, func(resp *http.Response, body string) error {
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d: %s", resp.StatusCode, body)
		}
		return nil
	})
	if code := gateway.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Logf("stopped after %v", time.Since(began).Round(time.Millisecond))
}

// newPair describes a quorum of one and a gateway to it.
func newPair(t testing.TB) (n, gateway *node) {
	t.Helper()
	n = newNode(t)
	addrs := freeAddrs(t, 2)
	n.args = append(n.args, "--nats", addrs[0])
	gateway = &node{t: t, id: 101, role: "gateway", addr: addrs[1], dir: n.dir + "-gateway"}
	gateway.args = []string{"--nodes", addrs[0], "--http", addrs[1]}
	t.Cleanup(gateway.stop)
	return n, gateway
}

// says waits for a text in the node's log.
func (n *node) says(text string) {
	n.t.Helper()
	eventually(n.t, patience, fmt.Sprintf("%d says why", n.id), func() error {
		if log := n.tail(); !strings.Contains(log, text) {
			return fmt.Errorf("%q is not in %s", text, log)
		}
		return nil
	})
}

// A gateway of another cluster is told so in one line, at both sides.
func TestGatewayOfAnotherCluster(t *testing.T) {
	n, gateway := newPair(t)
	gateway.args = append(gateway.args, "--cluster-name", "another")
	n.spawn()
	n.waitReady()
	gateway.spawn()
	gateway.says("refused: the node has another --secret-file, or another --cluster-name than another")
	n.says("refused a gateway with another secret or cluster name")
	if a, err := gateway.get("/readyz"); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("status %d, %v", a.status, err)
	}
}

// Node and gateway prove themselves to each other by certificate; then the gateway
// turns authentication on, and asks as a node does.
func TestGatewayWithCertificatesAndTokens(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	n, gateway := newPair(t)
	plain := gateway.args
	n.args = append(n.args, ours.flags("node")...)
	n.spawn()
	n.waitReady()
	for text, flags := range map[string][]string{"no TLS connection": foreign.flags("gateway"), "has it --peer-cert exactly": nil} {
		gateway.args = append(plain[:len(plain):len(plain)], flags...)
		gateway.spawn()
		gateway.says(text)
		gateway.kill()
	}
	gateway.args = append(append(plain[:len(plain):len(plain)], ours.flags("gateway")...), "--auth")
	gateway.spawn()
	gateway.waitReady()
	gateway.must(http.StatusUnauthorized, "GET", "/v1/nodes/", "")
	token := adminToken.FindString(gateway.tail())
	gateway.must(http.StatusOK, "GET", "/v1/nodes/", "", "Authorization", "Bearer "+token)
	n.must(http.StatusUnauthorized, "GET", "/v1/nodes/", "")
}
