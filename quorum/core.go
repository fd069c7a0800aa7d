// Package quorum is the ZAB core: a pure, deterministic state machine for
// atomic broadcast (Junqueira, Reed, Serafini: Zab, DSN 2011), with election,
// discovery, synchronization and broadcast.
//
// It guarantees, for any loss, duplication, delay and reordering of messages
// and any crash of any node: entries are committed in one total order; what was
// committed once is in the history of every later leader; at most one leader is
// established per epoch; and a message that promises something leaves only
// after what it promises is durable (Outbound.AfterSeq). Progress needs a
// majority of voters connected to one of them.
//
// It does no I/O and reads no clock: inputs are Step, Tick and completions,
// outputs are collected in Ready. A Core has one owner; nothing in it may be
// called concurrently. It does not interpret the bytes it replicates, and it
// does not survive disks that lie about fsync.
package quorum

import (
	"errors"
	"fmt"
)

// Config is what a core needs to know besides its disk.
type Config struct {
	ID         NodeID
	Peers      []Peer // of --peers, this node included; once a cluster is formed its members come from the log
	ConfigHash uint64 // of --peers; compared only among unformed stores
	Seed       uint64 // source of every random choice of this core
	MinEpoch   Epoch  // the first epoch of a cluster that forms now (R9)
	Level      uint32 // highest feature level that this program knows (R6)
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

	// CounterLimit is the last counter that a leader uses of its epoch before it
	// renews it (ZAB.md 2.7); 0xfff00000 if zero, never above 0xfffffffe.
	CounterLimit uint32
}

func (t Tuning) withDefaults() Tuning {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&t.PingTicks, 4)
	set(&t.FollowerTimeout, 20)
	set(&t.FinalizeTicks, 2)
	set(&t.NotifyTicks, 3)
	set(&t.DiscoveryTicks, 30)
	set(&t.SyncTicks, 200)
	set(&t.ResendTicks, 5)
	set(&t.MessageBytes, 48<<10)
	set(&t.WindowBytes, 16<<20)
	set(&t.CacheBytes, 16<<20)
	set(&t.MaxPending, 1<<16)
	if t.CounterLimit == 0 {
		t.CounterLimit = counterSoftLimit
	}
	t.CounterLimit = min(t.CounterLimit, counterLimit)
	return t
}

const (
	maxFollowerTimeout = 200 // ticks: RULES.md part D
	maxDiscoveryTicks  = 500
	leaseStepMs        = 100 // R23: most that the lease clock advances in a tick
	leaseStallTicks    = 100 // R23: it stands while a proposal is uncommitted for 1 s
	requestResendTicks = 20
	backlogWindows     = 4          // of bytes not applied, beyond which a leader refuses forwards
	stallTicks         = 200        // RULES.md part D: an own log stall that ends a leadership
	hintTicks          = 5          // silence borne after a hint that the leader's link is gone
	counterSoftLimit   = 0xfff00000 // of an epoch, after which a leader renews it
	counterLimit       = 0xfffffffe // … beyond which it never goes
)

// RestoredEpochs is how far above every epoch that the former cluster may have
// reached a restored one begins: what is known of that may be old (R9).
const RestoredEpochs Epoch = 4096

var (
	// ErrTooManyPending refuses a request because too many are without an end.
	ErrTooManyPending = errors.New("quorum: too many pending requests")
	// ErrTooLarge refuses a request that can never fit the window.
	ErrTooLarge = errors.New("quorum: request larger than the proposal window")
	// ErrDoubt refuses a request because this store must be rebuilt.
	ErrDoubt = errors.New("quorum: the state of this node is not to be trusted")
	// ErrOrder refuses a request whose id is not above those before it.
	ErrOrder = errors.New("quorum: request ids must rise")
	// ErrViolation is wrapped by every Ready.Halt that a broken invariant causes.
	ErrViolation = errors.New("quorum: safety violation")
)

