package sim

import (
	"fmt"
	"strings"

	"perch/quorum"
)

// note writes a line to the transcript, when there is one.
func (w *World) note(format string, args ...any) {
	if w.opt.Out == nil {
		return
	}
	fmt.Fprintf(w.opt.Out, "%s  %s\n", clock(w.now), fmt.Sprintf(format, args...))
}

// line writes a message as it leaves.
func (w *World) line(from, to quorum.NodeID, m *quorum.Message, fate string) {
	if w.opt.Out == nil {
		return
	}
	if fate != "" {
		fate = "  (" + fate + ")"
	}
	fmt.Fprintf(w.opt.Out, "%s    %d>%d %s%s\n", clock(w.now), from, to, messageText(m), fate)
}

// clock prints a virtual time in milliseconds.
func clock(at int64) string {
	return fmt.Sprintf("%9.3f", float64(at)/float64(millisecond))
}

var messageNames = [...]string{
	quorum.MsgNotify: "NOTIFY", quorum.MsgJoin: "JOIN", quorum.MsgLeaderInfo: "LEADERINFO",
	quorum.MsgAckEpoch: "ACKEPOCH", quorum.MsgNack: "NACK", quorum.MsgSync: "SYNC",
	quorum.MsgFetch: "FETCH", quorum.MsgEntries: "ENTRIES", quorum.MsgNewLeader: "NEWLEADER",
	quorum.MsgAckLD: "ACKLD", quorum.MsgUpToDate: "UPTODATE", quorum.MsgPropose: "PROPOSE",
	quorum.MsgAck: "ACK", quorum.MsgCommit: "COMMIT", quorum.MsgPing: "PING", quorum.MsgPong: "PONG",
	quorum.MsgRequest: "REQUEST", quorum.MsgRefuse: "REFUSE", quorum.MsgRead: "READ",
	quorum.MsgReadPos: "READPOS", quorum.MsgStepDown: "STEPDOWN",
}

func messageName(t quorum.MsgType) string {
	if int(t) < len(messageNames) && messageNames[t] != "" {
		return messageNames[t]
	}
	return fmt.Sprintf("MSG%d", t)
}

// messageText prints what matters of a message.
func messageText(m *quorum.Message) string {
	var b strings.Builder
	b.WriteString(messageName(m.Type))
	if m.Epoch != 0 {
		fmt.Fprintf(&b, " e%d", m.Epoch)
	}
	switch m.Type {
	case quorum.MsgNotify:
		notifyText(&b, m)
	case quorum.MsgJoin, quorum.MsgAckEpoch:
		fmt.Fprintf(&b, " aE%d cE%d last %v s%04x", m.Cred.AcceptedEpoch, m.Cred.CurrentEpoch, m.Cred.Last, m.Session&0xffff)
		if m.Counts {
			b.WriteString(" counts")
		}
	case quorum.MsgSync:
		fmt.Fprintf(&b, " %s common %v base %v s%04x", [...]string{"?", "DIFF", "TRUNC", "SNAP"}[m.Mode&3], m.Common, m.Base, m.Session&0xffff)
		if m.Mode == quorum.SyncSnap {
			fmt.Fprintf(&b, " snap %v", m.Snap.Zxid)
		}
		if m.Via != 0 {
			fmt.Fprintf(&b, " via %d", m.Via)
		}
	case quorum.MsgNewLeader:
		fmt.Fprintf(&b, " base %v s%04x", m.Base, m.Session&0xffff)
	case quorum.MsgPropose, quorum.MsgEntries:
		entriesText(&b, m)
	case quorum.MsgFetch:
		fmt.Fprintf(&b, " after %v", m.Prev)
	case quorum.MsgAckLD, quorum.MsgAck, quorum.MsgPong:
		fmt.Fprintf(&b, " durable %v", m.Durable)
	case quorum.MsgUpToDate, quorum.MsgCommit:
		fmt.Fprintf(&b, " commit %v", m.Commit)
	case quorum.MsgPing:
		fmt.Fprintf(&b, " #%d last %v commit %v", m.Seq, m.Last, m.Commit)
	case quorum.MsgRequest:
		for _, r := range m.Requests {
			fmt.Fprintf(&b, " r%d", r.ID)
		}
	case quorum.MsgRefuse:
		fmt.Fprintf(&b, " %v", m.IDs)
	case quorum.MsgStepDown:
		if m.Vote.Leader != 0 {
			fmt.Fprintf(&b, " heir %d", m.Vote.Leader)
		}
	case quorum.MsgReadPos:
		fmt.Fprintf(&b, " #%d at %v", m.Seq, m.Last)
	}
	return b.String()
}

func notifyText(b *strings.Builder, m *quorum.Message) {
	if m.Forming != quorum.Formed {
		fmt.Fprintf(b, " %s reach %v", [...]string{"unformed", "founding", "formed", "rebuild"}[m.Forming&3], m.Reach)
		return
	}
	fmt.Fprintf(b, " %s r%d vote %d (cE%d %v) cE%d last %v reach %v", stateName(m.State), m.Round,
		m.Vote.Leader, m.Vote.Epoch, m.Vote.Last, m.Cred.CurrentEpoch, m.Cred.Last, m.Reach)
}

func entriesText(b *strings.Builder, m *quorum.Message) {
	fmt.Fprintf(b, " after %v: %d", m.Prev, len(m.Entries))
	if n := len(m.Entries); n > 0 {
		fmt.Fprintf(b, " to %v", m.Entries[n-1].Zxid)
	}
	if m.Type == quorum.MsgPropose {
		fmt.Fprintf(b, " commit %v", m.Commit)
	}
}

func stateName(s quorum.State) string {
	names := [...]string{"down", "looking", "following", "leading", "observing"}
	return names[int(s)%len(names)]
}

func softText(s *quorum.Soft) string {
	phase := [...]string{"forming", "looking", "discovery", "sync", "broadcast"}[int(s.Phase)%5]
	t := fmt.Sprintf("%s, %s, leader %d, epoch %d, last %v, commit %v", stateName(s.State), phase, s.Leader, s.Epoch, s.Last, s.Commit)
	if s.Established {
		t += ", established"
	}
	if s.Refusal != "" {
		t += ", refuses: " + s.Refusal
	}
	return t
}
