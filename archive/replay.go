package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/wal"
)

// Target says which state is wanted: the newest; with Zxid that at the position;
// with Time that after the last transaction at or before it, by the clock of the
// leader.
type Target struct {
	Zxid quorum.Zxid
	Time time.Time
}

// Plan is how a state is restored: from a snapshot, through transactions.
type Plan struct {
	Cluster      ClusterInfo
	Snapshot     SnapshotInfo
	Zxid         quorum.Zxid // of the state
	Transactions int64       // behind the snapshot

	// proof is the position, at or behind Zxid, where the digest that the cluster
	// had is compared once more; Zxid when none is known.
	proof quorum.Zxid
}

// Plan finds out how the state that to names is restored. It returns ErrNotThere
// when it cannot be, and says what can.
func (a *Archive) Plan(ctx context.Context, c ClusterInfo, to Target) (Plan, error) {
	p := Plan{Cluster: c, Zxid: to.Zxid}
	if p.Zxid == 0 {
		var err error
		if p.Zxid, err = a.newest(ctx, c, to.Time); err != nil {
			return p, err
		}
	}
	snaps, err := list(ctx, a, scanSnapshot, selectSnapshots+` AND zxid <= $2 ORDER BY zxid DESC LIMIT 1`, c.ID, int64(p.Zxid))
	if err != nil {
		return p, err
	}
	if len(snaps) == 0 {
		return p, a.unreachable(ctx, c, p.Zxid)
	}
	p.Snapshot, p.proof = snaps[0], p.Zxid
	if p.Zxid == p.Snapshot.Zxid {
		return p, nil
	}
	return p, a.through(ctx, &p)
}

// newest is the last position at or before a time; zero: the last of all.
func (a *Archive) newest(ctx context.Context, c ClusterInfo, at time.Time) (quorum.Zxid, error) {
	if at.IsZero() {
		return c.Zxid, nil
	}
	found, err := list(ctx, a, pgx.RowTo[*int64], `SELECT greatest(
		(SELECT max(zxid) FROM perch.transactions WHERE cluster_id = $1 AND at <= $2),
		(SELECT max(zxid) FROM perch.snapshots WHERE cluster_id = $1 AND at <= $2))`, c.ID, at)
	if err != nil {
		return 0, err
	}
	if found[0] == nil {
		return 0, a.unreachable(ctx, c, 0)
	}
	return quorum.Zxid(*found[0]), nil
}

// through fills in the transactions from the snapshot of p on, which must be
// there without a gap.
func (a *Archive) through(ctx context.Context, p *Plan) error {
	type batch struct {
		after, through int64
		digested       bool
	}
	all, err := list(ctx, a, func(row pgx.CollectableRow) (b batch, err error) {
		err = row.Scan(&b.after, &b.through, &b.digested)
		return b, err
	}, `SELECT after_zxid, through_zxid, digest IS NOT NULL FROM perch.batches
		WHERE cluster_id = $1 AND through_zxid > $2 AND after_zxid < $3 ORDER BY through_zxid`, p.Cluster.ID, int64(p.Snapshot.Zxid), int64(p.Zxid))
	if err != nil {
		return err
	}
	at := int64(p.Snapshot.Zxid)
	for i, b := range all {
		if b.after > at || i > 0 && b.after != at {
			break
		}
		at = b.through
		if b.digested && quorum.Zxid(at) >= p.Zxid {
			p.proof = quorum.Zxid(at)
		}
	}
	found, err := list(ctx, a, pgx.RowTo[int64], `SELECT count(*) FROM perch.transactions
		WHERE cluster_id = $1 AND zxid > $2 AND zxid <= $3
		UNION ALL SELECT count(*) FROM perch.transactions WHERE cluster_id = $1 AND zxid = $3`,
		p.Cluster.ID, int64(p.Snapshot.Zxid), int64(p.Zxid))
	if err != nil {
		return err
	}
	if quorum.Zxid(at) < p.Zxid || found[1] == 0 {
		return a.unreachable(ctx, p.Cluster, p.Zxid)
	}
	p.Transactions = found[0]
	return nil
}

