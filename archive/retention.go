package archive

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"perch/quorum"
)

// Keep says how much of an archive stays. Whatever stays can be restored: the
// snapshot that the oldest kept transaction stands on is never deleted, nor is
// one behind a hole.
type Keep struct {
	// Age is how far back every position can be restored.
	Age time.Duration
	// Snapshots is how many of the newest snapshots stay all; of older ones the
	// first of each day (UTC) does, since the transactions behind it lead to the
	// rest.
	Snapshots int
}

// DefaultKeep is 30 days, with the newest 24 snapshots.
var DefaultKeep = Keep{Age: 30 * 24 * time.Hour, Snapshots: 24}

// ParseKeep reads AGE or AGE,SNAPSHOTS: 30d,24. An age is a number of days (d),
// hours (h) or minutes (m).
func ParseKeep(text string) (Keep, error) {
	k := DefaultKeep
	age, count, both := strings.Cut(text, ",")
	var err error
	if days, is := strings.CutSuffix(age, "d"); is {
		var n int
		n, err = strconv.Atoi(days)
		k.Age = time.Duration(n) * 24 * time.Hour
		if n > 100_000 {
			err = errors.New("too long")
		}
	} else {
		k.Age, err = time.ParseDuration(age)
	}
	if err == nil && both {
		k.Snapshots, err = strconv.Atoi(count)
	}
	if err != nil || k.Age < time.Minute || k.Snapshots < 1 {
		return k, fmt.Errorf("%q: must be AGE or AGE,SNAPSHOTS, such as 30d,24: at least 1m and 1", text)
	}
	return k, nil
}

func (k Keep) String() string {
	if k.Age%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd,%d", k.Age/(24*time.Hour), k.Snapshots)
	}
	return fmt.Sprintf("%s,%d", k.Age, k.Snapshots)
}

// keptSnapshot is what retention looks at.
type keptSnapshot struct {
	zxid    quorum.Zxid
	taken   time.Time
	bridged bool // transactions lead to it
}

// surplus says which of all snapshots, oldest first, may go, and up to where
// transactions may.
func (k Keep) surplus(all []keptSnapshot, now time.Time) (gone []quorum.Zxid, base quorum.Zxid) {
	first := 0 // the newest that is older than Age: what is kept begins with it
	for i, s := range all {
		if now.Sub(s.taken) >= k.Age {
			first = i
		}
	}
	day := ""
	for i, s := range all {
		if i < first {
			gone = append(gone, s.zxid)
			continue
		}
		before := day
		day = s.taken.UTC().Format(time.DateOnly)
		switch {
		case i == first:
			base = s.zxid
		case s.bridged && day == before && i < len(all)-k.Snapshots:
			gone = append(gone, s.zxid)
		}
	}
	return gone, base
}

// trimBatches is how many batches are deleted at once.
const trimBatches = 200

// trim deletes what need not be kept. It stops at any error, and the next time
// goes on: at every step everything behind the base can be restored.
func (r *reign) trim(ctx context.Context) error {
	var gone []quorum.Zxid
	var base quorum.Zxid
	err := r.cfg.within(ctx, func(ctx context.Context) (err error) {
		all, now, err := r.listKept(ctx)
		gone, base = r.cfg.Keep.surplus(all, now)
		return err
	})
	if err != nil {
		return err
	}
	for _, z := range gone {
		if err := r.cfg.within(ctx, func(ctx context.Context) error { return r.dropSnapshot(ctx, z) }); err != nil {
			return err
		}
	}
	for more := base != 0; more; {
		err := r.cfg.within(ctx, func(ctx context.Context) (err error) {
			more, err = r.dropBatches(ctx, base)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reign) listKept(ctx context.Context) (all []keptSnapshot, now time.Time, err error) {
	rows, err := r.conn.Query(ctx, `SELECT s.zxid, s.taken_at, now(), coalesce((SELECT b.after_zxid < s.zxid FROM perch.batches b
			WHERE b.cluster_id = s.cluster_id AND b.through_zxid >= s.zxid ORDER BY b.through_zxid LIMIT 1), false)
		FROM perch.snapshots s WHERE s.cluster_id = $1 ORDER BY s.zxid`, r.cluster)
	if err != nil {
		return nil, now, err
	}
	all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (s keptSnapshot, err error) {
		var zxid int64
		err = row.Scan(&zxid, &s.taken, &now, &s.bridged)
		s.zxid = quorum.Zxid(zxid)
		return s, err
	})
	return all, now, err
}

func (r *reign) dropSnapshot(ctx context.Context, z quorum.Zxid) error {
	_, err := r.conn.Exec(ctx, `DELETE FROM perch.snapshots WHERE cluster_id = $1 AND zxid = $2`, r.cluster, int64(z))
	return err
}

// dropBatches deletes some of the oldest batches that end at base or before, with
// their transactions and changes. More says that there may be others.
func (r *reign) dropBatches(ctx context.Context, base quorum.Zxid) (more bool, err error) {
	err = pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		var upTo *int64
		err := tx.QueryRow(ctx, `SELECT max(through_zxid) FROM (SELECT through_zxid FROM perch.batches
			WHERE cluster_id = $1 AND through_zxid <= $2 ORDER BY through_zxid LIMIT $3) AS oldest`, r.cluster, int64(base), trimBatches).Scan(&upTo)
		if err != nil || upTo == nil {
			return err
		}
		more = true
		for _, table := range []string{"changes WHERE zxid", "transactions WHERE zxid", "batches WHERE through_zxid"} {
			if _, err := tx.Exec(ctx, `DELETE FROM perch.`+table+` <= $2 AND cluster_id = $1`, r.cluster, *upTo); err != nil {
				return err
			}
		}
		return nil
	})
	return more, err
}
