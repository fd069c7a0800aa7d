package lease

import (
	"errors"

	"perch/gen/commandpb"
	"perch/gen/snapshotpb"
	"perch/quorum"
	"perch/tree"
)

// What the tree has in a snapshot: its nodes, and the events of their changes.

func (v *View) writeNodes(f *frameWriter) {
	var m snapshotpb.Node
	v.tree.Scan(func(r tree.Record) bool {
		s := &r.Stat
		m.Path, m.Data = r.Path, r.Data
		m.Czxid, m.Mzxid, m.Pzxid = uint64(s.Czxid), uint64(s.Mzxid), uint64(s.Pzxid)
		m.CtimeMs, m.MtimeMs, m.Version = s.Ctime, s.Mtime, uint64(s.Version)
		m.Creates, m.Children, m.Owner = uint64(r.Creates), uint64(s.NumChildren), uint64(s.EphemeralOwner)
		m.Mode, m.TtlMs, m.Acl, m.Aversion = lasting(s.Mode), uint64(s.TTLMs), f.acl(r.ACL), uint64(s.Aversion)
		m.Creator, m.DueAgeMs, m.Quota, m.DefaultAcl = r.Creator, r.Due, quotaMessage(r.Quota), f.defaultACL(r.Default)
		return f.frame(frameNode, &m)
	})
}

func (v *View) writeEvents(f *frameWriter) {
	var m snapshotpb.Event
	v.history.Scan(func(e *tree.Event, age uint64) bool {
		s := &e.Stat
		m.Zxid, m.Type, m.Cause, m.Path, m.AgeMs = uint64(e.Zxid), uint32(e.Type), uint32(e.Cause), e.Path, age
		m.Czxid, m.Mzxid, m.Pzxid = uint64(s.Czxid), uint64(s.Mzxid), uint64(s.Pzxid)
		m.CtimeMs, m.MtimeMs = s.Ctime, s.Mtime
		m.Version, m.Cversion, m.Aversion = s.Version, s.Cversion, s.Aversion
		m.Owner, m.DataLength, m.Children = uint64(s.EphemeralOwner), uint64(s.DataLength), uint64(s.NumChildren)
		m.Mode, m.TtlMs, m.Acl = lasting(s.Mode), uint64(s.TTLMs), f.acl(e.ACL)
		return f.frame(frameEvent, &m)
	})
}

// lasting is a mode that a node does not owe to its owner; no other is written.
func lasting(m tree.Mode) commandpb.Mode {
	switch m {
	case tree.ModeContainer:
		return commandpb.Mode_MODE_CONTAINER
	case tree.ModeTTL:
		return commandpb.Mode_MODE_TTL
	}
	return commandpb.Mode_MODE_UNSPECIFIED
}

// ownedMode is the mode that lasting has left out, or m.
func ownedMode(m commandpb.Mode, owner uint64) tree.Mode {
	if owner != 0 && m == commandpb.Mode_MODE_UNSPECIFIED {
		return tree.ModeEphemeral
	}
	return modes[m]
}

// acl is the entries of a; lists are shared by many nodes, and made once.
func (f *frameWriter) acl(a *tree.ACL) []*commandpb.AclEntry {
	if a == nil {
		return nil
	}
	list, ok := f.acls[a]
	if !ok {
		list = aclMessage(a)
		f.acls[a] = list
	}
	return list
}

func (f *frameWriter) defaultACL(d *tree.DefaultRecord) *snapshotpb.DefaultAcl {
	if d == nil {
		return nil
	}
	return &snapshotpb.DefaultAcl{Acl: f.acl(d.ACL), Zxid: uint64(d.Zxid)}
}

func quotaMessage(q *tree.Quota) *snapshotpb.Quota {
	if q == nil {
		return nil
	}
	return &snapshotpb.Quota{MaxNodes: q.MaxNodes, MaxBytes: q.MaxBytes}
}

