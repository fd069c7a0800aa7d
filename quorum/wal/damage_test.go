package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"perch/quorum"
	"perch/quorum/disk/memdisk"
)

// specimen is a small log of several segments that was left in a known state.
type specimen struct {
	disk *memdisk.Disk
	s    *script // what it holds; flying is its last group, if that has no mark behind it
}

// newSpecimen makes one; marked says whether it was closed cleanly.
func newSpecimen(t *testing.T, seed uint64, marked bool) *specimen {
	t.Helper()
	d := memdisk.New()
	l, rec := mustOpen(t, d)
	s := newScript(seed)
	s.m = &model{control: rec.Control}
	for n := 0; n < 12 || len(l.segs) < 3; n++ {
		if err := s.step(l); err != nil {
			t.Fatal(err)
		}
	}
	// The last group holds three entries, so that cutting it shows.
	recs := entryRecords(s.m, s.rnd, 3)
	if err := l.Append(recs); err != nil {
		t.Fatal(err)
	}
	if marked {
		for i := range recs {
			s.m.apply(&recs[i])
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	} else {
		s.flying = recs
		d = d.Crash(memdisk.Lost, nil) // the watermark knows nothing of the last group
	}
	return &specimen{disk: d, s: s}
}

func contents(d *memdisk.Disk) map[string][]byte {
	all := map[string][]byte{}
	for _, name := range d.Files(testDir) {
		all[name] = d.Read(name)
	}
	return all
}

// judgeDamaged opens a damaged log: it holds what it must, or it is refused
// with a DamageError that names a file and an offset, and no file was touched.
func (sp *specimen) judgeDamaged(d *memdisk.Disk) (refused bool, err error) {
	before := contents(d)
	_, err = sp.s.judge(d)
	if err == nil {
		return false, nil
	}
	var damage *DamageError
	if !errors.As(err, &damage) {
		return false, err
	}
	if !strings.HasPrefix(damage.File, testDir+"/") || damage.Offset < 0 || damage.Reason == "" || damage.Remedy == "" {
		return true, fmt.Errorf("incomplete: %#v", damage)
	}
	after := contents(d)
	if len(after) != len(before) {
		return true, fmt.Errorf("files were added or removed")
	}
	for name, b := range before {
		if !bytes.Equal(b, after[name]) {
			return true, fmt.Errorf("%s was changed", name)
		}
	}
	return true, nil
}

// TestZeroAnywhere wipes 64 bytes at a time, as a lost block does.
func TestZeroAnywhere(t *testing.T) {
	sp := newSpecimen(t, 4, true)
	for _, name := range sp.disk.Files(testDir) {
		content := sp.disk.Read(name)
		for i := 0; i < len(content); i += 16 {
			d := sp.disk.Restart()
			broken := bytes.Clone(content)
			clear(broken[i:min(len(broken), i+64)])
			d.Put(name, broken)
			if _, err := sp.judgeDamaged(d); err != nil {
				t.Fatalf("%s, offset %d: %v", name, i, err)
			}
		}
	}
}

// TestCutLastGroup cuts the last segment at every byte of the last group, which
// no mark vouches for: what is before it stays, and nothing is refused (RULES.md
// R7).
func TestCutLastGroup(t *testing.T) {
	for seed := range uint64(2) {
		sp := newSpecimen(t, 10+seed, false)
		name, content, from, to := sp.lastGroup(t)
		for at := from; at <= to; at++ {
			for how, cut := range map[string][]byte{
				"short":  content[:at],
				"zeroed": append(bytes.Clone(content[:at]), make([]byte, len(content)-at)...),
				"stale":  append(append(bytes.Clone(content[:at]), 0xff), content[min(len(content), at+1):]...),
			} {
				d := sp.disk.Restart()
				d.Put(name, cut)
				m, err := sp.s.judge(d)
				if err != nil {
					t.Fatalf("seed %d, %s at %d of [%d, %d): %v", seed, how, at, from, to, err)
				}
				if at%5 != 0 {
					continue
				}
				next := &script{rnd: rand.New(rand.NewPCG(uint64(at), 1)), m: m}
				if err := next.run(d, 3); err != nil {
					t.Fatal(err)
				}
				if _, err := next.judge(d); err != nil {
					t.Fatalf("seed %d, %s at %d: after going on: %v", seed, how, at, err)
				}
			}
		}
	}
}

// lastGroup finds the last group of an unmarked specimen.
func (sp *specimen) lastGroup(t *testing.T) (name string, content []byte, from, to int) {
	t.Helper()
	err := walk(sp.disk, testDir, func(r RecordInfo) error {
		if r.Kind == KindMark {
			name, from = r.File, int(r.Offset)
		}
		to = int(r.Offset + r.Size)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return name, sp.disk.Read(name), from, to
}

// TestMissingAndForeignFiles removes, swaps and borrows whole files.
func TestMissingAndForeignFiles(t *testing.T) {
	sp := newSpecimen(t, 6, true)
	var segs []string
	for _, name := range sp.disk.Files(testDir) {
		if strings.HasSuffix(name, segmentExt) {
			segs = append(segs, name)
		}
	}
	if len(segs) < 3 {
		t.Fatalf("the specimen has %d segments", len(segs))
	}
	first, middle, last := segs[0], segs[1], segs[len(segs)-1]
	seq, _ := parseSegmentName(last[len(testDir)+1:])
	after := testDir + "/" + segmentName(seq+1)
	other := newSpecimen(t, 6, true) // same node number, another life
	foreignDisk := memdisk.New()
	opt := options(foreignDisk)
	opt.Node = 8
	foreignLog, _, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := foreignLog.Close(); err != nil {
		t.Fatal(err)
	}
	foreignSegment := foreignDisk.Read(testDir + "/" + segmentName(1))

	cases := map[string]struct {
		change func(d *memdisk.Disk)
		file   string // named by the DamageError
		reason string
	}{
		"middle segment missing":       {func(d *memdisk.Disk) { d.Put(middle, nil) }, middle, "missing"},
		"last segment missing":         {func(d *memdisk.Disk) { d.Put(last, nil) }, last, "missing"},
		"last segment emptied":         {func(d *memdisk.Disk) { d.Put(last, []byte{}) }, last, "missing or empty"},
		"last segment zeroed":          {func(d *memdisk.Disk) { d.Put(last, make([]byte, 4096)) }, last, "missing or empty"},
		"first segment emptied":        {func(d *memdisk.Disk) { d.Put(first, []byte{}) }, first, "header"},
		"all segments missing":         {func(d *memdisk.Disk) { removeAll(d, segs) }, testDir + "/store", "no segment"},
		"segments swapped":             {func(d *memdisk.Disk) { b := d.Read(first); d.Put(first, d.Read(middle)); d.Put(middle, b) }, first, "holds segment"},
		"segment of another life":      {func(d *memdisk.Disk) { d.Put(middle, other.disk.Read(middle)) }, middle, "incarnation"},
		"segment of another node":      {func(d *memdisk.Disk) { d.Put(last, foreignSegment) }, last, "belongs to node 8"},
		"superblock of another life":   {func(d *memdisk.Disk) { d.Put("wal/store", other.disk.Read("wal/store")) }, "wal/store", "incarnation"},
		"superblock of another node":   {func(d *memdisk.Disk) { d.Put("wal/store", foreignDisk.Read("wal/store")) }, "wal/store", "belongs to node 8"},
		"segment copied behind itself": {func(d *memdisk.Disk) { d.Put(after, d.Read(last)) }, after, "holds segment"},
		"segment copied over another":  {func(d *memdisk.Disk) { d.Put(last, d.Read(middle)) }, last, "holds segment"},
		"middle and last swapped":      {func(d *memdisk.Disk) { b := d.Read(last); d.Put(last, d.Read(middle)); d.Put(middle, b) }, middle, "holds segment"},
		"superblock that says nothing": {func(d *memdisk.Disk) { d.Put("wal/store", []byte("hello")) }, "wal/store", "superblock"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := sp.disk.Restart()
			c.change(d)
			_, _, err := Open(options(d))
			var damage *DamageError
			if !errors.As(err, &damage) || damage.File != c.file || !strings.Contains(damage.Reason, c.reason) {
				t.Fatalf("%v; want %s, %q", err, c.file, c.reason)
			}
			if r, err := verify(d, testDir); err != nil || len(r.Damage) == 0 || r.Damage[0].File != c.file {
				t.Fatalf("Verify: %v, %+v", err, r)
			}
		})
	}

	t.Run("copy under a name of no segment", func(t *testing.T) {
		d := sp.disk.Restart()
		d.Put(first+".bak", d.Read(middle))
		d.Put(testDir+"/2.log", d.Read(middle))
		if _, err := sp.s.judge(d); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("watermark of another node", func(t *testing.T) {
		d := sp.disk.Restart()
		d.Put("wal/watermark", foreignDisk.Read("wal/watermark"))
		if _, err := sp.s.judge(d); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("directory of another node", func(t *testing.T) {
		if _, _, err := Open(options(foreignDisk)); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "node 8") {
			t.Fatal(err)
		}
	})
	t.Run("no superblock", func(t *testing.T) {
		d := sp.disk.Restart()
		d.Put("wal/store", nil)
		if _, err := sp.s.judge(d); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("empty file behind the last segment", func(t *testing.T) {
		d := sp.disk.Restart()
		d.Put(after, make([]byte, 100))
		temp := testDir + "/" + segmentName(seq+2) + ".tmp"
		d.Put(temp, []byte("left over"))
		if _, err := sp.s.judge(d); err != nil {
			t.Fatal(err)
		}
		if d.Read(temp) != nil {
			t.Error("the left-over file is still there")
		}
	})
}

// TestFirstSegmentMissing: a log without its oldest segment is as after a purge.
// What it says it holds begins later; whether a snapshot reaches back to there
// is for the caller to see.
func TestFirstSegmentMissing(t *testing.T) {
	d := memdisk.New()
	l, _ := mustOpen(t, d)
	var want quorum.Zxid
	var chain uint64
	for len(l.segs) < 3 {
		e := entryAt(want+1, chain, "kept")
		want, chain = e.Zxid, e.Chain
		if err := l.Append([]quorum.Record{{Type: quorum.RecordEntry, Entry: e}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	removeAll(d, []string{testDir + "/" + segmentName(1)})
	report, err := verify(d, testDir)
	if err != nil || len(report.Damage) > 0 {
		t.Fatal(err, report)
	}
	l, rec := mustOpen(t, d)
	defer l.Close()
	start, last := rec.History.Start(), rec.History.Last()
	if start == 0 || last != want || report.History.Start() != start {
		t.Fatalf("(%v, %v], Verify has (%v, …]", start, last, report.History.Start())
	}
	if _, err := l.Read(0, 1); !errors.Is(err, ErrNotFound) {
		t.Fatalf("entries that are gone: %v", err)
	}
}

func removeAll(d *memdisk.Disk, names []string) {
	for _, name := range names {
		d.Put(name, nil)
	}
}

// TestUnknownFormat: a newer version's files are neither damage nor readable.
func TestUnknownFormat(t *testing.T) {
	h := segmentHeader{seq: 1, control: quorum.Control{Node: 7}}
	b, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	b[8] = format + 1
	b = appendSum(b[:len(b)-frameTail])
	d := memdisk.New()
	d.Put(testDir+"/"+segmentName(1), b)
	var damage *DamageError
	if _, _, err := Open(options(d)); err == nil || errors.As(err, &damage) || !strings.Contains(err.Error(), "format 2") {
		t.Fatal(err)
	}
}

// TestReadFindsDamage: bytes that change under a running node are never handed
// out.
func TestReadFindsDamage(t *testing.T) {
	d := memdisk.New()
	opt := options(d)
	opt.SegmentBytes = 1 << 20
	l, rec, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	m := &model{control: rec.Control}
	recs := entryRecords(m, rand.New(rand.NewPCG(1, 1)), 20)
	if err := l.Append(recs); err != nil {
		t.Fatal(err)
	}
	seg := l.active()
	whole := d.Read(seg.path)
	f, err := d.Open(seg.path, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i := l.offs[0]; i < seg.end; i += 5 {
		if _, err := f.WriteAt([]byte{whole[i] ^ 4}, i); err != nil {
			t.Fatal(err)
		}
		var damage *DamageError
		if _, err := l.Read(0, 1<<20); !errors.As(err, &damage) || damage.File != seg.path || damage.Offset > i {
			t.Fatalf("flip at %d: %v", i, err)
		}
		if _, err := f.WriteAt(whole[i:i+1], i); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := l.Read(0, 1<<20); err != nil || len(entries) != 20 {
		t.Fatal(len(entries), err)
	}
}

// TestUnreadableDisk: an error of reading is neither damage nor a reason to cut.
func TestUnreadableDisk(t *testing.T) {
	sp := newSpecimen(t, 3, true)
	d := sp.disk.Restart()
	d.FailReads(syscall.EIO)
	var damage *DamageError
	if _, _, err := Open(options(d)); !errors.Is(err, syscall.EIO) || errors.As(err, &damage) {
		t.Fatal(err)
	}
	if d.Ops() != 0 {
		t.Fatal("files were changed")
	}
	d.FailReads(nil)
	if _, err := sp.s.judge(d); err != nil {
		t.Fatal(err)
	}
}

// TestWalkPastDamage: a dump shows what is behind a damaged record, too.
func TestWalkPastDamage(t *testing.T) {
	sp := newSpecimen(t, 3, true)
	all := func() (kinds string, records int) {
		if err := walk(sp.disk, testDir, func(r RecordInfo) error {
			kinds += r.Kind.String()[:1]
			if r.Kind == KindRecord {
				records++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return kinds, records
	}
	whole, before := all()
	if !strings.HasPrefix(whole, "hmr") || !strings.Contains(whole, "sh") || !strings.HasSuffix(whole, "m") || strings.Contains(whole, "i") {
		t.Fatal(whole)
	}
	name := sp.disk.Files(testDir)[0]
	b := sp.disk.Read(name)
	b[250] ^= 1
	sp.disk.Put(name, b)
	broken, after := all()
	if strings.Count(broken, "i") != 1 || after >= before || after < before-8 {
		t.Fatalf("%s, then %s", whole, broken)
	}
}

// TestCutLastMark: a cleanly stopped log whose last record, the mark, is cut at
// any byte has lost nothing, and opens.
func TestCutLastMark(t *testing.T) {
	sp := newSpecimen(t, 8, true)
	name, content, from, to := sp.lastGroup(t)
	for at := from; at <= to; at++ {
		d := sp.disk.Restart()
		d.Put(name, content[:at])
		if _, err := sp.s.judge(d); err != nil {
			t.Fatalf("cut at %d of [%d, %d): %v", at, from, to, err)
		}
	}
	d := sp.disk.Restart()
	d.Put(name, content[:from-1])
	if refused, err := sp.judgeDamaged(d); err != nil || !refused {
		t.Fatal("one byte more was lost and nobody noticed:", err)
	}
}
