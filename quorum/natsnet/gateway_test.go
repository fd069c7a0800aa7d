package natsnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"perch/quorum"
)

// gated starts a node with a port for gateways at addr.
func gated(t testing.TB, id quorum.NodeID, addr string) *Net {
	t.Helper()
	o := testOptions(id, []quorum.Peer{{ID: id, Addr: freeAddrs(t, 1)[0], Role: quorum.RoleVoter}})
	o.Gateways = &GatewayPort{Addr: addr}
	return start(t, o)
}

func gatewayOptions(addrs ...string) GatewayOptions {
	o := GatewayOptions{Addrs: addrs, ClusterName: "test", Secret: testSecret}
	if os.Getenv("NATSNET_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("gateway", true)
	}
	return o
}

func dialGateway(t testing.TB, o GatewayOptions) *Gateway {
	t.Helper()
	g, err := DialNodes(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// connected waits until g has exactly these nodes, in any order.
func connected(t testing.TB, g *Gateway, ids ...quorum.NodeID) {
	t.Helper()
	slices.Sort(ids)
	until(t, func() bool { return slices.Equal(slices.Sorted(slices.Values(g.Nodes())), ids) })
}

func echo(_ GatewayID, body []byte, reply func([]byte) error) { _ = reply(body) }

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestGatewayAsks(t *testing.T) {
	n := gated(t, 7, "127.0.0.1:0")
	g := dialGateway(t, gatewayOptions(n.GatewayAddr()))
	connected(t, g, 7)
	if _, err := g.Ask(soon(t), 7, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody answers: %v", err)
	}
	if _, err := g.Ask(soon(t), 8, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("no such node: %v", err)
	}
	told := make(chan string, 1)
	n.HandleGateways(func(from GatewayID, body []byte, reply func([]byte) error) {
		if from != g.ID() {
			t.Errorf("from %s, want %s", from, g.ID())
		}
		switch string(body) {
		case "told":
			told <- string(body)
			if err := reply([]byte("nobody hears this")); err != nil {
				t.Error(err)
			}
		case "large":
			if err := reply(make([]byte, maxPayload)); !errors.Is(err, ErrTooLarge) {
				t.Errorf("a large answer: %v", err)
			}
		default:
			_ = reply(append([]byte("re: "), body...))
			_ = reply([]byte("a second answer"))
		}
	})
	for _, body := range []string{"", "hello", strings.Repeat("x", 1<<20)} {
		answer, err := g.Ask(soon(t), 7, []byte(body))
		if err != nil || string(answer) != "re: "+body {
			t.Errorf("%d bytes: got %d bytes, %v", len(body), len(answer), err)
		}
	}
	if err := g.Tell(7, []byte("told")); err != nil || <-told != "told" {
		t.Error(err)
	}
	if _, err := g.Ask(soon(t), 7, []byte("large")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large answer: %v", err)
	}
	if _, err := g.Ask(soon(t), 7, make([]byte, maxPayload)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large question: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n.HandleGateways(func(GatewayID, []byte, func([]byte) error) { cancel() })
	if _, err := g.Ask(ctx, 7, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	g.Close()
	if _, err := g.Ask(soon(t), 7, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestPushesComeInOrder(t *testing.T) {
	n := gated(t, 1, "127.0.0.1:0")
	g, other := dialGateway(t, gatewayOptions(n.GatewayAddr())), dialGateway(t, gatewayOptions(n.GatewayAddr()))
	got := make(chan string, 4096)
	g.OnPush(func(from quorum.NodeID, body []byte) { got <- fmt.Sprint(from, " ", string(body)) })
	other.OnPush(func(_ quorum.NodeID, body []byte) { t.Errorf("another's push: %s", body) })
	connected(t, g, 1)
	connected(t, other, 1)
	for i := range 2000 {
		if err := n.Push(g.ID(), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2000 {
		if text := <-got; text != fmt.Sprint("1 ", i) {
			t.Fatalf("push %d: got %q", i, text)
		}
	}
	if err := n.Push(newGatewayID(), []byte("to nobody")); err != nil {
		t.Error(err)
	}
	if err := n.Push(g.ID(), make([]byte, maxPayload)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large push: %v", err)
	}
}

// Who asked a node that is gone hears it at once, and the others go on.
func TestGatewayFailover(t *testing.T) {
	addrs := freeAddrs(t, 2)
	a, b := gated(t, 1, addrs[0]), gated(t, 2, addrs[1])
	g := dialGateway(t, gatewayOptions(addrs...))
	changes := make(chan struct{}, 64)
	g.OnChange(func() { changes <- struct{}{} })
	connected(t, g, 1, 2)
	b.HandleGateways(echo)
	taken, end := make(chan struct{}), make(chan struct{})
	a.HandleGateways(func(GatewayID, []byte, func([]byte) error) {
		close(taken)
		<-end
	})
	lost := make(chan error)
	go func() {
		_, err := g.Ask(soon(t), 1, []byte("x"))
		lost <- err
	}()
	<-taken
	a.gates.front.drop()
	if err := <-lost; !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	close(end)
	a.Close()
	connected(t, g, 2)
	if answer, err := g.Ask(soon(t), 2, []byte("y")); err != nil || string(answer) != "y" {
		t.Errorf("got %q, %v", answer, err)
	}
	if _, err := g.Ask(soon(t), 1, []byte("z")); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	again := gated(t, 1, addrs[0])
	again.HandleGateways(echo)
	connected(t, g, 1, 2)
	if _, err := g.Ask(soon(t), 1, []byte("z")); err != nil {
		t.Error(err)
	}
	if len(changes) == 0 {
		t.Error("nobody was told of the changes")
	}
}

func TestOneNodeBehindTwoAddresses(t *testing.T) {
	var log syncBuffer
	n := gated(t, 1, "127.0.0.1:0")
	o := gatewayOptions(n.GatewayAddr(), strings.Replace(n.GatewayAddr(), "127.0.0.1", "localhost", 1))
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	g := dialGateway(t, o)
	until(t, func() bool { return strings.Contains(log.String(), "are one node, 1") })
	connected(t, g, 1)
}

// The nearest come first, a flicker changes nothing, and gateways spread over
// nodes that are as near.
func TestNearestFirst(t *testing.T) {
	order := func(id GatewayID, rtts map[quorum.NodeID][]time.Duration) []quorum.NodeID {
		g := &Gateway{id: id, lines: map[quorum.NodeID]*line{}, changed: make(chan struct{}, 1)}
		for node, times := range rtts {
			g.lines[node] = &line{g: g, node: node}
			for _, rtt := range times {
				g.lines[node].measured(rtt.Seconds())
			}
		}
		g.sort(true)
		return g.Nodes()
	}
	const ms = time.Millisecond
	steady := func(d time.Duration) []time.Duration { return slices.Repeat([]time.Duration{d}, 50) }
	got := order(newGatewayID(), map[quorum.NodeID][]time.Duration{1: steady(30 * ms), 2: steady(ms / 10), 3: steady(5 * ms)})
	if !slices.Equal(got, []quorum.NodeID{2, 3, 1}) {
		t.Errorf("got %v", got)
	}
	first := map[quorum.NodeID]int{}
	for range 300 {
		id := newGatewayID()
		near := map[quorum.NodeID][]time.Duration{1: steady(ms / 5), 2: steady(ms / 10), 3: steady(ms / 3)}
		calm := order(id, near)
		first[calm[0]]++
		near[calm[0]] = append(near[calm[0]], 3*ms) // one slow answer
		if again := order(id, near); !slices.Equal(again, calm) {
			t.Fatalf("the order flapped: %v, then %v", calm, again)
		}
	}
	for id := quorum.NodeID(1); id <= 3; id++ {
		if first[id] < 50 {
			t.Errorf("of 300 gateways %v prefer each node", first)
		}
	}
}

func TestGatewayOptionsFaults(t *testing.T) {
	short := gatewayOptions("10.0.0.1:7601", "x", "127.0.0.1:1", "127.0.0.1:1")
	short.Secret, short.ClusterName = []byte("short"), "A"
	_, err := DialNodes(short)
	for _, want := range []string{"not loopback", "want host:port", "named twice", "secret of 5 bytes", "cluster name"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	o := testOptions(1, peersAt(freeAddrs(t, 1)...))
	for addr, want := range map[string]string{"0.0.0.0:0": "not loopback", "127.0.0.1": "want host:port", "127.0.0.1:x": "port"} {
		o.Gateways = &GatewayPort{Addr: addr}
		if _, err := Start(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v does not say %q", addr, err, want)
		}
	}
	taken := gated(t, 2, "127.0.0.1:0").GatewayAddr()
	o.Gateways = &GatewayPort{Addr: taken}
	if _, err := Start(o); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("a taken address: %v", err)
	}
}
