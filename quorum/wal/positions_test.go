package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"perch/quorum"
	"perch/quorum/disk/memdisk"
)

// plan is a log with everything in it that a log can hold, what was appended to
// it, and where each thing stands. What recovery must do with any change to one
// of its files follows from that alone: see expected.
type plan struct {
	disk  *memdisk.Disk
	recs  []quorum.Record         // appended, in order; the boot record of Open first
	base  model                   // before them
	items map[string][]RecordInfo // by file, in order
	segs  []string
	// Everything before it is known to be durable from outside of the segments.
	markFile string
	markOff  int64
}

func planOptions(d *memdisk.Disk) Options {
	opt := options(d)
	opt.SegmentBytes, opt.AllocBytes = 1024, 256
	return opt
}

// left says how the process before ended.
type left string

const (
	stopped  left = "stopped"   // Close
	killed   left = "killed"    // the machine went on
	powerCut left = "power cut" // everything that was not synced is gone
)

// newPlan writes the log: control states, entries of several epochs, commit
// hints, truncations, an installed snapshot and marks, in several segments, and
// a last group of three records.
func newPlan(t *testing.T, how left) *plan {
	t.Helper()
	p := &plan{disk: memdisk.New(), items: map[string][]RecordInfo{}}
	l, rec, err := Open(planOptions(p.disk))
	if err != nil {
		t.Fatal(err)
	}
	p.base.control = *rec.Control.Clone()
	p.recs = []quorum.Record{{Type: quorum.RecordControl, Control: rec.Control.Clone()}}
	w := &planWriter{t: t, plan: p, log: l, m: p.base.clone()}
	w.add(w.control(1))
	w.add(w.entries(1, 3, 10)...)
	w.add(w.commit())
	w.mark()
	w.add(w.entries(1, 4, 30)...)
	w.add(w.back(2), w.control(2))
	w.add(w.entries(2, 2, 0)...)
	w.add(quorum.Record{Type: quorum.RecordInstall, Zxid: quorum.MakeZxid(2, 9), Chain: 0xabcdef})
	w.add(w.entries(2, 3, 50)...)
	w.add(w.commit())
	w.mark()
	w.add(w.entries(3, 2, 5)...)
	w.add(w.back(0))
	w.add(w.entries(3, 3, 17)...)
	w.end(how)
	p.locate(t)
	return p
}

// planWriter appends to the log of a plan, and keeps a model of it.
type planWriter struct {
	t    *testing.T
	plan *plan
	log  *Log
	m    *model
}

// add appends one group.
func (w *planWriter) add(recs ...quorum.Record) {
	w.t.Helper()
	if err := w.log.Append(recs); err != nil {
		w.t.Fatal(err)
	}
	for i := range recs {
		w.m.apply(&recs[i])
	}
	w.plan.recs = append(w.plan.recs, recs...)
}

func (w *planWriter) mark() {
	w.t.Helper()
	if err := w.log.Mark(); err != nil {
		w.t.Fatal(err)
	}
	seg := w.log.active()
	w.plan.markFile, w.plan.markOff = seg.path, seg.end-markSize
}

// end ends the process, or the machine.
func (w *planWriter) end(how left) {
	w.t.Helper()
	switch how {
	case stopped:
		w.mark()
		if err := w.log.Close(); err != nil {
			w.t.Fatal(err)
		}
	case killed:
		seg := w.log.active()
		w.plan.markFile, w.plan.markOff = seg.path, seg.end
	case powerCut:
		w.plan.disk = w.plan.disk.Crash(memdisk.Lost, nil)
	}
}

// entries are the next n of an epoch.
func (w *planWriter) entries(epoch quorum.Epoch, n, size int) (recs []quorum.Record) {
	last, chain := w.m.last()
	for range n {
		z := last + 1
		if epoch > last.Epoch() {
			z = quorum.MakeZxid(epoch, 1)
		}
		e := entryAt(z, chain, strings.Repeat("x", size))
		last, chain = e.Zxid, e.Chain
		recs = append(recs, quorum.Record{Type: quorum.RecordEntry, Entry: e})
	}
	return recs
}

func (w *planWriter) control(epoch quorum.Epoch) quorum.Record {
	c := w.m.control.Clone()
	c.AcceptedEpoch, c.CurrentEpoch, c.Formed = epoch, epoch, true
	c.Founding = []quorum.Member{{ID: 7, Incarnation: c.Boot.Incarnation, Role: quorum.RoleVoter}}
	return quorum.Record{Type: quorum.RecordControl, Control: c}
}

