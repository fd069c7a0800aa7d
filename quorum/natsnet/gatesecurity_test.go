package natsnet

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"perch/quorum"
)

// intruder logs in as a gateway of its own, and hears what it is denied.
func intruder(t *testing.T, addr string, id GatewayID) (nc *nats.Conn, denied chan error) {
	t.Helper()
	return intruderOver(t, addr, id, &net.Dialer{})
}

func intruderOver(t *testing.T, addr string, id GatewayID, dialer nats.CustomDialer) (nc *nats.Conn, denied chan error) {
	t.Helper()
	key, err := gateKey(testSecret, "test")
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	denied = make(chan error, 64)
	nc, err = nats.Connect("nats://"+addr, nats.Nkey(public, key.Sign), nats.Name(id.String()), nats.NoReconnect(),
		nats.SetCustomDialer(dialer), nats.CustomInboxPrefix(gateInbox(id.String())),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, denied
}

// A gateway may speak to its node as itself and read its own inbox, nothing else.
func TestGatewayMayNothingElse(t *testing.T) {
	n := gated(t, 1, "127.0.0.1:0")
	n.HandleGateways(echo)
	victim := dialGateway(t, gatewayOptions(n.GatewayAddr()))
	connected(t, victim, 1)
	id := newGatewayID()
	nc, denied := intruder(t, n.GatewayAddr(), id)
	expectDenied := func(what, subject string) {
		t.Helper()
		select {
		case err := <-denied:
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), strconv.Quote(subject)) {
				t.Errorf("%s %s: %v", what, subject, err)
			}
		case <-time.After(patience):
			t.Fatalf("%s %s: allowed", what, subject)
		}
	}
	own, other := id.String(), victim.ID().String()
	for _, subject := range []string{gateAsk(1, other), gateAsk(2, own), gatePush(other), gatePush(own), "x", "$SYS.REQ.SERVER.PING",
		n.names.to(control, 1), n.names.toAll} {
		if err := nc.Publish(subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		expectDenied("publish", subject)
	}
	heard := make(chan *nats.Msg, 64)
	for _, subject := range []string{">", "*.>", "req.>", gateAsk(1, "*"), gateInbox(other) + ".>", gatePush(other), "$SYS.>", "zq.>"} {
		if _, err := nc.ChanSubscribe(subject, heard); err != nil {
			t.Fatal(err)
		}
		expectDenied("subscribe", subject)
	}
	if _, err := victim.Ask(soon(t), 1, []byte("private")); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(patience); err != nil || len(heard) != 0 {
		t.Errorf("overheard %d messages, %v", len(heard), err)
	}
	// What is allowed works: the test can fail.
	if _, err := nc.ChanSubscribe(gateInbox(own)+".>", heard); err != nil {
		t.Fatal(err)
	}
	question := victim.seals.add(gateQuestion(codeAsk, 1, []byte("x")), gateAsk(1, own))
	if err := nc.PublishRequest(gateAsk(1, own), gateInbox(own)+".y", question); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return len(heard) == 1 })
	if len(denied) != 0 {
		t.Errorf("denied: %v", <-denied)
	}
	// It cannot have an answer sent to another either, nor be believed unsealed.
	if err := nc.PublishRequest(gateAsk(1, own), gatePush(other), question); err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest(gateAsk(1, own), gateInbox(own)+".z", gateQuestion(codeAsk, 2, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { s := n.Stats(); return s.Misdirected == 1 && s.Forged == 1 })
	if len(heard) != 1 {
		t.Error("an unsealed question was answered")
	}
}

