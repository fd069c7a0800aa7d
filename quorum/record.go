package quorum

// RecordType says what a Record does to the log it is appended to.
type RecordType uint8

const (
	// RecordControl replaces the control state.
	RecordControl RecordType = 1
	// RecordEntry appends Entry, which continues the log.
	RecordEntry RecordType = 2
	// RecordTruncate removes every entry after Zxid; Chain is the hash at Zxid.
	RecordTruncate RecordType = 3
	// RecordInstall says that the snapshot at Zxid (chain hash Chain) is durable
	// and supersedes everything logged before: the log now ends at Zxid.
	RecordInstall RecordType = 4
	// RecordCommit is a hint: everything up to Zxid is known to be committed.
	RecordCommit RecordType = 5
)

// Record is one durable step. Records are replayed in the order in which they
// were appended; a prefix of them is always a legal state (ZAB.md 0.3).
type Record struct {
	Type    RecordType
	Control *Control // RecordControl
	Entry   Entry    // RecordEntry
	Zxid    Zxid     // RecordTruncate, RecordInstall, RecordCommit
	Chain   uint64   // RecordTruncate, RecordInstall
}

// Restored is what a node finds on its disk when it starts. The driver has
// already raised Control.Boot and made it durable.
type Restored struct {
	Control    Control
	Snapshot   SnapMeta // newest valid snapshot; zero when there is none
	History    History  // index of the retained log, at least from Snapshot on
	Tail       []Entry  // entries after Snapshot.Zxid
	CommitHint Zxid     // highest RecordCommit; 0 when unknown
}
