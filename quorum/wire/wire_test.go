package wire_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"perch/gen/wirepb"
	"perch/quorum"
	"perch/quorum/wire"
)

// anyMessage draws messages with every field of every type filled in or not.
func anyMessage() *rapid.Generator[quorum.Message] {
	return rapid.Custom(func(t *rapid.T) quorum.Message {
		z := rapid.Uint64()
		zxid := func(l string) quorum.Zxid { return quorum.Zxid(z.Draw(t, l)) }
		return quorum.Message{
			Type:    quorum.MsgType(rapid.IntRange(1, int(quorum.MsgStepDown)).Draw(t, "type")),
			Cluster: any16().Draw(t, "cluster"), From: anyNode().Draw(t, "from"),
			FromBoot: anyBoot().Draw(t, "fromBoot"), ToBoot: anyBoot().Draw(t, "toBoot"),
			To:    quorum.NodeID(rapid.Uint16().Draw(t, "to")),
			Epoch: quorum.Epoch(rapid.Uint32().Draw(t, "epoch")), Session: z.Draw(t, "session"), Seq: z.Draw(t, "seq"),
			Cred: quorum.Credentials{
				AcceptedEpoch: quorum.Epoch(rapid.Uint32().Draw(t, "aE")), CurrentEpoch: quorum.Epoch(rapid.Uint32().Draw(t, "cE")),
				Last: zxid("credLast"), LogStart: zxid("logStart"), SnapZxid: zxid("snapZxid"), NeedsRebuild: rapid.Bool().Draw(t, "rebuild"), Level: rapid.Uint32().Draw(t, "level"),
			},
			Table: list(t, "table", rapid.Custom(func(t *rapid.T) quorum.EpochEnd {
				return quorum.EpochEnd{Epoch: quorum.Epoch(rapid.Uint32().Draw(t, "e")), Last: rapid.Uint32().Draw(t, "l"), Chain: z.Draw(t, "c")}
			})),
			State: quorum.State(rapid.IntRange(0, 4).Draw(t, "state")), Round: z.Draw(t, "round"),
			Vote:  quorum.Vote{Leader: quorum.NodeID(rapid.Uint16().Draw(t, "vote")), Epoch: quorum.Epoch(rapid.Uint32().Draw(t, "ve")), Last: zxid("vl")},
			Reach: risingNodes(t, "reach"), Forming: quorum.FormState(rapid.IntRange(0, 3).Draw(t, "forming")),
			ConfigHash: z.Draw(t, "hash"), Founding: anyMembers(t),
			Counts: rapid.Bool().Draw(t, "counts"), Mode: quorum.SyncMode(rapid.IntRange(0, 3).Draw(t, "mode")),
			Common: zxid("common"), Base: zxid("base"), Chain: z.Draw(t, "chain"), Prev: zxid("prev"), More: rapid.Bool().Draw(t, "more"),
			Snap: quorum.SnapMeta{Zxid: zxid("sz"), Chain: z.Draw(t, "sc"), Digest: z.Draw(t, "sd"),
				Size: rapid.Int64Range(0, math.MaxInt64).Draw(t, "ss"), Hash: z.Draw(t, "sh")},
			Entries: list(t, "entries", anyEntry()),
			Commit:  zxid("commit"), Last: zxid("last"), Durable: zxid("durable"),
			Heard: list(t, "heard", rapid.Custom(func(t *rapid.T) quorum.Heard {
				return quorum.Heard{ID: anyNode().Draw(t, "id"), Seq: z.Draw(t, "seq")}
			})),
			Digests: list(t, "digests", rapid.Custom(func(t *rapid.T) quorum.Checkpoint {
				return quorum.Checkpoint{Zxid: quorum.Zxid(z.Draw(t, "dz")), Digest: z.Draw(t, "dd")}
			})),
			Disputed: zxid("disputed"),
			Timeout:  rapid.Uint32().Draw(t, "timeout"), Stall: rapid.Uint32().Draw(t, "stall"), Low: z.Draw(t, "low"),
			Requests: list(t, "requests", rapid.Custom(func(t *rapid.T) quorum.Request {
				return quorum.Request{ID: z.Draw(t, "id"), Kind: quorum.EntryKind(rapid.IntRange(1, 2).Draw(t, "rk")), Data: anyData(t)}
			})),
			IDs:    list(t, "ids", z),
			Cause:  quorum.Cause(rapid.IntRange(0, int(quorum.CauseNoQuorum)).Draw(t, "cause")),
			Member: quorum.NodeID(rapid.IntRange(0, 65535).Draw(t, "member")),
			Config: quorum.Configuration{Members: anyMembers(t)},
			Via:    quorum.NodeID(rapid.Uint16().Draw(t, "via")),
		}
	})
}