// unreachable tells what can be restored instead.
func (a *Archive) unreachable(ctx context.Context, c ClusterInfo, z quorum.Zxid) error {
	ranges, err := a.Ranges(ctx, c.ID)
	if err != nil {
		return err
	}
	text := "nothing can be"
	for i, r := range ranges {
		if i == 0 {
			text = "what can be:"
		}
		text += fmt.Sprintf(" %d to %d (%s to %s)", r.From, r.Through, r.FromAt.UTC().Format(time.RFC3339), r.ThroughAt.UTC().Format(time.RFC3339))
	}
	return fmt.Errorf("%w: no state at %d can be restored; %s", ErrNotThere, z, text)
}

// replayPage is how many transactions are asked for at once.
const replayPage = 2000

// Replay restores the state of p and verifies it. progress, unless it is nil, is
// called now and then with the transactions applied so far.
func (a *Archive) Replay(ctx context.Context, p Plan, progress func(done int64)) (*lease.View, error) {
	var view *lease.View
	err := a.frozen(ctx, func() error {
		run := &replay{archive: a, cluster: p.Cluster.ID, progress: progress}
		if err := run.meet(ctx, &p.Snapshot); err != nil {
			return err
		}
		if err := run.to(ctx, p.Zxid); err != nil {
			return err
		}
		view = run.state.View()
		return run.to(ctx, p.proof) // the view stays as it is
	})
	return view, err
}

// frozen runs fn while its queries see the archive of one moment, so that nothing
// is trimmed between two of them.
func (a *Archive) frozen(ctx context.Context, fn func() error) error {
	return a.classify(pgx.BeginTxFunc(ctx, a.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly},
		func(pgx.Tx) error { return fn() }))
}

