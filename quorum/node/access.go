package node

import (
	"context"
	"errors"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// authPause is before turning authentication on is tried again.
const authPause = 100 * time.Millisecond

// wall is the time by which reads tell whether an API token has expired: Unix
// milliseconds. Writes go by the time of their entry.
func wall() int64 { return time.Now().UnixMilli() }

// Auth implements lease.Service.
func (n *Node) Auth() bool { return n.view().Auth() }

// Authenticate implements lease.Service.
func (n *Node) Authenticate(ctx context.Context, secret [32]byte) (lease.Identity, error) {
	if id, ok := n.view().Identify(secret, wall()); ok {
		return id, nil
	}
	view, err := n.linearizable(ctx)
	if err != nil {
		return lease.Identity{}, err
	}
	id, ok := view.Identify(secret, wall())
	if !ok {
		return lease.Identity{}, tree.ErrUnauthenticated
	}
	return id, nil
}

// governs says whether the caller may do what concerns the whole cluster, by the
// policy of a linearizable position.
func (n *Node) governs(ctx context.Context, caller *commandpb.Caller) error {
	view, err := n.linearizable(ctx)
	if err != nil {
		return err
	}
	if code := view.Governs(caller, wall()); code != tree.OK {
		return code
	}
	return nil
}

// EnableAuth implements lease.Service. It is called while the cluster starts, so
// it waits for a leader and for the level as long as ctx lets it.
func (n *Node) EnableAuth(ctx context.Context, admin string, secret [32]byte) (turned bool, err error) {
	doubt := false // an earlier try may have been applied
	for {
		res, err := n.Write(ctx, enableAuth(admin, secret), "")
		switch {
		case err == nil && res.Code != tree.OK:
			return false, res.Code
		case err == nil:
			id, own := n.view().Identify(secret, wall())
			return res.APIToken.ID != "" || doubt && own && id.Token == lease.FirstToken, nil
		case !errors.As(err, new(lease.Unavailable)) || errors.Is(err, lease.ErrShuttingDown):
			return false, err
		}
		doubt = doubt || errors.Is(err, lease.ErrCommitTimeout)
		if !pause(ctx, n.turns.wait(), authPause) {
			return false, ctx.Err()
		}
	}
}

func enableAuth(admin string, secret [32]byte) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_EnableAuth{EnableAuth: &commandpb.EnableAuth{
		Admin: &commandpb.PutPrincipal{
			Name: admin, Grants: []*commandpb.Grant{{Prefix: tree.Root, Perms: uint32(lease.PermAll)}},
		},
		Token: &commandpb.CreateToken{Principal: admin, SecretSha256: secret[:]},
	}}}
}
