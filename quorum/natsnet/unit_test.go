package natsnet

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"perch/quorum"
	"perch/quorum/wire"
)

func TestValidate(t *testing.T) {
	good := func() Options { return testOptions(1, peersAt("127.0.0.1:7501", "localhost:7502")) }
	cases := map[string]struct {
		spoil func(*Options)
		want  string // "" for none
	}{
		"good":             {func(*Options) {}, ""},
		"IPv6":             {func(o *Options) { o.Peers[0].Addr = "[::1]:7501" }, ""},
		"no id":            {func(o *Options) { o.ID = 0 }, "nobody"},
		"not a peer":       {func(o *Options) { o.ID = 3 }, "not in the list"},
		"no peers":         {func(o *Options) { o.Peers = nil }, "not in the list"},
		"twice":            {func(o *Options) { o.Peers[1].ID = 1 }, "stands twice"},
		"one address":      {func(o *Options) { o.Peers[1].Addr = o.Peers[0].Addr }, "one address"},
		"role":             {func(o *Options) { o.Peers[1].Role = 0 }, "role"},
		"observer":         {func(o *Options) { o.Peers[1].Role = quorum.RoleObserver }, ""},
		"no port":          {func(o *Options) { o.Peers[1].Addr = "127.0.0.1" }, "host:port"},
		"port 0":           {func(o *Options) { o.Peers[1].Addr = "127.0.0.1:0" }, "port"},
		"port name":        {func(o *Options) { o.Peers[1].Addr = "127.0.0.1:http" }, "port"},
		"no host":          {func(o *Options) { o.Peers[1].Addr = ":7502" }, "peers can dial"},
		"all interfaces":   {func(o *Options) { o.Peers[1].Addr = "0.0.0.0:7502" }, "peers can dial"},
		"user in address":  {func(o *Options) { o.Peers[1].Addr = "u@localhost:7502" }, "host"},
		"short secret":     {func(o *Options) { o.Secret = o.Secret[:31] }, "secret of 31 bytes"},
		"no cluster":       {func(o *Options) { o.ClusterName = "" }, "cluster name"},
		"wildcard cluster": {func(o *Options) { o.ClusterName = "a.*" }, "cluster name"},
		"long cluster":     {func(o *Options) { o.ClusterName = strings.Repeat("a", 64) }, "cluster name"},
		"inbox":            {func(o *Options) { o.InboxSize = -1 }, "inbox"},
		"other machine":    {func(o *Options) { o.Peers[1].Addr = "10.1.2.3:7502" }, "not loopback"},
		"name":             {func(o *Options) { o.Peers[1].Addr = "node2.example:7502" }, "not loopback"},
		"insecure":         {func(o *Options) { o.Peers[1].Addr = "node2.example:7502"; o.Insecure = true }, ""},
		"TLS": {func(o *Options) {
			o.Peers[1].Addr = "node2.example:7502"
			o.TLS = &tls.Config{Certificates: make([]tls.Certificate, 1), RootCAs: x509.NewCertPool(),
				ClientCAs: x509.NewCertPool(), ClientAuth: tls.RequireAndVerifyClientCert}
		}, ""},
		"TLS of one side": {func(o *Options) {
			o.TLS = &tls.Config{Certificates: make([]tls.Certificate, 1), RootCAs: x509.NewCertPool(), ClientCAs: x509.NewCertPool()}
		}, "demand a certificate"},
		"TLS, no authority": {func(o *Options) {
			o.TLS = &tls.Config{Certificates: make([]tls.Certificate, 1), ClientAuth: tls.RequireAndVerifyClientCert}
		}, "authority"},
		"TLS, nothing verified": {func(o *Options) { o.TLS = &tls.Config{InsecureSkipVerify: true} }, "does not verify"},
	}
	for name, c := range cases {
		o := good()
		c.spoil(&o)
		err := o.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	bad := Options{Secret: testSecret[:1]}
	if err := bad.Validate(); err == nil || len(strings.Split(err.Error(), "\n")) != 4 {
		t.Errorf("want four faults at once, got %v", err)
	}
	if _, err := Start(bad); err == nil {
		t.Error("Start took impossible options")
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "localhost": true, "LOCALHOST.": true, "a.localhost": true,
		"10.0.0.1": false, "0.0.0.0": false, "::": false, "localhost.example": false, "notlocalhost": false, "": false,
	} {
		if Loopback(host) != want {
			t.Errorf("%q", host)
		}
	}
}

// The inbox against a plain list: order kept, bounds held, nothing lost that
// was taken.
func TestInboxModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxMsgs, maxBytes := rapid.IntRange(1, 20).Draw(t, "msgs"), rapid.IntRange(1, 500).Draw(t, "bytes")
		b := newInbox(maxMsgs, maxBytes)
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { defer close(done); b.run(stop) }()
		defer func() { close(stop); <-done }()
		var taken, got []uint64
		seq := uint64(0)
		for _, burst := range rapid.SliceOfN(rapid.IntRange(0, 400), 1, 8).Draw(t, "bursts") {
			for range burst {
				seq++
				if b.put(&quorum.Message{Seq: seq}, rapid.IntRange(0, 100).Draw(t, "size")) {
					taken = append(taken, seq)
				}
				if msgs, bytes := b.waiting(); msgs > maxMsgs+handCap || bytes > maxBytes {
					t.Fatalf("%d messages of %d bytes wait", msgs, bytes)
				}
			}
			for range rapid.IntRange(0, len(taken)-len(got)).Draw(t, "take") {
				got = append(got, (<-b.out).Seq)
			}
		}
		for len(got) < len(taken) {
			got = append(got, (<-b.out).Seq)
		}
		if !slices.Equal(got, taken) {
			t.Fatalf("got %v, want %v", got, taken)
		}
	})
}

