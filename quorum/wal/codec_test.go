package wal

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/walpb"
	"perch/quorum"
)

func entryProto(e *quorum.Entry) *walpb.Entry {
	return &walpb.Entry{
		Kind: uint32(e.Kind), OriginNode: uint32(e.Origin.Node), OriginBoot: e.Origin.Boot, OriginId: e.Origin.ID,
		Wall: e.Stamp.Wall, Age: e.Stamp.Age, Data: e.Data,
	}
}

// TestEntryIsProtobuf holds the entries written by hand against wal.proto.
func TestEntryIsProtobuf(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	m := &model{}
	for range 500 {
		e := m.newEntry(rnd)
		b := appendEntry(nil, &e)
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(entryProto(&e))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Fatalf("%+v: %x, generated code writes %x", e, b, want)
		}
		got := quorum.Entry{Zxid: e.Zxid, Chain: e.Chain}
		if err := decodeEntry(want, &got); err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("%+v came back as %+v: %v", e, got, err)
		}
		// A field of a later version is passed over.
		later := append(bytes.Clone(want), 0x78, 0x05)
		if err := decodeEntry(later, &got); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRecordsComeBack: every record that is written is read again as it was.
func TestRecordsComeBack(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	m := &model{control: quorum.Control{Node: 7}}
	for range 2000 {
		r := m.record(rnd)
		off := int64(rnd.IntN(1 << 20))
		s := makeSalt(quorum.Incarnation{9}, rnd.Uint64())
		b, err := appendRecord(nil, &r, s, off)
		if err != nil || len(b)%frameAlign != 0 {
			t.Fatal(len(b), err)
		}
		f, err := parseFrame(append(b, 1, 2, 3), s, off)
		if err != nil || f.size != int64(len(b)) {
			t.Fatal(f.size, len(b), err)
		}
		got, err := f.record()
		if r.Type == quorum.RecordCommit {
			r.Chain = 0
		}
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("%+v came back as %+v: %v", r, got, err)
		}
		m.apply(&r)
	}
}

// TestBlocksRefuse: a header that is cut or changed is none.
func TestBlocksRefuse(t *testing.T) {
	for name, pb := range map[string]*walpb.Control{
		"no boot":         {Node: 1, Cluster: make([]byte, 16), AcceptedFrom: &walpb.Promise{Boot: bootToProto(quorum.Boot{})}},
		"short cluster":   {Node: 1, Cluster: make([]byte, 15), Boot: bootToProto(quorum.Boot{}), AcceptedFrom: &walpb.Promise{Boot: bootToProto(quorum.Boot{})}},
		"node too large":  {Node: 1 << 16, Cluster: make([]byte, 16), Boot: bootToProto(quorum.Boot{}), AcceptedFrom: &walpb.Promise{Boot: bootToProto(quorum.Boot{})}},
		"role too large":  {Cluster: make([]byte, 16), Boot: bootToProto(quorum.Boot{}), AcceptedFrom: &walpb.Promise{Boot: bootToProto(quorum.Boot{})}, Founding: []*walpb.Member{{Role: 256, Incarnation: make([]byte, 16)}}},
		"nobody promised": {Node: 1, Cluster: make([]byte, 16), Boot: bootToProto(quorum.Boot{})},
	} {
		if c, err := controlFromProto(pb); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}
