package natsnet

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"perch/quorum"
	"perch/quorum/wire"
)

// forgery is a well-formed proposal of node 2.
func forgery() []byte {
	return wire.Append(nil, &quorum.Message{Type: quorum.MsgPropose, From: 2, Entries: []quorum.Entry{
		{Zxid: 1, Kind: quorum.EntryCommand, Data: []byte("forged")}}})
}

// speakRoute says what a server says on a route port, with a password, and
// publishes payload; it returns when the other side has closed or answered a
// ping that was sent behind all of it.
func speakRoute(t *testing.T, addr, user, password, subject string, payload []byte) (accepted bool) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	const id = "NATTACKERATTACKERATTACKERATTACKERATTACKERATTACKERATTACKE"
	account := accountNames[control]
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"user\":%q,\"pass\":%q,\"name\":%q,\"cluster\":\"test\"}\r\n", user, password, id)
	fmt.Fprintf(conn, "INFO {\"server_id\":%q,\"server_name\":\"2\",\"version\":\"2.15.2\",\"proto\":1,\"headers\":true,\"max_payload\":2097152,"+
		"\"cluster\":\"test\",\"route_pool_size\":1,\"route_account\":%q,\"lnoc\":true}\r\n", id, account)
	fmt.Fprintf(conn, "RMSG %s %d\r\n%s\r\nPING\r\n", subject, len(payload), payload)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if strings.HasPrefix(line, "PONG") {
			return true
		}
	}
}

// Nothing that an outsider sends to the route port gets to the node, nor does
// what somebody sends who has got hold of the password of the routes alone.
func TestRoutePortRefusesStrangers(t *testing.T) {
	peers := peersAt(freeAddrs(t, 2)...)
	n := start(t, testOptions(1, peers))
	right, err := Derive(testSecret, LabelRoute, "test")
	if err != nil {
		t.Fatal(err)
	}
	subject := n.names.to(control, 1)
	for name, password := range map[string]string{"none": "", "wrong": "wrong", "of gateways": mustDerive(t, LabelGateway)} {
		user := routeUser
		if password == "" {
			user = ""
		}
		if speakRoute(t, peers[0].Addr, user, password, subject, forgery()) {
			t.Errorf("password %s: was let in", name)
		}
	}
	if s := n.Stats(); s.Forged+s.Damaged != 0 || len(n.Inbox()) != 0 {
		t.Errorf("something came through: %+v", s)
	}
	// With the password the same bytes reach the node: the test can fail.
	if !speakRoute(t, peers[0].Addr, routeUser, right, subject, forgery()) {
		t.Fatal("the right password was refused")
	}
	until(t, func() bool { return n.Stats().Forged == 1 })
	if len(n.Inbox()) != 0 {
		t.Error("a frame without a seal reached the inbox")
	}
}