func TestFullInboxDropsAndCounts(t *testing.T) {
	peers := peersAt(freeAddrs(t, 2)...)
	o := testOptions(2, peers)
	o.InboxSize = 10
	a, b := start(t, testOptions(1, peers)), start(t, o)
	awaitMesh(t, a, b)
	const sent = 1000
	for i := range uint64(sent) {
		a.Send(&quorum.Message{Type: quorum.MsgCommit, From: 1, Seq: i + 1})
	}
	var s Stats
	until(t, func() bool {
		s = b.Stats()
		return s.Types[quorum.MsgCommit].Received == sent
	})
	dropped := s.Types[quorum.MsgCommit].DroppedIn
	if dropped == 0 || dropped != s.Peers[1].Dropped || s.InboxMsgs == 0 {
		t.Errorf("stats %+v, %+v", s.Types[quorum.MsgCommit], s.Peers[1])
	}
	last := uint64(0)
	for range uint64(sent) - dropped {
		m := mustNext(t, b)
		if m.Seq <= last {
			t.Fatalf("message %d after %d", m.Seq, last)
		}
		last = m.Seq
	}
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	n := &Net{names: newNames("test", 1)}
	l := &link{net: n, acct: control, wake: make(chan struct{}, 1)}
	n.links[control] = l
	for range queueMax + 5 {
		n.Send(&quorum.Message{Type: quorum.MsgCommit, From: 1})
	}
	if got := n.count.types[quorum.MsgCommit].droppedOut.Load(); got != 5 {
		t.Errorf("%d dropped", got)
	}
	n.Send(&quorum.Message{Type: 77})
	if got := n.count.types[77].droppedOut.Load(); got != 1 {
		t.Errorf("%d of an unknown type dropped", got)
	}
}

