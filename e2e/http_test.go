package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// reply is an answer of a node.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) zxid() uint64 {
	z, _ := strconv.ParseUint(r.header.Get("Perch-Zxid"), 10, 64)
	return z
}

// web keeps connections to many nodes for many goroutines, and gives up on a
// silent node in time.
var web = &http.Client{
	Timeout: 40 * time.Second,
	Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 256,
	},
}

// send sends one request to url and reads the whole answer.
func send(ctx context.Context, method, url, body string, header ...string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := web.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text)}, err
}

// get asks the node with a deadline for what is answered at once.
func (n *node) get(path string) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return send(ctx, http.MethodGet, n.url()+path, "")
}

// must sends a request whose answer has to have the status.
func (n *node) must(status int, method, path, body string, header ...string) reply {
	n.t.Helper()
	a, err := send(context.Background(), method, n.url()+path, body, header...)
	if err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.status != status {
		n.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.status, status, a.body)
	}
	return a
}

// put writes a value, until the node takes it.
func (n *node) put(path, value string) reply {
	n.t.Helper()
	var a reply
	eventually(n.t, patience, "PUT "+path, func() (err error) {
		a, err = send(context.Background(), http.MethodPut, n.url()+"/v1/nodes"+path+"?parents=true", value)
		if err == nil && a.status/100 != 2 {
			err = fmt.Errorf("status %d: %s", a.status, a.body)
		}
		return err
	})
	return a
}

// status is what a node says of itself and its cluster.
type status struct {
	Leader  string
	Node    string
	Epoch   uint64
	Zxid    uint64
	Members []struct {
		ID          string
		Role        string
		Digest      string
		DigestZxid  uint64 `json:"digest_zxid"`
		AppliedZxid uint64 `json:"applied_zxid"`
	}
}

func (n *node) status() (status, error) {
	var s status
	a, err := n.get("/v1/cluster")
	if err != nil {
		return s, err
	}
	if a.status != http.StatusOK {
		return s, fmt.Errorf("status %d: %s", a.status, a.body)
	}
	return s, json.Unmarshal([]byte(a.body), &s)
}

// position is a node's own digest and the zxid that it belongs to.
func (n *node) position() (digest string, zxid uint64, err error) {
	s, err := n.status()
	if err != nil {
		return "", 0, err
	}
	for _, m := range s.Members {
		if m.ID == strconv.Itoa(n.id) && m.Digest != "" {
			return m.Digest, m.DigestZxid, nil
		}
	}
	return "", 0, fmt.Errorf("node %d tells no digest of its own", n.id)
}

// sameState waits until all nodes have the same digest at the same zxid.
func (c *cluster) sameState() {
	c.t.Helper()
	eventually(c.t, patience, "equal digests", func() error {
		seen := map[string]bool{}
		for _, n := range c.nodes {
			digest, zxid, err := n.position()
			if err != nil {
				return err
			}
			seen[fmt.Sprintf("%s at %d", digest, zxid)] = true
		}
		if len(seen) != 1 {
			return fmt.Errorf("the nodes have %v", seen)
		}
		return nil
	})
}
