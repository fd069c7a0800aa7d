package natsnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"perch/quorum"
)

// patience bounds every wait of these tests; it is never waited out by one that
// passes.
const patience = 20 * time.Second

var testSecret = bytes.Repeat([]byte("s"), secretMin)

func TestMain(m *testing.M) {
	if config := os.Getenv(childEnv); config != "" {
		os.Exit(runChild(config))
	}
	goleak.VerifyTestMain(m)
}

// nextPort is the next candidate of freeAddrs. Ports below the range from which
// the system gives out are taken by nobody between two looks at them; where
// the count begins keeps test binaries that run at once apart.
var nextPort atomic.Uint32

func init() { nextPort.Store(rand.Uint32N(12_000)) }

// freeAddrs are loopback addresses that were free a moment ago.
func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	var addrs []string
	for range 12_000 {
		if len(addrs) == n {
			return addrs
		}
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+nextPort.Add(1)%12_000)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			addrs = append(addrs, addr)
		}
	}
	t.Fatal("no free ports")
	return nil
}

func peersAt(addrs ...string) []quorum.Peer {
	var peers []quorum.Peer
	for i, a := range addrs {
		peers = append(peers, quorum.Peer{ID: quorum.NodeID(i + 1), Addr: a, Role: quorum.RoleVoter})
	}
	return peers
}

func testOptions(id quorum.NodeID, peers []quorum.Peer) Options {
	// Routes are not cut when the tests starve the machine.
	o := Options{ID: id, ClusterName: "test", Peers: peers, Secret: testSecret, RoutePing: 10 * time.Second}
	if os.Getenv("NATSNET_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", id)
	}
	return o
}

func start(t testing.TB, o Options) *Net {
	t.Helper()
	n, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// mesh starts n nodes and waits until everybody hears everybody.
func mesh(t testing.TB, n int) []*Net {
	t.Helper()
	peers := peersAt(freeAddrs(t, n)...)
	var nets []*Net
	for _, p := range peers {
		nets = append(nets, start(t, testOptions(p.ID, peers)))
	}
	awaitMesh(t, nets...)
	return nets
}

func awaitMesh(t testing.TB, nets ...*Net) {
	t.Helper()
	for _, n := range nets {
		up := map[quorum.NodeID]bool{}
		for len(up) < len(*n.peers.Load()) {
			if h := awaitHint(t, n); h.Up {
				up[h.ID] = true
			} else {
				delete(up, h.ID)
			}
		}
	}
	// A route has come up before interest in all subjects has crossed it.
	for _, n := range nets {
		for id := range *n.peers.Load() {
			for _, k := range []Kind{KindTouch, KindChunk} {
				awaitPeer(t, n, id, k)
			}
		}
	}
	for _, n := range nets {
		say(t, n, nets)
	}
}

// hello marks the messages with which mesh finds out who hears whom; next skips
// them.
const hello = 0x68656c6c6f

// say repeats a broadcast on each account until the others have it.
func say(t testing.TB, n *Net, nets []*Net) {
	t.Helper()
	for _, typ := range []quorum.MsgType{quorum.MsgStepDown, quorum.MsgSync, quorum.MsgRead} {
		for _, other := range nets {
			if other == n {
				continue
			}
			until(t, func() bool {
				n.Send(&quorum.Message{Type: typ, From: n.opts.ID, Round: hello})
				return heard(other, n.opts.ID, typ)
			})
		}
	}
}

// heard says whether a hello comes soon.
func heard(n *Net, from quorum.NodeID, typ quorum.MsgType) bool {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	for {
		select {
		case m := <-n.Inbox():
			if m.Round == hello && m.From == from && m.Type == typ {
				return true
			}
		case <-timer.C:
			return false
		}
	}
}

// awaitPeer waits until a question to id is at least refused by it.
func awaitPeer(t testing.TB, n *Net, id quorum.NodeID, k Kind) {
	t.Helper()
	until(t, func() bool {
		// A question can be lost on its way, so a short one is repeated.
		ctx, cancel := context.WithTimeout(context.Background(), patience/40)
		defer cancel()
		_, err := n.Ask(ctx, id, k, nil)
		return err == nil || errors.Is(err, ErrUnreachable) && strings.Contains(err.Error(), "nobody answers")
	})
}

func until(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it did not come about")
		}
		time.Sleep(time.Millisecond)
	}
}

func awaitHint(t testing.TB, n *Net) Hint {
	t.Helper()
	select {
	case h := <-n.Hints():
		return h
	case <-time.After(patience):
		t.Fatalf("node %d: no hint", n.opts.ID)
		return Hint{}
	}
}