func mustDerive(t *testing.T, label string) string {
	t.Helper()
	p, err := Derive(testSecret, label, "test")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Whoever sits at the address of a peer that is down is dialled, for NATS
// proves only the dialling side. He can speak but nobody listens to him.
func TestRogueListenerIsNotBelieved(t *testing.T) {
	peers := peersAt(freeAddrs(t, 2)...)
	host, port, err := splitAddr(peers[1].Addr)
	if err != nil {
		t.Fatal(err)
	}
	acc := server.NewAccount(accountNames[control])
	rogue, err := server.NewServer(&server.Options{
		ServerName: "2", Host: "127.0.0.1", Port: -1, NoSigs: true, NoSystemAccount: true, NoLog: true,
		Accounts: []*server.Account{acc}, Users: []*server.User{{Username: "u", Password: "p", Account: acc}},
		Cluster: server.ClusterOpts{Name: "test", Host: host, Port: port, PoolSize: 1, PinnedAccounts: []string{accountNames[control]}},
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
	n := start(t, testOptions(1, peers))
	nc, err := nats.Connect("", nats.InProcessServer(rogue), nats.UserInfo("u", "p"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	until(t, func() bool {
		for _, subject := range []string{n.names.to(control, 1), "zq.test.log.2"} {
			if err := nc.Publish(subject, append(forgery(), make([]byte, sealBytes)...)); err != nil {
				t.Fatal(err)
			}
		}
		return n.Stats().Forged > 2
	})
	if len(n.Inbox()) != 0 {
		t.Error("the rogue was believed")
	}
}

// The client port is open, because NATS needs one, but lets nobody in who comes
// over TCP, not even with the right password.
func TestClientPortRefusesTCP(t *testing.T) {
	n := start(t, testOptions(1, peersAt(freeAddrs(t, 2)...)))
	addr := n.srv.ClientURL()
	if !strings.Contains(addr, "127.0.0.1") {
		t.Fatalf("the client port listens on %s", addr)
	}
	for _, l := range n.links {
		own := l.conn.Opts
		for _, o := range []nats.Option{nats.UserInfo(own.User, own.Password), nats.UserInfo(own.User, "x"), nats.Name("nobody")} {
			c, err := nats.Connect(addr, o)
			if err == nil {
				c.Close()
				t.Errorf("%s: let in", own.User)
			}
		}
	}
}

// Only the ports that must be are open.
func TestNoOtherPorts(t *testing.T) {
	n := start(t, testOptions(1, peersAt(freeAddrs(t, 2)...)))
	if a := n.srv.MonitorAddr(); a != nil {
		t.Errorf("monitor at %v", a)
	}
	if a := n.srv.ProfilerAddr(); a != nil {
		t.Errorf("profiler at %v", a)
	}
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Different secrets keep nodes apart, the log says why, and holds no secret.
func TestOtherSecretIsExplained(t *testing.T) {
	var log syncBuffer
	addrs := freeAddrs(t, 2)
	a, b := testOptions(1, peersAt(addrs...)), testOptions(2, peersAt(addrs...))
	a.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.Secret = bytes.Repeat([]byte("other"), 10)
	start(t, a)
	start(t, b)
	until(t, func() bool { return strings.Contains(log.String(), "another secret") })
	for _, label := range []string{LabelRoute, LabelFrame, LabelGateway} {
		if strings.Contains(log.String(), mustDerive(t, label)) {
			t.Errorf("the log holds the key for %q", label)
		}
	}
	if strings.Contains(log.String(), string(testSecret)) {
		t.Error("the log holds the secret")
	}
}

func TestTwoNodesWithOneIDAreExplained(t *testing.T) {
	var log syncBuffer
	addrs := freeAddrs(t, 3)
	a, b := testOptions(1, peersAt(addrs[0], addrs[1])), testOptions(1, peersAt(addrs[2], addrs[0]))
	a.Logger = slog.New(slog.NewTextHandler(&log, nil))
	start(t, a)
	start(t, b)
	until(t, func() bool { return strings.Contains(log.String(), "two nodes have one id") })
}

func TestDerive(t *testing.T) {
	seen := map[string]string{}
	for _, secret := range []string{strings.Repeat("a", 32), strings.Repeat("b", 32)} {
		for _, label := range []string{LabelRoute, LabelFrame, LabelGateway} {
			for _, cluster := range []string{"perch", "other"} {
				p, err := Derive([]byte(secret), label, cluster)
				name := secret + label + cluster
				if err != nil || len(p) != 43 || seen[p] != "" {
					t.Errorf("%s: %q, %v, as %q", name, p, err, seen[p])
				}
				seen[p] = name
			}
		}
	}
	if again := mustDerive(t, LabelRoute); again != mustDerive(t, LabelRoute) {
		t.Error("a derivation changed")
	}
}

func TestSeals(t *testing.T) {
	a, b := newSeals("one"), newSeals("two")
	sealed := a.add([]byte("frame"), "subject")
	if got, ok := a.open(sealed, "subject"); !ok || string(got) != "frame" {
		t.Errorf("got %q, %v", got, ok)
	}
	if _, ok := b.open(sealed, "subject"); ok {
		t.Error("another key opens it")
	}
	if _, ok := a.open(sealed, "subjec"); ok {
		t.Error("another purpose opens it")
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, ok := a.open(bad, "subject"); ok {
			t.Errorf("a flipped bit in byte %d was not seen", i)
		}
		if _, ok := a.open(sealed[:i], "subject"); ok {
			t.Errorf("cut to %d bytes it opens", i)
		}
	}
	// What moves from the purpose into the frame changes the seal.
	if _, ok := a.open(a.add([]byte("bc"), "a"), "ab"); ok {
		t.Error("purpose and frame run together")
	}
}

// authority signs certificates of test nodes.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.sign(t, "ca", true)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) sign(t *testing.T, name string, isCA bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: isCA, BasicConstraintsValid: isCA,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := a.cert, a.key
	if isCA {
		parent, signer, c.ExtKeyUsage, c.IPAddresses = c, key, nil, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.path(name+".pem"), "CERTIFICATE", der)
	writePEM(t, a.path(name+".key"), "PRIVATE KEY", keyDER)
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signed, key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *authority) node(t *testing.T, name string) *tls.Config {
	t.Helper()
	a.sign(t, name, false)
	c, err := PeerTLS(a.path(name+".pem"), a.path(name+".key"), a.path("ca.pem"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMutualTLS(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	peers := peersAt(freeAddrs(t, 4)...)
	var nets []*Net
	var log syncBuffer
	for i, p := range peers {
		o := testOptions(p.ID, peers)
		if i == 0 {
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		}
		switch i {
		case 0, 1:
			o.TLS = ours.node(t, fmt.Sprint("node", p.ID))
		case 2:
			o.TLS = foreign.node(t, "foreign")
		}
		nets = append(nets, start(t, o)) // node 4 is plain
	}
	for _, pair := range [][2]int{{0, 1}, {1, 0}} {
		if h := awaitHint(t, nets[pair[0]]); h.ID != peers[pair[1]].ID || !h.Up {
			t.Fatalf("got %+v", h)
		}
	}
	say(t, nets[0], nets[:2])
	nets[0].Send(&quorum.Message{Type: quorum.MsgCommit, From: 1, Commit: 5})
	if m := mustNext(t, nets[1]); m.Commit != 5 {
		t.Errorf("got %+v", m)
	}
	until(t, func() bool { return strings.Contains(log.String(), "no TLS connection with a peer") })
	for _, n := range nets[:2] {
		for _, id := range []quorum.NodeID{3, 4} {
			if n.Stats().Peers[id].Connected {
				t.Errorf("node %d is connected to %d", n.opts.ID, id)
			}
		}
	}
	conn, err := tls.Dial("tcp", peers[0].Addr, &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err = io.ReadAll(conn); err == nil {
			t.Error("a TLS client without a certificate was served")
		}
		conn.Close()
	}
}

func TestPeerTLSFaults(t *testing.T) {
	a := newAuthority(t)
	a.sign(t, "node", false)
	empty := a.path("empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, files := range [][3]string{
		{a.path("missing"), a.path("node.key"), a.path("ca.pem")},
		{a.path("node.pem"), a.path("ca.key"), a.path("ca.pem")},
		{a.path("node.pem"), a.path("node.key"), a.path("missing")},
		{a.path("node.pem"), a.path("node.key"), empty},
	} {
		if _, err := PeerTLS(files[0], files[1], files[2], nil); err == nil {
			t.Errorf("no error for %v", files)
		}
	}
}

// A node whose certificate nobody accepts is let in once its files hold another
// one, without a restart of anybody.
func TestRenewedPeerCertificate(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	peers := peersAt(freeAddrs(t, 2)...)
	first, second := testOptions(1, peers), testOptions(2, peers)
	ours.sign(t, "node2", false)
	foreign.sign(t, "node2", false)
	right := map[string][]byte{}
	for _, file := range []string{"node2.pem", "node2.key"} {
		right[file] = readFile(t, ours.path(file))
		if err := os.Rename(foreign.path(file), ours.path(file)); err != nil {
			t.Fatal(err)
		}
	}
	first.TLS = ours.node(t, "node1")
	var err error
	if second.TLS, err = PeerTLS(ours.path("node2.pem"), ours.path("node2.key"), ours.path("ca.pem"), nil); err != nil {
		t.Fatal(err)
	}

	var log syncBuffer
	first.Logger = slog.New(slog.NewTextHandler(&log, nil))
	n := start(t, first)
	start(t, second)
	until(t, func() bool { return strings.Contains(log.String(), "no TLS connection with a peer") })
	if n.Stats().Peers[2].Connected {
		t.Fatal("a certificate of another authority is accepted")
	}
	for file, content := range right {
		if err := os.WriteFile(ours.path(file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if h := awaitHint(t, n); h.ID != 2 || !h.Up {
		t.Errorf("got %+v", h)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
