package wal

import (
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"perch/gen/walpb"
	"perch/quorum"
	"perch/quorum/disk"
	"perch/quorum/disk/memdisk"
)

// FuzzRecord decodes any bytes as a record: it fails or gives a record that is
// written back to the same meaning.
func FuzzRecord(f *testing.F) {
	s := makeSalt(quorum.Incarnation{1}, 1)
	c := &quorum.Control{Node: 7, Reason: "why", Founding: []quorum.Member{{ID: 3, Role: quorum.RoleVoter}}}
	for _, r := range []quorum.Record{
		{Type: quorum.RecordEntry, Entry: entryAt(quorum.MakeZxid(1, 1), 0, "data")},
		{Type: quorum.RecordControl, Control: c},
		{Type: quorum.RecordTruncate, Zxid: 5, Chain: 6},
	} {
		b, err := appendRecord(nil, &r, s, 64)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(r.Type), b[frameHead:len(b)-frameTail])
		f.Add(uint8(r.Type), b)
	}
	f.Fuzz(func(t *testing.T, kind uint8, payload []byte) {
		// As bytes of a file, and as a payload that has a right checksum.
		_, _ = parseFrame(payload, s, 64)
		b, at := beginFrame(nil, quorum.RecordType(kind), 5, 6)
		b = endFrame(append(b, payload...), at, s, 64)
		fr, err := parseFrame(b, s, 64)
		if kind == 0 {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := fr.record()
		if err != nil {
			return
		}
		again, err := appendRecord(nil, &r, s, 64)
		if err != nil {
			t.Fatal(err)
		}
		fr, err = parseFrame(again, s, 64)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fr.record(); err != nil {
			t.Fatalf("%+v was written and cannot be read: %v", r, err)
		}
	})
}

// FuzzHeader decodes any bytes as the header of a segment and as a superblock,
// with and without a right checksum: it fails or gives what is written back to
// the same meaning.
func FuzzHeader(f *testing.F) {
	h := segmentHeader{seq: 3, control: quorum.Control{Node: 7, Founding: []quorum.Member{{ID: 3, Role: quorum.RoleVoter}}}, last: 5, previousEnd: 99}
	b, err := h.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[blockHead : len(b)-frameTail])
	f.Add(b)
	f.Add([]byte(storeMagic))
	f.Fuzz(func(t *testing.T, payload []byte) {
		framed := append([]byte(segmentMagic), make([]byte, blockHead-len(segmentMagic))...)
		binary.LittleEndian.PutUint32(framed[8:], format)
		binary.LittleEndian.PutUint32(framed[12:], uint32(len(payload)))
		framed = append(framed, payload...)
		for (len(framed)+frameTail)%frameAlign != 0 {
			framed = append(framed, 0)
		}
		for name, content := range map[string][]byte{"as it is": payload, "framed": appendSum(framed)} {
			d := memdisk.New()
			d.Put("h", content)
			file, err := d.Open("h", disk.ReadOnly)
			if err != nil {
				t.Fatal(err)
			}
			var super walpb.Store
			_, _ = readBlock(file, storeMagic, &super)
			got, _, err := readSegmentHeader(file)
			if err != nil {
				continue
			}
			again, err := got.encode()
			if err != nil {
				t.Fatal(err)
			}
			d.Put("again", again)
			file, _ = d.Open("again", disk.ReadOnly)
			if back, _, err := readSegmentHeader(file); err != nil || !reflect.DeepEqual(got, back) {
				t.Fatalf("%s: %+v came back as %+v: %v", name, got, back, err)
			}
		}
	})
}

// FuzzRecovery opens a log whose last segment was overwritten somewhere. It
// opens or says what is damaged; what it opens it can work with.
func FuzzRecovery(f *testing.F) {
	base := memdisk.New()
	s := newScript(2)
	if err := s.run(base, 8); err != nil {
		f.Fatal(err)
	}
	files := base.Files(testDir)
	f.Add(uint8(0), uint16(0), []byte{1})
	f.Add(uint8(1), uint16(100), []byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(uint8(2), uint16(200), []byte("PERCHLOG"))
	f.Fuzz(func(t *testing.T, which uint8, at uint16, patch []byte) {
		d := base.Restart()
		name := files[int(which)%len(files)]
		b := d.Read(name)
		off := int(at) % (len(b) + 1)
		b = append(b[:off], append(append([]byte{}, patch...), b[min(len(b), off+len(patch)):]...)...)
		d.Put(name, b)
		if err := walk(d, testDir, func(RecordInfo) error { return nil }); err != nil {
			t.Fatal(err)
		}
		report, err := verify(d, testDir)
		if err != nil {
			t.Fatal(err)
		}
		l, rec, err := Open(options(d))
		var damage *DamageError
		if errors.As(err, &damage) {
			if len(report.Damage) == 0 || *report.Damage[0] != *damage {
				t.Fatalf("%v; Verify has %v", damage, report.Damage)
			}
			return
		}
		if err != nil || len(report.Damage) > 0 {
			t.Fatalf("%v; Verify has %v", err, report.Damage)
		}
		m := &model{control: rec.Control}
		m.start, m.commit = rec.History.Start(), rec.CommitHint
		m.startChain, _ = rec.History.Chain(m.start)
		if m.entries, err = rec.Entries(m.start); err != nil {
			t.Fatal(err)
		}
		if err := m.checkRecovered(rec); err != nil {
			t.Fatal(err)
		}
		if err := l.Append(entryRecords(m, s.rnd, 2)); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
