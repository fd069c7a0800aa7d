package wal

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"perch/quorum"
	"perch/quorum/disk/memdisk"
)

// lastRun returns what stands in the log from the last mark on.
func lastRun(t *testing.T, d *memdisk.Disk) []RecordInfo {
	t.Helper()
	var run []RecordInfo
	if err := walk(d, testDir, func(r RecordInfo) error {
		if r.Kind == KindMark {
			run = nil
		}
		run = append(run, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return run
}

// TestStaleBytesStayDead builds the worst torn group: its first entry is broken
// and as long as the group that the next start writes in its place, so that its
// second entry, whole, begins exactly where the new group ends.
func TestStaleBytesStayDead(t *testing.T) {
	build := func() (*memdisk.Disk, *model) {
		d := memdisk.New()
		opt := options(d)
		opt.SegmentBytes = 1 << 20
		l, rec, err := Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		m := &model{control: rec.Control}
		boot := lastRun(t, d)
		want := boot[0].Size + boot[1].Size
		long := quorum.Entry{Zxid: quorum.MakeZxid(1, 1), Kind: quorum.EntryCommand}
		for frameSize(len(appendEntry(nil, &long))) < want {
			long.Data = append(long.Data, 'x')
		}
		long.Chain = quorum.ChainHash(0, &long)
		stale := entryAt(quorum.MakeZxid(1, 2), long.Chain, "stale")
		if err := l.Append([]quorum.Record{{Type: quorum.RecordEntry, Entry: long}, {Type: quorum.RecordEntry, Entry: stale}}); err != nil {
			t.Fatal(err)
		}
		d = d.Crash(memdisk.Lost, nil) // else the watermark tells that this was whole once
		torn := lastRun(t, d)[1]
		b := d.Read(torn.File)
		b[torn.Offset+30] ^= 1
		d.Put(torn.File, b)
		return d, m
	}
	d, m := build()
	s := &script{m: m}
	for range 3 {
		if _, err := s.judge(d); err != nil {
			t.Fatal(err)
		}
	}
	// The same with a power cut in every operation of that start.
	rnd := rand.New(rand.NewPCG(1, 1))
	for at := 1; at < 16; at++ {
		for range 60 {
			d, m := build()
			s := &script{m: m}
			d.CrashAt(at)
			_, _, _ = Open(options(d))
			d = d.Crash(memdisk.Torn, rnd)
			for range 2 {
				if _, err := s.judge(d); err != nil {
					t.Fatalf("crash at %d: %v", at, err)
				}
			}
		}
	}
}

// TestSealAfterCrash: a crash between the header of a segment and the seal of
// the one before it must not leave the older one without a seal for ever.
func TestSealAfterCrash(t *testing.T) {
	rolled := func(l *Log, d *memdisk.Disk, m *model, rnd *rand.Rand) (err error) {
		for err == nil && len(l.segs) < 2 {
			recs := entryRecords(m, rnd, 4)
			if err = l.Append(recs); err == nil {
				for i := range recs {
					m.apply(&recs[i])
				}
			}
		}
		return err
	}
	crashed := 0
	for at := 1; ; at++ {
		d := memdisk.New()
		d.CrashAt(at)
		l, rec, err := Open(options(d))
		if err != nil {
			continue
		}
		m := &model{control: rec.Control}
		rnd := rand.New(rand.NewPCG(3, 3))
		if err := rolled(l, d, m, rnd); err == nil {
			break
		}
		crashed++
		d = d.Crash(memdisk.Lost, rnd)
		l, rec = mustOpen(t, d)
		// A group whose Append was not told of its sync may be there.
		m = &model{control: rec.Control}
		if m.entries, err = rec.Entries(0); err != nil {
			t.Fatal(err)
		}
		if err := rolled(l, d, m, rnd); err != nil {
			t.Fatal(err)
		}
		last := l.active().path
		d = d.Crash(memdisk.Lost, rnd) // no mark was written
		d.Put(last, nil)
		var damage *DamageError
		if _, _, err := Open(options(d)); !errors.As(err, &damage) || damage.File != last {
			t.Fatalf("crash at %d: %s vanished: %v", at, last, err)
		}
	}
	if crashed < 10 {
		t.Fatalf("%d crashes", crashed)
	}
}

// TestWatermarkMissesSegment: when seal and last segment are both gone, the
// watermark still knows.
func TestWatermarkMissesSegment(t *testing.T) {
	sp := newSpecimen(t, 6, true)
	d := sp.disk
	var seal RecordInfo
	if err := walk(d, testDir, func(r RecordInfo) error {
		if r.Kind == KindSeal {
			seal = r
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	b := d.Read(seal.File)
	clear(b[seal.Offset : seal.Offset+seal.Size])
	d.Put(seal.File, b)
	gone := testDir + "/" + segmentName(seal.Segment+1)
	d.Put(gone, nil)
	var damage *DamageError
	if _, _, err := Open(options(d)); !errors.As(err, &damage) || damage.File != gone {
		t.Fatal(err)
	}
}

// TestFrameKnowsItsPlace: a whole record at another offset, in another segment
// or in another store is none.
func TestFrameKnowsItsPlace(t *testing.T) {
	s := makeSalt(quorum.Incarnation{1}, 5)
	e := entryAt(quorum.MakeZxid(1, 1), 0, "here")
	b, err := appendRecord(nil, &quorum.Record{Type: quorum.RecordEntry, Entry: e}, s, 400)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseFrame(b, s, 400); err != nil {
		t.Fatal(err)
	}
	for name, place := range map[string]struct {
		s   salt
		off int64
	}{
		"offset":  {s, 408},
		"segment": {makeSalt(quorum.Incarnation{1}, 6), 400},
		"store":   {makeSalt(quorum.Incarnation{2}, 5), 400},
	} {
		if _, err := parseFrame(b, place.s, place.off); !errors.Is(err, errNoRecord) {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

// TestWholeButWrong puts records behind the log that are whole and do not
// belong there. That is no torn write, so nothing may be cut.
func TestWholeButWrong(t *testing.T) {
	z := func(n uint32) quorum.Zxid { return quorum.MakeZxid(1, n) }
	first := entryAt(z(1), 0, "first")
	gap := entryAt(z(3), first.Chain, "gap")
	cases := map[string]struct {
		rec    func(s salt, off int64) []byte
		reason string
	}{
		"wrong chain": {record(quorum.Record{Type: quorum.RecordEntry, Entry: entryAt(z(2), 99, "x")}), "chain hash"},
		"gap":         {record(quorum.Record{Type: quorum.RecordEntry, Entry: gap}), "does not follow"},
		"truncation to nowhere": {
			record(quorum.Record{Type: quorum.RecordTruncate, Zxid: z(7)}), "truncation",
		},
		"truncation to another history": {
			record(quorum.Record{Type: quorum.RecordTruncate, Zxid: z(1), Chain: 4}), "truncation",
		},
		"control of another node": {record(quorum.Record{Type: quorum.RecordControl, Control: &quorum.Control{Node: 9}}), "node 9"},
		"unknown type":            {record(quorum.Record{Type: 9}), "type 9"},
		"payload where none is": {func(s salt, off int64) []byte {
			b, at := beginFrame(nil, quorum.RecordCommit, z(1), 0)
			return endFrame(append(b, 1), at, s, off)
		}, "payload"},
		"entry that is no entry": {func(s salt, off int64) []byte {
			b, at := beginFrame(nil, quorum.RecordEntry, z(2), 0)
			return endFrame(append(b, 0xff), at, s, off)
		}, "payload"},
		"mark elsewhere": {func(s salt, off int64) []byte {
			return appendNumber(nil, typeMark, z(1), first.Chain, uint64(off+8), s, off)
		}, "mark"},
		"mark of another end": {func(s salt, off int64) []byte {
			return appendNumber(nil, typeMark, z(2), first.Chain, uint64(off), s, off)
		}, "mark"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := memdisk.New()
			l, _ := mustOpen(t, d)
			if err := l.Append([]quorum.Record{{Type: quorum.RecordEntry, Entry: first}}); err != nil {
				t.Fatal(err)
			}
			seg := l.active()
			b := d.Read(seg.path)
			copy(b[seg.end:], c.rec(seg.salt, seg.end))
			d.Put(seg.path, b)
			d = d.Restart()
			before := d.Ops()
			var damage *DamageError
			if _, _, err := Open(options(d)); !errors.As(err, &damage) || damage.Offset != seg.end || !strings.Contains(damage.Reason, c.reason) {
				t.Fatalf("%v; want offset %d, %q", err, seg.end, c.reason)
			}
			if d.Ops() != before {
				t.Error("files were changed")
			}
			// A damaged log can still be looked at.
			seen := 0
			if err := walk(d, testDir, func(RecordInfo) error { seen++; return nil }); err != nil || seen < 5 {
				t.Error(seen, err)
			}
		})
	}
}

func record(r quorum.Record) func(salt, int64) []byte {
	return func(s salt, off int64) []byte {
		b, err := appendRecord(nil, &r, s, off)
		if err != nil {
			panic(err)
		}
		return b
	}
}
