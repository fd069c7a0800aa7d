package archive

import (
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
)

const (
	chunkBytes = 1 << 20 // compressed
	// snapshotWithin bounds the time that a snapshot takes to be written: until
	// then the node keeps in memory what has changed since.
	snapshotWithin = 30 * time.Minute
)

// snapshot is a state that is to be archived.
type snapshot struct {
	view  *lease.View
	meta  quorum.SnapMeta
	since int // transactions archived since the one before, when it was decided upon
}

// snapshotMark is what is known of the newest snapshot in the archive.
type snapshotMark struct {
	known bool
	zxid  quorum.Zxid
	at    time.Time // by our clock
	since int       // transactions archived behind it
}

// snapshotDone is the end of a snapshot that was written beside the
// transactions.
type snapshotDone struct {
	*snapshot
	err error
}

// bridge begins the archive of a cluster with a snapshot, or goes on with one
// where the log does not reach back any more. Nothing can be archived before.
func (r *reign) bridge(ctx context.Context) error {
	view, meta := r.src.State(r.at)
	if meta.Zxid <= r.at {
		return &Failure{Kind: KindNode, Text: fmt.Sprintf("the log begins behind %v and there is no state to bridge that", r.at)}
	}
	from := r.at
	snap := &snapshot{view: view, meta: meta}
	err := r.writeSnapshot(ctx, r.conn, snap, func(ctx context.Context, tx pgx.Tx) error {
		return r.move(ctx, tx, meta.Zxid, meta.Chain, time.Now())
	})
	if err != nil {
		return err
	}
	r.at, r.chain = meta.Zxid, meta.Chain
	r.board.archived(r.at)
	r.newest.since = 0
	r.took(snap)
	if from != 0 {
		r.board.bridged(from, meta.Zxid)
	}
	return nil
}

func (r *reign) took(s *snapshot) {
	r.board.snapshots.Inc()
	r.newest = snapshotMark{known: true, zxid: s.meta.Zxid, at: time.Now(), since: r.newest.since - s.since}
	r.cfg.Log.Info("the archive: snapshot written", "zxid", s.meta.Zxid.String())
}

// snapshot has one written when it is due, on a connection of its own, so that
// transactions are archived meanwhile. It takes the result of the one before.
func (r *reign) snapshot(ctx context.Context) error {
	if r.done != nil {
		select {
		case done := <-r.done:
			r.done = nil
			if done.err != nil {
				return done.err
			}
			r.took(done.snapshot)
		default:
			return nil
		}
	}
	if err := r.cfg.within(ctx, r.findNewest); err != nil {
		return err
	}
	if r.pending == nil && r.due() {
		if view, meta := r.src.State(r.newest.zxid); meta.Zxid > r.newest.zxid {
			r.pending = &snapshot{view: view, meta: meta, since: r.newest.since}
		}
	}
	if r.pending == nil || r.pending.meta.Zxid > r.at {
		return nil
	}
	done := make(chan snapshotDone, 1)
	snap := r.pending
	r.done, r.pending = done, nil
	r.snapshots.Go(func() { done <- snapshotDone{snap, r.aside(ctx, snap)} })
	return nil
}

func (r *reign) due() bool {
	return r.at > r.newest.zxid && (time.Since(r.newest.at) >= r.cfg.Every || r.newest.since >= r.cfg.EveryTxns)
}

// findNewest looks up the newest snapshot, once.
func (r *reign) findNewest(ctx context.Context) error {
	if r.newest.known {
		return nil
	}
	var zxid, since int64
	var age float64
	err := r.conn.QueryRow(ctx, `SELECT s.zxid, extract(epoch FROM now() - s.taken_at)::float8,
			(SELECT coalesce(sum(transactions), 0) FROM perch.batches b WHERE b.cluster_id = $1 AND b.through_zxid > s.zxid)
		FROM perch.snapshots s WHERE s.cluster_id = $1 ORDER BY s.zxid DESC LIMIT 1`, r.cluster).Scan(&zxid, &age, &since)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	taken := time.Now().Add(-time.Duration(age * float64(time.Second)))
	r.newest = snapshotMark{known: true, zxid: quorum.Zxid(zxid), at: taken, since: int(since)}
	return nil
}

