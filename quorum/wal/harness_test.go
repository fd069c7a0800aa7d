package wal

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"testing"

	"perch/quorum"
	"perch/quorum/disk/memdisk"
)

const testDir = "wal"

// options are small enough that a short test meets every boundary.
func options(d *memdisk.Disk) Options {
	return Options{
		Dir: testDir, Node: 7, FS: d, SegmentBytes: 2048, AllocBytes: 512,
		Rand: rand.NewChaCha8([32]byte{byte(opens.Add(1)), byte(opens.Load() >> 8)}),
	}
}

var opens atomic.Uint32 // so that no two opens draw the same

// model is the log as an obvious slice. Purging is a lower bound only: the log
// may begin anywhere up to floor.
type model struct {
	control    quorum.Control
	start      quorum.Zxid
	startChain uint64
	entries    []quorum.Entry
	commit     quorum.Zxid
	floor      quorum.Zxid
}

func (m *model) clone() *model {
	c := *m
	c.control = *m.control.Clone()
	c.entries = append([]quorum.Entry(nil), m.entries...)
	return &c
}

func (m *model) last() (quorum.Zxid, uint64) {
	if n := len(m.entries); n > 0 {
		return m.entries[n-1].Zxid, m.entries[n-1].Chain
	}
	return m.start, m.startChain
}

func (m *model) apply(r *quorum.Record) {
	switch r.Type {
	case quorum.RecordControl:
		m.control = *r.Control.Clone()
	case quorum.RecordEntry:
		m.entries = append(m.entries, r.Entry)
	case quorum.RecordTruncate:
		n := 0
		for n < len(m.entries) && m.entries[n].Zxid <= r.Zxid {
			n++
		}
		m.entries = m.entries[:n:n]
	case quorum.RecordInstall:
		m.start, m.startChain, m.entries, m.floor = r.Zxid, r.Chain, nil, 0
	case quorum.RecordCommit:
		m.commit = max(m.commit, r.Zxid)
	}
}

// firstStart is the lowest position that may still be asked for.
func (m *model) firstStart() quorum.Zxid {
	last, _ := m.last()
	return max(m.start, min(m.floor, last))
}

// check compares what a log holds with the model; nil means equal.
func (m *model) check(control quorum.Control, h *quorum.History, commit quorum.Zxid, read func(quorum.Zxid) ([]quorum.Entry, error)) error {
	want, wantChain := m.last()
	if h.Last() != want || h.LastChain() != wantChain {
		return fmt.Errorf("ends at %v %x, want %v %x", h.Last(), h.LastChain(), want, wantChain)
	}
	if h.Start() < m.start || h.Start() > m.firstStart() {
		return fmt.Errorf("begins at %v, want %v to %v", h.Start(), m.start, m.firstStart())
	}
	if commit != m.commit {
		return fmt.Errorf("commit hint %v, want %v", commit, m.commit)
	}
	a, b := control, m.control
	a.Boot, b.Boot = quorum.Boot{}, quorum.Boot{}
	if !reflect.DeepEqual(a, b) {
		return fmt.Errorf("control %+v, want %+v", a, b)
	}
	if control.Boot.Incarnation != m.control.Boot.Incarnation || control.Boot.Counter < m.control.Boot.Counter {
		return fmt.Errorf("boot %+v after %+v", control.Boot, m.control.Boot)
	}
	return m.checkEntries(h, read)
}