// Every message that comes another way than it says is dropped.
func TestEnvelope(t *testing.T) {
	peers := peersAt(freeAddrs(t, 3)...)
	n := start(t, testOptions(1, peers))
	conns := [accounts]*nats.Conn{}
	for a := range conns {
		own := n.links[a].conn.Opts
		c, err := nats.Connect("", nats.InProcessServer(n.srv), nats.UserInfo(own.User, own.Password))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[a] = c
	}
	to := func(a account) string { return n.names.to(a, 1) }
	cases := []struct {
		name    string
		acct    account
		subject string
		m       quorum.Message
		ok      bool
	}{
		{"to me", control, to(control), quorum.Message{Type: quorum.MsgAck, From: 2, To: 1}, true},
		{"to all", control, n.names.all + "2", quorum.Message{Type: quorum.MsgCommit, From: 2}, true},
		{"heartbeat on bulk", bulk, to(bulk), quorum.Message{Type: quorum.MsgPong, From: 3, To: 1}, true},
		{"stranger", control, to(control), quorum.Message{Type: quorum.MsgAck, From: 9, To: 1}, false},
		{"stranger's NOTIFY", control, to(control), quorum.Message{Type: quorum.MsgNotify, From: 9, To: 1}, true},
		{"own NOTIFY", control, to(control), quorum.Message{Type: quorum.MsgNotify, From: 1, To: 1}, false},
		{"myself", control, to(control), quorum.Message{Type: quorum.MsgAck, From: 1, To: 1}, false},
		{"to another", control, to(control), quorum.Message{Type: quorum.MsgAck, From: 2, To: 3}, false},
		{"to all on my subject", control, to(control), quorum.Message{Type: quorum.MsgAck, From: 2}, false},
		{"to me on all's subject", control, n.names.all + "2", quorum.Message{Type: quorum.MsgAck, From: 2, To: 1}, false},
		{"from another", control, n.names.all + "2", quorum.Message{Type: quorum.MsgCommit, From: 3}, false},
		{"from nobody", control, n.names.all + "x", quorum.Message{Type: quorum.MsgCommit, From: 3}, false},
		{"proposal on bulk", bulk, to(bulk), quorum.Message{Type: quorum.MsgPropose, From: 2, To: 1}, false},
		{"fetch on control", control, to(control), quorum.Message{Type: quorum.MsgFetch, From: 2, To: 1}, false},
	}
	wantDropped := uint64(0)
	for i, c := range cases {
		c.m.Seq = uint64(i)
		b := n.seals.add(wire.Append(nil, &c.m), c.subject)
		if err := conns[c.acct].Publish(c.subject, b); err != nil {
			t.Fatal(err)
		}
		if c.ok {
			if m := mustNext(t, n); m.Seq != uint64(i) {
				t.Errorf("%s: got message %d", c.name, m.Seq)
			}
			continue
		}
		wantDropped++
		until(t, func() bool {
			s := n.Stats()
			return s.Strangers+s.Misdirected == wantDropped
		})
	}
	garbage := n.seals.add([]byte("garbage"), to(control))
	if err := conns[control].Publish(to(control), garbage); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return n.Stats().Damaged == 1 })
	if len(n.Inbox()) != 0 {
		t.Error("something came through")
	}
}

// TestSetPeers: a stranger is heard once it is a peer, whoever of the two dials.
func TestSetPeers(t *testing.T) {
	for name, dials := range map[string]bool{"the newcomer dials": true, "it is dialled": false} {
		t.Run(name, func(t *testing.T) {
			all := peersAt(freeAddrs(t, 3)...)
			a, list := start(t, testOptions(1, all[:2])), all
			if !dials {
				list = all[2:]
			}
			c := start(t, testOptions(3, list))
			ping := func() { c.Send(&quorum.Message{Type: quorum.MsgAck, From: 3, To: 1}) }
			if dials {
				until(t, func() bool { ping(); return a.Stats().Strangers > 0 })
			}
			a.SetPeers(all)
			if h := awaitHint(t, a); h != (Hint{ID: 3, Up: true}) {
				t.Errorf("got %+v", h)
			}
			until(t, func() bool {
				ping()
				_, ok := next(a, 20*time.Millisecond, nil)
				return ok
			})
			a.SetPeers(all[:2])
			if _, ok := a.Stats().Peers[3]; ok {
				t.Error("node 3 is still a peer")
			}
			if !dials {
				until(t, func() bool { // and nobody keeps a connection to it
					z, _ := c.srv.Routez(nil)
					return len(z.Routes) == 0
				})
			}
		})
	}
}

