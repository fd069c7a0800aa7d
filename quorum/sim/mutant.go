package sim

import "perch/quorum"

// Mutants are bugs of a driver that can be switched on, to prove that the
// observer finds them. Bugs inside the core are not made here.
var Mutants = []string{
	"send-before-fsync",   // messages do not wait for what they vouch for
	"stable-before-fsync", // the core is told of an fsync that has not ended
	"epoch-before-log",    // control records overtake log records (ZOOKEEPER-4643)
	"lost-fsync",          // a crash loses records that were fsynced
	"forgotten-control",   // purging the log loses the epochs (R2)
	"stale-snapshot",      // a snapshot holds less than its name says
}

// mutateGate lets messages leave too early.
func (n *node) mutateGate(msgs []quorum.Outbound) []quorum.Outbound {
	if n.w.opt.Mutant == "send-before-fsync" {
		for i := range msgs {
			msgs[i].AfterSeq = 0
		}
	}
	return msgs
}

// mutateRecords moves control records to the front of a group.
func (n *node) mutateRecords(r *quorum.Ready) {
	if n.w.opt.Mutant != "epoch-before-log" {
		return
	}
	var first, rest []quorum.Record
	for _, rec := range r.WAL {
		if rec.Type == quorum.RecordControl {
			first = append(first, rec)
		} else {
			rest = append(rest, rec)
		}
	}
	r.WAL = append(first, rest...)
}

// mutateCrash loses the end of a stable log.
func (n *node) mutateCrash() {
	im := &n.disk.img
	if n.w.opt.Mutant != "lost-fsync" || len(im.entries) == 0 {
		return
	}
	im.entries = im.entries[:len(im.entries)-1]
	to := im.hist.Start()
	if len(im.entries) > 0 {
		to = im.entries[len(im.entries)-1].Zxid
	}
	im.hist.Truncate(to)
}

// mutatePurge loses the epochs with the old log.
func (n *node) mutatePurge() {
	if n.w.opt.Mutant == "forgotten-control" {
		n.disk.img.control.CurrentEpoch = 0
	}
}

// mutateSnapshot takes one entry off a state.
func (n *node) mutateSnapshot(s *snapFile) {
	if n.w.opt.Mutant == "stale-snapshot" && s.state.pos > 1 {
		s.state = appState{pos: s.state.pos - 1, fold: n.w.obs.ledger.fold(s.state.pos - 1)}
	}
}
