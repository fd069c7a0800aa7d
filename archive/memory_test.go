package archive

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// memory is the history of a cluster in memory: what a node would hand out.
type memory struct {
	mu      sync.Mutex
	cluster quorum.ClusterID
	state   *lease.State
	entries []quorum.Entry
	events  [][]tree.Event // of each entry
	digests []uint64       // behind each entry
	views   []*lease.View  // likewise
	purged  int            // entries that the log holds no more
	ready   error          // why this node should not ship
	epoch   quorum.Epoch
	wall    int64
}

func newMemory(id byte) *memory {
	m := &memory{state: lease.New(lease.DefaultSettings()), epoch: 7, wall: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC).UnixMilli()}
	for i := range m.cluster {
		m.cluster[i] = id
	}
	m.commit(&commandpb.Command{Op: &commandpb.Command_RaiseLevel{RaiseLevel: &commandpb.RaiseLevel{Level: lease.Format}}})
	return m
}

// commit appends a command a second after the one before.
func (m *memory) commit(cmd *commandpb.Command) quorum.Zxid {
	data, err := proto.Marshal(cmd)
	if err != nil {
		panic(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	z, chain, age := quorum.MakeZxid(m.epoch, 1), uint64(0), uint64(1)
	if n := len(m.entries); n > 0 {
		last := &m.entries[n-1]
		chain, age = last.Chain, last.Stamp.Age+1000
		if last.Zxid.Epoch() == m.epoch {
			z = last.Zxid + 1
		}
	}
	m.wall += 1000
	e := quorum.Entry{Zxid: z, Kind: quorum.EntryCommand, Stamp: quorum.Stamp{Wall: m.wall, Age: age}, Data: data}
	e.Chain = quorum.ChainHash(chain, &e)
	_, events, err := m.state.Apply(&e)
	if err != nil {
		panic(err)
	}
	m.entries, m.events = append(m.entries, e), append(m.events, events)
	m.digests, m.views = append(m.digests, m.state.View().Digest()), append(m.views, m.state.View())
	return z
}

// put writes a value of a kilobyte as a principal.
func (m *memory) put(path, principal string) quorum.Zxid {
	return m.commit(&commandpb.Command{
		Format: lease.Format, Caller: &commandpb.Caller{Principal: principal, Address: "10.1.2.3"},
		Op: &commandpb.Command_Put{Put: &commandpb.Put{Path: path, Data: make([]byte, 1024), Parents: true}},
	})
}

// fill makes n writes.
func (m *memory) fill(n int) {
	for i := range n {
		m.put(fmt.Sprintf("/fill/%d", i%100), "filler")
	}
}

func (m *memory) index(z quorum.Zxid) int {
	return slices.IndexFunc(m.entries, func(e quorum.Entry) bool { return e.Zxid == z })
}

// viewAt is the state at z.
func (m *memory) viewAt(z quorum.Zxid) *lease.View { return m.views[m.index(z)] }

// purge drops the log up to now.
func (m *memory) purge() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.purged = len(m.entries)
}

func (m *memory) setReady(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready = err
}

func (m *memory) Cluster() quorum.ClusterID { return m.cluster }

func (m *memory) Epoch() quorum.Epoch {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epoch
}

// reign begins the next epoch.
func (m *memory) reign() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
}

func (m *memory) Applied() quorum.Zxid {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries[len(m.entries)-1].Zxid
}

func (m *memory) Behind(after quorum.Zxid) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries[m.purged:] {
		if e.Zxid > after {
			n++
		}
	}
	return n
}

func (m *memory) Ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ready
}

func (m *memory) Pace(ctx context.Context, _ int) error { return ctx.Err() }

func (m *memory) State(quorum.Zxid) (*lease.View, quorum.SnapMeta) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.entries) - 1
	return m.views[n], quorum.SnapMeta{Zxid: m.entries[n].Zxid, Chain: m.entries[n].Chain, Digest: m.digests[n]}
}

func (m *memory) Next(_ context.Context, after quorum.Zxid, most int) (lease.Stretch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := lease.Stretch{After: after, Through: after, Known: true}
	from := m.index(after) + 1
	if after >= m.entries[len(m.entries)-1].Zxid {
		return s, nil
	}
	if from < m.purged || from == 0 {
		return s, lease.ErrPurged
	}
	size, to := 0, from
	for ; to < len(m.entries) && (to == from || size+m.entries[to].Size() <= most); to++ {
		size += m.entries[to].Size()
		s.Events = append(s.Events, m.events[to]...)
	}
	s.Cut(m.entries[from:to])
	s.Digest, s.Digested = m.digests[to-1], true
	return s, nil
}
