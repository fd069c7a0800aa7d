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
	"ack-ahead",           // acks name what was appended, not what is durable
	"promise-to-all",      // every ACKEPOCH counts, whoever was promised
	"boast",               // notifications and joins name more than there is
	"commit-ahead",        // proposals name their own position as committed
	"raise-early",         // the level is raised before every member knows it (R6)
	"watch-resume",        // a watcher that comes back gets its last event again
	"touch-unconfirmed",   // a renewal is answered without a confirmed round (R12)
	"expire-any-epoch",    // an end that one leader decided has effect under another
	"confirm-unconfirmed", // a grant is answered without a confirmed round (R12, R17)
	"never-withdraw",      // what a dead home waits for stays (R17)
}

// mutateGate lets messages leave too early, or say too much.
func (n *node) mutateGate(msgs []quorum.Outbound) []quorum.Outbound {
	for i := range msgs {
		switch o := &msgs[i]; n.w.opt.Mutant {
		case "send-before-fsync":
			o.AfterSeq = 0
		case "ack-ahead":
			if o.Msg.Type == quorum.MsgAck {
				o.Msg.Durable = n.core.Soft().Last
			}
		case "promise-to-all":
			o.Msg.Counts = o.Msg.Counts || o.Msg.Type == quorum.MsgAckEpoch
		case "boast":
			if o.Msg.Type == quorum.MsgNotify || o.Msg.Type == quorum.MsgJoin {
				o.Msg.Cred.Last++
			}
		case "commit-ahead":
			if o.Msg.Type == quorum.MsgPropose {
				o.Msg.Commit = o.Msg.Entries[len(o.Msg.Entries)-1].Zxid
			}
		}
	}
	return msgs
}

// mutateOrder moves a control record before the log records that are not yet
// fsynced.
func (d *disk) mutateOrder(mutant string) {
	last := len(d.pending) - 1
	if mutant != "epoch-before-log" || d.pending[last].Type != quorum.RecordControl {
		return
	}
	r, i := d.pending[last], last
	for ; i > 0 && d.pending[i-1].Type != quorum.RecordControl; i-- {
		d.pending[i] = d.pending[i-1]
	}
	d.pending[i] = r
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