func (m *model) checkEntries(h *quorum.History, read func(quorum.Zxid) ([]quorum.Entry, error)) error {
	have, err := read(h.Start())
	if err != nil {
		return err
	}
	want := m.entries
	for len(want) > 0 && want[0].Zxid <= h.Start() {
		want = want[1:]
	}
	if len(have) != len(want) || h.Len() != len(want) {
		return fmt.Errorf("%d entries, %d in the index, want %d", len(have), h.Len(), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(have[i], want[i]) {
			return fmt.Errorf("entry %d is %+v, want %+v", i, have[i], want[i])
		}
		if chain, ok := h.Chain(want[i].Zxid); !ok || chain != want[i].Chain {
			return fmt.Errorf("index has %x at %v", chain, want[i].Zxid)
		}
	}
	return nil
}

func (m *model) checkRecovered(rec *Recovered) error {
	return m.check(rec.Control, &rec.History, rec.CommitHint, rec.Entries)
}

// checkOpen compares an open log.
func (m *model) checkOpen(l *Log) error {
	return m.check(l.state.control, &l.state.history, l.state.commit, func(after quorum.Zxid) ([]quorum.Entry, error) {
		return (&Recovered{log: l}).Entries(after)
	})
}

// group draws records that may follow the model.
func (m *model) group(rnd *rand.Rand) []quorum.Record {
	c := m.clone()
	recs := make([]quorum.Record, 1+rnd.IntN(6))
	for i := range recs {
		recs[i] = c.record(rnd)
		c.apply(&recs[i])
	}
	return recs
}

func (m *model) record(rnd *rand.Rand) quorum.Record {
	switch p := rnd.IntN(100); {
	case p < 8:
		return quorum.Record{Type: quorum.RecordControl, Control: m.newControl(rnd)}
	case p < 14:
		last, _ := m.last()
		return quorum.Record{Type: quorum.RecordCommit, Zxid: last}
	case p < 22:
		return m.truncation(rnd)
	case p < 24:
		last, _ := m.last() // a snapshot may end before a log that was never committed
		counter := max(1, int(last.Counter())+rnd.IntN(60)-20)
		return quorum.Record{Type: quorum.RecordInstall, Zxid: quorum.MakeZxid(last.Epoch(), uint32(counter)), Chain: rnd.Uint64()}
	}
	return quorum.Record{Type: quorum.RecordEntry, Entry: m.newEntry(rnd)}
}

func (m *model) newControl(rnd *rand.Rand) *quorum.Control {
	c := m.control.Clone()
	c.AcceptedEpoch += quorum.Epoch(rnd.IntN(3))
	c.CurrentEpoch = c.AcceptedEpoch
	c.AcceptedFrom = quorum.Promise{Leader: quorum.NodeID(rnd.IntN(4)), Boot: quorum.Boot{Counter: rnd.Uint64N(9), Nonce: rnd.Uint64()}}
	c.Formed = rnd.IntN(2) == 0
	c.NeedsRebuild = rnd.IntN(9) == 0
	c.Spoiled = c.NeedsRebuild && rnd.IntN(2) == 0
	c.Reason = []string{"", "lost its disk"}[rnd.IntN(2)]
	c.Cluster[3] = byte(rnd.IntN(256))
	c.Seen = nil
	for i := range rnd.IntN(3) {
		c.Seen = append(c.Seen, quorum.Life{ID: quorum.NodeID(i + 1), Boot: quorum.Boot{Incarnation: quorum.Incarnation{byte(i + 1)}, Counter: rnd.Uint64N(9), Nonce: rnd.Uint64()}})
	}
	c.Founding = nil
	for i := range rnd.IntN(4) {
		c.Founding = append(c.Founding, quorum.Member{ID: quorum.NodeID(i + 1), Incarnation: quorum.Incarnation{byte(i)}, Role: quorum.RoleVoter})
	}
	return c
}

func (m *model) truncation(rnd *rand.Rand) quorum.Record {
	first := m.firstStart()
	var to []quorum.Record
	if first == m.start {
		to = append(to, quorum.Record{Type: quorum.RecordTruncate, Zxid: m.start, Chain: m.startChain})
	}
	for i := range m.entries {
		if e := &m.entries[i]; e.Zxid >= first {
			to = append(to, quorum.Record{Type: quorum.RecordTruncate, Zxid: e.Zxid, Chain: e.Chain})
		}
	}
	to = to[max(0, len(to)-8):]
	return to[rnd.IntN(len(to))]
}

func (m *model) newEntry(rnd *rand.Rand) quorum.Entry {
	last, chain := m.last()
	z := last + 1
	if rnd.IntN(12) == 0 || last.Counter() == 0 {
		z = quorum.MakeZxid(last.Epoch()+quorum.Epoch(1+rnd.IntN(2)), 1)
	}
	e := quorum.Entry{Zxid: z, Kind: quorum.EntryKind(1 + rnd.IntN(2))}
	if rnd.IntN(5) > 0 {
		e.Origin = quorum.Origin{Node: quorum.NodeID(rnd.IntN(1 << 16)), Boot: rnd.Uint64(), ID: rnd.Uint64()}
		e.Stamp = quorum.Stamp{Wall: int64(rnd.Uint64()), Age: rnd.Uint64N(1000)}
	}
	if n := rnd.IntN(120); n > 0 {
		e.Data = make([]byte, n)
		for i := range e.Data {
			e.Data[i] = byte(rnd.Uint32())
		}
	}
	if rnd.IntN(40) == 0 {
		e.Data = make([]byte, 3000) // larger than a segment
	}
	e.Chain = quorum.ChainHash(chain, &e)
	return e
}

func mustOpen(t testing.TB, d *memdisk.Disk) (*Log, *Recovered) {
	t.Helper()
	l, rec, err := Open(options(d))
	if err != nil {
		t.Fatal(err)
	}
	return l, rec
}

func entryRecords(m *model, rnd *rand.Rand, n int) []quorum.Record {
	c := m.clone()
	recs := make([]quorum.Record, n)
	for i := range recs {
		recs[i] = quorum.Record{Type: quorum.RecordEntry, Entry: c.newEntry(rnd)}
		c.apply(&recs[i])
	}
	return recs
}
