package archive

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/wal"
)

// reign is one connection, and what its holder does while it is elected. One
// goroutine owns it.
type reign struct {
	*Shipper
	conn    *pgx.Conn
	cluster string
	elected bool

	at    quorum.Zxid // archived up to here
	chain uint64      // chain hash of the log there

	newest    snapshotMark // the newest snapshot in the archive
	pending   *snapshot    // to be archived once the transactions up to it are
	trimmed   time.Time    // when retention was last looked after
	snapshots sync.WaitGroup
	done      chan snapshotDone // of the snapshot under way; nil when none is
}

// errConflict is wrapped when what is archived is not the beginning of what the
// node has.
var errConflict = errors.New("the archive holds another history than this node")

// errMoved says that somebody else has moved the archive on: what is to be
// written next must be found out anew.
var errMoved = errors.New("another node has archived meanwhile")

// lockKey is the key of the advisory lock of a cluster's shipper.
func lockKey(cluster string) int64 {
	sum := sha256.Sum256([]byte("perch archive " + cluster))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// ship archives everything that there is, batch by batch.
func (r *reign) ship(ctx context.Context) error {
	for ctx.Err() == nil && r.src.Ready() == nil {
		if r.at == 0 {
			if r.src.Applied() == 0 {
				return nil
			}
			if err := r.bridge(ctx); err != nil {
				return moved(err)
			}
			continue
		}
		s, err := r.src.Next(ctx, r.at, r.most)
		switch {
		case errors.Is(err, lease.ErrPurged):
			err = r.bridge(ctx)
		case err != nil:
			return &Failure{Kind: KindNode, Text: fmt.Sprintf("what follows %v cannot be read from this node: %s", r.at, plain(err))}
		case len(s.Entries) == 0:
			return nil
		default:
			err = r.cfg.within(ctx, func(ctx context.Context) error { return r.write(ctx, &s) })
		}
		if err != nil {
			return moved(err)
		}
	}
	return ctx.Err()
}

// moved makes of errMoved another turn.
func moved(err error) error {
	if errors.Is(err, errMoved) {
		return nil
	}
	return err
}

// write archives one stretch, in one transaction.
func (r *reign) write(ctx context.Context, s *lease.Stretch) error {
	if want := quorum.ChainHash(r.chain, &s.Entries[0]); s.Entries[0].Chain != want {
		return fmt.Errorf("%w: at %v its chain hash is %016x", errConflict, r.at, r.chain)
	}
	last := &s.Entries[len(s.Entries)-1]
	rows := describe(r.cluster, s)
	err := pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		if err := r.move(ctx, tx, last.Zxid, last.Chain, rows.through); err != nil {
			return err
		}
		if err := rows.insert(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO perch.batches
			(cluster_id, after_zxid, through_zxid, transactions, from_at, through_at, digest, changes_known, shipper)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			r.cluster, int64(s.After), int64(s.Through), len(s.Entries), rows.from, rows.through, digestText(s), s.Known, r.cfg.Node)
		return err
	})
	if err != nil {
		return err
	}
	r.at, r.chain = last.Zxid, last.Chain
	r.newest.since += len(s.Entries)
	r.most = min(2*r.most, r.cfg.BatchBytes)
	r.board.wrote(r.at, len(s.Entries))
	return nil
}

func digestText(s *lease.Stretch) *string {
	if !s.Digested {
		return nil
	}
	text := fmt.Sprintf("%016x", s.Digest)
	return &text
}

// move is the compare-and-set that every batch goes with: it fails with errMoved
// unless the archive stands where this shipper believes it to.
func (r *reign) move(ctx context.Context, tx pgx.Tx, to quorum.Zxid, chain uint64, at time.Time) error {
	tag, err := tx.Exec(ctx, `UPDATE perch.clusters SET last_zxid = $2, last_chain = $3, last_at = $4,
		epoch = greatest(epoch, $5), shipper = $6, shipped_at = now(), name = $7
		WHERE cluster_id = $1 AND last_zxid = $8 AND last_chain = $9`,
		r.cluster, int64(to), int64(chain), at, int64(r.src.Epoch()), r.cfg.Node, r.cfg.Name, int64(r.at), int64(r.chain))
	if err == nil && tag.RowsAffected() == 0 {
		return errMoved
	}
	return err
}

// maintain looks after snapshots and retention.
func (r *reign) maintain(ctx context.Context) error {
	if err := r.snapshot(ctx); err != nil {
		return err
	}
	if time.Since(r.trimmed) < r.cfg.TrimEvery {
		return nil
	}
	if err := r.trim(ctx); err != nil {
		return err
	}
	r.trimmed = time.Now()
	return nil
}

// rows are a stretch as it stands in the tables.
type rows struct {
	from, through time.Time // of the first and the last transaction
	transactions  [][]any
	changes       [][]any
}

var (
	transactionColumns = []string{"cluster_id", "zxid", "at", "principal", "address", "operation", "target", "changes", "chain", "entry"}
	changeColumns      = []string{"cluster_id", "zxid", "number", "at", "path", "change", "version", "bytes", "mode", "cause",
		"principal", "address", "operation"}
)

func (w *rows) insert(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"perch", "transactions"}, transactionColumns, pgx.CopyFromRows(w.transactions))
	if err != nil || len(w.changes) == 0 {
		return err
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"perch", "changes"}, changeColumns, pgx.CopyFromRows(w.changes))
	return err
}

// describe makes the rows of s.
func describe(cluster string, s *lease.Stretch) *rows {
	w := &rows{transactions: make([][]any, 0, len(s.Entries)), changes: make([][]any, 0, len(s.Events))}
	events := s.Events
	for i := range s.Entries {
		e := &s.Entries[i]
		who, at := requestOf(e), timeOf(e.Stamp.Wall)
		n := 0
		for ; n < len(events) && events[n].Zxid == e.Zxid; n++ {
			w.changes = append(w.changes, changeRow(cluster, n, at, &events[n], &who))
		}
		events = events[n:]
		var changes any
		if s.Known {
			changes = n
		}
		w.transactions = append(w.transactions, []any{cluster, int64(e.Zxid), at, who.principal, who.address,
			who.operation, who.target, changes, int64(e.Chain), wal.EncodeEntry(e)})
		if i == 0 {
			w.from = at
		}
		w.through = at
	}
	return w
}
