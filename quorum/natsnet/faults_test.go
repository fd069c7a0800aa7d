package natsnet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"perch/quorum"
)

// A node in a process of its own, to be stopped and killed.

const (
	childEnv        = "NATSNET_TEST_CHILD"
	childHangs Kind = 77 // the child never answers this
)

type childConfig struct {
	ID    quorum.NodeID
	Peers []quorum.Peer
}

// runChild is a node that throws away what it hears until its stdin ends.
func runChild(config string) int {
	var c childConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		fmt.Println(err)
		return 1
	}
	n, err := Start(testOptions(c.ID, c.Peers))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer n.Close()
	var asked atomic.Value
	asked.Store("child")
	n.Handle(KindTouch, func(quorum.NodeID, []byte) ([]byte, error) { return []byte(asked.Load().(string)), nil })
	n.Handle(childHangs, func(quorum.NodeID, []byte) ([]byte, error) {
		asked.Store("child, asked")
		select {}
	})
	go func() {
		for range n.Inbox() {
		}
	}()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// child starts a node in another process and returns once it listens.
func child(t *testing.T, id quorum.NodeID, peers []quorum.Peer) *exec.Cmd {
	t.Helper()
	config, err := json.Marshal(childConfig{id, peers})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(config))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("child said %q", line)
	}
	return cmd
}

func TestKilledPeerGivesHint(t *testing.T) {
	peers := peersAt(freeAddrs(t, 2)...)
	n := start(t, testOptions(1, peers))
	for range 2 {
		c := child(t, 2, peers)
		if h := awaitHint(t, n); h != (Hint{ID: 2, Up: true}) {
			t.Fatalf("got %+v", h)
		}
		killed := time.Now()
		_ = c.Process.Kill()
		if h := awaitHint(t, n); h != (Hint{ID: 2, Up: false}) {
			t.Fatalf("got %+v", h)
		}
		t.Logf("hint %v after kill -9", time.Since(killed))
		_ = c.Wait()
	}
}

// A stopped process keeps its connections and reads nothing. The others must
// not be slowed by it, neither before nor after its routes are cut.
func TestFrozenPeerSlowsNobody(t *testing.T) {
	const messages, size, window = 2000, 48 << 10, 160
	peers := peersAt(freeAddrs(t, 3)...)
	o := testOptions(1, peers)
	o.RoutePing = time.Second
	leader, healthy := start(t, o), start(t, testOptions(2, peers))
	c := child(t, 3, peers)
	for up := 0; up < 2; {
		if awaitHint(t, leader).Up {
			up++
		}
	}
	say(t, leader, []*Net{leader, healthy})
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	entry := quorum.Entry{Zxid: 1, Kind: quorum.EntryCommand, Data: make([]byte, size)}
	began := time.Now()
	lost := 0
	for sent, got := 0, 0; got < messages; {
		for ; sent < messages && sent-got < window; sent++ {
			leader.Send(&quorum.Message{Type: quorum.MsgPropose, From: 1, Seq: uint64(sent), Entries: []quorum.Entry{entry}})
		}
		m, ok := next(healthy, patience/4, nil)
		if !ok {
			m.Seq = uint64(sent - 1) // what was under way is lost
		}
		lost += int(m.Seq) - got
		got = int(m.Seq) + 1
	}
	t.Logf("%.0f MB/s past a frozen peer, %d messages lost", messages*size/1e6/time.Since(began).Seconds(), lost)
	// A starved machine may cost a connection, and that a window. Stalls or
	// drops on the way to the healthy one would cost nearly everything.
	if lost > messages/4 {
		t.Errorf("%d of %d messages lost", lost, messages)
	}
	// The ping rule cuts the frozen one, which releases what waits for it.
	for h := awaitHint(t, leader); h != (Hint{ID: 3, Up: false}); h = awaitHint(t, leader) {
		t.Logf("hint %+v", h)
	}
	if err := c.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for h := awaitHint(t, leader); h != (Hint{ID: 3, Up: true}); h = awaitHint(t, leader) {
		t.Logf("hint %+v", h)
	}
}

