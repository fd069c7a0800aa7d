package node

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"perch/lease"
	"perch/tree"
)

func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
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
