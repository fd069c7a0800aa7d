package quorum

// Config is what a core needs to know besides its disk.
type Config struct {
	ID         NodeID
	Peers      []Peer // every member of --peers, this node included
	ConfigHash uint64 // of --peers; compared only among unformed stores
	Seed       uint64 // source of every random choice of this core
	MinEpoch   Epoch  // the first epoch of a cluster that forms now (R9)
	Tuning     Tuning
}

// Tuning holds the time-outs and bounds, in ticks of 10 ms and bytes. A zero
// field takes its default.
type Tuning struct {
	PingTicks       int // 4: between two pings
	FollowerTimeout int // 20: silence of a leader that a follower bears; adapts upwards
	FinalizeTicks   int // 2: wait for a better vote before an election ends
	NotifyTicks     int // 3: first repeat of a notification, ×1.5 up to 50
	DiscoveryTicks  int // 30: without progress; doubles per failure up to 500
	SyncTicks       int // 200: without progress
	ResendTicks     int // 5: an unanswered step is repeated
	MessageBytes    int // 48 KiB: entries in one PROPOSE or ENTRIES, unless one is larger
	WindowBytes     int // 16 MiB: proposed and not committed
	CacheBytes      int // 16 MiB: applied entries kept in memory for followers
	MaxPending      int // 65536: requests of this node without an end
}
