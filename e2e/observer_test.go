package e2e

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// withObserver is three voters and the observer 4, all started.
func withObserver(t testing.TB) (voters *cluster, observer *node) {
	t.Helper()
	addrs, dir := freeAddrs(t, 8), t.TempDir()
	var peers []string
	for i := range 4 {
		peers = append(peers, fmt.Sprintf("%d=%s", i+1, addrs[4+i]))
	}
	peers[3] += ":observer"
	voters = &cluster{t: t}
	for i := range 4 {
		n := &node{t: t, id: i + 1, addr: addrs[i], dir: filepath.Join(dir, fmt.Sprintf("node%d", i+1))}
		n.args = []string{"--id", strconv.Itoa(n.id), "--peers", strings.Join(peers, ","), "--http", n.addr, "--data", n.dir}
		t.Cleanup(n.stop)
		if observer = n; i < 3 {
			voters.nodes = append(voters.nodes, n)
		}
	}
	voters.spawnAll()
	observer.spawn()
	voters.waitReady()
	observer.waitReady()
	return voters, observer
}

// An observer serves reads and forwards writes; frozen or dead it stops nobody;
// together with one voter it is no quorum.
func TestObserver(t *testing.T) {
	voters, observer := withObserver(t)
	observer.put("/forwarded", "by the observer")
	observer.must(http.StatusOK, http.MethodGet, "/v1/nodes/forwarded", "") // linearizable
	if s, err := observer.status(); err != nil || s.Members[3].Role != "observer" {
		t.Fatalf("node 4 calls itself %+v, %v", s.Members, err)
	}

	l := &load{root: "/load", nodes: voters.nodes, writers: 8}
	l.start()
	defer l.finish()
	observer.signal(syscall.SIGSTOP)
	l.waitAcked(t, int64(scaled(500, 5000)))
	observer.signal(syscall.SIGCONT)
	observer.kill()
	l.waitAcked(t, int64(scaled(500, 5000)))
	observer.spawn()
	observer.waitReady()
	l.finish()
	everybody := &cluster{t: t, nodes: append([]*node{observer}, voters.nodes...)}
	everybody.sameState()
	l.verify(observer)

	leader, follower := voters.leader(), voters.follower()
	for _, n := range voters.nodes {
		if n != leader {
			n.kill()
		}
	}
	a, err := send(context.Background(), http.MethodPut, observer.url()+"/v1/nodes/lonely", "x")
	if err != nil || a.status/100 != 5 || a.header.Get("Perch-Code") == "" {
		t.Fatalf("one voter and an observer answer a write with %+v, %v", a, err)
	}
	follower.spawn()
	follower.waitReady()
	observer.waitReady()
	observer.put("/lonely", "no more")
	everybody.nodes = []*node{observer, leader, follower}
	everybody.sameState()
}
