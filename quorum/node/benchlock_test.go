package node

import (
	"fmt"
	"testing"
	"time"

	"perch/tree"
)

// BenchmarkLock is cycles of acquire and release of one lock by many.
func BenchmarkLock(b *testing.B) {
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			c := benchCluster(b)
			locks(b, c.leader().Node, lockCommand("warm", "a", time.Minute, false), "")
			spread(b, c, workers, func(n *Node, i int64) error {
				res, err := n.Acquire(b.Context(), lockCommand("l", fmt.Sprint(i), 30*time.Second, true), "", time.Minute)
				if err == nil && res.Code != tree.OK {
					err = res.Code
				}
				if err != nil {
					return err
				}
				_, err = n.Write(b.Context(), releaseCommand("l"), res.Token)
				return err
			})
		})
	}
}