// Core is one node's view of the protocol. Make it with New.
type Core struct {
	cfg   Config
	tun   Tuning
	ctl   Control
	rng   uint64
	tick  uint64
	wall  int64
	age   uint64 // highest cluster age seen in the log or set by the driver
	log   log
	peers []*peer // everybody else, sorted by id

	founding    Configuration // version 0
	gossip      Configuration // newest that others say is committed
	memberships uint64        // changes of Members

	seq    uint64 // WAL groups handed out
	stable uint64 // … of which these are durable
	wal    []Record
	out    Ready

	round     uint64 // logical clock of elections; survives role changes
	notifySeq uint64
	failures  uint   // leaders that failed to establish in a row
	standAt   uint64 // no candidacy before this tick (back-off)
	inherited uint64 // tick at which the leadership was transferred to this node; 0: never
	patience  patience
	retired   bool // StepDown: takes no part any more
	halt      error

	r        role
	requests requests
	reads    reads
	digests  digests
}

// role is everything that belongs to one stay in one role; reset clears it.
type role struct {
	state    State
	phase    Phase
	since    uint64 // tick of entry
	deadline uint64 // tick: no progress until then ends the stay
	epoch    Epoch
	base     Zxid
	est      bool // established: leading with a quorum, or following such a leader

	look   looking
	follow following
	lead   leading
}

// New makes the core of a node from what its disk holds. It reports a
// configuration or a disk state that cannot be.
func New(cfg Config, st Restored) (*Core, error) {
	c := &Core{cfg: cfg, tun: cfg.Tuning.withDefaults(), ctl: *st.Control.Clone(), rng: cfg.Seed}
	if cfg.ID == 0 || st.Control.Node != cfg.ID {
		return nil, fmt.Errorf("quorum: store belongs to node %d, not %d", st.Control.Node, cfg.ID)
	}
	self := false
	for _, p := range cfg.Peers {
		self = self || p.ID == cfg.ID
	}
	if !self {
		return nil, fmt.Errorf("quorum: node %d is not among the peers", cfg.ID)
	}
	c.founding.Members = c.ctl.Founding
	if err := c.log.restore(&st); err != nil {
		return nil, err
	}
	c.peersChanged()
	for i := range st.Tail {
		c.age = max(c.age, st.Tail[i].Stamp.Age)
	}
	c.digests.replaced(st.Snapshot)
	c.patience.base = uint32(c.tun.FollowerTimeout)
	if err := c.Check(); err != nil {
		return nil, err
	}
	c.enterLooking()
	return c, nil
}

// Tick advances time by one tick. elapsedMs is the real time since the last
// call, for the lease clock alone.
func (c *Core) Tick(elapsedMs int) {
	if c.halt != nil || c.retired {
		return
	}
	c.tick++
	c.patience.tick(c.tick)
	switch c.r.state {
	case StateLooking:
		c.tickLooking()
	case StateFollowing:
		c.tickFollowing()
	case StateLeading:
		c.tickLeading(elapsedMs)
	}
}

// SetWall sets the wall clock, in Unix milliseconds, that this node stamps its
// proposals with if it leads.
func (c *Core) SetWall(unixMs int64) { c.wall = unixMs }

// SetAge tells the core the cluster age of a state that was restored from a
// snapshot; it keeps the maximum (R20).
func (c *Core) SetAge(ms uint64) { c.age = max(c.age, ms) }

// Backlog tells the core how many bytes of Committed are not applied yet. A node
// that is behind takes in no more, as with a slow disk, and a leader proposes
// nothing that others forward.
func (c *Core) Backlog(bytes int) { c.log.backlog = bytes }

// Step handles one message from a peer. A message that is stale, foreign or
// nonsense is dropped.
func (c *Core) Step(m Message) {
	p := c.admit(&m)
	if p == nil {
		c.overhear(&m)
		return
	}
	p.heard = c.tick
	if p.heard == 0 {
		p.heard = 1
	}
	switch m.Type {
	case MsgNotify:
		c.onNotify(p, &m)
	case MsgJoin, MsgAckEpoch, MsgAckLD, MsgAck, MsgPong, MsgNack, MsgRequest, MsgRead:
		c.stepLeader(p, &m)
		c.renewStep()
	case MsgFetch, MsgEntries:
		c.stepTransfer(p, &m)
	case MsgSync:
		if f := &c.r.follow; c.r.state == StateLeading {
			c.onPullSnap(p, &m)
		} else if p.id == f.feed.from && p.boot == f.feed.boot {
			c.stepFeeder(&m)
		} else {
			c.stepFollower(p, &m)
		}
	default:
		c.stepFollower(p, &m)
	}
}

