package lease

import (
	"fmt"

	"perch/gen/commandpb"
	"perch/tree"
)

// Settings are the limits that apply reads. They are replicated state, set by
// committed commands (RULES.md R5); flags only seed them when a cluster forms.
type Settings struct {
	ValueBytes        int   // 1 MiB: largest value
	PathBytes         int   // 1 024
	PathSegments      int   // 64
	TxnNodes          int   // 10 000: nodes that one transaction touches
	SessionEphemerals int   // 10 000
	Sessions          int   // 1 000 000
	TTLMinMs          int64 // 1 000
	TTLMaxMs          int64 // 86 400 000
	EventAgeMs        int64 // 600 000: events younger than this are kept …
	EventBytes        int64 // 128 MiB: … up to this
	ClosedAgeMs       int64 // 86 400 000: hashes of ended sessions are remembered

	// From level 2 on.
	PrincipalSessions int   // 100 000
	PrincipalNodes    int64 // 0: no bound on the nodes that one principal has made …
	PrincipalBytes    int64 // 0: … and on their bytes

	// From level 3 on.
	RecordBytes   int64 // 256 MiB: of idempotency records …
	RecordAgeMs   int64 // 86 400 000: … which are kept so long
	RecordLeastMs int64 // 60 000: none is dropped below this age
	OverAgeMs     int64 // 600 000: holds that have ended are remembered
	Waiting       int   // 100 000: places in the queue of one name
	SessionHolds  int   // 10 000: holds and places of one session
	QueueMessages int64 // 1 000 000: in one queue
	QueueBytes    int64 // 1 GiB: of the data in one queue
}

// DefaultSettings are those that every state begins with. They are part of what
// their levels mean: a program with others would replay a log differently, so
// they never change (RULES.md R6).
func DefaultSettings() Settings {
	return Settings{
		ValueBytes: 1 << 20, PathBytes: 1024, PathSegments: 64, TxnNodes: 10_000,
		SessionEphemerals: 10_000, Sessions: 1_000_000, TTLMinMs: 1_000, TTLMaxMs: 86_400_000,
		EventAgeMs: 600_000, EventBytes: 128 << 20, ClosedAgeMs: 86_400_000,
		PrincipalSessions: 100_000,
		RecordBytes:       256 << 20, RecordAgeMs: 86_400_000, RecordLeastMs: 60_000, OverAgeMs: 600_000,
		Waiting: 100_000, SessionHolds: 10_000, QueueMessages: 1_000_000, QueueBytes: 1 << 30,
	}
}

// Validate says which setting is outside of what this code can serve.
func (s Settings) Validate() error {
	for _, f := range s.fields(Format) {
		if v := f.get(); v < f.least || v > f.most {
			return fmt.Errorf("%s is %d, must be %d to %d", f.name, v, f.least, f.most)
		}
	}
	if s.TTLMinMs > s.TTLMaxMs {
		return fmt.Errorf("ttl_min_ms %d is above ttl_max_ms %d", s.TTLMinMs, s.TTLMaxMs)
	}
	return nil
}

// Command is the command that sets every field that a level knows as it is
// here.
func (s Settings) Command(level uint32) *commandpb.Configure {
	c := new(commandpb.Configure)
	for _, f := range s.fields(level) {
		v := f.get()
		*f.in(c) = &v
	}
	return c
}

// Seed is the command that sets the fields that a level knows and the one before,
// 0 for none, did not; nil when each is what every state begins with.
func (s Settings) Seed(before, level uint32) *commandpb.Configure {
	std := DefaultSettings()
	known, initial := 0, std.fields(level)
	if before > 0 {
		known = len(std.fields(before))
	}
	c, differs := new(commandpb.Configure), false
	for i, f := range s.fields(level) {
		if i < known {
			continue
		}
		v := f.get()
		*f.in(c) = &v
		differs = differs || v != initial[i].get()
	}
	if !differs {
		return nil
	}
	return c
}

// PathLimits are those for tree.CheckPath.
func (s Settings) PathLimits() tree.PathLimits {
	return tree.PathLimits{Bytes: s.PathBytes, Segments: s.PathSegments}
}

func (s Settings) limits() tree.Limits {
	return tree.Limits{
		Path: s.PathLimits(), ValueBytes: s.ValueBytes, TxnNodes: s.TxnNodes, OwnerNodes: s.SessionEphemerals,
		TTLMinMs: s.TTLMinMs, TTLMaxMs: s.TTLMaxMs, CreatorNodes: s.PrincipalNodes, CreatorBytes: s.PrincipalBytes,
	}
}

