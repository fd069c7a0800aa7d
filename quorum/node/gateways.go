package node

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/cespare/xxhash/v2"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/seam"
	"perch/tree"
)

// This is what a node is to gateways in other processes, which package seam
// speaks with.

var _ seam.Node = (*Node)(nil)

// serveGateways answers gateways where the transport lets any in.
func (n *Node) serveGateways() {
	if port, ok := n.net.(seam.Port); ok {
		n.gateways = seam.Serve(n, port, n.log)
		n.showGateways()
	}
}

// tellGateways has gateways told at once how this node is.
func (n *Node) tellGateways() {
	if n.gateways != nil {
		n.gateways.Beat()
	}
}

// homeOf is the home of places that wait for the clients of a gateway: it is this
// node, in this life, and that gateway.
func (n *Node) homeOf(id natsnet.GatewayID) uint64 {
	return xxhash.Sum64(append(binary.LittleEndian.AppendUint64(nil, n.own.Boot), id[:]...))
}

// homes are those whose clients' places wait at this node: its own, and those of
// the gateways that were heard lately.
func (n *Node) homes() []uint64 {
	list := []uint64{n.own.Boot}
	if n.gateways != nil {
		for _, id := range n.gateways.Heard() {
			list = append(list, n.homeOf(id))
		}
	}
	return list
}

// AcquireFor implements seam.Node.
func (n *Node) AcquireFor(ctx context.Context, b seam.Behalf, cmd *commandpb.Command, token string, wait time.Duration) (lease.Result, error) {
	return n.acquire(ctx, &acquisition{cmd: cmd, wait: wait, home: n.homeOf(b.Gateway), elsewhere: b.Drawn}, token)
}

// Reach implements seam.Node.
func (n *Node) Reach(ctx context.Context, z quorum.Zxid, patience time.Duration) error {
	return n.caughtUp(ctx, z, patience)
}

// State implements seam.Node.
func (n *Node) State() (*lease.View, error) {
	if err := n.inDoubt(); err != nil {
		return nil, err
	}
	return n.view(), n.outside()
}

// Follow implements seam.Node.
func (n *Node) Follow(path string, scope tree.Scope, changed func()) (stop func(), err error) {
	return n.watches.follow(path, scope, changed)
}

// Woken implements seam.Node.
func (n *Node) Woken() quorum.Zxid { return quorum.Zxid(n.watches.woken.Load()) }

// Cluster implements seam.Node.
func (n *Node) Cluster() quorum.ClusterID { return n.cluster() }

// Draining implements seam.Node.
func (n *Node) Draining() bool { return n.draining() }