// admit applies the header checks of ZAB.md section 5 and returns the sender.
func (c *Core) admit(m *Message) *peer {
	p := c.peer(m.From)
	if c.halt != nil || c.retired || p == nil || (m.To != 0 && m.To != c.cfg.ID) {
		return nil
	}
	if m.ToBoot != (Boot{}) && m.ToBoot != c.ctl.Boot {
		return nil
	}
	if !c.admitBoot(p, m.FromBoot, m.Type == MsgNotify) {
		c.warn(p, m)
		return nil
	}
	c.remember(p)
	if m.Type == MsgNotify {
		return p // forming stores have no cluster id yet; onNotify compares
	}
	if !c.knowsCluster() || m.Cluster != c.ctl.Cluster {
		return nil
	}
	return p
}

// knowsCluster says whether this store belongs to a formed cluster, be it only
// as one to be rebuilt.
func (c *Core) knowsCluster() bool {
	return c.ctl.Cluster != ClusterID{} && (c.ctl.Formed || c.ctl.NeedsRebuild)
}

// Ready hands out everything that has become due since the last call.
func (c *Core) Ready() Ready {
	if c.halt == nil {
		c.flushReads()
		c.flushRequests()
		c.flushProposals()
		c.leave()
		c.flushHand()
	}
	r := c.out
	c.out = Ready{}
	if c.doubt() != DoubtNone {
		r.Reads, c.out.Reads = nil, r.Reads // they wait for the end of the doubt
	}
	if len(c.wal) > 0 {
		c.seq++
		r.WAL, r.Seq = c.wal, c.seq
		c.log.mark(c.seq, c.tick)
		c.wal = nil
	}
	r.Committed = c.log.emit()
	for i := range r.Committed {
		c.resolve(&r.Committed[i])
	}
	c.grant()
	c.disowned()
	c.log.prune(c.tun.CacheBytes)
	r.Soft, r.Halt = c.Soft(), c.halt
	return r
}

// HasReady says whether Ready would hand out anything but Soft.
func (c *Core) HasReady() bool {
	o := &c.out
	return len(c.wal) > 0 || len(o.Msgs) > 0 || len(o.Reads) > 0 && c.doubt() == DoubtNone || len(o.Failed) > 0 ||
		o.Install != nil || len(o.Fetch) > 0 || o.Mismatch != nil || c.log.emittable() || c.unsent() || c.readsDue() ||
		c.requestsDue() || c.handDue() || c.r.lead.leaving || c.halt != nil
}

// Stable says that every record up to Ready.Seq == seq is durable.
func (c *Core) Stable(seq uint64) {
	if c.halt != nil || seq <= c.stable {
		return
	}
	c.stable = seq
	c.log.stable(seq)
	switch c.r.state {
	case StateLooking:
		c.ballot()
	case StateLeading:
		c.onOwnStable()
	case StateFollowing:
		c.ackDurable()
		if f := &c.r.follow; f.fetching && f.waiting {
			c.ask()
		}
	}
}

// DiskFailed says that a write or fsync failed: the node must stop (ZAB.md 3).
func (c *Core) DiskFailed(err error) {
	if c.r.state == StateLeading {
		c.sendStepDown(false, c.heir())
	}
	c.fail(fmt.Errorf("quorum: the log cannot be written: %w", err))
}

// SnapshotTaken says that a snapshot of this node's own state is durable.
func (c *Core) SnapshotTaken(m SnapMeta) {
	if m.Zxid > c.log.snap.Zxid {
		c.log.snap = m
	}
	c.Digest(m.Zxid, m.Digest)
}

// Compacted says that the log on disk now begins after start.
func (c *Core) Compacted(start Zxid) {
	if start <= c.log.snap.Zxid && start > c.log.hist.Start() {
		c.log.hist.Forget(start)
	}
}

// PeerHint says that the link to a peer was lost or is back. It is never needed
// for safety: it shortens waiting.
func (c *Core) PeerHint(id NodeID, up bool) {
	p := c.peer(id)
	if p == nil {
		return
	}
	p.down = !up
	if !up && c.r.state == StateFollowing && c.r.follow.leader == id {
		c.r.follow.hinted = c.tick
	}
}