// next is the next message in the inbox that is wanted; others are thrown away.
func next(n *Net, within time.Duration, want func(quorum.Message) bool) (quorum.Message, bool) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		select {
		case m := <-n.Inbox():
			if m.Round != hello && (want == nil || want(m)) {
				return m, true
			}
		case <-timer.C:
			return quorum.Message{}, false
		}
	}
}

func mustNext(t testing.TB, n *Net) quorum.Message {
	t.Helper()
	m, ok := next(n, patience, nil)
	if !ok {
		t.Fatalf("node %d: no message", n.opts.ID)
	}
	return m
}

// Names and IPv6 addresses are as good as IPv4 addresses.
func TestAddresses(t *testing.T) {
	for _, host := range []string{"localhost", "::1"} {
		t.Run(host, func(t *testing.T) {
			l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				t.Skip(err)
			}
			l.Close()
			var addrs []string
			for _, a := range freeAddrs(t, 2) {
				_, port, _ := net.SplitHostPort(a)
				addrs = append(addrs, net.JoinHostPort(host, port))
			}
			peers := peersAt(addrs...)
			awaitMesh(t, start(t, testOptions(1, peers)), start(t, testOptions(2, peers)))
		})
	}
}

func TestBroadcastReachesAllOthers(t *testing.T) {
	nets := mesh(t, 3)
	nets[0].Send(&quorum.Message{Type: quorum.MsgCommit, From: 1, Commit: 7})
	for _, n := range nets[1:] {
		if m := mustNext(t, n); m.Type != quorum.MsgCommit || m.From != 1 || m.Commit != 7 {
			t.Errorf("node %d got %+v", n.opts.ID, m)
		}
	}
	// A round trip on the same connection: an echo would have come before it.
	nets[1].Send(&quorum.Message{Type: quorum.MsgAck, From: 2, To: 1, Durable: 7})
	if m := mustNext(t, nets[0]); m.Type != quorum.MsgAck {
		t.Errorf("the sender heard %+v", m)
	}
	if got := nets[2].Stats().Types[quorum.MsgAck].Received; got != 0 {
		t.Errorf("node 3 got %d messages for node 1", got)
	}
}

func TestFIFOPerSender(t *testing.T) {
	const count = 2000
	nets := mesh(t, 3)
	for _, from := range nets[1:] {
		go func() {
			for i := range count {
				m := quorum.Message{Type: quorum.MsgCommit, From: from.opts.ID, Seq: uint64(i)}
				if i%2 == 1 {
					m.Type, m.To = quorum.MsgAck, 1
				}
				from.Send(&m)
			}
		}()
	}
	last := map[quorum.NodeID]uint64{}
	for range 2 * count {
		m := mustNext(t, nets[0])
		if m.Seq != last[m.From] {
			t.Fatalf("node %d: message %d after %d", m.From, m.Seq, last[m.From])
		}
		last[m.From]++
	}
}

func TestEveryTypeTravels(t *testing.T) {
	nets := mesh(t, 2)
	for typ := quorum.MsgNotify; typ <= quorum.MsgStepDown; typ++ {
		for _, to := range []quorum.NodeID{0, 2} {
			nets[0].Send(&quorum.Message{Type: typ, From: 1, To: to})
			if m := mustNext(t, nets[1]); m.Type != typ || m.To != to {
				t.Errorf("type %d to %d: got %+v", typ, to, m)
			}
		}
	}
}

func TestLargestEntry(t *testing.T) {
	nets := mesh(t, 2)
	data := bytes.Repeat([]byte("v"), 1<<20+64<<10)
	nets[0].Send(&quorum.Message{Type: quorum.MsgPropose, From: 1, Entries: []quorum.Entry{
		{Zxid: quorum.MakeZxid(1, 1), Kind: quorum.EntryCommand, Data: data}}})
	if m := mustNext(t, nets[1]); len(m.Entries) != 1 || !bytes.Equal(m.Entries[0].Data, data) {
		t.Errorf("%d entries arrived", len(m.Entries))
	}
	nets[0].Send(&quorum.Message{Type: quorum.MsgPropose, From: 1, Entries: []quorum.Entry{
		{Zxid: quorum.MakeZxid(1, 2), Kind: quorum.EntryCommand, Data: make([]byte, 2<<20)}}})
	if got := nets[0].Stats().Types[quorum.MsgPropose].DroppedOut; got != 1 {
		t.Errorf("%d oversize messages counted", got)
	}
	nets[0].Send(&quorum.Message{Type: quorum.MsgCommit, From: 1})
	if m := mustNext(t, nets[1]); m.Type != quorum.MsgCommit {
		t.Errorf("after an oversize message came %v", m.Type)
	}
}