func readNodes(s *State, f *frameReader, head *snapshotpb.Header) error {
	l := tree.NewLoader()
	var m snapshotpb.Node
	for range head.Nodes {
		if err := f.next(frameNode, &m); err != nil {
			return err
		}
		rec, err := recordOf(&m)
		if err != nil {
			return err
		}
		if err := l.Add(rec); err != nil {
			return err
		}
	}
	t, err := l.Tree()
	if err != nil {
		return err
	}
	s.tree = t
	s.list()
	return nil
}

func recordOf(m *snapshotpb.Node) (tree.Record, error) {
	if m.Children > 1<<31 || m.Creates > 1<<62 || m.Version > 1<<62 || m.Aversion > 1<<62 || m.TtlMs > 1<<62 {
		return tree.Record{}, errors.New("a count out of range")
	}
	rec := tree.Record{
		Creates: int64(m.Creates), ACL: aclOf(m.Acl), Creator: m.Creator, Due: m.DueAgeMs,
		Node: tree.Node{Path: m.Path, Data: m.Data, Stat: tree.Stat{
			Czxid: quorum.Zxid(m.Czxid), Mzxid: quorum.Zxid(m.Mzxid), Pzxid: quorum.Zxid(m.Pzxid),
			Ctime: m.CtimeMs, Mtime: m.MtimeMs, Version: int64(m.Version), Aversion: int64(m.Aversion),
			EphemeralOwner: quorum.Zxid(m.Owner), NumChildren: int(m.Children),
			Mode: ownedMode(m.Mode, m.Owner), TTLMs: int64(m.TtlMs),
		}},
	}
	if q := m.Quota; q != nil {
		rec.Quota = &tree.Quota{MaxNodes: q.MaxNodes, MaxBytes: q.MaxBytes}
	}
	if d := m.DefaultAcl; d != nil {
		rec.Default = &tree.DefaultRecord{ACL: aclOf(d.Acl), Zxid: quorum.Zxid(d.Zxid)}
	}
	return rec, nil
}

func readEvents(s *State, f *frameReader, head *snapshotpb.Header) error {
	s.history = tree.NewHistory(quorum.Zxid(head.Trimmed))
	var m snapshotpb.Event
	var group []tree.Event // of one transaction
	last, age := quorum.Zxid(head.Trimmed), uint64(0)
	for range head.Events {
		if err := f.next(frameEvent, &m); err != nil {
			return err
		}
		if err := checkEvent(s, &m, last, age); err != nil {
			return err
		}
		if z := quorum.Zxid(m.Zxid); z != last {
			s.history.Append(group, age)
			group, last, age = group[:0], z, m.AgeMs
		}
		e := eventOf(&m)
		e.ACL = s.tree.Intern(aclOf(m.Acl))
		group = append(group, e)
	}
	s.history.Append(group, age)
	return nil
}

func checkEvent(s *State, m *snapshotpb.Event, last quorum.Zxid, age uint64) error {
	z := quorum.Zxid(m.Zxid)
	switch {
	case z < last || z > s.zxid || z == s.history.Oldest() || m.AgeMs < age || m.AgeMs > s.age || z == last && m.AgeMs != age:
		return errors.New("events out of order")
	case m.Type < uint32(tree.EventCreated) || m.Type > uint32(tree.EventACL) || m.Cause > 255:
		return errors.New("an event of an unknown type")
	}
	return tree.CheckPath(m.Path, tree.PathLimits{})
}

func eventOf(m *snapshotpb.Event) tree.Event {
	return tree.Event{
		Zxid: quorum.Zxid(m.Zxid), Type: tree.EventType(m.Type), Cause: tree.Cause(m.Cause), Path: m.Path,
		Stat: tree.Stat{
			Czxid: quorum.Zxid(m.Czxid), Mzxid: quorum.Zxid(m.Mzxid), Pzxid: quorum.Zxid(m.Pzxid),
			Ctime: m.CtimeMs, Mtime: m.MtimeMs, Version: m.Version, Cversion: m.Cversion, Aversion: m.Aversion,
			EphemeralOwner: quorum.Zxid(m.Owner), DataLength: int(m.DataLength), NumChildren: int(m.Children),
			Mode: ownedMode(m.Mode, m.Owner), TTLMs: int64(m.TtlMs),
		},
	}
}
