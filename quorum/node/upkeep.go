package node

import (
	"context"
	"errors"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
)

// This is what a leader proposes besides the end of sessions: the first settings,
// the feature level, the end of nodes whose time is over, whatever else is due at
// a cluster age, and the end of places and grants that nobody is there for.

// reapNodes is the most nodes that one command ends.
const reapNodes = 1000

// upkeep proposes whatever is due. It is called at every tick of a reign.
func (k *keeper) upkeep(ctx context.Context, epoch quorum.Epoch) {
	k.seed(epoch)
	k.raise()
	k.reap()
	k.lapse()
	if k.speaks(&commandpb.Command{Op: &commandpb.Command_Withdraw{Withdraw: &commandpb.Withdraw{}}}) {
		k.withdraw(ctx, epoch)
		k.save(epoch)
	}
}

// seed proposes the configured settings in the reign that a cluster begins with,
// once, whatever clients have had written before.
func (k *keeper) seed(epoch quorum.Epoch) {
	k.mu.Lock()
	first := k.soft.Epoch == epoch && k.soft.Base == 0
	k.mu.Unlock()
	if !first || k.seeded == epoch {
		return
	}
	if err := k.submit(k.seeds(0, k.node.view().Level())...); err != nil {
		k.log.Error("the settings of the new cluster could not be set", keyError, err)
		return
	}
	k.seeded = epoch
}

// speaks says whether cmd may be proposed at the present level.
func (k *keeper) speaks(cmd *commandpb.Command) bool {
	return lease.FormatOf(cmd) <= k.node.view().Level()
}

// seeds are the commands that set the configured settings which came with a
// level, where the one before did not know them: before is 0 when the
// cluster has just formed. Every state begins with the same ones, and only a
// command changes them (RULES.md R5).
func (k *keeper) seeds(before, level uint32) []*commandpb.Command {
	op := k.node.cfg.Settings.Seed(before, level)
	if op == nil {
		return nil
	}
	return []*commandpb.Command{{Format: level, Op: &commandpb.Command_Configure{Configure: op}}}
}

// raise proposes the highest feature level that every member has reported, when
// it is above the present one: a newer leader must not stop older members
// (RULES.md R6). A member that has not reported since this reign began knows
// nothing yet.
func (k *keeper) raise() {
	present, level := k.node.view().Level(), k.node.cfg.Level
	if level <= present || k.raised == level {
		return
	}
	for _, p := range *k.node.peers.Load() {
		level = min(level, p.Level)
	}
	if level <= present || k.raised == level {
		return
	}
	k.raised = level
	k.log.Info("every member knows a higher feature level: raising it", "from", present, "to", level)
	// The settings go right behind it: nobody would propose them again after a
	// crash in between.
	cmd := &commandpb.Command{Format: present, Op: &commandpb.Command_RaiseLevel{RaiseLevel: &commandpb.RaiseLevel{Level: level}}}
	if err := k.submit(append([]*commandpb.Command{cmd}, k.seeds(present, level)...)...); err != nil {
		k.raised = 0
		k.log.Error("the feature level could not be raised, or what came with it not be set", keyError, err)
	}
}

// reap proposes the end of the nodes that are due at the cluster age that the
// proposal will carry at least. Apply looks at each again.
func (k *keeper) reap() {
	paths := k.node.view().Due(k.node.Soft().AgeMs, reapNodes)
	if len(paths) == 0 {
		return
	}
	cmd := &commandpb.Command{
		Format: k.node.view().Level(), Op: &commandpb.Command_Reap{Reap: &commandpb.Reap{Paths: paths}},
	}
	if err := k.submit(cmd); err != nil {
		k.log.Warn("nodes whose time is over could not be deleted yet", "count", len(paths), keyError, err)
	}
}

// lapse has apply do what is due at the cluster age that the proposal will carry
// at least.
func (k *keeper) lapse() {
	view := k.node.view()
	if age, ok := view.NextLapse(); !ok || age > k.node.Soft().AgeMs {
		return
	}
	cmd := &commandpb.Command{Format: view.Level(), Op: &commandpb.Command_Lapse{Lapse: &commandpb.Lapse{}}}
	if err := k.submit(cmd); err != nil {
		k.log.Warn("what is due could not be done yet", keyError, err)
	}
}

// withdraw proposes the end of the grants that no home has confirmed and of the
// places whose home is silent (RULES.md R17).
func (k *keeper) withdraw(ctx context.Context, epoch quorum.Epoch) {
	op, ending := k.overdue(epoch)
	if op == nil {
		return
	}
	k.log.Info("places of silent homes, and grants that nobody has confirmed, go", "homes", len(op.Homes), "grants", len(op.Places))
	err := k.submit(&commandpb.Command{Format: k.node.view().Level(), Op: &commandpb.Command_Withdraw{Withdraw: op}})
	if err != nil {
		k.log.Warn("places or grants could not be withdrawn yet", keyError, err)
	}
	if errors.Is(err, lease.ErrCommitTimeout) {
		k.settle(ctx, epoch)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.grants.decided(op.Places, err == nil, k.now())
	close(ending)
	k.ending = nil
}

// overdue takes what is to be withdrawn; nil when nothing is. From here on the
// confirmations of those grants wait for the outcome.
func (k *keeper) overdue(epoch quorum.Epoch) (op *commandpb.Withdraw, ending chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reign != epoch {
		return nil, nil
	}
	view := k.node.view()
	op = &commandpb.Withdraw{Epoch: uint32(epoch), Places: k.grants.shut(k.soft.LeaseMs, view.Holds)}
	if k.soft.LeaseMs >= k.homes.next {
		k.homes.next = k.soft.LeaseMs + homesEvery
		for _, h := range k.homes.silent(view.Homes(), k.soft.LeaseMs) {
			op.Homes = append(op.Homes, &commandpb.Home{Node: uint32(h.Node), Instance: h.Home})
		}
	}
	if len(op.Homes)+len(op.Places) == 0 {
		return nil, nil
	}
	k.ending = make(chan struct{})
	return op, k.ending
}
