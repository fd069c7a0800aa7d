package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/tracing"
)

// Config is what a node needs to know. A zero field takes the default that
// stands beside it.
type Config struct {
	ID     quorum.NodeID
	Peers  []quorum.Peer // every member, this node included; alone: a quorum of one; role: voter
	Name   string        // --cluster-name; "perch"
	Dir    string        // data directory, made when missing
	Secret []byte        // the cluster's secret, at least 32 bytes
	// Version of the program, which the members tell each other.
	Version string
	// OldSecret still proves session tokens while the secret is changed.
	OldSecret []byte
	// PeerTLS encrypts and authenticates what goes between nodes (natsnet.PeerTLS);
	// nil leaves it plain, which PeerInsecure allows beyond loopback.
	PeerTLS      *tls.Config
	PeerInsecure bool
	Gateways     *natsnet.GatewayPort // where gateways reach this node; nil: nowhere
	// Settings are proposed once by the first leader of a cluster that forms now,
	// if they are not lease.DefaultSettings; later ones are set by commands.
	Settings lease.Settings

	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none are kept
	Tracer  *tracing.Tracer       // nil: nothing is traced

	Tuning quorum.Tuning // of the core

	SegmentBytes  int64         // 64 MiB: a segment of the log is followed by the next
	SnapshotBytes int64         // 64 MiB of log since the last snapshot call for one
	SnapshotEvery time.Duration // 60 s at least between two
	SnapshotKeep  int           // 3
	SnapshotRate  int64         // 50 MB/s at most when a snapshot is written or served; bytes a second

	FeedRate int64 // 32 MB/s at most are read and written for a Feed; bytes a second

	Level uint32 // lease.Format: highest feature level that this program says it knows

	RebuildAfter time.Duration // 3 s from finding that the store is spoiled to the end of Run

	CommandBytes int // 4 MiB: largest command
	InFlight     int // 16 384: writes of this node's clients without an outcome …
	InFlightMem  int // 64 MiB: … and their bytes
	Backlog      int // 64 MiB committed and not applied, above which writes are refused
	Waiters      int // 50 000 parked interests
	Pins         int // 64 states pinned for pages

	// Transport replaces NATS; for tests. It is used also by a quorum of one.
	Transport Transport
}

const secretBytes = 32

func (c Config) withDefaults() Config {
	setDefault(&c.Name, "perch")
	setDefault(&c.Settings, lease.DefaultSettings())
	c.Peers = slices.Clone(c.Peers)
	for i := range c.Peers {
		setDefault(&c.Peers[i].Role, quorum.RoleVoter)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&c.SnapshotBytes, 64<<20)
	setDefault(&c.SnapshotEvery, time.Minute)
	setDefault(&c.SnapshotKeep, 3)
	setDefault(&c.SnapshotRate, 50_000_000)
	setDefault(&c.FeedRate, 32_000_000)
	setDefault(&c.Level, lease.Format)
	setDefault(&c.RebuildAfter, 3*time.Second)
	setDefault(&c.CommandBytes, 4<<20)
	setDefault(&c.InFlight, 16384)
	setDefault(&c.InFlightMem, 64<<20)
	setDefault(&c.Backlog, 64<<20)
	setDefault(&c.Waiters, 50_000)
	setDefault(&c.Pins, 64)
	return c
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate reports every fault of c at once.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.ID == 0 {
		fault("node id 0: ids are 1 to 65535")
	}
	if c.Dir == "" {
		fault("no data directory")
	}
	if len(c.Secret) < secretBytes {
		fault("the secret has %d bytes, at least %d are needed", len(c.Secret), secretBytes)
	}
	voters, self := 0, false
	seen := make(map[quorum.NodeID]bool)
	for _, p := range c.Peers {
		switch {
		case p.ID == 0:
			fault("peer id 0: ids are 1 to 65535")
		case seen[p.ID]:
			fault("peer %d is listed twice", p.ID)
		}
		seen[p.ID] = true
		self = self || p.ID == c.ID
		if p.Role != quorum.RoleObserver {
			voters++
		}
	}
	if !self {
		fault("node %d is not among the peers", c.ID)
	}
	if voters == 0 {
		fault("there is no voter among the peers")
	}
	return errors.Join(faults...)
}
