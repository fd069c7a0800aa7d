package archive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"perch/lease"
	"perch/quorum"
)

// Archive is an open archive, for reading. One goroutine uses it. Its errors are
// *Failure, *DamageError, or wrap ErrNotThere or lease.ErrFormat.
type Archive struct {
	conn   *pgx.Conn
	access Access
}

// ErrNotThere is wrapped by what is returned for something that the archive does
// not hold.
var ErrNotThere = errors.New("not in the archive")

// DamageError says what in an archive is not as it was written.
type DamageError struct {
	Zxid   quorum.Zxid // of the snapshot or transaction
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("the archive is damaged: %s", e.Reason)
}

func damaged(z quorum.Zxid, format string, args ...any) error {
	return &DamageError{Zxid: z, Reason: fmt.Sprintf(format, args...)}
}

// ClusterInfo is a row of perch.clusters.
type ClusterInfo struct {
	ID        string       `json:"cluster_id"`
	Name      string       `json:"name"`
	Zxid      quorum.Zxid  `json:"zxid"`  // archived up to here
	Epoch     quorum.Epoch `json:"epoch"` // highest that was known
	Shipper   int          `json:"shipper"`
	ShippedAt time.Time    `json:"shipped_at"`
	Ago       float64      `json:"ago_s"` // seconds since, by the clock of the database
	LastAt    *time.Time   `json:"last_at,omitempty"`
}

// SnapshotInfo is a row of perch.snapshots.
type SnapshotInfo struct {
	Zxid       quorum.Zxid `json:"zxid"`
	At         time.Time   `json:"at"`
	TakenAt    time.Time   `json:"taken_at"`
	Digest     string      `json:"digest"`
	Nodes      int64       `json:"nodes"`
	Sessions   int64       `json:"sessions"`
	Chunks     int         `json:"chunks"`
	Bytes      int64       `json:"bytes"`
	Compressed int64       `json:"compressed_bytes"`

	chain uint64
}

// Range is a stretch of history of which every position can be restored: From
// is a snapshot.
type Range struct {
	From         quorum.Zxid `json:"from_zxid"`
	Through      quorum.Zxid `json:"through_zxid"`
	FromAt       time.Time   `json:"from_at"`
	ThroughAt    time.Time   `json:"through_at"`
	Transactions int64       `json:"transactions"`
}

// Open connects to an archive whose tables are there.
func Open(ctx context.Context, access Access) (*Archive, error) {
	conn, err := access.connect(ctx)
	if err != nil {
		return nil, err
	}
	a := &Archive{conn, access}
	switch at, err := schemaVersion(ctx, conn); {
	case err != nil:
		err = a.classify(err)
		a.Close()
		return nil, err
	case at == 0:
		a.Close()
		return nil, fmt.Errorf("%w: the database holds no archive; perch serve --archive makes one, or perch archive migrate its tables", ErrNotThere)
	case at > len(versions()):
		a.Close()
		return nil, classify(newerSchema(at), "")
	}
	return a, nil
}

// MakeTables makes the tables of an archive, or brings them to the version of
// this program. Shippers do so themselves, if they may.
func MakeTables(ctx context.Context, access Access) error {
	conn, err := access.connect(ctx)
	if err != nil {
		return err
	}
	a := &Archive{conn, access}
	defer a.Close()
	return a.classify(Migrate(ctx, conn))
}

// Close ends the connection.
func (a *Archive) Close() { closeConn(a.conn) }

// classify leaves errors as they are that are not the database's.
func (a *Archive) classify(err error) error {
	var damage *DamageError
	if err == nil || errors.As(err, &damage) || errors.Is(err, ErrNotThere) || errors.Is(err, lease.ErrFormat) {
		return err
	}
	return classify(err, a.conn.Config().Password)
}

// list reads all rows of a query, within the time of one statement.
func list[T any](ctx context.Context, a *Archive, scan func(pgx.CollectableRow) (T, error), sql string, args ...any) (all []T, err error) {
	err = a.access.within(ctx, func(ctx context.Context) error {
		rows, err := a.conn.Query(ctx, sql, args...)
		if err == nil {
			all, err = pgx.CollectRows(rows, scan)
		}
		return err
	})
	return all, a.classify(err)
}

// Clusters lists the clusters in the archive.
func (a *Archive) Clusters(ctx context.Context) ([]ClusterInfo, error) {
	return list(ctx, a, func(row pgx.CollectableRow) (c ClusterInfo, err error) {
		err = row.Scan(&c.ID, &c.Name, &c.Zxid, &c.Epoch, &c.Shipper, &c.ShippedAt, &c.LastAt, &c.Ago)
		return c, err
	}, `SELECT cluster_id, name, last_zxid, epoch, shipper, shipped_at, last_at, extract(epoch FROM now() - shipped_at)::float8
		FROM perch.clusters ORDER BY name, cluster_id`)
}

