package node

import (
	"context"

	"perch/lease"
	"perch/tree"
)

// Auth implements lease.Service.
func (n *Node) Auth() bool { return false }

// Authenticate implements lease.Service.
func (n *Node) Authenticate(context.Context, [32]byte) (lease.Identity, error) {
	return lease.Identity{}, tree.ErrUnauthenticated
}

// EnableAuth implements lease.Service.
func (n *Node) EnableAuth(context.Context, string, [32]byte) (bool, error) {
	return false, tree.ErrInternal
}
