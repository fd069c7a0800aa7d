package lease

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/snapshotpb"
	"perch/quorum"
	"perch/tree"
)

// lived is a state with something of everything.
func lived(t testing.TB) *bench {
	set := DefaultSettings()
	set.EventAgeMs = 50
	b := newBench(t, set)
	for i := range 40 {
		b.age += 3
		b.must(put(&commandpb.Put{Path: fmt.Sprintf("/n%d/x", i%5), Data: []byte(strings.Repeat("d", i)), Parents: true}))
	}
	b.must(openSession(2000))
	for _, token := range []string{"one", "two", "three"} {
		b.must(with(opening(byToken(token), 2000), create(&commandpb.Create{Path: "/n0/", Mode: ephemeral, Sequential: true})))
	}
	b.must(with(byToken("two"), closeSession(0)))
	b.must(del(&commandpb.Delete{Path: "/n1", Recursive: true}))
	return b
}

// A snapshot with any byte changed, or cut anywhere, is refused.
func TestDamagedSnapshots(t *testing.T) {
	b := lived(t)
	good := snapshotBytes(t, b.s.View())
	if _, err := Restore(iotest.OneByteReader(bytes.NewReader(good))); err != nil {
		t.Fatal(err)
	}
	refusesDamage(t, good)
	if _, err := Restore(bytes.NewReader(append(bytes.Clone(good), 0))); !errors.Is(err, ErrSnapshot) {
		t.Fatal(err)
	}
}

// refusesDamage changes each byte of a snapshot, and cuts it at each.
func refusesDamage(t *testing.T, good []byte) {
	t.Helper()
	bad := bytes.Clone(good)
	for i := range good {
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad[i] ^= flip
			if s, err := Restore(bytes.NewReader(bad)); err == nil && !sameState(t, s, good) {
				t.Fatalf("byte %d of %d ^ %02x: restored", i, len(good), flip)
			}
			bad[i] = good[i]
		}
		if _, err := Restore(bytes.NewReader(good[:i])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// sameState says whether s is the state of the snapshot: some bytes, such as
// bits of an unknown field's number, say nothing.
func sameState(t testing.TB, s *State, good []byte) bool {
	return bytes.Equal(snapshotBytes(t, s.View()), good)
}

func TestRestoreTellsWhy(t *testing.T) {
	broken := errors.New("disk on fire")
	good := snapshotBytes(t, lived(t).s.View())
	r := io.MultiReader(bytes.NewReader(good[:100]), iotest.ErrReader(broken))
	if _, err := Restore(r); !errors.Is(err, broken) || errors.Is(err, ErrSnapshot) {
		t.Error(err)
	}
	r = io.MultiReader(bytes.NewReader(good), iotest.ErrReader(broken))
	if _, err := Restore(r); !errors.Is(err, broken) {
		t.Error(err)
	}
	head, err := proto.Marshal(&snapshotpb.Header{Format: SnapshotFormat + 1})
	if err != nil {
		t.Fatal(err)
	}
	frame := append(protowire.AppendVarint(nil, uint64(len(head)+1)), frameHeader)
	if _, err := Restore(bytes.NewReader(append(frame, head...))); !errors.Is(err, ErrFormat) || errors.Is(err, ErrSnapshot) {
		t.Error(err)
	}
	if _, err := Restore(strings.NewReader("")); !errors.Is(err, ErrSnapshot) {
		t.Error(err)
	}
}

// The same log gives the same results, events, digests and bytes; and a state
// that was restored halfway gives them too.
func TestDeterminism(t *testing.T) {
	type outcome struct {
		res    Result
		events string
		digest uint64
	}
	run := func(restoreAt int) (out []outcome, snap []byte) {
		b := newBench(t, small())
		for i := range 400 {
			b.age += uint64(i % 7)
			r, ev := b.apply(scripted(i))
			out = append(out, outcome{r, fmt.Sprint(ev), b.s.View().Digest()})
			if i == restoreAt {
				s, err := Restore(bytes.NewReader(snapshotBytes(t, b.s.View())))
				if err != nil {
					t.Fatal(err)
				}
				b.s = s
			}
		}
		return out, snapshotBytes(t, b.s.View())
	}
	want, wantSnap := run(-1)
	for _, at := range []int{-1, 0, 117, 398} {
		got, snap := run(at)
		for i := range want {
			if fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
				t.Fatalf("restored at %d, step %d: %+v, want %+v", at, i, got[i], want[i])
			}
		}
		if !bytes.Equal(snap, wantSnap) {
			t.Fatalf("restored at %d: another snapshot", at)
		}
	}
}

// scripted is a mix of commands, many of them refused.
func scripted(i int) *commandpb.Command {
	path := fmt.Sprintf("/%c", 'a'+i*7%5)
	token := byToken(fmt.Sprint(i * 11 % 6))
	switch i % 9 {
	case 0, 1:
		return put(&commandpb.Put{Path: path + "/x", Data: []byte{byte(i)}, Parents: true})
	case 2, 3:
		return with(opening(token, 2000), create(&commandpb.Create{Path: path + "/e", Mode: ephemeral, Sequential: true}))
	case 4:
		return with(opening(token, 2000), put(&commandpb.Put{Path: path + "/m", Mode: ephemeral, Takeover: true, Parents: true}))
	case 5:
		return del(&commandpb.Delete{Path: path, Recursive: i%2 == 0})
	case 6:
		return with(token, closeSession(0))
	case 7:
		return openSession(uint64(500 * (i % 5)))
	}
	return create(&commandpb.Create{Path: path})
}

func FuzzApply(f *testing.F) {
	for i := range 9 {
		f.Add(marshal(f, scripted(i)))
	}
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		b := lived(t)
		before := b.s.View()
		r, events, err := b.s.Apply(&quorum.Entry{Zxid: b.zxid + 1, Kind: quorum.EntryCommand, Data: data, Stamp: quorum.Stamp{Age: b.age}})
		switch {
		case err != nil:
			if !errors.Is(err, ErrFormat) || b.s.View() != before {
				t.Fatal(err)
			}
			return
		case r.Fault != "" && strings.HasPrefix(r.Fault, "panic"):
			t.Fatal(r.Fault)
		case r.Code != tree.OK && (len(events) > 0 || contents(t, before) != contents(t, b.s.View())):
			t.Fatalf("%v changed the state", r.Code)
		}
		again, err := Restore(bytes.NewReader(snapshotBytes(t, b.s.View())))
		if err != nil || again.View().Digest() != b.s.View().Digest() {
			t.Fatal(err)
		}
	})
}

func FuzzRestore(f *testing.F) {
	good := snapshotBytes(f, lived(f).s.View())
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte{0xff, 0xff, 0xff, 0x07, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Restore(bytes.NewReader(data))
		if err != nil {
			return
		}
		// What is accepted is a state: it can be written and read again.
		again, err := Restore(bytes.NewReader(snapshotBytes(t, s.View())))
		if err != nil || again.View().Digest() != s.View().Digest() {
			t.Fatal(err)
		}
	})
}
