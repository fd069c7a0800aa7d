package node

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"perch/gen/commandpb"
	"perch/lease"
)

// benchCluster is three nodes over NATS that log nothing.
func benchCluster(b *testing.B) *cluster {
	c := newCluster(b, nil, func(cfg *Config) { cfg.Log = nil })
	c.leader()
	return c
}

// spread runs op from many goroutines, at all nodes in turn.
func spread(b *testing.B, c *cluster, workers int, op func(n *Node, i int64) error) {
	b.Helper()
	var nodes []*Node
	for _, n := range c.nodes {
		nodes = append(nodes, n.Node)
	}
	var next atomic.Int64
	var work sync.WaitGroup
	b.ResetTimer()
	for w := range workers {
		work.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := op(nodes[w%len(nodes)], i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

func BenchmarkWrite(b *testing.B) {
	data := make([]byte, 256)
	for _, workers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			c := benchCluster(b)
			spread(b, c, workers, func(n *Node, i int64) error {
				path := fmt.Sprintf("/bench/%d", i%1000)
				_, err := n.Write(b.Context(), &commandpb.Command{Op: &commandpb.Command_Put{
					Put: &commandpb.Put{Path: path, Data: data, Parents: true},
				}}, "")
				return err
			})
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, workers := range []int{1, 16, 128} {
		for _, linearizable := range []bool{true, false} {
			b.Run(fmt.Sprintf("linearizable=%v/%d", linearizable, workers), func(b *testing.B) {
				c := benchCluster(b)
				must(b, c.leader().Node, putCommand("/bench", "x"), "")
				c.agree()
				spread(b, c, workers, func(n *Node, _ int64) error {
					_, err := n.Read(b.Context(), lease.Read{
						Kind: lease.ReadNode, Path: "/bench", At: lease.At{Linearizable: linearizable},
					})
					return err
				})
			})
		}
	}
}