func TestHintsCompare(t *testing.T) {
	n := &Net{opts: Options{}.withDefaults()}
	n.log = n.opts.Logger
	n.know([]quorum.Peer{{ID: 2}})
	type look struct {
		server string
		mask   uint32
	}
	cases := map[string]struct {
		looks []look
		want  []bool
	}{
		"comes by and by":   {[]look{{"a", 1}, {"a", 3}, {"a", allRoutes}, {"a", allRoutes}}, []bool{true}},
		"loses one":         {[]look{{"a", allRoutes}, {"a", 3}, {"a", allRoutes}}, []bool{true}},
		"goes":              {[]look{{"a", allRoutes}, {"a", 1}, {"", 0}, {"", 0}}, []bool{true, false}},
		"never quite there": {[]look{{"a", 3}, {"", 0}}, nil},
		"another start":     {[]look{{"a", allRoutes}, {"b", allRoutes}}, []bool{true, false, true}},
		"another, half up":  {[]look{{"a", allRoutes}, {"b", 1}, {"b", allRoutes}}, []bool{true, false, true}},
	}
	for name, c := range cases {
		w := newWatcher(n)
		var s routeState
		for _, l := range c.looks {
			s = w.compare(2, s, routeState{server: l.server, mask: l.mask})
		}
		var got []bool
		for len(w.hints) > 0 {
			got = append(got, (<-w.hints).Up)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestBest(t *testing.T) {
	cases := []struct {
		servers map[string]uint32
		known   string
		want    string
	}{
		{map[string]uint32{"a": 1}, "", "a"},
		{map[string]uint32{"a": 1}, "b", "a"},
		{map[string]uint32{"a": 1, "b": 3}, "a", "a"},
		{map[string]uint32{"a": 1, "b": allRoutes}, "a", "b"},
		{map[string]uint32{"a": allRoutes, "b": allRoutes}, "a", "a"},
	}
	for _, c := range cases {
		if got := best(c.servers, c.known); got.server != c.want || got.mask != c.servers[c.want] {
			t.Errorf("%v, known %q: got %+v", c.servers, c.known, got)
		}
	}
}

func TestLimiter(t *testing.T) {
	l := limiter{perSecond: 2}
	now := time.Unix(100, 0)
	for i, want := range []bool{true, true, false, false} {
		if ok, _ := l.allow(now); ok != want {
			t.Errorf("event %d: %v", i, ok)
		}
	}
	if ok, missed := l.allow(now.Add(time.Second)); !ok || missed != 2 {
		t.Errorf("next second: %v, %d missed", ok, missed)
	}
	if ok, missed := l.allow(now.Add(time.Second)); !ok || missed != 0 {
		t.Errorf("then: %v, %d missed", ok, missed)
	}
}

func TestParseNode(t *testing.T) {
	for _, id := range []quorum.NodeID{1, 9, 65535} {
		if got, ok := parseNode(nodeName(id)); !ok || got != id {
			t.Errorf("%d: %d, %v", id, got, ok)
		}
	}
	for _, s := range []string{"", "0", "65536", "-1", "x", "1 ", "NABC"} {
		if got, ok := parseNode(s); ok {
			t.Errorf("%q: %d", s, got)
		}
	}
	if s := fmt.Sprint(accountNames); s != "[QCTL QBULK QREQ]" {
		t.Errorf("accounts %s: nodes of different lists lose messages silently", s)
	}
}