// aside writes a snapshot whose position is archived already.
func (r *reign) aside(ctx context.Context, snap *snapshot) error {
	conn, err := r.cfg.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	err = r.writeSnapshot(ctx, conn, snap, func(ctx context.Context, tx pgx.Tx) error {
		var chain int64
		err := tx.QueryRow(ctx, `SELECT chain FROM perch.transactions WHERE cluster_id = $1 AND zxid = $2`,
			r.cluster, int64(snap.meta.Zxid)).Scan(&chain)
		if err == nil && uint64(chain) != snap.meta.Chain {
			err = fmt.Errorf("%w: at %v its chain hash is %016x", errConflict, snap.meta.Zxid, uint64(chain))
		}
		return err
	})
	if err != nil {
		return classify(err, conn.Config().Password)
	}
	return nil
}

// writeSnapshot writes snap in one transaction, paced, after what also does in
// it.
func (r *reign) writeSnapshot(ctx context.Context, conn *pgx.Conn, snap *snapshot, also func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, snapshotWithin)
	defer cancel()
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := r.cfg.within(ctx, func(ctx context.Context) error { return also(ctx, tx) }); err != nil {
			return err
		}
		w := &chunkWriter{ctx: ctx, r: r, tx: tx, zxid: snap.meta.Zxid}
		if err := w.begin(snap); err != nil {
			return err
		}
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
		if err != nil {
			return err
		}
		bytes, err := snap.view.WriteTo(&pacedWriter{ctx: ctx, r: r, to: z})
		if err := errors.Join(err, z.Close()); err != nil {
			return err
		}
		return w.end(bytes)
	})
}

// pacedWriter hands on what a view writes no faster than the source allows.
type pacedWriter struct {
	ctx context.Context
	r   *reign
	to  io.Writer
}

func (w *pacedWriter) Write(b []byte) (int, error) {
	if err := w.r.src.Pace(w.ctx, len(b)); err != nil {
		return 0, err
	}
	return w.to.Write(b)
}

// chunkWriter cuts a stream into rows of perch.snapshot_chunks.
type chunkWriter struct {
	ctx     context.Context
	r       *reign
	tx      pgx.Tx
	zxid    quorum.Zxid
	buf     []byte
	number  int
	written int64
}

func (w *chunkWriter) exec(sql string, args ...any) error {
	return w.r.cfg.within(w.ctx, func(ctx context.Context) error {
		_, err := w.tx.Exec(ctx, sql, append([]any{w.r.cluster, int64(w.zxid)}, args...)...)
		return err
	})
}

// begin writes the row that the chunks belong to; its numbers follow at the end.
func (w *chunkWriter) begin(snap *snapshot) error {
	return w.exec(`INSERT INTO perch.snapshots
		(cluster_id, zxid, at, chain, digest, level, nodes, sessions, chunks, bytes, compressed_bytes, shipper)
		VALUES ($1, $2, coalesce((SELECT at FROM perch.transactions WHERE cluster_id = $1 AND zxid = $2), now()),
			$3, $4, $5, $6, $7, 0, 0, 0, $8)`,
		int64(snap.meta.Chain), fmt.Sprintf("%016x", snap.meta.Digest), int(snap.view.Level()),
		snap.view.Nodes(), snap.view.Sessions(), w.r.cfg.Node)
}

func (w *chunkWriter) Write(b []byte) (int, error) {
	w.buf = append(w.buf, b...)
	for len(w.buf) >= chunkBytes {
		if err := w.chunk(w.buf[:chunkBytes]); err != nil {
			return 0, err
		}
		w.buf = append(w.buf[:0], w.buf[chunkBytes:]...)
	}
	return len(b), nil
}

func (w *chunkWriter) chunk(data []byte) error {
	sum := sha256.Sum256(data)
	err := w.exec(`INSERT INTO perch.snapshot_chunks (cluster_id, zxid, number, sha256, data) VALUES ($1, $2, $3, $4, $5)`,
		w.number, sum[:], data)
	w.number++
	w.written += int64(len(data))
	return err
}

func (w *chunkWriter) end(bytes int64) error {
	if len(w.buf) > 0 {
		if err := w.chunk(w.buf); err != nil {
			return err
		}
	}
	return w.exec(`UPDATE perch.snapshots SET chunks = $3, bytes = $4, compressed_bytes = $5 WHERE cluster_id = $1 AND zxid = $2`,
		w.number, bytes, w.written)
}