// load reads a snapshot and verifies it.
func (a *Archive) load(ctx context.Context, cluster string, s *SnapshotInfo) (*lease.State, error) {
	chunks := &chunkReader{ctx: ctx, archive: a, cluster: cluster, snap: s}
	z, err := zstd.NewReader(chunks, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	state, err := lease.Restore(z)
	var damage *DamageError
	var failure *Failure
	switch {
	case errors.As(err, &damage), errors.As(err, &failure), errors.Is(err, lease.ErrFormat):
		return nil, err
	case err != nil:
		return nil, damaged(s.Zxid, "snapshot %d: %s", s.Zxid, plain(err))
	}
	if v := state.View(); v.Zxid() != s.Zxid || fmt.Sprintf("%016x", v.Digest()) != s.Digest {
		return nil, damaged(s.Zxid, "snapshot %d holds the state at %d with digest %016x, not %s", s.Zxid, v.Zxid(), v.Digest(), s.Digest)
	}
	return state, nil
}

// chunkReader reads the chunks of a snapshot, one after another.
type chunkReader struct {
	ctx     context.Context
	archive *Archive
	cluster string
	snap    *SnapshotInfo
	number  int
	rest    []byte
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.number == c.snap.Chunks {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *chunkReader) next() error {
	type chunk struct{ sum, data []byte }
	found, err := list(c.ctx, c.archive, func(row pgx.CollectableRow) (k chunk, err error) {
		err = row.Scan(&k.sum, &k.data)
		return k, err
	}, `SELECT sha256, data FROM perch.snapshot_chunks WHERE cluster_id = $1 AND zxid = $2 AND number = $3`,
		c.cluster, int64(c.snap.Zxid), c.number)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return damaged(c.snap.Zxid, "chunk %d of snapshot %d is missing", c.number, c.snap.Zxid)
	}
	if sum := sha256.Sum256(found[0].data); !bytes.Equal(sum[:], found[0].sum) {
		return damaged(c.snap.Zxid, "chunk %d of snapshot %d is not what was written: its hash differs", c.number, c.snap.Zxid)
	}
	c.rest = found[0].data
	c.number++
	return nil
}

// replay applies archived transactions to a state.
type replay struct {
	archive  *Archive
	cluster  string
	state    *lease.State
	chain    uint64 // chain hash of the log at the state
	done     int64
	progress func(int64)
}

// archived is a transaction, and the digest that the state had behind it where
// that is known.
type archived struct {
	zxid   quorum.Zxid
	chain  uint64
	entry  []byte
	digest *string
}

// to applies everything up to z, which must be a position.
func (r *replay) to(ctx context.Context, z quorum.Zxid) error {
	for at := r.state.View().Zxid(); at < z; {
		if err := r.archive.access.within(ctx, func(ctx context.Context) error { return r.page(ctx, at, z) }); err != nil {
			return err
		}
		now := r.state.View().Zxid()
		if now == at {
			return damaged(z, "transactions after %d are missing, up to %d", at, z)
		}
		if at = now; r.progress != nil {
			r.progress(r.done)
		}
	}
	return nil
}

// page applies what follows at, one after another as it comes: a transaction may
// have megabytes.
func (r *replay) page(ctx context.Context, at, z quorum.Zxid) error {
	rows, err := r.archive.conn.Query(ctx, `SELECT t.zxid, t.chain, t.entry, b.digest FROM perch.transactions t
		LEFT JOIN perch.batches b ON b.cluster_id = t.cluster_id AND b.through_zxid = t.zxid
		WHERE t.cluster_id = $1 AND t.zxid > $2 AND t.zxid <= $3 ORDER BY t.zxid LIMIT $4`, r.cluster, int64(at), int64(z), replayPage)
	if err != nil {
		return err
	}
	var t archived
	var chain int64
	_, err = pgx.ForEachRow(rows, []any{&t.zxid, &chain, &t.entry, &t.digest}, func() error {
		t.chain = uint64(chain)
		r.done++
		return r.apply(&t)
	})
	return err
}

func (r *replay) apply(t *archived) error {
	e, err := wal.DecodeEntry(t.zxid, t.chain, t.entry)
	if err != nil {
		return damaged(t.zxid, "transaction %d cannot be read: %s", t.zxid, plain(err))
	}
	if quorum.ChainHash(r.chain, &e) != e.Chain {
		return damaged(t.zxid, "transaction %d is not what was written, or others before it are missing: its chain hash differs", t.zxid)
	}
	if _, _, err := r.state.Apply(&e); err != nil {
		return fmt.Errorf("apply transaction %d: %w", t.zxid, err)
	}
	r.chain = e.Chain
	if t.digest == nil {
		return nil
	}
	if digest := fmt.Sprintf("%016x", r.state.View().Digest()); digest != *t.digest {
		return damaged(t.zxid, "the state at %d has digest %s, the cluster had %s", t.zxid, digest, *t.digest)
	}
	return nil
}

// Verdict is what Verify has found of one range.
type Verdict struct {
	Range
	Snapshots int   `json:"snapshots"` // in it, read and compared
	Replayed  int64 `json:"replayed"`  // transactions
}

// Verify reads everything of a cluster that can be restored: each snapshot, and
// all transactions, which must lead from each to the next. It tells of each range
// as it was found sound, and returns the first damage.
func (a *Archive) Verify(ctx context.Context, c ClusterInfo, progress func(done int64), sound func(Verdict)) error {
	return a.frozen(ctx, func() error { return a.verify(ctx, c, progress, sound) })
}

func (a *Archive) verify(ctx context.Context, c ClusterInfo, progress func(done int64), sound func(Verdict)) error {
	ranges, err := a.Ranges(ctx, c.ID)
	if err != nil {
		return err
	}
	snaps, err := a.Snapshots(ctx, c.ID)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		v := Verdict{Range: r}
		run := &replay{archive: a, cluster: c.ID, progress: progress}
		for i := range snaps {
			s := &snaps[i]
			if s.Zxid < r.From || s.Zxid > r.Through {
				continue
			}
			if err := run.meet(ctx, s); err != nil {
				return err
			}
			v.Snapshots++
		}
		if err := run.to(ctx, r.Through); err != nil {
			return err
		}
		v.Replayed = run.done
		sound(v)
	}
	return nil
}

// meet goes on to a snapshot, which must be the state that the transactions
// before it lead to, and then from it.
func (r *replay) meet(ctx context.Context, s *SnapshotInfo) error {
	if r.state != nil {
		if err := r.to(ctx, s.Zxid); err != nil {
			return err
		}
		if digest := fmt.Sprintf("%016x", r.state.View().Digest()); digest != s.Digest || r.chain != s.chain {
			return damaged(s.Zxid, "the transactions before snapshot %d lead to a state with digest %s, not %s", s.Zxid, digest, s.Digest)
		}
	}
	state, err := r.archive.load(ctx, r.cluster, s)
	r.state, r.chain = state, s.chain
	return err
}
