package logview

import (
	"encoding/hex"
	"fmt"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/quorum/wal"
)

// Line is one thing in a log, as a program sees it. The names of its fields do
// not change. Positions are integers, as in the HTTP API; hashes and random
// bits, which are larger than what many programs keep of a number, are text in
// hexadecimal.
type Line struct {
	Kind   string  `json:"kind"`   // header, control, entry, truncate, install, commit, mark, seal, invalid
	File   string  `json:"file"`   // name of the segment
	Offset int64   `json:"offset"` // in it
	Bytes  int64   `json:"bytes"`  // on disk
	Zxid   *uint64 `json:"zxid,omitempty"`
	Chain  string  `json:"chain,omitempty"` // chain hash at zxid

	Control *Control `json:"control,omitempty"` // header, control
	Entry   *Entry   `json:"entry,omitempty"`   // entry
	Reason  string   `json:"reason,omitempty"`  // invalid
}

// Control is the control state in a header or a control record.
type Control struct {
	Node          uint16   `json:"node"`
	Incarnation   string   `json:"incarnation"`
	Boot          uint64   `json:"boot"`
	BootNonce     string   `json:"boot_nonce"`
	Cluster       string   `json:"cluster,omitempty"`
	Formed        bool     `json:"formed"`
	NeedsRebuild  bool     `json:"needs_rebuild"`
	Spoiled       bool     `json:"spoiled,omitempty"` // what it holds is not to be trusted
	Reason        string   `json:"needs_rebuild_reason,omitempty"`
	AcceptedEpoch uint32   `json:"accepted_epoch"`
	AcceptedFrom  uint16   `json:"accepted_from"` // node; 0: nobody
	CurrentEpoch  uint32   `json:"current_epoch"`
	Founding      []Member `json:"founding,omitempty"`
	Seen          []Life   `json:"seen,omitempty"` // newest life of each disk that counts
	Past          *Past    `json:"restored_from,omitempty"`
}

// Past is the state that a cluster was restored from.
type Past struct {
	Zxid   uint64 `json:"zxid"`
	Digest string `json:"digest"`
	Epoch  uint32 `json:"epoch"` // highest that the former cluster was known to have reached
}

// Life is one start of a process on the disk of a node.
type Life struct {
	Node        uint16 `json:"node"`
	Incarnation string `json:"incarnation"`
	Boot        uint64 `json:"boot"`
}

// Member is one line of a configuration.
type Member struct {
	ID          uint16 `json:"id"`
	Role        string `json:"role"`
	Incarnation string `json:"incarnation"`
	Addr        string `json:"addr,omitempty"`
}

// Entry is a transaction without its values.
type Entry struct {
	Kind      string   `json:"kind"` // command, config
	DataBytes int      `json:"data_bytes"`
	Node      uint16   `json:"origin_node"` // 0: nobody's request
	BootNonce string   `json:"origin_boot,omitempty"`
	Request   uint64   `json:"origin_request"`
	WallMs    int64    `json:"wall_ms"` // Unix time of the leader
	AgeMs     uint64   `json:"age_ms"`  // cluster age
	Command   *Command `json:"command,omitempty"`
	Members   []Member `json:"members,omitempty"` // of a configuration
}

// Command is what a transaction asks for. Of bytes only the number is told, in a
// field whose name ends in _bytes.
type Command struct {
	Op      string         `json:"op"` // as in command.proto; "unreadable"
	Format  uint32         `json:"format"`
	Session string         `json:"session,omitempty"` // id, or "token:" and the beginning of its hash
	Args    map[string]any `json:"args,omitempty"`

	order []string // of Args
}

