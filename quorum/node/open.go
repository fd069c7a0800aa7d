package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/restore"
	"perch/quorum/snap"
	"perch/quorum/wal"
)

// Open prepares a node from its data directory, which is made when missing. A
// store that is damaged or spoiled is set aside, and the node is rebuilt from the
// others. Where they are no majority, and for the store of another node, it
// returns an error that says what to do; nothing has been changed then but the
// count of starts.
func Open(cfg Config) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := finishAside(&cfg); err != nil {
		return nil, err
	}
	n, err := openStore(cfg)
	reason, bad := spoiled(err)
	if !bad || !rebuildable(&cfg) {
		return n, err
	}
	if aside := setAside(&cfg, reason); aside != nil {
		return nil, errors.Join(err, aside)
	}
	return openStore(cfg)
}

func openStore(cfg Config) (*Node, error) {
	opt := wal.Options{Dir: filepath.Join(cfg.Dir, "log"), Node: cfg.ID, SegmentBytes: cfg.SegmentBytes}
	if err := restore.Begin(opt, cfg.Dir); err != nil {
		return nil, openError(err)
	}
	log, found, err := wal.Open(opt)
	if err != nil {
		return nil, openError(err)
	}
	// Peers are about to hear of this boot. Were its record lost with the end of
	// the log, the next start would take that for a torn write, draw the same
	// counter again and be refused as a clone (RULES.md R3), without a word of
	// why. Marked, the loss is seen as damage.
	if err := log.Mark(); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("open the log: %w", err)
	}
	n, err := (*Node)(nil), error(nil)
	if found.Control.Spoiled {
		err = fmt.Errorf("this store is not to be used: %w; remedy: %s", spoiledError(found.Control.Reason), wal.RemedyRebuild)
	} else {
		n, err = open(cfg, log, found)
	}
	if err != nil {
		_ = log.Close()
		return nil, err
	}
	return n, nil
}

// openError tells what is wrong with a log, where, and what to do.
func openError(err error) error {
	var damage *wal.DamageError
	if errors.As(err, &damage) {
		return fmt.Errorf("the log is damaged: %w", damage)
	}
	return fmt.Errorf("open the log: %w", err)
}

func open(cfg Config, log *wal.Log, found *wal.Recovered) (*Node, error) {
	ctx, cancel := context.WithCancel(context.Background())
	store, err := openSnapshots(ctx, cfg)
	if err != nil {
		cancel()
		return nil, err
	}
	n, err := build(cfg, store, log, found)
	if err != nil {
		cancel()
		return nil, err
	}
	n.ctx, n.cancel = ctx, cancel
	n.handlers() // only now: questions may come at once
	n.serveGateways()
	return n, nil
}

