package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"perch/lease"
	"perch/quorum"
)

// Source is the node whose history is archived; quorum/node.Feed is the real one.
// Its methods are called from one goroutine but for Pace, Applied and Behind.
type Source interface {
	// Cluster is zero until the cluster has formed.
	Cluster() quorum.ClusterID
	Epoch() quorum.Epoch
	Applied() quorum.Zxid
	Behind(after quorum.Zxid) int
	// Ready says why another node should ship; nil when there is no reason to.
	Ready() error
	Pace(ctx context.Context, n int) error
	State(after quorum.Zxid) (*lease.View, quorum.SnapMeta)
	// Next returns lease.ErrPurged when only a State leads on.
	Next(ctx context.Context, after quorum.Zxid, most int) (lease.Stretch, error)
}

// Config is what a Shipper needs to know. A zero field takes the default that
// stands beside it.
type Config struct {
	Access
	Node quorum.NodeID
	Name string // --cluster-name

	Every     time.Duration // 15 min at most between two snapshots, while something changes
	EveryTxns int           // 1 000 000 transactions at most between two snapshots
	Keep      Keep          // 30 days, 24 snapshots

	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none are kept

	Poll       time.Duration // 1 s between two looks at what is new
	RetryMost  time.Duration // 10 s at most between two attempts after a failure
	TrimEvery  time.Duration // 10 min between two looks at what is kept for too long
	BatchBytes int           // 4 MiB of entries at most are archived at once
}

func (c Config) withDefaults() Config {
	setDefault(&c.Every, 15*time.Minute)
	setDefault(&c.EveryTxns, 1_000_000)
	setDefault(&c.Keep, DefaultKeep)
	setDefault(&c.Poll, time.Second)
	setDefault(&c.RetryMost, 10*time.Second)
	setDefault(&c.TrimEvery, 10*time.Minute)
	setDefault(&c.BatchBytes, 4<<20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Access.Name == "" {
		c.Access.Name = fmt.Sprintf("perch node %d", c.Node)
	}
	return c
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// retryFirst is the pause after the first failure; it doubles.
const retryFirst = 500 * time.Millisecond

// Shipper archives the history of a cluster from one node, whenever it is
// elected: every node with an archive has one.
type Shipper struct {
	cfg   Config
	src   Source
	board *board
	most  int // bytes of the next batch
}

// NewShipper makes a Shipper; Run starts it.
func NewShipper(cfg Config, src Source) *Shipper {
	cfg = cfg.withDefaults()
	return &Shipper{cfg: cfg, src: src, board: newBoard(&cfg, src), most: cfg.BatchBytes}
}

// Status is how the archive stands. It never blocks.
func (s *Shipper) Status() lease.ArchiveStatus { return s.board.status() }

// Run archives until ctx ends. Whatever fails is tried again.
func (s *Shipper) Run(ctx context.Context) {
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.board.watch(ctx)
	}()
	defer func() { <-watched }()
	for pause := retryFirst; ; pause = min(2*pause, s.cfg.RetryMost) {
		began := time.Now()
		err := s.session(ctx)
		if ctx.Err() != nil {
			return
		}
		s.board.failed(err)
		if err.Kind == KindTimeout {
			s.most = max(s.most/2, 1) // in the end one transaction at a time
		}
		if time.Since(began) > 2*s.cfg.RetryMost {
			pause = retryFirst // it went well for a while
		}
		if !wait(ctx, pause/2+rand.N(pause/2+1)) {
			return
		}
	}
}

// wait is false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// session works on one connection until something fails or ctx ends.
func (s *Shipper) session(ctx context.Context) *Failure {
	ctx, cancel := context.WithCancel(ctx)
	for s.src.Cluster() == (quorum.ClusterID{}) {
		s.board.enter(stateWaiting)
		if !wait(ctx, s.cfg.Poll) {
			break
		}
	}
	conn, err := s.cfg.connect(ctx)
	if err != nil {
		cancel()
		return classify(err, "")
	}
	secret := conn.Config().Password
	reign := &reign{Shipper: s, conn: conn, cluster: clusterText(s.src.Cluster())}
	err = s.cfg.within(ctx, func(ctx context.Context) error { return Migrate(ctx, conn) })
	for err == nil {
		if err = reign.turn(ctx); err == nil && !wait(ctx, s.cfg.Poll) {
			err = ctx.Err()
		}
	}
	cancel()
	reign.snapshots.Wait()
	closeConn(conn)
	return classify(err, secret)
}

// clusterText is a cluster's id as /v1/cluster tells it.
func clusterText(id quorum.ClusterID) string { return fmt.Sprintf("%x", id[:]) }

// turn is one look at what there is to do.
func (r *reign) turn(ctx context.Context) error {
	if r.src.Ready() != nil {
		r.board.enter(stateWaiting)
		return r.resign(ctx)
	}
	if err := r.cfg.within(ctx, r.elect); err != nil {
		return err
	}
	if !r.elected {
		r.board.enter(stateStandby)
		return nil
	}
	if err := r.ship(ctx); err != nil {
		return err
	}
	// Only now: until something could be written the archive is not known to work.
	r.board.enter(stateShipping)
	return r.maintain(ctx)
}

// resign lets another node ship.
func (r *reign) resign(ctx context.Context) error {
	if !r.elected {
		return r.cfg.within(ctx, r.conn.Ping) // and keeps the session from being idle
	}
	r.elected = false
	return r.cfg.within(ctx, func(ctx context.Context) error {
		_, err := r.conn.Exec(ctx, `SELECT pg_advisory_unlock($1)`, lockKey(r.cluster))
		return err
	})
}

// elect takes the lock of the cluster if it is free, and reads up to where the
// cluster is archived. It does so at every turn: the database may have been
// brought back from a backup meanwhile.
func (r *reign) elect(ctx context.Context) error {
	if !r.elected {
		if err := r.conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, lockKey(r.cluster)).Scan(&r.elected); err != nil {
			return err
		}
		if r.elected {
			r.pending, r.newest = nil, snapshotMark{}
			_, err := r.conn.Exec(ctx, `INSERT INTO perch.clusters (cluster_id, name, last_zxid, last_chain, epoch, shipper)
				VALUES ($1, $2, 0, 0, 0, $3) ON CONFLICT DO NOTHING`, r.cluster, r.cfg.Name, r.cfg.Node)
			if err != nil {
				return err
			}
		}
	}
	var zxid, chain int64
	err := r.conn.QueryRow(ctx, `SELECT last_zxid, last_chain FROM perch.clusters WHERE cluster_id = $1`, r.cluster).Scan(&zxid, &chain)
	if errors.Is(err, pgx.ErrNoRows) && !r.elected {
		return nil
	}
	if err != nil {
		return err
	}
	r.at, r.chain = quorum.Zxid(zxid), uint64(chain)
	r.board.archived(r.at)
	return nil
}
