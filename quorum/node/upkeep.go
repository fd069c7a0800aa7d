package node

import "perch/gen/commandpb"

// This is what a leader proposes besides the end of sessions: the first settings,
// the feature level, and the end of nodes whose time is over.

// reapNodes is the most nodes that one command ends.
const reapNodes = 1000

// upkeep proposes whatever is due. It is called at every tick of a reign.
func (k *keeper) upkeep() {
	if view := k.node.view(); view.Zxid() == 0 {
		if err := k.submit(k.seeds(0, view.Level())...); err != nil {
			k.log.Error("the settings of the new cluster could not be set", keyError, err)
		}
	}
	k.raise()
	k.reap()
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