func any16() *rapid.Generator[[16]byte] {
	return rapid.Custom(func(t *rapid.T) (b [16]byte) {
		binary.BigEndian.PutUint64(b[:8], rapid.Uint64().Draw(t, "high"))
		binary.BigEndian.PutUint64(b[8:], rapid.Uint64().Draw(t, "low"))
		return b
	})
}

func anyBoot() *rapid.Generator[quorum.Boot] {
	return rapid.Custom(func(t *rapid.T) quorum.Boot {
		return quorum.Boot{Incarnation: any16().Draw(t, "inc"), Counter: rapid.Uint64().Draw(t, "n"), Nonce: rapid.Uint64().Draw(t, "nonce")}
	})
}

func anyNode() *rapid.Generator[quorum.NodeID] {
	return rapid.Map(rapid.Uint16Range(1, math.MaxUint16), func(v uint16) quorum.NodeID { return quorum.NodeID(v) })
}

func anyEntry() *rapid.Generator[quorum.Entry] {
	return rapid.Custom(func(t *rapid.T) quorum.Entry {
		return quorum.Entry{
			Zxid: quorum.MakeZxid(quorum.Epoch(rapid.Uint32().Draw(t, "e")), rapid.Uint32Range(1, math.MaxUint32).Draw(t, "n")),
			Kind: quorum.EntryKind(rapid.IntRange(1, 2).Draw(t, "kind")),
			Origin: quorum.Origin{Node: quorum.NodeID(rapid.Uint16().Draw(t, "node")),
				Boot: rapid.Uint64().Draw(t, "boot"), ID: rapid.Uint64().Draw(t, "id")},
			Stamp: quorum.Stamp{Wall: rapid.Int64().Draw(t, "wall"), Age: rapid.Uint64().Draw(t, "age")},
			Data:  anyData(t),
		}
	})
}

func anyData(t *rapid.T) []byte {
	b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "data")
	if len(b) == 0 {
		return nil
	}
	return b
}

func list[T any](t *rapid.T, label string, one *rapid.Generator[T]) []T {
	l := rapid.SliceOfN(one, 0, 4).Draw(t, label)
	if len(l) == 0 {
		return nil
	}
	return l
}

func risingNodes(t *rapid.T, label string) []quorum.NodeID {
	ids := rapid.SliceOfNDistinct(anyNode(), 0, 5, rapid.ID[quorum.NodeID]).Draw(t, label)
	slices.Sort(ids)
	if len(ids) == 0 {
		return nil
	}
	return ids
}

func anyMembers(t *rapid.T) []quorum.Member {
	var members []quorum.Member
	for _, id := range risingNodes(t, "founding") {
		members = append(members, quorum.Member{ID: id, Incarnation: any16().Draw(t, "inc"),
			Role: quorum.Role(rapid.IntRange(1, 2).Draw(t, "role")),
			Addr: rapid.StringN(0, 40, 200).Draw(t, "addr")})
	}
	return members
}

// fill sets every field that reflection can reach, so that a field added to
// quorum.Message and forgotten here fails the test.
func fill(v reflect.Value, n *uint64) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String: // only SnapMeta.Config and addresses are text
		v.SetString("host:7501")
	case reflect.Int64:
		*n++
		v.SetInt(int64(*n))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		*n++
		v.SetUint(*n%255 + 1)
		if v.Kind() == reflect.Uint8 {
			v.SetUint(2) // legal for every enumeration
		}
	default:
		panic("a kind of field that fill does not know: " + v.Kind().String())
	}
}

