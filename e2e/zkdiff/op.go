package main

import (
	"fmt"
	"strings"
)

// kind says what an op does.
type kind string

// The kinds of ops. What a watch sees is compared after every op, too.
const (
	opCreate   kind = "create"
	opSet      kind = "set"
	opDelete   kind = "delete"
	opCheck    kind = "check" // within a multi alone, as in ZooKeeper
	opMulti    kind = "multi"
	opExists   kind = "exists"
	opGet      kind = "get"
	opChildren kind = "children"
	opGetACL   kind = "getACL"
	opSetACL   kind = "setACL"
	opOpen     kind = "open"  // of the session, where it is closed
	opClose    kind = "close" // of the session
	opWatch    kind = "watch" // one-shot, of Watch
	opVanish   kind = "after" // Ops, the node at Path goes by itself
)

// mode is the kind of a node.
type mode string

// The kinds of nodes, by their names in Perch.
const (
	persistent mode = "persistent"
	ephemeral  mode = "ephemeral"
	container  mode = "container"
	ttl        mode = "ttl"
)

// observer is the session of ops that compare: nobody in particular.
const observer = -1

// anyVersion is ZooKeeper's version that every node has.
const anyVersion = -1

// aclEntry is an entry of an ACL; Perms are letters of cdrwa in that order.
type aclEntry struct {
	Scheme, ID, Perms string
}

// op is one call. It names no result of earlier ones, so that a sequence of ops
// means the same when some of them are left out.
type op struct {
	Kind       kind
	Session    int    // by whom; observer: nobody
	Path       string // below the root of the world; "" is that root
	Absolute   bool   // Path is below nothing
	Data       string
	Version    int32
	Mode       mode
	TTLMs      int64 // of ttl
	Sequential bool
	ACL        []aclEntry // create: nil is the open one
	Holding    bool       // set: Perch is told the session
	Watch      kind       // opGet, opExists or opChildren
	Ops        []op       // of a multi; before a node vanishes
}

// at is the whole path in a world.
func (o op) at(root string) string {
	if o.Absolute {
		return o.Path
	}
	return root + o.Path
}

// String is the op as it stands in a report.
func (o op) String() string {
	if o.Session == observer || o.Kind == opVanish {
		return o.text()
	}
	return fmt.Sprintf("session %d: %s", o.Session, o.text())
}

func (o op) text() string {
	var b strings.Builder
	b.WriteString(string(o.Kind))
	if o.Kind == opWatch {
		fmt.Fprintf(&b, " by %s", o.Watch)
	}
	if o.Kind != opMulti && o.Kind != opOpen && o.Kind != opClose {
		fmt.Fprintf(&b, " %q", o.Path)
	}
	switch o.Kind {
	case opCreate:
		fmt.Fprintf(&b, " data %q %s", o.Data, o.Mode)
		if o.Mode == ttl {
			fmt.Fprintf(&b, " of %d ms", o.TTLMs)
		}
		if o.Sequential {
			b.WriteString(" sequential")
		}
		if o.ACL != nil {
			fmt.Fprintf(&b, " acl %v", o.ACL)
		}
	case opSet:
		fmt.Fprintf(&b, " data %q version %d", o.Data, o.Version)
	case opDelete, opCheck:
		fmt.Fprintf(&b, " version %d", o.Version)
	case opSetACL:
		fmt.Fprintf(&b, " acl %v version %d", o.ACL, o.Version)
	case opMulti, opVanish:
		for i, sub := range o.Ops {
			fmt.Fprintf(&b, "\n      %d: %s", i, sub.text())
		}
	}
	return b.String()
}

// stat is what both sides tell of a node. Zxids are the side's own.
type stat struct {
	Czxid, Mzxid, Pzxid         int64
	Version, Cversion, Aversion int64
	NumChildren, DataLength     int64
	Owner                       int  // counts the sessions of the world from 1; 0: none
	Mode                        mode // ZooKeeper does not tell it
}

// plain is the stat without what differs between the sides.
func (s stat) plain() stat {
	s.Czxid, s.Mzxid, s.Pzxid, s.Mode = 0, 0, 0, ""
	return s
}

// ZooKeeper's numbers of what can go wrong here.
const (
	codeOK           = 0
	codeBadArguments = -8
	codeNoNode       = -101
	codeNoAuth       = -102
	codeNodeExists   = -110
	codeExpired      = -112
	codeInvalidACL   = -114
)

// answer is what one side says to an op.
type answer struct {
	Code   int    // ZooKeeper's number
	Said   string // the refusal in the side's own words
	Failed int    // multi: which op was refused

	Path     string // create: the real one, below the root of the world
	Data     string // get
	Stat     stat   // exists, get, set, setACL
	HasStat  bool
	Children []string   // sorted
	ACL      []aclEntry // getACL
	Results  []answer   // multi
}

// String is the answer as it stands in a report.
func (a answer) String() string {
	if a.Code != codeOK {
		where := ""
		if a.Failed > 0 {
			where = fmt.Sprintf(" at op %d", a.Failed)
		}
		return fmt.Sprintf("refused%s: %d (%s)", where, a.Code, a.Said)
	}
	var parts []string
	if a.Path != "" {
		parts = append(parts, fmt.Sprintf("path %q", a.Path))
	}
	if a.HasStat {
		parts = append(parts, fmt.Sprintf("stat %+v", a.Stat))
	}
	if a.Data != "" {
		parts = append(parts, fmt.Sprintf("data %q", a.Data))
	}
	if a.Children != nil {
		parts = append(parts, fmt.Sprintf("children %q", a.Children))
	}
	if a.ACL != nil {
		parts = append(parts, fmt.Sprintf("acl %v", a.ACL))
	}
	for i, r := range a.Results {
		parts = append(parts, fmt.Sprintf("%d: {%v}", i, r))
	}
	return strings.TrimSpace("ok " + strings.Join(parts, ", "))
}

// event is a change that a watch has seen, below the root of the world.
type event struct {
	Type string // created, changed, deleted; one-shot: also children
	Path string
}

// side is one of the two, as one world sees it. Its errors are failures of the
// machinery, never answers.
type side interface {
	// do does the op.
	do(o op) (answer, error)
	// events are those since the last call, in order.
	events() ([]event, error)
	// fired is what the one-shot watches have seen since they were set, by the
	// order in which they were set; those that have seen something are gone.
	fired() (map[int]event, error)
	// end closes what is open.
	end()
}
