package node

import (
	"context"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

const (
	levelPatience = 2 * time.Second       // for the level that a command needs
	levelPoll     = 20 * time.Millisecond // between two looks at it
)

// clusterTokens are the tokens of the cluster that this node belongs to.
type clusterTokens struct {
	cluster quorum.ClusterID
	tokens  *lease.Tokens
}

// tokens serves the present cluster: its id is known only once it has formed.
func (n *Node) tokens() *lease.Tokens {
	id := n.cluster()
	if t := n.drawn.Load(); t != nil && t.cluster == id {
		return t.tokens
	}
	secrets := [][]byte{n.cfg.Secret}
	if len(n.cfg.OldSecret) > 0 {
		secrets = append(secrets, n.cfg.OldSecret)
	}
	t := lease.NewTokens(id, secrets...)
	n.drawn.Store(&clusterTokens{cluster: id, tokens: t})
	return t
}

// identify fills in the session of cmd from token. No secret enters a command
// (RULES.md R19).
func (n *Node) identify(cmd *commandpb.Command, token string) error {
	return n.tokens().Identify(cmd, token)
}

// speak chooses the format of cmd: the level, which every member knows. A cluster
// whose last member has just been upgraded raises its level any moment, so a
// command that needs it waits a little.
func (n *Node) speak(ctx context.Context, cmd *commandpb.Command) error {
	if cmd.Format != 0 {
		return nil
	}
	if cmd.Format = n.view().Level(); cmd.Format >= lease.Format {
		return nil
	}
	need := lease.FormatOf(cmd)
	for end := time.Now().Add(levelPatience); cmd.Format < need; cmd.Format = n.view().Level() {
		if time.Now().After(end) {
			return &lease.Refused{Why: lease.ErrNotCaughtUp, Text: "not every member knows this operation yet: " +
				"upgrade the members whose level in /v1/cluster is the lowest"}
		}
		if !pause(ctx, nil, levelPoll) {
			return ctx.Err()
		}
	}
	return nil
}

// known is what view knows of the session of token in the hands of a principal.
func (n *Node) known(view *lease.View, principal, token string) (lease.Info, lease.Known) {
	ref, err := n.tokens().Resolve(token)
	if err != nil || ref == nil {
		return lease.Info{}, lease.KnownEnded
	}
	return view.Lookup(ref, principal)
}

// sessionAt is the live session of a caller's token, looked up at view. A token
// that view does not know is looked up at a linearizable position before it is
// called expired. It returns the View that it ended at, also with an error.
func (n *Node) sessionAt(ctx context.Context, view *lease.View, caller *commandpb.Caller, token string) (*lease.View, lease.Info, error) {
	if code := view.Access(caller, wall()); code != tree.OK {
		return view, lease.Info{}, code
	}
	info, known := n.known(view, caller.GetPrincipal(), token)
	if known == lease.KnownNot {
		fresh, err := n.linearizable(ctx)
		if err != nil {
			return view, lease.Info{}, err
		}
		view = fresh
		info, known = n.known(view, caller.GetPrincipal(), token)
	}
	if known != lease.KnownAlive {
		return view, lease.Info{}, tree.ErrSessionExpired
	}
	return view, info, nil
}
