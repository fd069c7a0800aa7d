package node

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perch/lease"
	"perch/tree"
)

// nextPort is the next candidate of freeAddr. Ports below the range from which
// the system gives out are taken by nobody between two looks at them; where
// the count begins keeps test binaries that run at once apart.
var nextPort atomic.Uint32

func init() { nextPort.Store(rand.Uint32N(12_000)) }

// freeAddr is a loopback address that was free a moment ago.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 12_000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+nextPort.Add(1)%12_000)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// overBoth runs a test over the memory link and over NATS.
func overBoth(t *testing.T, tune func(*Config), test func(*testing.T, *cluster)) {
	t.Run("memory", func(t *testing.T) { test(t, newCluster(t, newMemNet(1), tune)) })
	t.Run("nats", func(t *testing.T) { test(t, newCluster(t, nil, tune)) })
}

func TestEveryNodeTakesWritesAndShowsThem(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		c.leader()
		for id, n := range c.nodes {
			path := fmt.Sprintf("/by/%d", id)
			must(t, n.Node, putCommand(path, "x"), "")
			get(t, n.Node, path, lease.At{}) // its own apply came first
			for _, other := range c.nodes {
				get(t, other.Node, path, lease.At{Linearizable: true})
			}
		}
		c.agree()
	})
}

func TestNoWriteIsLostWhenTheLeaderDies(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		dead := c.leader()
		survivor := c.follower()
		var mu sync.Mutex
		acked := make(map[string]bool)
		var writers sync.WaitGroup
		stop := make(chan struct{})
		for w := range 4 {
			writers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					path := fmt.Sprintf("/w/%d-%d", w, i)
					res, err := survivor.Write(t.Context(), putCommand(path, "x"), "")
					if err == nil && res.Code == tree.OK {
						mu.Lock()
						acked[path] = true
						mu.Unlock()
					}
				}
			})
		}
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(acked)
		}
		until(t, "100 writes", func() bool { return count() >= 100 })
		id := dead.cfg.ID
		c.kill(id)
		before := count()
		began := time.Now()
		until(t, "writing again", func() bool { return count() >= before+100 })
		t.Logf("100 more writes %v after the kill", time.Since(began))
		close(stop)
		writers.Wait()
		c.start(id)
		c.agree()
		for path := range acked {
			for _, n := range c.nodes {
				get(t, n.Node, path, lease.At{})
			}
		}
	})
}
