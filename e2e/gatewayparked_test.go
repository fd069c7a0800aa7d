package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Polls of one path are parked at a node, then as many through a gateway. One
// change wakes all; what a poll takes is told for both.
func TestParkedPollsThroughAGateway(t *testing.T) {
	g := startGated(t, 1)
	node, gateway := g.nodes[0], g.gateways[0]
	polls := min(scaled(2_000, 10_000), openFiles(t)-1_000)
	atNode, wokenAtNode := parkAndWake(t, node, polls, "/parked/one", func() {})
	before := 0
	for _, n := range g.nodes {
		before += rss(n)
	}
	atGateway, woken := parkAndWake(t, gateway, polls, "/parked/two", g.followOne)
	after := 0
	for _, n := range g.nodes {
		after += rss(n)
	}
	t.Logf("%d polls: %d bytes each at a node, all woken within %v of the change; %d bytes each at a gateway, and %d more at its nodes, all woken within %v",
		polls, atNode, wokenAtNode.Round(time.Millisecond), atGateway, max(0, after-before)/polls, woken.Round(time.Millisecond))
}

// followOne waits until the nodes follow one interest for gateways, and no more.
func (g *gated) followOne() {
	eventually(g.t, patience, "the polls share an interest", func() error {
		sum := 0.0
		for _, n := range g.nodes {
			sum += n.metric("perch_gateway_interests")
		}
		if sum != 1 {
			return fmt.Errorf("%v interests", sum)
		}
		return nil
	})
}

// parkAndWake parks polls of one path at n, calls meanwhile, and has one change
// wake them. It says what they took of n's memory, each, and how long it took to
// wake them all.
func parkAndWake(t *testing.T, n *node, polls int, path string, meanwhile func()) (bytesEach int, woken time.Duration) {
	t.Helper()
	cursor := n.put(path, "down").header.Get("Perch-Zxid")
	before := rss(n)
	parked := park(t, n, polls, "/v1/watch"+path+"?wait_ms=50000&since="+cursor)
	eventually(t, patience, "all polls are parked", func() error {
		if got := n.metric("perch_http_parked_requests"); got < float64(polls) {
			return fmt.Errorf("%v of %d", got, polls)
		}
		return nil
	})
	defer parked.close() // there are not files enough for two crowds
	bytesEach = (rss(n) - before) / polls
	meanwhile()
	n.put(path, "up")
	began := time.Now()
	parked.answers(t, func(resp *http.Response, body string) error {
		if resp.StatusCode != http.StatusOK || strings.Count(body, `"zxid"`) != 1 {
			return fmt.Errorf("status %d: %s", resp.StatusCode, body)
		}
		return nil
	})
	return bytesEach, time.Since(began)
}