func TestEveryFieldTravels(t *testing.T) {
	var m quorum.Message
	var n uint64
	fill(reflect.ValueOf(&m).Elem(), &n)
	m.Entries[0].Chain = 0 // recomputed by the receiver
	got, err := wire.Decode(wire.Append(nil, &m))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, m) {
		t.Errorf("got  %+v\nwant %+v", got, m)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMessage().Draw(t, "m")
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "prefix")
		b := wire.Append(slices.Clone(prefix), &m)
		if !slices.Equal(b[:len(prefix)], prefix) {
			t.Fatal("Append changed what was there")
		}
		got, err := wire.Decode(b[len(prefix):])
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("got  %+v\nwant %+v", got, m)
		}
	})
}

// The entries written by hand are what the generated code reads and writes.
func TestEntriesMatchSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := quorum.Message{Type: quorum.MsgPropose, From: 1, Entries: list(t, "entries", anyEntry())}
		b := wire.Append(nil, &m)
		var pb wirepb.Message
		if err := proto.Unmarshal(b[8:], &pb); err != nil {
			t.Fatal(err)
		}
		if len(pb.Entries) != len(m.Entries) {
			t.Fatalf("%d entries, want %d", len(pb.Entries), len(m.Entries))
		}
		for i, e := range m.Entries {
			p := pb.Entries[i]
			got := quorum.Entry{Zxid: quorum.Zxid(p.Zxid), Kind: quorum.EntryKind(p.Kind),
				Origin: quorum.Origin{Node: quorum.NodeID(p.OriginNode), Boot: p.OriginBoot, ID: p.OriginId},
				Stamp:  quorum.Stamp{Wall: int64(p.Wall), Age: p.Age}, Data: p.Data}
			if !reflect.DeepEqual(got, e) {
				t.Fatalf("entry %d: got %+v, want %+v", i, got, e)
			}
		}
		again, err := wire.Decode(frame(t, &pb))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again, m) {
			t.Fatalf("got %+v, want %+v", again, m)
		}
	})
}

// frame puts a head before a message of the generated code.
func frame(t interface{ Fatal(...any) }, pb *wirepb.Message) []byte {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(pb)
	if err != nil {
		t.Fatal(err)
	}
	return frameBody(body)
}

