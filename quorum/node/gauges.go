package node

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
)

type gauge struct {
	name, help string
	read       func() float64
}

// gauges lists what is read on demand and has no labels.
func (n *Node) gauges() []gauge {
	soft := func(f func(quorum.Soft) float64) func() float64 {
		return func() float64 { return f(n.Soft()) }
	}
	view := func(f func(*lease.View) float64) func() float64 {
		return func() float64 { return f(n.view()) }
	}
	return []gauge{
		{"perch_epoch", "Epoch led or followed.", soft(func(s quorum.Soft) float64 { return float64(s.Epoch) })},
		{"perch_leader", "Id of the leader; 0 when there is none.", soft(func(s quorum.Soft) float64 { return float64(s.Leader) })},
		{"perch_is_leader", "1 while this node leads.", soft(func(s quorum.Soft) float64 { return truth(leads(s)) })},
		{"perch_leader_seconds", "Time that the leader has been established; 0 when there is none.",
			func() float64 { return n.leaderFor(n.Soft(), time.Now()).Seconds() }},
		{"perch_quorum_up", "1 while this node leads, or follows, a leader with a majority of the voters.",
			soft(func(s quorum.Soft) float64 { return truth(s.Established) })},
		{"perch_ready", "1 while this node has a leader with a quorum and is caught up.",
			soft(func(s quorum.Soft) float64 { return truth(n.notReady(s) == "") })},
		{"perch_feature_level", "Feature level of the state.", view(func(v *lease.View) float64 { return float64(v.Level()) })},

		{"perch_apply_lag_bytes", "Committed and not applied.", func() float64 { return float64(n.apply.backlog.Load()) }},
		{"perch_requests_in_flight", "Writes of this node's clients without an outcome.", func() float64 { return float64(n.requests.count()) }},
		{"perch_parked", "Parked requests.", func() float64 { return float64(n.watches.count()) }},
		{"perch_waiting_places", "Requests of this node's clients that wait for a place in a queue; they are parked too.",
			func() float64 { return float64(n.places.count()) }},

		{"perch_sessions", "Live sessions.", view(func(v *lease.View) float64 { return float64(v.Sessions()) })},
		{"perch_nodes", "Nodes of the tree.", view(func(v *lease.View) float64 { return float64(v.Nodes()) })},
		{"perch_holds", "Holds of locks, semaphores, elections and runs of once.", view(func(v *lease.View) float64 { return float64(v.Held()) })},
		{"perch_places", "Places in the queues of what is held.", view(func(v *lease.View) float64 { return float64(v.Places()) })},
		{"perch_idempotency_records", "Results kept for Idempotency-Keys.", view(func(v *lease.View) float64 { return float64(v.Records()) })},
		{"perch_idempotency_oldest_seconds", "Age of the oldest result kept for an Idempotency-Key; 0 when there is none.",
			view(func(v *lease.View) float64 { return float64(v.OldestRecord()) / 1000 })},
		{"perch_events", "Events in the history.", view(func(v *lease.View) float64 { return float64(v.KeptEvents()) })},
		{"perch_events_bytes", "What the events of the history count against its bound.", view(func(v *lease.View) float64 { return float64(v.EventBytes()) })},
		{"perch_events_oldest_seconds", "Age of the oldest event at the last transaction; 0 when there is none.",
			view(func(v *lease.View) float64 { return float64(v.OldestEvent()) / 1000 })},

		{"perch_log_bytes", "Bytes of the log on disk.", func() float64 { return float64(n.wal.Size()) }},
		{"perch_snapshot_bytes", "Bytes of the newest snapshot; 0 when there is none.", func() float64 { return float64(n.snaps.size.Load()) }},
		{"perch_snapshot_age_seconds", "What the cluster has lived since the newest snapshot; 0 when there is none.",
			func() float64 { return n.snaps.age().Seconds() }},
		{"perch_disk_free_bytes", "Free bytes of the disk with the data directory.", func() float64 { return float64(n.space.measured.Load().free) }},
		{"perch_disk_size_bytes", "Size of the disk with the data directory.", func() float64 { return float64(n.space.measured.Load().size) }},
		{"perch_disk_low", "1 while this node's disk is low.", func() float64 { return truth(n.space.low.Load()) }},
		{"perch_storage_full", "1 while writes are refused for want of disk.", func() float64 { return truth(n.space.full.Load()) }},
		{"perch_state_in_doubt", "1 while the voters disagree about the state, 2 when this node's is wrong; nothing is served then.",
			soft(func(s quorum.Soft) float64 { return float64(s.Doubt) })},
	}
}

// families lists what is read on demand and has a label.
func (n *Node) families() []prometheus.Collector {
	return []prometheus.Collector{
		newFamily("perch_zab_phase", "1 for the phase of the protocol that this node is in.", "phase", gaugeValue, n.eachPhase),
		newFamily("perch_zxid_epoch", "Epoch of a position: zxids do not fit a metric whole.", "at", gaugeValue,
			func(put func(string, float64)) {
				n.eachZxid(func(at string, z quorum.Zxid) { put(at, float64(z.Epoch())) })
			}),
		newFamily("perch_zxid_counter", "Counter of a position in its epoch.", "at", gaugeValue,
			func(put func(string, float64)) {
				n.eachZxid(func(at string, z quorum.Zxid) { put(at, float64(z.Counter())) })
			}),
		newFamily("perch_queue_length", "What waits for one of the node's goroutines.", "queue", gaugeValue, n.eachQueue),
		newFamily("perch_peer_lag_transactions", "Transactions that the leader has logged and a member has not acknowledged, at least; only the leader knows.",
			"peer", gaugeValue, n.eachPeer(func(s *quorum.Soft, p *quorum.Progress) float64 { return float64(lag(s, p.Durable)) })),
		newFamily("perch_peer_connected", "1 while a member answers the leader; only the leader knows.",
			"peer", gaugeValue, n.eachPeer(func(_ *quorum.Soft, p *quorum.Progress) float64 { return truth(p.Connected) })),
		newFamily("perch_peer_synced", "1 once a member has the initial history of this leader; only the leader knows.",
			"peer", gaugeValue, n.eachPeer(func(_ *quorum.Soft, p *quorum.Progress) float64 { return truth(p.Synced) })),
	}
}