func (s Settings) validTTL(ms uint64) bool {
	return ms >= uint64(s.TTLMinMs) && ms <= uint64(s.TTLMaxMs)
}

// merge takes the fields that c sets and level knows. It says false when there
// are none.
func (s *Settings) merge(c *commandpb.Configure, level uint32) (any bool) {
	for _, f := range s.fields(level) {
		if v := *f.in(c); v != nil {
			f.set(*v)
			any = true
		}
	}
	return any
}

// field is one setting: its name, its bounds, where it stands here and in a
// command.
type field struct {
	name        string
	least, most int64
	get         func() int64
	set         func(int64)
	in          func(*commandpb.Configure) **int64
}

func settingField[T int | int64](name string, at *T, least, most int64, in func(*commandpb.Configure) **int64) field {
	return field{
		name: name, least: least, most: most, in: in,
		get: func() int64 { return int64(*at) },
		set: func(v int64) { *at = T(v) },
	}
}

// fields are the settings that a level knows, in the order of the command's
// fields. The digest depends on the order.
func (s *Settings) fields(level uint32) []field {
	const day = 86_400_000
	type c = commandpb.Configure
	first := []field{
		settingField("value_bytes", &s.ValueBytes, 1, 8<<20, func(m *c) **int64 { return &m.ValueBytes }),
		settingField("path_bytes", &s.PathBytes, 16, 16<<10, func(m *c) **int64 { return &m.PathBytes }),
		settingField("path_segments", &s.PathSegments, 1, 1024, func(m *c) **int64 { return &m.PathSegments }),
		settingField("txn_nodes", &s.TxnNodes, 1, 1_000_000, func(m *c) **int64 { return &m.TxnNodes }),
		settingField("session_ephemerals", &s.SessionEphemerals, 0, 1_000_000, func(m *c) **int64 { return &m.SessionEphemerals }),
		settingField("sessions", &s.Sessions, 0, 100_000_000, func(m *c) **int64 { return &m.Sessions }),
		settingField("ttl_min_ms", &s.TTLMinMs, 1, 365*day, func(m *c) **int64 { return &m.TtlMinMs }),
		settingField("ttl_max_ms", &s.TTLMaxMs, 1, 365*day, func(m *c) **int64 { return &m.TtlMaxMs }),
		settingField("event_age_ms", &s.EventAgeMs, 0, 365*day, func(m *c) **int64 { return &m.EventAgeMs }),
		settingField("event_bytes", &s.EventBytes, 0, 1<<40, func(m *c) **int64 { return &m.EventBytes }),
		settingField("closed_age_ms", &s.ClosedAgeMs, 0, 365*day, func(m *c) **int64 { return &m.ClosedAgeMs }),
	}
	if level < accessLevel {
		return first
	}
	first = append(first,
		settingField("principal_sessions", &s.PrincipalSessions, 0, 100_000_000, func(m *c) **int64 { return &m.PrincipalSessions }),
		settingField("principal_nodes", &s.PrincipalNodes, 0, 1_000_000_000, func(m *c) **int64 { return &m.PrincipalNodes }),
		settingField("principal_bytes", &s.PrincipalBytes, 0, 1<<50, func(m *c) **int64 { return &m.PrincipalBytes }),
	)
	if level < heldLevel {
		return first
	}
	return append(first,
		settingField("record_bytes", &s.RecordBytes, 1<<10, 1<<40, func(m *c) **int64 { return &m.RecordBytes }),
		settingField("record_age_ms", &s.RecordAgeMs, 1, 365*day, func(m *c) **int64 { return &m.RecordAgeMs }),
		settingField("record_least_ms", &s.RecordLeastMs, 0, 365*day, func(m *c) **int64 { return &m.RecordLeastMs }),
		settingField("over_age_ms", &s.OverAgeMs, 0, 365*day, func(m *c) **int64 { return &m.OverAgeMs }),
		settingField("waiting", &s.Waiting, 0, 100_000_000, func(m *c) **int64 { return &m.Waiting }),
		settingField("session_holds", &s.SessionHolds, 1, 1_000_000, func(m *c) **int64 { return &m.SessionHolds }),
		settingField("queue_messages", &s.QueueMessages, 0, 100_000_000, func(m *c) **int64 { return &m.QueueMessages }),
		settingField("queue_bytes", &s.QueueBytes, 0, 1<<50, func(m *c) **int64 { return &m.QueueBytes }),
	)
}
