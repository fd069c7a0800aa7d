package e2e

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// peerAddr is the node's line of its own --peers, without the id.
func (n *node) peerAddr() string {
	list := n.args[slices.Index(n.args, "--peers")+1]
	for _, item := range strings.Split(list, ",") {
		if addr, ok := strings.CutPrefix(item, strconv.Itoa(n.id)+"="); ok {
			return addr
		}
	}
	n.t.Fatalf("node %d is not in its list %s", n.id, list)
	return ""
}

// newcomer describes a node that knows the list of the first three and itself.
func (c *cluster) newcomer(id int) *node {
	c.t.Helper()
	addrs, first := freeAddrs(c.t, 2), c.nodes[0]
	list := first.args[slices.Index(first.args, "--peers")+1]
	n := &node{t: c.t, id: id, addr: addrs[0], dir: filepath.Join(filepath.Dir(first.dir), fmt.Sprintf("node%d", id))}
	n.args = []string{"--id", strconv.Itoa(id), "--peers", fmt.Sprintf("%s,%d=%s", list, id, addrs[1]), "--http", n.addr, "--data", n.dir}
	c.t.Cleanup(n.stop)
	n.spawn()
	return n
}

// setMembers asks a node to bring members to a role, until it says so: whoever
// is asked may have no leader just now, and the same request goes on.
func (c *cluster) setMembers(at *node, role string, members ...*node) {
	c.t.Helper()
	var specs []string
	for _, m := range members {
		specs = append(specs, fmt.Sprintf(`{"id":"%d","address":"%s","role":"%s"}`, m.id, m.peerAddr(), role))
	}
	c.change(at, http.MethodPost, "/v1/cluster/members", `{"members":[`+strings.Join(specs, ",")+`]}`)
}

// remove asks a node to remove a member, until it is gone.
func (c *cluster) remove(at, gone *node) {
	c.t.Helper()
	c.change(at, http.MethodDelete, fmt.Sprintf("/v1/cluster/members/%d", gone.id), "")
	c.nodes = slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n == gone })
}

func (c *cluster) change(at *node, method, path, body string) {
	c.t.Helper()
	eventually(c.t, patience, method+" "+path+" "+body, func() error {
		a, err := send(context.Background(), method, at.url()+path, body)
		if err == nil && a.status != http.StatusOK && a.header.Get("Perch-Code") != "no_such_member" {
			err = fmt.Errorf("status %d: %s", a.status, a.body)
		}
		return err
	})
}

// wantMembers waits until every node names exactly the nodes of c.
func (c *cluster) wantMembers() {
	c.t.Helper()
	var want []string
	for _, n := range c.nodes {
		want = append(want, strconv.Itoa(n.id))
	}
	slices.Sort(want)
	eventually(c.t, patience, fmt.Sprintf("the members are %v", want), func() error {
		for _, n := range c.nodes {
			s, err := n.status()
			if err != nil {
				return err
			}
			var got []string
			for _, m := range s.Members {
				got = append(got, m.ID)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				return fmt.Errorf("node %d names %v", n.id, got)
			}
		}
		return nil
	})
}

// waitsBecause waits until a node says why it does not serve.
func (n *node) waitsBecause(text string) {
	n.t.Helper()
	eventually(n.t, patience, fmt.Sprintf("node %d says: %s", n.id, text), func() error {
		a, err := n.get("/readyz")
		if err == nil && (a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, text)) {
			err = fmt.Errorf("status %d: %s", a.status, a.body)
		}
		return err
	})
}

// TestMembersUnderLoad: three nodes become five, lose a follower and the leader,
// whose successor is killed in the midst of a change, and are all killed and
// started with the lists of their first day; writers write all the while.
func TestMembersUnderLoad(t *testing.T) {
	c := startThree(t)
	l := &load{root: "/load", nodes: slices.Clone(c.nodes), writers: 8, pause: 2 * time.Millisecond}
	l.start()
	defer l.finish()
	l.waitAcked(t, 100)

	four, five := c.newcomer(4), c.newcomer(5)
	four.waitsBecause("POST /v1/cluster/members")
	began := time.Now()
	c.setMembers(c.nodes[0], "voter", four, five)
	t.Logf("two voters joined within %v", time.Since(began).Round(time.Millisecond))
	c.nodes = append(c.nodes, four, five)
	c.wantMembers()
	l.waitAcked(t, 100)

	follower := c.follower()
	c.remove(follower, follower) // it may be asked itself
	follower.waitsBecause("was removed")
	leader := c.leader()
	began = time.Now()
	c.remove(c.follower(), leader)
	t.Logf("the leader was removed within %v", time.Since(began).Round(time.Millisecond))
	leader.waitsBecause("was removed")
	leader.signal(syscall.SIGTERM)
	if code := leader.wait(); code != 0 {
		t.Errorf("the removed leader ends with exit code %d", code)
	}
	c.wantMembers()
	l.waitAcked(t, 100)

	// One that was removed comes back; the leader dies on the way.
	second := c.leader()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		body := fmt.Sprintf(`{"members":[{"id":"%d","address":"%s"}],"force":true}`, follower.id, follower.peerAddr())
		_, _ = send(context.Background(), http.MethodPost, second.url()+"/v1/cluster/members", body)
	}()
	time.Sleep(time.Duration(1+second.id) * 3 * time.Millisecond) // anywhere in the change will do; nothing depends on it
	second.kill()
	<-asked
	second.spawn()
	other := c.follower()
	c.setMembers(other, "voter", follower)
	c.nodes = append(c.nodes, follower)
	c.setMembers(other, "observer", follower)
	c.setMembers(other, "voter", follower)
	c.wantMembers()
	l.waitAcked(t, 100)

	for _, n := range c.nodes {
		n.signal(syscall.SIGKILL)
	}
	for _, n := range c.nodes {
		n.wait()
	}
	l.finish()
	c.spawnAll()
	c.waitReady()
	c.wantMembers()
	c.sameState()
	for _, n := range c.nodes {
		l.verify(n)
		if log := n.tail(); n.id > 3 && !strings.Contains(log, "--peers differs") {
			t.Errorf("node %d does not say that its list differs:\n%s", n.id, log)
		}
	}
	c.nodes[0].put("/after", "x")
	t.Logf("%d writes acknowledged, none lost; the longest pause was %v", l.acked.Load(), l.longest.Round(time.Millisecond))
}