func TestRestartedPeerComesBack(t *testing.T) {
	peers := peersAt(freeAddrs(t, 2)...)
	a, b := start(t, testOptions(1, peers)), start(t, testOptions(2, peers))
	awaitMesh(t, a, b)
	for round := range 3 {
		b.Close()
		if h := awaitHint(t, a); h != (Hint{ID: 2, Up: false}) {
			t.Fatalf("round %d: got %+v", round, h)
		}
		b = start(t, testOptions(2, peers))
		awaitMesh(t, a, b)
		a.Send(&quorum.Message{Type: quorum.MsgCommit, From: 1, Commit: 9})
		if m := mustNext(t, b); m.Commit != 9 {
			t.Fatalf("round %d: got %+v", round, m)
		}
	}
}

// What is queued when Close is called still leaves: a leader's farewell.
func TestCloseSendsWhatIsQueued(t *testing.T) {
	nets := mesh(t, 2)
	nets[0].Send(&quorum.Message{Type: quorum.MsgStepDown, From: 1, Epoch: 3})
	nets[0].Close()
	nets[0].Close()
	nets[0].Send(&quorum.Message{Type: quorum.MsgCommit, From: 1})
	if m := mustNext(t, nets[1]); m.Type != quorum.MsgStepDown || m.Epoch != 3 {
		t.Errorf("got %+v", m)
	}
	if got := nets[0].Stats().Types[quorum.MsgCommit].DroppedOut; got != 1 {
		t.Errorf("%d messages counted as dropped after Close", got)
	}
}

// proxy stands between two nodes and can cut and freeze what runs through it.
type proxy struct {
	target string
	l      net.Listener
	wg     sync.WaitGroup

	mu     sync.Mutex
	pairs  []*pair
	frozen string // name of an account; its connections carry nothing
}

type pair struct {
	near, far net.Conn
	account   string
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: target, l: l}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut("")
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) accept() {
	for {
		near, err := p.l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			near.Close()
			continue
		}
		c := &pair{near: near, far: far}
		p.mu.Lock()
		p.pairs = append(p.pairs, c)
		p.mu.Unlock()
		p.wg.Go(func() { p.pump(c, near, far) })
		p.wg.Go(func() { p.pump(c, far, near) })
	}
}