// back truncates to before the last n entries.
func (w *planWriter) back(n int) quorum.Record {
	e := w.m.entries[len(w.m.entries)-1-n]
	return quorum.Record{Type: quorum.RecordTruncate, Zxid: e.Zxid, Chain: e.Chain}
}

func (w *planWriter) commit() quorum.Record {
	last, _ := w.m.last()
	return quorum.Record{Type: quorum.RecordCommit, Zxid: last}
}

// locate finds where everything stands, and that it is what was appended.
func (p *plan) locate(t *testing.T) {
	t.Helper()
	kinds, n := map[string]int{}, 0
	if err := walk(p.disk, testDir, func(r RecordInfo) error {
		if r.Kind == KindHeader {
			p.segs = append(p.segs, r.File)
		}
		p.items[r.File] = append(p.items[r.File], r)
		kinds[r.Kind.String()]++
		if r.Kind == KindRecord {
			kinds[fmt.Sprint("type ", r.Record.Type)]++
			if want := p.recs[n]; r.Record.Type != want.Type || r.Record.Zxid != want.Zxid || r.Record.Entry.Chain != want.Entry.Chain {
				t.Fatalf("record %d is %+v, want %+v", n, r.Record, want)
			}
			n++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"type 1", "type 2", "type 3", "type 4", "type 5", "mark", "seal"} {
		if kinds[kind] < 1 {
			t.Fatalf("no %s in the log: %v", kind, kinds)
		}
	}
	if n != len(p.recs) || len(p.segs) < 3 || kinds["invalid"] > 0 {
		t.Fatalf("%d of %d records, %d segments: %v", n, len(p.recs), len(p.segs), kinds)
	}
}

// verdict is what Open must find.
type verdict struct {
	damaged bool
	file    string
	off     int64
	records int // of those appended, when it is not damaged
}

func (v verdict) String() string {
	if v.damaged {
		return fmt.Sprintf("damage in %s at %d", v.file, v.off)
	}
	return fmt.Sprintf("the first %d records", v.records)
}

// expected says what must be found after file name was changed to now. A record
// counts as it was when all its bytes are as they were.
func (p *plan) expected(name string, now []byte) verdict {
	all := verdict{records: len(p.recs)}
	was := p.disk.Read(name)
	switch {
	case bytes.Equal(was, now), name == testDir+"/"+watermarkName:
		return all
	case name == testDir+"/"+storeName:
		return verdict{damaged: true, file: name}
	}
	intact := func(r RecordInfo) bool {
		end := r.Offset + r.Size
		return end <= int64(len(now)) && bytes.Equal(was[r.Offset:end], now[r.Offset:end])
	}
	if !intact(p.items[name][0]) {
		return verdict{damaged: true, file: name} // of the header
	}
	if name != p.segs[len(p.segs)-1] {
		return p.expectedWhole(name, now, intact)
	}
	return p.expectedLast(name, intact)
}

// expectedWhole is for a segment with another one behind it: all of it but the
// seal was durable.
func (p *plan) expectedWhole(name string, now []byte, intact func(RecordInfo) bool) verdict {
	items := p.items[name]
	if seal := items[len(items)-1]; int64(len(now)) < seal.Offset {
		return verdict{damaged: true, file: name, off: int64(len(now))}
	}
	for _, r := range items[:len(items)-1] {
		if !intact(r) {
			return verdict{damaged: true, file: name, off: r.Offset}
		}
	}
	return verdict{records: len(p.recs)}
}

// expectedLast is for the last segment: what is behind its last mark, and behind
// what the watermark knows, may be torn.
func (p *plan) expectedLast(name string, intact func(RecordInfo) bool) verdict {
	items := p.items[name]
	i := slices.IndexFunc(items, func(r RecordInfo) bool { return !intact(r) })
	if i < 0 {
		return verdict{records: len(p.recs)}
	}
	vouched := p.markFile == name && p.markOff > items[i].Offset
	lost := 0
	for _, r := range items[i:] {
		vouched = vouched || r.Kind == KindMark && intact(r)
		if r.Kind == KindRecord {
			lost++
		}
	}
	if vouched {
		return verdict{damaged: true, file: name, off: items[i].Offset}
	}
	return verdict{records: len(p.recs) - lost}
}

// try changes one file and holds what Open and Verify find against what they
// must.
func (p *plan) try(name string, now []byte, more bool) (verdict, error) {
	want := p.expected(name, now)
	m := p.base.clone()
	for i := range p.recs[:want.records] {
		m.apply(&p.recs[i])
	}
	d := p.disk.Restart()
	d.Put(name, now)
	before := d.Ops()
	if more {
		if err := want.verified(d, m); err != nil {
			return want, fmt.Errorf("Verify: %w", err)
		}
	}
	l, rec, err := Open(planOptions(d))
	if want.damaged {
		if d.Ops() != before {
			return want, errors.New("files were changed")
		}
		return want, want.matches(err)
	}
	if err != nil {
		return want, fmt.Errorf("want %v, got %w", want, err)
	}
	defer l.Close()
	if err := m.checkRecovered(rec); err != nil {
		return want, fmt.Errorf("want %v: %w", want, err)
	}
	if more {
		return want, p.goOn(d, l, m)
	}
	return want, nil
}

// verified holds Verify against the verdict.
func (v verdict) verified(d *memdisk.Disk, m *model) error {
	before := d.Ops()
	report, err := verify(d, testDir)
	last, _ := m.last()
	switch {
	case err != nil:
		return err
	case d.Ops() != before:
		return errors.New("files were changed")
	case v.damaged && len(report.Damage) > 0:
		return v.matches(report.Damage[0])
	case v.damaged || len(report.Damage) > 0:
		return fmt.Errorf("want %v, got %v", v, report.Damage)
	case report.History.Last() != last || report.Commit != m.commit:
		return fmt.Errorf("the end is %v, the hint %v; want %v, %v", report.History.Last(), report.Commit, last, m.commit)
	}
	return nil
}

func (v verdict) matches(err error) error {
	var got *DamageError
	if !errors.As(err, &got) || got.File != v.file || got.Offset != v.off || got.Reason == "" || got.Remedy == "" {
		return fmt.Errorf("want %v, got %w", v, err)
	}
	return nil
}

// goOn appends to a log that was opened, and opens it once more: what was cut
// off stays away.
func (p *plan) goOn(d *memdisk.Disk, l *Log, m *model) error {
	rnd := rand.New(rand.NewPCG(1, 2))
	m.control = l.state.control
	recs := entryRecords(m, rnd, 2)
	if err := l.Append(recs); err != nil {
		return err
	}
	for i := range recs {
		m.apply(&recs[i])
	}
	next, rec, err := Open(planOptions(d.Restart()))
	if err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	defer next.Close()
	return m.checkRecovered(rec)
}

// TestEveryPosition changes a log at every byte of every file: inverts the byte
// and cuts the file there, and at some of them, with PERCH_SOAK=1 at all, flips
// one bit, zeroes from there on, loses a sector, and more. Recovery must find exactly what the plan says: all records, those before
// what was never vouched for, or damage at the record concerned (RULES.md R7).
func TestEveryPosition(t *testing.T) {
	full := os.Getenv("PERCH_SOAK") != ""
	for _, how := range []left{stopped, killed, powerCut} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			p := newPlan(t, how)
			tried, damage, short := 0, 0, 0
			for _, name := range p.disk.Files(testDir) {
				if how == killed && name != p.segs[len(p.segs)-1] {
					continue // as with the others
				}
				was := p.disk.Read(name)
				for at := range was {
					for what, now := range changes(was, at, full) {
						got, err := p.try(name, now, full || at%8 == 0)
						if err != nil {
							t.Fatalf("%s, offset %d, %s: %v", name, at, what, err)
						}
						if tried++; got.damaged {
							damage++
						} else if got.records < len(p.recs) {
							short++
						}
					}
				}
			}
			t.Logf("%d changes: %d are damage, %d cut the end off", tried, damage, short)
			if cuts := how == powerCut; damage < tried/8 || cuts != (short > 0) {
				t.Errorf("of %d changes %d were damage and %d cut records off", tried, damage, short)
			}
		})
	}
}

// changes are what is done to the byte at an offset. Far from anything that was
// written there are few.
func changes(was []byte, at int, full bool) map[string][]byte {
	all := map[string][]byte{}
	with := func(what string, value byte) {
		if value == was[at] {
			return
		}
		now := bytes.Clone(was)
		now[at] = value
		all[what] = now
	}
	empty := len(bytes.Trim(was[max(0, at-32):min(len(was), at+32)], "\x00")) == 0
	if empty && at%61 != 0 {
		return nil
	}
	with("inverted", ^was[at])
	all["cut"] = was[:at:at]
	if at%4 == 0 || full {
		with("one bit", was[at]^1<<(at/4%8))
		all["zeroed from here"] = append(bytes.Clone(was[:at]), make([]byte, len(was)-at)...)
	}
	if full {
		with("cleared", 0)
		with("high bit", was[at]^0x80)
		with("all ones", 0xff)
		all["cut and grown with ones"] = append(bytes.Clone(was[:at]), bytes.Repeat([]byte{0xff}, len(was)-at)...)
		now := bytes.Clone(was)
		clear(now[at:min(len(now), at+512)])
		all["a lost sector"] = now
	}
	return all
}
