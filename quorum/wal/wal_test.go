package wal

import (
	"testing"

	"perch/quorum"
)

// entryAt makes the entry at z that continues a log whose chain hash is prev.
func entryAt(z quorum.Zxid, prev uint64, data string) quorum.Entry {
	e := quorum.Entry{
		Zxid: z, Kind: quorum.EntryCommand, Data: []byte(data),
		Origin: quorum.Origin{Node: 3, Boot: 0xfeed, ID: uint64(z)},
		Stamp:  quorum.Stamp{Wall: -5, Age: 77},
	}
	e.Chain = quorum.ChainHash(prev, &e)
	return e
}

func TestOpenAppendReopen(t *testing.T) {
	dir := t.TempDir() + "/a/wal"
	l, rec, err := Open(Options{Dir: dir, Node: 7})
	if err != nil {
		t.Fatal(err)
	}
	if !rec.Fresh || rec.Control.Boot.Counter != 1 || rec.Control.Node != 7 {
		t.Fatalf("%+v", rec)
	}
	var prev uint64
	for i := range 10 {
		e := entryAt(quorum.MakeZxid(1, uint32(i+1)), prev, "hello")
		prev = e.Chain
		if err := l.Append([]quorum.Record{{Type: quorum.RecordEntry, Entry: e}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, rec2, err := Open(Options{Dir: dir, Node: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if rec2.Fresh || rec2.Control.Boot.Counter != 2 || rec2.Control.Boot.Incarnation != rec.Control.Boot.Incarnation {
		t.Fatalf("%+v", rec2)
	}
	es, err := rec2.Entries(0)
	if err != nil || len(es) != 10 || rec2.History.Len() != 10 {
		t.Fatal(len(es), err)
	}
}