// StepDown takes this node out of the quorum for good, at a clean stop: a
// leader tells its followers, so that they elect another at once.
func (c *Core) StepDown() {
	c.sendStepDown(true, c.heir())
	c.retired = true
	c.reset(StateLooking, PhaseLooking)
}

// Soft is the part of the state that drivers act on.
func (c *Core) Soft() Soft {
	s := Soft{
		State: c.r.state, Phase: c.r.phase, Forming: c.formState(), Epoch: c.ctl.CurrentEpoch,
		Established: c.r.est, Commit: c.log.commit, Last: c.log.last(), Durable: c.log.durable,
		Emitted: c.log.emitted, Membership: c.memberships, AgeMs: c.age, Halted: c.halt != nil, Spoiled: c.ctl.Spoiled, Refusal: c.refusal(),
		Doubt: c.doubt(), Agreed: c.digests.agreed.last(),
		Outside: c.ctl.Formed && c.roleOf(c.cfg.ID) == 0,
	}
	switch c.r.state {
	case StateLeading:
		s.Leader, s.Epoch, s.LeaseMs, s.AgeMs = c.cfg.ID, c.r.epoch, c.r.lead.leaseMs, c.stampAge()
		s.Heir = c.r.lead.hand.to
	case StateFollowing:
		if c.roleOf(c.cfg.ID) != RoleVoter {
			s.State = StateObserving
		}
		s.Leader = c.r.follow.leader
		if c.r.epoch != 0 {
			s.Epoch = c.r.epoch
		}
	}
	if c.r.est {
		s.Base = c.r.base
	}
	s.Told = max(s.Commit, c.r.follow.ahead)
	return s
}

// Control is the durable control state as the core last wrote it.
func (c *Core) Control() Control { return *c.ctl.Clone() }

// History is the index of the log. It is for reading only.
func (c *Core) History() *History { return &c.log.hist }

// reset is the only way from one role into another; nothing of the old role is
// left (ZAB.md 2.1).
func (c *Core) reset(s State, p Phase) {
	c.r = role{state: s, phase: p, since: c.tick}
	c.out.Install = nil
	c.reads.sent = c.reads.done
}

// setControl is the only place that changes the durable control state.
func (c *Core) setControl(change func(*Control)) {
	change(&c.ctl)
	c.founding.Members = c.ctl.Founding
	c.wal = append(c.wal, Record{Type: RecordControl, Control: c.ctl.Clone()})
}

// claim is the durable step that a message vouches for when it tells anything
// of this node's log or control state.
func (c *Core) claim() uint64 {
	if len(c.wal) > 0 {
		return c.seq + 1
	}
	return c.seq
}

// send addresses m and queues it, gated by after.
func (c *Core) send(m Message, after uint64) {
	m.From, m.FromBoot = c.cfg.ID, c.ctl.Boot
	if c.knowsCluster() {
		m.Cluster = c.ctl.Cluster
	}
	if p := c.peer(m.To); p != nil && m.Type != MsgNotify {
		m.ToBoot = p.boot
	}
	if len(c.peers) > 0 || m.To != 0 {
		c.out.Msgs = append(c.out.Msgs, Outbound{Msg: m, AfterSeq: after})
	}
}

// append adds an entry to the log, and its record to what must be written.
func (c *Core) append(e *Entry) bool {
	if !c.log.append(e) {
		return false
	}
	c.age = max(c.age, e.Stamp.Age)
	c.wal = append(c.wal, Record{Type: RecordEntry, Entry: *e})
	if e.Kind == EntryConfig {
		if err := c.log.configure(e); err != nil {
			c.fail(fmt.Errorf("%w: %v", ErrViolation, err))
			return false
		}
		c.peersChanged()
	}
	return true
}

// advance moves the commit position up to z.
func (c *Core) advance(z Zxid) bool {
	before := c.log.activated()
	if !c.log.advance(z) {
		return false
	}
	if c.log.activated() != before {
		c.activate()
	}
	return true
}

// fail stops the core for good.
func (c *Core) fail(err error) {
	if c.halt == nil {
		c.halt = err
		c.reset(StateLooking, PhaseLooking)
	}
}

// random is splitmix64 over the configured seed.
func (c *Core) random() uint64 {
	c.rng += 0x9e3779b97f4a7c15
	z := c.rng
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
