package wal

import (
	"errors"
	"testing"

	"perch/quorum"
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
		l, rec, err := Open(options(d))
		var damage *DamageError
		if errors.As(err, &damage) {
			return
		}
		if err != nil {
			t.Fatal(err)
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
