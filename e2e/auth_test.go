package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"
)

var adminToken = regexp.MustCompile(`perch_t0_[A-Za-z0-9_-]{43}`)

// guarded is a cluster with authentication, and a token.
type guarded struct {
	*cluster
	token string
}

// startGuarded starts three nodes with --auth. Exactly one of them shows the
// administrator's token, once.
func startGuarded(t *testing.T) *guarded {
	t.Helper()
	c := newCluster(t)
	for _, n := range c.nodes {
		n.args = append(n.args, "--auth")
	}
	c.spawnAll()
	c.waitReady()
	var shown []string
	eventually(t, patience, "the administrator's token is shown", func() error {
		shown = nil
		for _, n := range c.nodes {
			text, err := os.ReadFile(n.dir + ".log")
			if err != nil {
				return err
			}
			shown = append(shown, adminToken.FindAllString(string(text), -1)...)
		}
		if len(shown) == 0 {
			return fmt.Errorf("no log holds it")
		}
		return nil
	})
	if len(shown) != 1 {
		t.Fatalf("the token was shown %d times", len(shown))
	}
	return &guarded{c, shown[0]}
}

// as sends a request with a token to node i.
func (g *guarded) as(token string, i, status int, method, path, body string) reply {
	g.t.Helper()
	return g.nodes[i].must(status, method, path, body, "Authorization", "Bearer "+token)
}

// makes creates a principal with a token.
func (g *guarded) makes(name, spec string) (token string) {
	g.t.Helper()
	g.as(g.token, 0, http.StatusOK, http.MethodPut, "/v1/principals/"+name, spec)
	var made struct{ Secret string }
	a := g.as(g.token, 1, http.StatusCreated, http.MethodPost, "/v1/tokens", fmt.Sprintf(`{"principal":%q}`, name))
	if err := json.Unmarshal([]byte(a.body), &made); err != nil || made.Secret == "" {
		g.t.Fatalf("%v: %s", err, a.body)
	}
	return made.Secret
}

func (g *guarded) leads() *node {
	g.t.Helper()
	var leader *node
	eventually(g.t, patience, "a leader", func() error {
		for _, n := range g.nodes {
			if !n.alive() {
				continue
			}
			a, err := send(context.Background(), http.MethodGet, n.url()+"/v1/cluster", "", "Authorization", "Bearer "+g.token)
			var s status
			if err != nil || json.Unmarshal([]byte(a.body), &s) != nil {
				return fmt.Errorf("%v: %s", err, a.body)
			}
			if id, _ := strconv.Atoi(s.Leader); id > 0 && g.nodes[id-1].alive() {
				leader = g.nodes[id-1]
				return nil
			}
		}
		return fmt.Errorf("nobody names one")
	})
	return leader
}

// Three nodes of one cluster ask who is there, keep two tenants apart, and go on
// doing so when the leader is killed and when all start again, also without
// --auth.
func TestAuthentication(t *testing.T) {
	g := startGuarded(t)
	for _, n := range g.nodes {
		n.must(http.StatusUnauthorized, http.MethodGet, "/v1/nodes/", "")
		n.must(http.StatusUnauthorized, http.MethodGet, "/metrics", "")
		n.must(http.StatusOK, http.MethodGet, "/livez", "")
	}
	spec := `{"root":"/%s","grants":[{"prefix":"/","perms":["read","write","create","delete"]}]}`
	a, b := g.makes("a", fmt.Sprintf(spec, "a")), g.makes("b", fmt.Sprintf(spec, "b"))
	g.as(a, 0, http.StatusCreated, http.MethodPut, "/v1/nodes/x", "of a")
	g.as(b, 1, http.StatusNotFound, http.MethodGet, "/v1/nodes/x", "")
	g.as(b, 2, http.StatusNotFound, http.MethodGet, "/v1/nodes/a/x", "")
	g.as(a, 2, http.StatusForbidden, http.MethodGet, "/v1/principals", "")
	g.as(g.token, 2, http.StatusOK, http.MethodGet, "/v1/nodes/a/x", "")

	killed := g.leads()
	killed.kill()
	other := killed.id % 3
	eventually(t, patience, "a write under the next leader", func() error {
		r, err := send(context.Background(), http.MethodPut, g.nodes[other].url()+"/v1/nodes/x", "again", "Authorization", "Bearer "+a)
		if err == nil && r.status != http.StatusOK {
			err = fmt.Errorf("status %d: %s", r.status, r.body)
		}
		return err
	})
	g.as(g.token, other, http.StatusNoContent, http.MethodDelete, "/v1/principals/b", "")
	killed.args = killed.args[:len(killed.args)-1] // without --auth it asks all the same
	killed.spawn()
	killed.waitReady()
	killed.must(http.StatusUnauthorized, http.MethodGet, "/v1/nodes/a/x", "")
	g.as(b, killed.id-1, http.StatusUnauthorized, http.MethodGet, "/v1/nodes/", "")
	if r := g.as(a, killed.id-1, http.StatusOK, http.MethodGet, "/v1/nodes/x", ""); r.body != "again" {
		t.Errorf("a reads %q", r.body)
	}
}

// Nodes whose time is over go although the leader was killed meanwhile, and are
// not gone before.
func TestReapingOutlivesTheLeader(t *testing.T) {
	c := startThree(t)
	n := c.follower()
	began := time.Now()
	n.must(http.StatusCreated, http.MethodPost, "/v1/nodes/note?mode=ttl&ttl_ms=3000", "x")
	n.must(http.StatusCreated, http.MethodPost, "/v1/nodes/box?mode=container", "")
	n.must(http.StatusCreated, http.MethodPost, "/v1/nodes/box/a", "")
	c.leader().kill()
	eventually(t, patience, "a delete under the next leader", func() error {
		r, err := send(context.Background(), http.MethodDelete, n.url()+"/v1/nodes/box/a", "")
		if err == nil && r.status != http.StatusNoContent && r.status != http.StatusNotFound {
			err = fmt.Errorf("status %d: %s", r.status, r.body)
		}
		return err
	})
	eventually(t, patience, "both are reaped", func() error {
		for _, path := range []string{"/v1/nodes/note", "/v1/nodes/box"} {
			r, err := n.get(path)
			if err != nil || r.status != http.StatusNotFound {
				return fmt.Errorf("%s: %v, status %d", path, err, r.status)
			}
		}
		return nil
	})
	if lived := time.Since(began); lived < 3*time.Second {
		t.Errorf("a node with a TTL of 3 s was gone after %v", lived)
	}
	events := n.must(http.StatusOK, http.MethodGet, "/v1/watch/?scope=subtree&since=0", "")
	for _, cause := range []string{`"cause":"ttl"`, `"cause":"container"`} {
		if !regexp.MustCompile(cause).MatchString(events.body) {
			t.Errorf("no event has %s: %s", cause, events.body)
		}
	}
}
