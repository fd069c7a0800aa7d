package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/tree"
)

const (
	membersPatience = 30 * time.Second       // for joiners to catch up, all steps together
	membersAgain    = 100 * time.Millisecond // before a step that was refused is tried again
)

// ChangeMembers implements lease.Service. Any node can be asked: every step is a
// proposal to the leader, made for the configuration that was just read, so that
// two callers cannot undo each other's work unseen. What is asked for is a state,
// not a sequence of steps: after any crash the same call goes on from what is
// there.
func (n *Node) ChangeMembers(ctx context.Context, want lease.MembersChange) (quorum.Zxid, error) {
	if n.draining() {
		return 0, lease.ErrShuttingDown
	}
	if n.net == nil {
		if err := n.governs(ctx, want.Caller); err != nil {
			return 0, err
		}
		return 0, invalid("this node is alone and has no node-to-node address: start it with --peers %d=HOST:PORT first", n.cfg.ID)
	}
	step, cancel := context.WithTimeout(ctx, membersPatience)
	defer cancel()
	r := &reshape{node: n, want: want}
	for {
		z, done, err := r.step(step)
		switch {
		case done:
			return z, nil
		case err == nil:
			continue
		case r.begun && n.Soft().Outside && slices.Contains(want.Remove, n.cfg.ID):
			return n.members.Load().version, nil // the others have let this node go, and will not tell it more
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case n.draining():
			return 0, r.explain(cmp.Or(r.last, error(lease.ErrShuttingDown)))
		case step.Err() != nil:
			return 0, r.explain(cmp.Or(r.last, error(lease.ErrCommitTimeout)))
		case !r.retries(err):
			return z, r.explain(err)
		}
		r.last = err
		pause(step, nil, membersAgain)
	}
}

// reshape is one call of ChangeMembers on its way.
type reshape struct {
	node  *Node
	want  lease.MembersChange
	begun bool  // a change was committed, or may have been
	last  error // why the newest step was refused
}

// changeRefused is a leader's answer to a Change.
type changeRefused struct {
	cause quorum.Cause
	node  quorum.NodeID
}

func (e *changeRefused) Error() string { return fmt.Sprintf("change refused: cause %d", e.cause) }

// step looks at the members and proposes what comes next. It reports done with
// the position when nothing is left to do.
func (r *reshape) step(ctx context.Context) (z quorum.Zxid, done bool, err error) {
	cf, at, err := r.node.configuration(ctx)
	if err != nil {
		return 0, false, err
	}
	if !r.begun {
		if code := r.node.view().Governs(r.want.Caller, wall()); code != tree.OK {
			return at, false, code
		}
		if err := r.check(&cf); err != nil {
			return at, false, err
		}
	}
	if r.reached(&cf) {
		return at, true, nil
	}
	ch, last := r.next(&cf)
	res, err := r.node.submitChange(ctx, &ch)
	if err == nil || errors.Is(err, lease.ErrCommitTimeout) {
		r.begun = true
	}
	return res.Zxid, err == nil && last, err
}

// configuration is the committed configuration, linearizable, and a position at
// which it is in force.
func (n *Node) configuration(ctx context.Context) (quorum.Configuration, quorum.Zxid, error) {
	if _, err := n.linearizable(ctx); err != nil {
		return quorum.Configuration{}, 0, err
	}
	at := n.apply.now()
	if at.config == "" {
		return quorum.Configuration{Members: n.control.Load().Founding}, at.view.Zxid(), nil
	}
	cf, err := quorum.DecodeConfiguration([]byte(at.config))
	return cf, at.view.Zxid(), err
}

// submitChange proposes a change and waits for its end, like Write.
func (n *Node) submitChange(ctx context.Context, ch *quorum.Change) (lease.Result, error) {
	w, err := n.requests.enter(&request{change: ch})
	if err != nil {
		return lease.Result{}, err
	}
	signal(n.loop.wake)
	select {
	case o := <-w.done:
		return o.result, o.err
	case <-ctx.Done():
		return lease.Result{}, lease.ErrCommitTimeout
	case <-n.ctx.Done():
		return lease.Result{}, lease.ErrCommitTimeout
	}
}