func (p *proxy) pump(c *pair, from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if p.holds(c, buf[:n]) {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// holds learns the account of a connection from what the servers first say, and
// says whether bytes of it are to vanish.
func (p *proxy) holds(c *pair, b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.account == "" {
		if _, rest, ok := bytes.Cut(b, []byte(`"route_account":"`)); ok {
			name, _, _ := bytes.Cut(rest, []byte(`"`))
			c.account = string(name)
		}
	}
	return p.frozen != "" && p.frozen == c.account
}

func (p *proxy) freeze(account string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = account
}

// cut resets the connections of an account, of all for "".
func (p *proxy) cut(account string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var kept []*pair
	count := 0
	for _, c := range p.pairs {
		if account != "" && c.account != account {
			kept = append(kept, c)
			continue
		}
		count++
		for _, conn := range []net.Conn{c.near, c.far} {
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}
	p.pairs = kept
	return count
}

// proxied starts two nodes whose routes all run through the two proxies.
func proxied(t *testing.T) (a, b *Net, cut func(account string) int, freeze func(account string)) {
	t.Helper()
	addrs := freeAddrs(t, 2)
	toA, toB := newProxy(t, addrs[0]), newProxy(t, addrs[1])
	a = start(t, testOptions(1, peersAt(addrs[0], toB.addr())))
	b = start(t, testOptions(2, peersAt(toA.addr(), addrs[1])))
	awaitMesh(t, a, b)
	cut = func(account string) int { return toA.cut(account) + toB.cut(account) }
	freeze = func(account string) {
		toA.freeze(account)
		toB.freeze(account)
	}
	return a, b, cut, freeze
}

// A reset loses messages, but duplicates and reorders none, and heals.
func TestResetRoutes(t *testing.T) {
	a, b, cut, _ := proxied(t)
	stop := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for seq := uint64(1); ; seq++ {
			a.Send(&quorum.Message{Type: quorum.MsgCommit, From: 1, Seq: seq})
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	defer sender.Wait()
	defer close(stop)
	var last uint64
	holes := 0
	for range 3 {
		for range 500 {
			m := mustNext(t, b)
			if m.Seq <= last {
				t.Fatalf("message %d after %d", m.Seq, last)
			}
			if m.Seq > last+1 {
				holes++
			}
			last = m.Seq
		}
		if cut("") == 0 {
			t.Fatal("nothing to cut")
		}
		for _, up := range []bool{false, true} {
			if h := awaitHint(t, a); h != (Hint{ID: 2, Up: up}) {
				t.Fatalf("got %+v", h)
			}
		}
	}
	t.Logf("%d messages, %d holes", last, holes)
}

// With its control connection silent a leader is still heard over bulk, and
// only then.
func TestHeartbeatsSurviveOneConnection(t *testing.T) {
	a, b, cut, freeze := proxied(t)
	ping := func(seq uint64) { a.Send(&quorum.Message{Type: quorum.MsgPing, From: 1, Seq: seq}) }
	var seq uint64
	heardNow := func() bool {
		seq++
		ping(seq)
		_, ok := next(b, 40*time.Millisecond, func(m quorum.Message) bool { return m.Type == quorum.MsgPing })
		return ok
	}
	if !heardNow() {
		t.Fatal("no ping on healthy connections")
	}
	freeze(accountNames[control])
	until(t, heardNow)
	if got := b.Stats().Types[quorum.MsgPing].Received; got < 2 {
		t.Errorf("%d pings received", got)
	}
	cut(accountNames[control])
	until(t, heardNow)
	freeze("")
	until(t, func() bool {
		a.Send(&quorum.Message{Type: quorum.MsgCommit, From: 1})
		_, ok := next(b, 20*time.Millisecond, func(m quorum.Message) bool { return m.Type == quorum.MsgCommit })
		return ok
	})
	select {
	case h := <-a.Hints():
		t.Errorf("a hint, %+v, though a connection was left all the time", h)
	default:
	}
}

// On healthy connections the copy of a heartbeat is left out. On a machine that
// is starved for longer than the silence that makes it count, some are not: so
// it is the sum that must hold, and that copies were left out at all.
func TestHeartbeatsCountOnce(t *testing.T) {
	nets := mesh(t, 2)
	for seq := range uint64(50) {
		nets[0].Send(&quorum.Message{Type: quorum.MsgPing, From: 1, Seq: seq})
		for m := mustNext(t, nets[1]); m.Seq != seq; m = mustNext(t, nets[1]) {
			if m.Seq > seq {
				t.Fatalf("ping %d, want %d", m.Seq, seq)
			}
		}
	}
	until(t, func() bool {
		s := nets[1].Stats()
		return s.Spare+s.Types[quorum.MsgPing].Received == 100
	})
	if s := nets[1].Stats(); s.Types[quorum.MsgPing].Received < 50 || s.Spare == 0 {
		t.Errorf("%d pings reached the inbox, %d were left out", s.Types[quorum.MsgPing].Received, s.Spare)
	}
}

// The own server can cut off its client like any other; it comes back at once.
func TestKickedClientComesBack(t *testing.T) {
	nets := mesh(t, 2)
	for _, l := range nets[0].links {
		id, err := l.conn.GetClientID()
		if err != nil {
			t.Fatal(err)
		}
		if err := nets[0].srv.DisconnectClientByID(id); err != nil {
			t.Fatal(err)
		}
	}
	until(t, func() bool { return nets[0].Stats().Reconnects >= uint64(accounts) })
	awaitPeer(t, nets[1], 1, KindTouch)
	awaitPeer(t, nets[1], 1, KindChunk)
	say(t, nets[0], nets)
	say(t, nets[1], nets)
}

func TestTakenAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	_, err = Start(testOptions(1, peersAt(taken, freeAddrs(t, 1)[0])))
	if err == nil || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}