func (n *Node) eachPhase(put func(string, float64)) {
	now := n.Soft().Phase
	for phase, name := range phaseNames {
		put(name, truth(phase == now))
	}
}

func (n *Node) eachZxid(put func(string, quorum.Zxid)) {
	s := n.Soft()
	put("logged", s.Last)
	put("durable", s.Durable)
	put("committed", s.Commit)
	put("applied", n.positions.now())
	put("agreed", s.Agreed)
	put("snapshot", quorum.Zxid(n.snaps.newest.Load()))
	put("log_start", quorum.Zxid(n.snaps.logStart.Load()))
	put("oldest_event", n.view().Oldest())
}

func (n *Node) eachQueue(put func(string, float64)) {
	put("log", float64(n.disk.queue.size()))
	put("apply", float64(n.apply.queue.size()))
	put("fetch", float64(n.fetches.size()))
	if n.net != nil {
		put("inbox", float64(len(n.net.Inbox())))
	}
}

// eachPeer has f tell of every other member while this node leads.
func (n *Node) eachPeer(f func(*quorum.Soft, *quorum.Progress) float64) func(put func(string, float64)) {
	return func(put func(string, float64)) {
		s := n.Soft()
		if !leads(s) {
			return
		}
		for _, p := range *n.peers.Load() {
			if p.ID != n.cfg.ID {
				put(strconv.Itoa(int(p.ID)), f(&s, &p))
			}
		}
	}
}

// lag is the number of transactions that the leader in state s has logged after
// durable. Counters begin anew with every epoch, so of one that ended before the
// initial history did it is only known that it had no fewer.
func lag(s *quorum.Soft, durable quorum.Zxid) uint64 {
	switch {
	case durable >= s.Last:
		return 0
	case durable.Epoch() == s.Last.Epoch():
		return uint64(s.Last.Counter() - durable.Counter())
	}
	behind := uint64(0)
	if s.Last.Epoch() != s.Base.Epoch() {
		behind = uint64(s.Last.Counter())
	}
	if durable.Epoch() == s.Base.Epoch() && durable < s.Base {
		behind += uint64(s.Base.Counter() - durable.Counter())
	} else if durable < s.Base {
		behind++
	}
	return behind
}

// netFamilies are what the transport counts.
func netFamilies(stats func() natsnet.Stats) []prometheus.Collector {
	return []prometheus.Collector{
		newFamily("perch_net_dropped_total", "Messages between nodes that were dropped here for want of room: of the inbox, of the way out, or in the own server's client.",
			"where", counterValue, func(put func(string, float64)) {
				s := stats()
				in, out := dropped(&s)
				put("in", float64(in))
				put("out", float64(out))
				put("client", float64(s.ClientDrops))
			}),
		newFamily("perch_net_refused_total", "Frames that were no message of a member.", "why", counterValue, func(put func(string, float64)) {
			s := stats()
			put("forged", float64(s.Forged))
			put("damaged", float64(s.Damaged))
			put("stranger", float64(s.Strangers))
			put("misdirected", float64(s.Misdirected))
		}),
		newFamily("perch_net_bytes_total", "Bytes of messages between nodes.", "direction", counterValue, func(put func(string, float64)) {
			s := stats()
			var in, out uint64
			for _, t := range s.Types {
				in, out = in+t.ReceivedBytes, out+t.SentBytes
			}
			put("in", float64(in))
			put("out", float64(out))
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "perch_net_unanswered_total", Help: "Questions to other nodes that were not answered.",
		}, func() float64 { return float64(stats().AskFailed) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "perch_net_routes", Help: "TCP connections to other nodes.",
		}, func() float64 { return float64(stats().Routes) }),
	}
}

func dropped(s *natsnet.Stats) (in, out uint64) {
	for _, t := range s.Types {
		in, out = in+t.DroppedIn, out+t.DroppedOut
	}
	return in, out
}

const (
	gaugeValue   = prometheus.GaugeValue
	counterValue = prometheus.CounterValue
)

// family is a metric with one label whose values are read when it is asked for.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	each func(put func(label string, v float64))
}

func newFamily(name, help, label string, kind prometheus.ValueType, each func(put func(string, float64))) *family {
	return &family{desc: prometheus.NewDesc(name, help, []string{label}, nil), kind: kind, each: each}
}

// Describe implements prometheus.Collector.
func (f *family) Describe(out chan<- *prometheus.Desc) { out <- f.desc }

// Collect implements prometheus.Collector.
func (f *family) Collect(out chan<- prometheus.Metric) {
	f.each(func(label string, v float64) { out <- prometheus.MustNewConstMetric(f.desc, f.kind, v, label) })
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