// check refuses what cannot be had of cf, before anything is changed.
func (r *reshape) check(cf *quorum.Configuration) error {
	to := slices.Clone(cf.Members)
	is := func(id quorum.NodeID) func(quorum.Member) bool {
		return func(m quorum.Member) bool { return m.ID == id }
	}
	for _, id := range r.want.Remove {
		if !slices.ContainsFunc(to, is(id)) {
			return &lease.Refused{Why: lease.ErrNoMember, Text: fmt.Sprintf("node %d is no member of the cluster", id)}
		}
		to = slices.DeleteFunc(to, is(id))
	}
	for _, s := range r.want.Set {
		to = append(slices.DeleteFunc(to, is(s.ID)), quorum.Member{ID: s.ID, Role: s.Role, Addr: s.Addr})
	}
	for _, s := range r.want.Set {
		if s.Addr == "" {
			continue
		}
		if err := natsnet.CheckAddr(s.Addr, r.node.cfg.private()); err != nil || len(s.Addr) > quorum.MaxAddr {
			return invalid("the address of node %d: %v", s.ID, err)
		}
		for _, m := range to {
			if m.ID != s.ID && r.node.addr(&m) == s.Addr {
				return invalid("nodes %d and %d have one address, %s", m.ID, s.ID, s.Addr)
			}
		}
	}
	next := quorum.Configuration{Members: to}
	switch voters := next.Voters(); {
	case voters == 0 || voters > quorum.MaxVoters || len(to) > quorum.MaxMembers:
		return invalid("%d voters of %d members would be left; there must be 1 to %d voters and at most %d members",
			voters, len(to), quorum.MaxVoters, quorum.MaxMembers)
	case voters == 2 && cf.Voters() != 2 && !r.want.Force:
		return invalid("two voters would be left, of which losing one stops the cluster: " +
			"name several members at once to reach three, or give force")
	}
	return nil
}

// addr is where a member is found.
func (n *Node) addr(m *quorum.Member) string {
	if m.Addr != "" {
		return m.Addr
	}
	return n.cfg.listed(m.ID).Addr
}

// reached says whether cf is what is wanted.
func (r *reshape) reached(cf *quorum.Configuration) bool {
	for _, id := range r.want.Remove {
		if _, there := cf.Member(id); there {
			return false
		}
	}
	for _, s := range r.want.Set {
		m, there := cf.Member(s.ID)
		if !there || m.Role != s.Role || s.Addr != "" && r.node.addr(&m) != s.Addr || s.Replace {
			return false
		}
	}
	return true
}

// next is the change that leads from cf towards what is wanted, and whether it
// is the last. Whoever is to vote and is no member yet is added as an observer
// first: it catches up while it holds up nobody.
func (r *reshape) next(cf *quorum.Configuration) (ch quorum.Change, last bool) {
	ch.Expect = cf.Version
	for _, s := range r.want.Set {
		if _, there := cf.Member(s.ID); !there && s.Role == quorum.RoleVoter {
			ch.Set = append(ch.Set, quorum.MemberChange{ID: s.ID, Role: quorum.RoleObserver, Addr: s.Addr})
		}
	}
	if len(ch.Set) > 0 {
		return ch, false
	}
	ch.Set, ch.Force = r.want.Set, r.want.Force
	for _, id := range r.want.Remove {
		if _, there := cf.Member(id); there {
			ch.Remove = append(ch.Remove, id)
		}
	}
	return ch, true
}

// retries says whether a step that ended in err may do better in a while.
func (r *reshape) retries(err error) bool {
	var refused *changeRefused
	if !errors.As(err, &refused) {
		var gone lease.Unavailable
		return r.begun && errors.As(err, &gone) && gone != lease.ErrNoMember
	}
	switch refused.cause {
	case quorum.CauseChanging, quorum.CauseVersion, quorum.CauseBehind, quorum.CauseNoQuorum:
		return true
	case quorum.CauseNoMember:
		return r.begun
	}
	return false
}

// explain makes of a step's error what the caller is told.
func (r *reshape) explain(err error) error {
	var refused *changeRefused
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.cause {
	case quorum.CauseBehind:
		return &lease.Refused{Why: lease.ErrNotCaughtUp, Text: fmt.Sprintf(
			"node %d is not connected to the leader or has not caught up, so it does not vote yet; the same request goes on from here", refused.node)}
	case quorum.CauseNoQuorum:
		return &lease.Refused{Why: lease.ErrNoQuorum, Text: "a majority of the voters that would be left is not in sync with the leader"}
	case quorum.CauseNoMember:
		return &lease.Refused{Why: lease.ErrNoMember, Text: fmt.Sprintf("node %d is no member of the cluster", refused.node)}
	case quorum.CauseChanging, quorum.CauseVersion:
		return &lease.Refused{Why: lease.ErrOverloaded, Text: "another change of the members is under way"}
	}
	return invalid("the leader refuses this change (cause %d)", refused.cause)
}

func invalid(format string, args ...any) error {
	return &lease.Refused{Why: tree.ErrInvalidArgument, Text: fmt.Sprintf(format, args...)}
}