// Cluster is the one that which names, by its id, the beginning of it, or its
// name; the only one when which is "".
func (a *Archive) Cluster(ctx context.Context, which string) (ClusterInfo, error) {
	all, err := a.Clusters(ctx)
	if err != nil {
		return ClusterInfo{}, err
	}
	var found []ClusterInfo
	var known []string
	for _, c := range all {
		known = append(known, fmt.Sprintf("%s (%s)", c.ID, c.Name))
		if c.ID == which {
			return c, nil
		}
		if c.Name == which || strings.HasPrefix(c.ID, which) {
			found = append(found, c)
		}
	}
	switch {
	case len(all) == 0:
		return ClusterInfo{}, fmt.Errorf("%w: no cluster is archived there yet", ErrNotThere)
	case len(found) == 0:
		return ClusterInfo{}, fmt.Errorf("%w: cluster %s; there are %s", ErrNotThere, which, strings.Join(known, ", "))
	case len(found) > 1:
		return ClusterInfo{}, fmt.Errorf("%w: say which cluster, by its id: %s", ErrNotThere, strings.Join(known, ", "))
	}
	return found[0], nil
}

// Snapshots lists those of a cluster, oldest first.
func (a *Archive) Snapshots(ctx context.Context, cluster string) ([]SnapshotInfo, error) {
	return list(ctx, a, scanSnapshot, selectSnapshots+` ORDER BY zxid`, cluster)
}

const selectSnapshots = `SELECT zxid, at, taken_at, digest, nodes, sessions, chunks, bytes, compressed_bytes, chain
	FROM perch.snapshots WHERE cluster_id = $1`

func scanSnapshot(row pgx.CollectableRow) (s SnapshotInfo, err error) {
	var chain int64
	err = row.Scan(&s.Zxid, &s.At, &s.TakenAt, &s.Digest, &s.Nodes, &s.Sessions, &s.Chunks, &s.Bytes, &s.Compressed, &chain)
	s.chain = uint64(chain)
	return s, err
}

// Ranges lists what can be restored, oldest first: from each snapshot that no
// transactions lead to, as far as transactions follow without a gap.
func (a *Archive) Ranges(ctx context.Context, cluster string) ([]Range, error) {
	snaps, err := a.Snapshots(ctx, cluster)
	if err != nil {
		return nil, err
	}
	islands, err := list(ctx, a, func(row pgx.CollectableRow) (r Range, err error) {
		err = row.Scan(&r.From, &r.Through, &r.ThroughAt)
		return r, err
	}, `WITH marked AS (SELECT *, CASE WHEN after_zxid = lag(through_zxid) OVER (ORDER BY through_zxid) THEN 0 ELSE 1 END AS begins
			FROM perch.batches WHERE cluster_id = $1),
		numbered AS (SELECT *, sum(begins) OVER (ORDER BY through_zxid) AS island FROM marked)
		SELECT min(after_zxid), max(through_zxid), max(through_at) FROM numbered GROUP BY island ORDER BY 1`, cluster)
	if err != nil {
		return nil, err
	}
	out := joinRanges(snaps, islands)
	for i := range out {
		r := &out[i]
		counts, err := list(ctx, a, pgx.RowTo[int64], countTransactions, cluster, int64(r.From), int64(r.Through))
		if err != nil {
			return nil, err
		}
		r.Transactions = counts[0]
	}
	return out, nil
}

// countTransactions counts from a position to the end of a batch. All but those
// of the batch that the position may lie in are counted already.
const countTransactions = `SELECT
	(SELECT coalesce(sum(transactions), 0)::bigint FROM perch.batches WHERE cluster_id = $1 AND after_zxid >= $2 AND through_zxid <= $3)
	+ (SELECT count(*) FROM perch.transactions WHERE cluster_id = $1 AND zxid > $2 AND zxid <=
		(SELECT min(through_zxid) FROM perch.batches WHERE cluster_id = $1 AND after_zxid < $2 AND through_zxid > $2))`

// joinRanges makes ranges of snapshots and of stretches without a gap; both are
// oldest first.
func joinRanges(snaps []SnapshotInfo, islands []Range) (out []Range) {
	for _, s := range snaps {
		if n := len(out); n > 0 && s.Zxid <= out[n-1].Through {
			continue
		}
		r := Range{From: s.Zxid, Through: s.Zxid, FromAt: s.At, ThroughAt: s.At}
		for _, i := range islands {
			if i.From <= s.Zxid && s.Zxid < i.Through {
				r.Through, r.ThroughAt = i.Through, i.ThroughAt
			}
		}
		out = append(out, r)
	}
	return out
}