// openSnapshots opens the store of snapshots; whatever it writes is paced, so
// that the disk is left to the log, and ends with ctx.
func openSnapshots(ctx context.Context, cfg Config) (*snap.Store, error) {
	pace := newPace(cfg.SnapshotRate)
	store, err := snap.Open(snap.Options{
		Dir:  filepath.Join(cfg.Dir, "snap"),
		Pace: func(n int) error { return pace.wait(ctx, n) },
		Report: func(d *snap.DamageError) {
			cfg.Log.Error("a snapshot is damaged", "file", d.File, "offset", d.Offset, "reason", d.Reason, "remedy", d.Remedy)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open the snapshots: %w", err)
	}
	return store, nil
}

func build(cfg Config, store *snap.Store, log *wal.Log, found *wal.Recovered) (*Node, error) {
	state, meta, err := newestState(cfg, store, found)
	if err != nil {
		return nil, err
	}
	tail, err := found.Entries(meta.Zxid)
	if err != nil {
		return nil, fmt.Errorf("read the log after %v: %w", meta.Zxid, err)
	}
	core, err := quorum.New(quorum.Config{
		ID: cfg.ID, Peers: cfg.Peers, ConfigHash: configHash(cfg.Peers), Seed: seed(),
		MinEpoch: minEpoch(time.Now()), Level: cfg.Level, Tuning: cfg.Tuning,
	}, quorum.Restored{
		Control: found.Control, Snapshot: meta, History: found.History, Tail: tail, CommitHint: found.CommitHint,
	})
	if err != nil {
		return nil, err
	}
	core.SetAge(state.View().Age())
	net, err := startNet(cfg, membershipOf(&cfg, core).peers)
	if err != nil {
		return nil, err
	}
	n := assemble(cfg, core, state, meta, net, log, store)
	n.snaps.logStart.Store(uint64(found.History.Start()))
	return n, nil
}

// startNet starts the transport; a node without an address that is alone has
// none, unless gateways are to reach it.
func startNet(cfg Config, peers []quorum.Peer) (Transport, error) {
	if cfg.Transport != nil || len(peers) == 1 && peers[0].Addr == "" && cfg.Gateways == nil {
		return cfg.Transport, nil
	}
	net, err := natsnet.Start(natsnet.Options{
		ID: cfg.ID, ClusterName: cfg.Name, Peers: peers, Secret: cfg.Secret, Logger: cfg.Log,
		TLS: cfg.PeerTLS, Insecure: cfg.PeerInsecure, Gateways: cfg.Gateways,
	})
	if err != nil {
		return nil, fmt.Errorf("start the transport: %w", err)
	}
	return net, nil
}

// newestState loads the newest snapshot that is whole and belongs to the log: its
// position is in the log's index with the same chain hash. One that does not is
// no error: a crash between writing a pulled snapshot and logging it leaves one.
func newestState(cfg Config, store *snap.Store, found *wal.Recovered) (*lease.State, quorum.SnapMeta, error) {
	newest, ok, err := store.Newest()
	if err != nil {
		return nil, newest, fmt.Errorf("find the newest snapshot: %w", err)
	}
	if ok && belongs(newest, found) {
		if state, err := load(store, newest); err == nil {
			return state, newest, nil
		}
	}
	return anyState(cfg, store, found) // only now are all of them read
}

func belongs(m quorum.SnapMeta, found *wal.Recovered) bool {
	chain, ok := found.History.Chain(m.Zxid)
	return ok && chain == m.Chain
}

func anyState(cfg Config, store *snap.Store, found *wal.Recovered) (*lease.State, quorum.SnapMeta, error) {
	metas, err := store.List()
	if err != nil {
		return nil, quorum.SnapMeta{}, fmt.Errorf("list the snapshots: %w", err)
	}
	var faults []error
	for _, m := range metas {
		if !belongs(m, found) {
			continue
		}
		state, err := load(store, m)
		if err == nil {
			return state, m, nil
		}
		faults = append(faults, fmt.Errorf("snapshot at %v: %w", m.Zxid, err))
	}
	start := found.History.Start()
	if ctl := &found.Control; ctl.Past != (quorum.Past{}) && !ctl.Formed && !ctl.NeedsRebuild {
		// Nobody could rebuild it: the cluster has not formed.
		return nil, quorum.SnapMeta{}, errors.Join(append([]error{fmt.Errorf("the snapshot that %s was restored from is lost or damaged, and no cluster has formed yet: "+
			"delete the directory and restore it again", cfg.Dir)}, faults...)...)
	}
	if ctl := &found.Control; len(metas) > 0 && !ctl.Formed && !ctl.NeedsRebuild {
		return nil, quorum.SnapMeta{}, &wal.DamageError{
			File:   filepath.Join(cfg.Dir, "log"),
			Reason: fmt.Sprintf("there are snapshots up to %v but no log: it was lost or moved away", metas[0].Zxid),
			Remedy: "put it back, or move the whole directory aside, so that this node starts as one without data",
		}
	}
	if start == 0 {
		state := lease.New(lease.DefaultSettings())
		state.Know(cfg.Level)
		return state, quorum.SnapMeta{}, nil
	}
	lost := &wal.DamageError{
		File: filepath.Join(cfg.Dir, "snap"), Remedy: wal.RemedyRebuild,
		Reason: fmt.Sprintf("the log begins after %v and no whole snapshot reaches back to it", start),
	}
	return nil, quorum.SnapMeta{}, errors.Join(append([]error{lost}, faults...)...)
}

// load reads a snapshot and checks its digest.
func load(store *snap.Store, m quorum.SnapMeta) (*lease.State, error) {
	r, err := store.Open(m.Zxid)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	state, err := lease.Restore(r)
	if err != nil {
		return nil, err
	}
	if v := state.View(); v.Zxid() != m.Zxid || v.Digest() != m.Digest {
		return nil, fmt.Errorf("holds the state at %v with digest %x, not %v with %x", v.Zxid(), v.Digest(), m.Zxid, m.Digest)
	}
	return state, nil
}

// assemble ties the parts together. Nothing runs yet.
func assemble(cfg Config, core machine, state *lease.State, meta quorum.SnapMeta, net Transport, log Log, store *snap.Store) *Node {
	n := &Node{
		cfg: cfg, log: cfg.Log.With(keyNode, cfg.ID), net: net, wal: log, began: time.Now(),
		fatal:    make(chan error, 1),
		watches:  newWatches(cfg.Waiters),
		places:   newPlaces(),
		requests: newRequests(cfg.InFlight, cfg.InFlightMem),
		fetches:  newQueue[quorum.FetchJob](),
	}
	ctl, soft := core.Control(), core.Soft()
	n.own = quorum.Origin{Node: cfg.ID, Boot: ctl.Boot.Nonce}
	n.soft.Store(&soft)
	n.publishPeers(core)
	n.members.Store(membershipOf(&n.cfg, core))
	n.loop = newLoop(n, core)
	n.disk = newDisk(log)
	n.keeper = newKeeper(n)
	n.touches = newTouches(n)
	n.space = newSpace(n, cfg.Dir)
	n.apply = newApplier(n, state, &meta)
	n.snaps = newSnapshots(n, store)
	n.snaps.adopt(meta, state.View().Age())
	n.pull = newPuller(n, store)
	n.pages = newPages(cfg, n.cluster)
	n.reign.Store(&reign{})
	n.metrics = newMetrics(n, cfg.Metrics)
	n.stages = newStages(n, cfg.Tracer)
	n.disk.stable = n.loop.stable
	n.disk.fsync = func(records []quorum.Record, began, end time.Time) {
		n.metrics.appended(end.Sub(began), len(records))
		if n.stages != nil {
			n.stages.pass(stageWritten, lastEntry(records), began, end)
		}
	}
	n.disk.failed = func(err error) {
		n.loop.call(func(core machine) { core.DiskFailed(err) })
	}
	return n
}

// configHash stands for --peers while a cluster forms. The order of the list
// does not matter.
func configHash(peers []quorum.Peer) uint64 {
	sorted := slices.Clone(peers)
	slices.SortFunc(sorted, func(a, b quorum.Peer) int { return cmp.Compare(a.ID, b.ID) })
	h := xxhash.New()
	for _, p := range sorted {
		_, _ = fmt.Fprintf(h, "%d=%s:%d\n", p.ID, p.Addr, p.Role)
	}
	return h.Sum64()
}

// seed makes every node's random choices its own.
func seed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}