func frameBody(body []byte) []byte {
	b := append([]byte{'P', 'Q', 1, 0, 0, 0, 0, 0}, body...)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// No entry takes more on the wire than Size counts for it, so the core's
// limits in bytes hold on the wire too.
func TestSizeBoundsEntries(t *testing.T) {
	full := quorum.Entry{Zxid: math.MaxUint64, Kind: quorum.EntryConfig,
		Origin: quorum.Origin{Node: math.MaxUint16, Boot: math.MaxUint64, ID: math.MaxUint64},
		Stamp:  quorum.Stamp{Wall: -1, Age: math.MaxUint64}}
	empty := quorum.Message{Type: quorum.MsgPropose, From: 1}
	head := len(wire.Append(nil, &empty))
	for _, n := range []int{0, 1, 127, 128, 256, 16_383, 16_384, 1 << 20, 1<<20 + 1<<16} {
		e := full
		e.Data = make([]byte, n)
		m := empty
		m.Entries = []quorum.Entry{e}
		if got := len(wire.Append(nil, &m)) - head; got > e.Size() {
			t.Errorf("%d bytes of data take %d on the wire, Size counts %d", n, got, e.Size())
		}
	}
}

// A PROPOSE filled to its limit stays under the step at 64 KiB (NATS.md 4).
func TestFullProposeStaysSmall(t *testing.T) {
	for _, data := range []int{0, 1, 256, 1000, 48<<10 - 64} {
		m := quorum.Message{Type: quorum.MsgPropose, From: math.MaxUint16, To: math.MaxUint16,
			Cluster: quorum.ClusterID{0: 1, 15: 1}, Epoch: math.MaxUint32, Session: math.MaxUint64,
			FromBoot: fullBoot(), ToBoot: fullBoot(),
			Prev: math.MaxUint64, Chain: math.MaxUint64, Commit: math.MaxUint64, Last: math.MaxUint64}
		for size := 0; ; {
			e := quorum.Entry{Zxid: math.MaxUint64, Kind: quorum.EntryCommand, Data: make([]byte, data),
				Origin: quorum.Origin{Node: math.MaxUint16, Boot: math.MaxUint64, ID: math.MaxUint64},
				Stamp:  quorum.Stamp{Wall: math.MaxInt64, Age: math.MaxUint64}}
			if size += e.Size(); size > 48<<10 {
				break
			}
			m.Entries = append(m.Entries, e)
		}
		b := wire.Append(nil, &m)
		if len(b) >= 60_000 {
			t.Errorf("%d entries of %d bytes: a frame of %d bytes", len(m.Entries), data, len(b))
		}
		if _, err := wire.Decode(b); err != nil {
			t.Errorf("%d entries of %d bytes: %v", len(m.Entries), data, err)
		}
	}
}

func fullBoot() quorum.Boot {
	b := quorum.Boot{Counter: math.MaxUint64, Nonce: math.MaxUint64}
	for i := range b.Incarnation {
		b.Incarnation[i] = 0xff
	}
	return b
}

func TestDamage(t *testing.T) {
	m := quorum.Message{Type: quorum.MsgPropose, From: 2, Entries: []quorum.Entry{
		{Zxid: quorum.MakeZxid(1, 1), Kind: quorum.EntryCommand, Data: []byte("hello")}}}
	good := wire.Append(nil, &m)
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		if _, err := wire.Decode(bad); err == nil {
			t.Errorf("a flipped bit in byte %d was not seen", i)
		}
		if _, err := wire.Decode(good[:i]); err == nil {
			t.Errorf("a frame cut to %d bytes was not seen", i)
		}
	}
	if _, err := wire.Decode(append(slices.Clone(good), 0)); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("a byte too many: %v", err)
	}
	version := slices.Clone(good)
	version[2] = 2
	if _, err := wire.Decode(version); !errors.Is(err, wire.ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
	if _, err := wire.Decode(frameBody(make([]byte, wire.MaxFrame))); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func TestRefusesImpossibleValues(t *testing.T) {
	ok := func() *wirepb.Message { return &wirepb.Message{Type: uint32(quorum.MsgNotify), From: 1} }
	entry := func(e *wirepb.Entry) func(*wirepb.Message) {
		return func(m *wirepb.Message) { m.Entries = []*wirepb.Entry{e} }
	}
	cases := map[string]func(*wirepb.Message){
		"type 0":           func(m *wirepb.Message) { m.Type = 0 },
		"type 22":          func(m *wirepb.Message) { m.Type = uint32(quorum.MsgStepDown) + 1 },
		"type wraps":       func(m *wirepb.Message) { m.Type = 256 + 1 },
		"from nobody":      func(m *wirepb.Message) { m.From = 0 },
		"from wraps":       func(m *wirepb.Message) { m.From = 65536 + 1 },
		"to wraps":         func(m *wirepb.Message) { m.To = 65536 },
		"state":            func(m *wirepb.Message) { m.State = 5 },
		"forming":          func(m *wirepb.Message) { m.Forming = 4 },
		"mode":             func(m *wirepb.Message) { m.Mode = 4 },
		"vote wraps":       func(m *wirepb.Message) { m.Vote = &wirepb.Vote{Leader: 65536} },
		"reach of 0":       func(m *wirepb.Message) { m.Reach = []uint32{0, 1} },
		"reach twice":      func(m *wirepb.Message) { m.Reach = []uint32{1, 1} },
		"reach falls":      func(m *wirepb.Message) { m.Reach = []uint32{2, 1} },
		"founder twice":    func(m *wirepb.Message) { m.Founding = []*wirepb.Member{{Id: 1, Role: 1}, {Id: 1, Role: 1}} },
		"founder, no role": func(m *wirepb.Message) { m.Founding = []*wirepb.Member{{Id: 1}} },
		"founder's role":   func(m *wirepb.Message) { m.Founding = []*wirepb.Member{{Id: 1, Role: 3}} },
		"snapshot size":    func(m *wirepb.Message) { m.Snap = &wirepb.Snapshot{Size: math.MaxUint64} },
		"heard of 0":       func(m *wirepb.Message) { m.Heard = []*wirepb.Heard{{Seq: 1}} },
		"ids":              func(m *wirepb.Message) { m.Ids = make([]uint64, wire.MaxList+1) },
		"entry, no kind":   entry(&wirepb.Entry{Zxid: 1}),
		"entry kind":       entry(&wirepb.Entry{Zxid: 1, Kind: 4}),
		"entry kind wraps": entry(&wirepb.Entry{Zxid: 1, Kind: 257}),
		"entry at 0":       entry(&wirepb.Entry{Zxid: 1 << 32, Kind: 1}),
		"entry node wraps": entry(&wirepb.Entry{Zxid: 1, Kind: 1, OriginNode: 65536}),
	}
	if _, err := wire.Decode(frame(t, ok())); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range cases {
		pb := ok()
		spoil(pb)
		if _, err := wire.Decode(frame(t, pb)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnknownFields(t *testing.T) {
	m := quorum.Message{Type: quorum.MsgCommit, From: 1, Commit: 7}
	later := protowire.AppendTag(nil, 1000, protowire.BytesType)
	later = protowire.AppendBytes(later, []byte("of a later version"))
	body := append(slices.Clone(wire.Append(nil, &m)[8:]), later...)
	got, err := wire.Decode(frameBody(body))
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, %v", got, err)
	}
	m.Entries = []quorum.Entry{{Zxid: 1, Kind: quorum.EntryCommand}}
	behind := append(slices.Clone(wire.Append(nil, &m)[8:]), later...)
	if _, err := wire.Decode(frameBody(behind)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a field behind the entries: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(wire.Append(nil, &quorum.Message{Type: quorum.MsgPing, From: 1, Heard: []quorum.Heard{{ID: 2, Seq: 3}}})[8:])
	f.Add(wire.Append(nil, &quorum.Message{Type: quorum.MsgPropose, From: 1, Entries: []quorum.Entry{
		{Zxid: 1, Kind: 1, Data: []byte("x")}, {Zxid: 2, Kind: 2}}})[8:])
	f.Add(wire.Append(nil, &quorum.Message{Type: quorum.MsgNotify, From: 1, Reach: []quorum.NodeID{1, 2},
		Founding: []quorum.Member{{ID: 1, Role: 1}, {ID: 3, Role: 2}}, Cred: quorum.Credentials{Last: 9}})[8:])
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = wire.Decode(body) // as it stands: head and all
		m, err := wire.Decode(frameBody(body))
		if err != nil {
			return
		}
		again, err := wire.Decode(wire.Append(nil, &m))
		if err != nil {
			t.Fatalf("own frame of %+v: %v", m, err)
		}
		if !reflect.DeepEqual(again, m) {
			t.Fatalf("got %+v, want %+v", again, m)
		}
	})
}

func benchPropose() quorum.Message {
	m := quorum.Message{Type: quorum.MsgPropose, From: 1, Cluster: quorum.ClusterID{1}, FromBoot: fullBoot(), Epoch: 8000, Prev: 8000<<32 | 5, Chain: 77}
	for i := range 32 {
		m.Entries = append(m.Entries, quorum.Entry{Zxid: quorum.MakeZxid(8000, uint32(i+6)), Kind: quorum.EntryCommand,
			Origin: quorum.Origin{Node: 2, Boot: 1 << 60, ID: 99}, Stamp: quorum.Stamp{Wall: 1 << 40, Age: 1 << 30}, Data: make([]byte, 256)})
	}
	return m
}

func BenchmarkPropose(b *testing.B) {
	m := benchPropose()
	frame := wire.Append(nil, &m)
	b.Run("append", func(b *testing.B) {
		buf := make([]byte, 0, 64<<10)
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for b.Loop() {
			buf = wire.Append(buf[:0], &m)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.Decode(frame); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAck(b *testing.B) {
	m := quorum.Message{Type: quorum.MsgAck, From: 1, To: 2, Cluster: quorum.ClusterID{1}, FromBoot: fullBoot(), ToBoot: fullBoot(), Epoch: 8000, Session: 1 << 60, Durable: 8000 << 32}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = wire.Append(buf[:0], &m)
		if _, err := wire.Decode(buf); err != nil {
			b.Fatal(err)
		}
	}
}