// Whoever has not the secret of this cluster stays out, and hears why.
func TestGatewayLoginRefused(t *testing.T) {
	n := gated(t, 1, "127.0.0.1:0")
	for name, change := range map[string]func(*GatewayOptions){
		"secret":  func(o *GatewayOptions) { o.Secret = bytes.Repeat([]byte("x"), secretMin) },
		"cluster": func(o *GatewayOptions) { o.ClusterName = "another" },
	} {
		var log syncBuffer
		o := gatewayOptions(n.GatewayAddr())
		o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		change(&o)
		g := dialGateway(t, o)
		until(t, func() bool {
			return strings.Contains(log.String(), "refused: the node has another --secret-file, or another --cluster-name")
		})
		if strings.Count(log.String(), "\n") != 1 || len(g.Nodes()) != 0 {
			t.Errorf("another %s: nodes %v, log %s", name, g.Nodes(), log.String())
		}
		g.Close()
	}
	if n.Stats().GatewaysRefused < 2 {
		t.Errorf("got %+v", n.Stats())
	}
	addr := "nats://" + n.GatewayAddr()
	for _, l := range n.links { // users of the quorum, and the node's own
		if _, err := nats.Connect(addr, nats.UserInfo(l.conn.Opts.User, l.conn.Opts.Password)); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s over TCP: %v", l.conn.Opts.User, err)
		}
	}
	for _, o := range []nats.Option{nats.Name("nobody"), nats.UserInfo(gateNode, ""), nats.UserInfo(gateNode, "wrong"), nats.Token(mustDerive(t, LabelGateway))} {
		if _, err := nats.Connect(addr, o); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("let in: %v", err)
		}
	}
	key, err := gateKey(testSecret, "test")
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "*", ">", strings.Repeat("A", 32), strings.Repeat("a", 31) + "."} {
		if _, err := nats.Connect(addr, nats.Nkey(public, key.Sign), nats.Name(name)); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

// Connections that never log in keep neither gateways out nor the quorum.
func TestStrangersDoNotFillThePort(t *testing.T) {
	n := gated(t, 1, "127.0.0.1:0")
	n.HandleGateways(echo)
	var strangers []net.Conn
	t.Cleanup(func() {
		for _, c := range strangers {
			_ = c.Close()
		}
	})
	for range 2 * callersHostMax {
		c, err := net.Dial("tcp", n.GatewayAddr())
		if err != nil {
			t.Fatal(err)
		}
		strangers = append(strangers, c)
	}
	until(t, func() bool { return n.Stats().GatewaysEvicted >= callersHostMax })
	g := dialGateway(t, gatewayOptions(n.GatewayAddr()))
	connected(t, g, 1)
	if _, err := g.Ask(soon(t), 1, []byte("x")); err != nil {
		t.Error(err)
	}
	// Those that are left are cut when their time is over; who logged in stays.
	until(t, func() bool { _, callers := n.gates.front.count(); return callers == 0 })
	if s := n.Stats(); s.Gateways != 1 {
		t.Errorf("%d gateways", s.Gateways)
	}
}

// A gateway that does not read is cut off; the others do not wait for it.
func TestFrozenGatewayIsCutOff(t *testing.T) {
	n := gated(t, 1, "127.0.0.1:0")
	g := dialGateway(t, gatewayOptions(n.GatewayAddr()))
	connected(t, g, 1)
	got := make(chan []byte, 1)
	g.OnPush(func(_ quorum.NodeID, body []byte) { got <- body })

	id := newGatewayID()
	frozen := &holdable{}
	nc, _ := intruderOver(t, n.GatewayAddr(), id, frozen)
	if _, err := nc.Subscribe(gatePush(id.String()), func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	frozen.hold()
	defer frozen.mu.Unlock()
	big := make([]byte, 1<<20)
	until(t, func() bool {
		if err := n.Push(id, big); err != nil && !errors.Is(err, ErrUnreachable) {
			t.Fatal(err)
		}
		if err := n.Push(g.ID(), []byte("x")); err == nil {
			<-got
		}
		return n.Stats().Gateways == 1
	})
}

// holdable is a dialer whose connection stops to read.
type holdable struct {
	net.Conn
	mu sync.Mutex
}

func (h *holdable) Dial(network, addr string) (net.Conn, error) {
	conn, err := net.Dial(network, addr)
	h.Conn = conn
	return h, err
}

func (h *holdable) hold() { h.mu.Lock() }

func (h *holdable) Read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.Conn.Read(b)
}

// Whoever sits at the address of a node, without the secret, is let believe that
// a gateway talks to him, but his answers and pushes are not believed.
func TestRogueNodeIsNotBelieved(t *testing.T) {
	acc := server.NewAccount(gateAccount)
	rogue, err := server.NewServer(&server.Options{
		ServerName: "1", Host: "127.0.0.1", Port: -1, NoSigs: true, NoSystemAccount: true, NoLog: true,
		Accounts: []*server.Account{acc}, CustomClientAuthentication: anybody{}, AlwaysEnableNonce: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	rogue.Start()
	defer rogue.WaitForShutdown()
	defer rogue.Shutdown()
	if !rogue.ReadyForConnections(patience) {
		t.Fatal("rogue did not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(rogue))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	forged := append(askFrame(byte(answered), 1, []byte("forged")), make([]byte, sealBytes)...)
	if _, err := nc.Subscribe(gateAsk(1, "*"), func(m *nats.Msg) { _ = m.Respond(forged) }); err != nil {
		t.Fatal(err)
	}
	var log syncBuffer
	o := gatewayOptions(strings.TrimPrefix(rogue.ClientURL(), "nats://"))
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	g := dialGateway(t, o)
	g.OnPush(func(_ quorum.NodeID, body []byte) { t.Errorf("believed %q", body) })
	connected(t, g, 1)
	if answer, err := g.Ask(soon(t), 1, []byte("x")); err == nil || !strings.Contains(err.Error(), "not sealed") {
		t.Errorf("believed %q, %v", answer, err)
	}
	if err := nc.Publish(gatePush(g.ID().String()), append(askFrame(codePush, 1, nil), make([]byte, sealBytes)...)); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return strings.Contains(log.String(), "not sealed") })
}

type anybody struct{}

func (anybody) Check(server.ClientAuthentication) bool { return true }

// No answer fits two questions, however alike they are.
func TestQuestionsAreSealedApart(t *testing.T) {
	s, err := gateSeals(testSecret, "test")
	if err != nil {
		t.Fatal(err)
	}
	a := s.add(gateQuestion(codeAsk, 1, []byte("x")), "req.1.a")
	b := s.add(gateQuestion(codeAsk, 2, []byte("x")), "req.1.a")
	answer := s.add(askFrame(byte(answered), 1, []byte("y")), sealOf(a))
	if _, ok := s.open(answer, sealOf(a)); !ok {
		t.Error("the answer does not open")
	}
	if _, ok := s.open(answer, sealOf(b)); ok {
		t.Error("the answer opens for another question")
	}
}

func TestGatewayTLS(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	o := testOptions(1, peersAt(freeAddrs(t, 1)...))
	o.Gateways = &GatewayPort{Addr: "127.0.0.1:0", TLS: ours.node(t, "node1")}
	n := start(t, o)
	n.HandleGateways(echo)

	dial := func(change func(*GatewayOptions)) (*Gateway, *syncBuffer) {
		var log syncBuffer
		o := gatewayOptions(n.GatewayAddr())
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		change(&o)
		return dialGateway(t, o), &log
	}
	g, _ := dial(func(o *GatewayOptions) { o.TLS = ours.node(t, "gateway") })
	connected(t, g, 1)
	body := bytes.Repeat([]byte("x"), 1<<20)
	if answer, err := g.Ask(soon(t), 1, body); err != nil || !bytes.Equal(answer, body) {
		t.Errorf("got %d bytes, %v", len(answer), err)
	}
	stranger, log := dial(func(o *GatewayOptions) { o.TLS = foreign.node(t, "gateway") })
	until(t, func() bool { return strings.Contains(log.String(), "no TLS connection") })
	plain, log := dial(func(*GatewayOptions) {})
	until(t, func() bool { return strings.Contains(log.String(), "has it --peer-cert exactly if this gateway has") })
	if len(stranger.Nodes())+len(plain.Nodes()) != 0 {
		t.Error("let in")
	}
	if conn, err := net.Dial("tcp", n.GatewayAddr()); err != nil {
		t.Error(err)
	} else {
		defer conn.Close()
		fmt.Fprint(conn, "CONNECT {}\r\n")
		b := make([]byte, 64)
		if k, _ := conn.Read(b); bytes.Contains(b[:k], []byte("INFO")) {
			t.Error("a stranger got to see the server")
		}
	}
}

// A node that is alone has no routes, and a port for gateways all the same.
func TestNodeAloneServesGateways(t *testing.T) {
	o := testOptions(1, []quorum.Peer{{ID: 1, Role: quorum.RoleVoter}})
	o.Gateways = &GatewayPort{Addr: "127.0.0.1:0"}
	n := start(t, o)
	n.HandleGateways(echo)
	g := dialGateway(t, gatewayOptions(n.GatewayAddr()))
	connected(t, g, 1)
	if _, err := g.Ask(soon(t), 1, []byte("x")); err != nil {
		t.Error(err)
	}
	if a := n.srv.ClusterAddr(); a != nil {
		t.Errorf("routes at %v", a)
	}
}
