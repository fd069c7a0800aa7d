package lease

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
}

// DefaultSettings are those of a new cluster.
func DefaultSettings() Settings {
	return Settings{
		ValueBytes: 1 << 20, PathBytes: 1024, PathSegments: 64, TxnNodes: 10_000,
		SessionEphemerals: 10_000, Sessions: 1_000_000, TTLMinMs: 1_000, TTLMaxMs: 86_400_000,
		EventAgeMs: 600_000, EventBytes: 128 << 20, ClosedAgeMs: 86_400_000,
	}
}