func lineOf(r *wal.RecordInfo) *Line {
	l := &Line{Kind: r.Kind.String(), File: filepath.Base(r.File), Offset: r.Offset, Bytes: r.Size, Reason: r.Reason}
	if r.Kind == wal.KindInvalid {
		return l
	}
	l.at(r.Zxid, r.Chain)
	if r.Kind == wal.KindHeader {
		l.Control = controlOf(r.Control)
	}
	if r.Kind != wal.KindRecord {
		return l
	}
	switch rec := &r.Record; rec.Type {
	case quorum.RecordControl:
		l.Kind, l.Control, l.Zxid, l.Chain = "control", controlOf(rec.Control), nil, ""
	case quorum.RecordEntry:
		l.Kind, l.Entry = "entry", entryOf(&rec.Entry)
	case quorum.RecordTruncate:
		l.Kind = "truncate"
	case quorum.RecordInstall:
		l.Kind = "install"
	case quorum.RecordCommit:
		l.Kind, l.Chain = "commit", ""
	}
	return l
}

func (l *Line) at(z quorum.Zxid, chain uint64) {
	v := uint64(z)
	l.Zxid, l.Chain = &v, bits(chain)
}

// bits writes 64 bits that are no number to anybody.
func bits(v uint64) string { return fmt.Sprintf("%016x", v) }

func controlOf(c *quorum.Control) *Control {
	out := &Control{
		Node: uint16(c.Node), Incarnation: hex.EncodeToString(c.Boot.Incarnation[:]),
		Boot: c.Boot.Counter, BootNonce: bits(c.Boot.Nonce),
		Formed: c.Formed, NeedsRebuild: c.NeedsRebuild, Spoiled: c.Spoiled, Reason: c.Reason,
		AcceptedEpoch: uint32(c.AcceptedEpoch), AcceptedFrom: uint16(c.AcceptedFrom.Leader), CurrentEpoch: uint32(c.CurrentEpoch),
		Founding: membersOf(c.Founding),
	}
	for _, l := range c.Seen {
		out.Seen = append(out.Seen, Life{Node: uint16(l.ID), Incarnation: hex.EncodeToString(l.Boot.Incarnation[:]), Boot: l.Boot.Counter})
	}
	if p := c.Past; p != (quorum.Past{}) {
		out.Past = &Past{Zxid: uint64(p.Zxid), Digest: bits(p.Digest), Epoch: uint32(p.Epoch)}
	}
	if c.Cluster != (quorum.ClusterID{}) {
		out.Cluster = hex.EncodeToString(c.Cluster[:])
	}
	return out
}

func membersOf(members []quorum.Member) (out []Member) {
	for _, m := range members {
		out = append(out, Member{ID: uint16(m.ID), Role: roleName(m.Role), Incarnation: hex.EncodeToString(m.Incarnation[:]), Addr: m.Addr})
	}
	return out
}

func roleName(r quorum.Role) string {
	switch r {
	case quorum.RoleVoter:
		return "voter"
	case quorum.RoleObserver:
		return "observer"
	}
	return fmt.Sprintf("role %d", r)
}

func entryOf(e *quorum.Entry) *Entry {
	out := &Entry{
		DataBytes: len(e.Data), Node: uint16(e.Origin.Node), Request: e.Origin.ID, WallMs: e.Stamp.Wall, AgeMs: e.Stamp.Age,
	}
	if e.Origin.Boot != 0 {
		out.BootNonce = bits(e.Origin.Boot)
	}
	switch e.Kind {
	case quorum.EntryCommand:
		out.Kind = "command"
		cmd := new(commandpb.Command)
		if proto.Unmarshal(e.Data, cmd) != nil {
			out.Command = &Command{Op: "unreadable"}
			break
		}
		out.Command = commandOf(cmd)
	case quorum.EntryConfig:
		out.Kind = "config"
		if cf, err := quorum.DecodeConfiguration(e.Data); err == nil {
			out.Members = membersOf(cf.Members)
		}
	case quorum.EntryRestored:
		out.Kind = "restored"
	default:
		out.Kind = fmt.Sprintf("kind %d", e.Kind)
	}
	return out
}
