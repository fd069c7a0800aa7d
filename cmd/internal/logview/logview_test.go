package logview

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/snap"
	"perch/quorum/wal"
)

var update = flag.Bool("update", false, "write the golden files anew")

const secretValue = "hunter2hunter2"

// commands are what the sample log holds, one after the other.
func commands() []*commandpb.Command {
	token := &commandpb.SessionRef{Ref: &commandpb.SessionRef_TokenHash{TokenHash: bytes.Repeat([]byte{0xab}, 32)}, OpenTtlMs: 10_000}
	return []*commandpb.Command{
		{Format: 1, Op: &commandpb.Command_Create{Create: &commandpb.Create{Path: "/app", Data: []byte(secretValue)}}},
		{Format: 1, Session: token, Op: &commandpb.Command_Put{Put: &commandpb.Put{
			Path: "/app/a b", Data: []byte(secretValue), Mode: commandpb.Mode_MODE_EPHEMERAL, Parents: true,
			Condition: &commandpb.Condition{When: &commandpb.Condition_Version{Version: 3}},
		}}},
		{Format: 1, Session: &commandpb.SessionRef{Ref: &commandpb.SessionRef_Id{Id: 7}}, Op: &commandpb.Command_SetTtl{SetTtl: &commandpb.SetTtl{TtlMs: 500}}},
		{Format: 1, Op: &commandpb.Command_Delete{Delete: &commandpb.Delete{Path: "/app", Recursive: true}}},
		{Format: 1, Op: &commandpb.Command_ExpireSessions{ExpireSessions: &commandpb.ExpireSessions{Ids: []uint64{7, 9}, Epoch: 2}}},
		{Format: 1, Op: &commandpb.Command_Configure{Configure: &commandpb.Configure{ValueBytes: proto.Int64(99)}}},
		{Format: 1},
	}
}

// sample writes a log of two segments with everything in it that a log can hold,
// and a snapshot, as the data directory of node 7.
type sample struct {
	t     *testing.T
	dir   string
	log   *wal.Log
	state *lease.State
	at    quorum.Zxid
	chain uint64
}

func newSample(t *testing.T) *sample {
	t.Helper()
	s := &sample{t: t, dir: t.TempDir(), state: lease.New(lease.DefaultSettings())}
	log, found, err := wal.Open(wal.Options{
		Dir: filepath.Join(s.dir, "log"), Node: 7, SegmentBytes: 1 << 10, AllocBytes: 512, Rand: rand.NewChaCha8([32]byte{1}),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.log = log
	control := found.Control.Clone()
	control.Founding = []quorum.Member{{ID: 7, Role: quorum.RoleVoter}, {ID: 8, Role: quorum.RoleObserver, Addr: "h:1"}}
	control.Cluster, control.Formed = quorum.ClusterID{1, 2}, true
	control.AcceptedEpoch, control.AcceptedFrom.Leader, control.CurrentEpoch = 2, 7, 2
	control.Seen = []quorum.Life{{ID: 8, Boot: quorum.Boot{Counter: 5}}}
	s.append(quorum.Record{Type: quorum.RecordControl, Control: control})
	for i, cmd := range commands() {
		data, err := proto.Marshal(cmd)
		if err != nil {
			t.Fatal(err)
		}
		s.apply(s.entry(quorum.EntryCommand, data))
		if i == 2 {
			s.snapshot()
			s.append(quorum.Record{Type: quorum.RecordCommit, Zxid: s.at})
		}
	}
	keep, chain := s.at, s.chain
	s.entry(quorum.EntryCommand, []byte("\xffgarbage"))
	s.append(quorum.Record{Type: quorum.RecordTruncate, Zxid: keep, Chain: chain})
	s.at, s.chain = keep, chain
	s.apply(s.entry(quorum.EntryConfig, (&quorum.Configuration{Version: s.at + 1, Members: control.Founding}).Encode()))
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sample) append(recs ...quorum.Record) {
	s.t.Helper()
	if err := s.log.Append(recs); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sample) entry(kind quorum.EntryKind, data []byte) *quorum.Entry {
	s.t.Helper()
	z := s.at + 1
	if s.at == 0 {
		z = quorum.MakeZxid(2, 1)
	}
	e := quorum.Entry{
		Zxid: z, Kind: kind, Data: data, Origin: quorum.Origin{Node: 7, Boot: 0xfeed, ID: uint64(z.Counter())},
		Stamp: quorum.Stamp{Wall: 1_800_000_000_000 + int64(z.Counter()), Age: uint64(z.Counter()) * 1500},
	}
	e.Chain = quorum.ChainHash(s.chain, &e)
	s.append(quorum.Record{Type: quorum.RecordEntry, Entry: e})
	s.at, s.chain = e.Zxid, e.Chain
	return &e
}

func (s *sample) apply(e *quorum.Entry) {
	s.t.Helper()
	if _, _, err := s.state.Apply(e); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sample) snapshot() {
	s.t.Helper()
	store, err := snap.Open(snap.Options{Dir: filepath.Join(s.dir, "snap")})
	if err != nil {
		s.t.Fatal(err)
	}
	view := s.state.View()
	if _, err := store.Create(quorum.SnapMeta{Zxid: s.at, Chain: s.chain, Digest: view.Digest()}, func(w io.Writer) error {
		_, err := view.WriteTo(w)
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sample) dump(opt Options) string {
	s.t.Helper()
	var out bytes.Buffer
	if err := Dump(&out, s.dir, opt); err != nil {
		s.t.Fatal(err)
	}
	return out.String()
}

func (s *sample) verify(asJSON bool) (text string, sound bool) {
	s.t.Helper()
	var out bytes.Buffer
	sound, err := Verify(&out, s.dir, asJSON)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.ReplaceAll(out.String(), s.dir, "DIR"), sound
}

// change edits a file; now nil removes it.
func (s *sample) change(name string, edit func(was []byte) (now []byte)) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	was, err := os.ReadFile(path)
	if err == nil {
		if now := edit(was); now == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, now, 0o600)
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

// The outputs for people and for programs, of a sound and of a damaged log. Run
// with -update after a change that is meant, and read the difference.
func TestGolden(t *testing.T) {
	s := newSample(t)
	golden(t, "log.txt", s.dump(Options{}))
	golden(t, "log.json", s.dump(Options{JSON: true}))
	golden(t, "log-part.txt", s.dump(Options{From: quorum.MakeZxid(2, 3), To: quorum.MakeZxid(2, 4)}))
	text, sound := s.verify(false)
	golden(t, "verify.txt", text)
	asJSON, soundToo := s.verify(true)
	golden(t, "verify.json", asJSON)
	if !sound || !soundToo {
		t.Error("it is not sound")
	}
	s.change("log/0000000000000001.log", func(b []byte) []byte { b[600] ^= 1; return b })
	golden(t, "log-damaged.txt", s.dump(Options{}))
	if text, sound = s.verify(false); sound {
		t.Error("a flipped bit is sound")
	}
	golden(t, "verify-damaged.txt", text)
	text, _ = s.verify(true)
	golden(t, "verify-damaged.json", text)
}

// No value and no whole hash of a token is shown, in no form.
func TestNoValueIsShown(t *testing.T) {
	s := newSample(t)
	for _, out := range []string{s.dump(Options{}), s.dump(Options{JSON: true})} {
		if strings.Contains(out, "hunter2") || strings.Contains(out, strings.Repeat("ab", 16)) || !strings.Contains(out, "abababab") {
			t.Error(out)
		}
	}
}

// Every line for programs is an object with the fields that are promised for its
// kind.
func TestEveryLineIsAnObject(t *testing.T) {
	s := newSample(t)
	kinds := map[string]int{}
	for line := range strings.Lines(s.dump(Options{JSON: true})) {
		var l Line
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		kinds[l.Kind]++
		zxid := l.Kind != "control" && l.Kind != "invalid"
		if l.File == "" || l.Bytes <= 0 || (l.Zxid != nil) != zxid || (l.Entry != nil) != (l.Kind == "entry") {
			t.Error(line)
		}
	}
	for _, kind := range []string{"header", "control", "entry", "truncate", "commit", "mark", "seal"} {
		if kinds[kind] == 0 {
			t.Errorf("no %s among %v", kind, kinds)
		}
	}
}

func TestAnInstalledSnapshotIsALine(t *testing.T) {
	l := lineOf(&wal.RecordInfo{
		Kind: wal.KindRecord, File: "x/1.log", Offset: 8, Size: 32, Zxid: quorum.MakeZxid(3, 4), Chain: 5,
		Record: quorum.Record{Type: quorum.RecordInstall, Zxid: quorum.MakeZxid(3, 4), Chain: 5},
	})
	want := "install  a snapshot in the place of everything before, at 12884901892 (3,4) chain 0000000000000005"
	if got := l.text(); got != want || l.Kind != "install" {
		t.Errorf("%+v: %q", l, got)
	}
}

// What verify says of damage, by what was done.
func TestVerifyFindsDamage(t *testing.T) {
	first, middle, last := "log/0000000000000001.log", "log/0000000000000002.log", "log/0000000000000003.log"
	remove := func([]byte) []byte { return nil }
	flip := func(b []byte) []byte { b[len(b)/2] ^= 4; return b }
	snapshot := "snap/0000000200000003.snap"
	for name, c := range map[string]struct {
		do   func(s *sample)
		want string // of the damage; "" for none
		also string // in the output
	}{
		"nothing":  {func(s *sample) {}, "", "snapshots that a start could use: 1"},
		"torn end": {func(s *sample) { s.change(last, func(b []byte) []byte { return append(b, 1, 2, 3) }) }, "", "never ended"},
		"aside": {func(s *sample) {
			s.change(snapshot, func(b []byte) []byte { return b })
			s.rename(snapshot, snapshot+".damaged")
		}, "", "aside"},
		"other file":          {func(s *sample) { s.rename(snapshot, "log/readme") }, "", "foreign"},
		"no snapshots":        {func(s *sample) { _ = os.RemoveAll(filepath.Join(s.dir, "snap")) }, "", "sound"},
		"watermark gone":      {func(s *sample) { s.change("log/watermark", remove) }, "", "sound"},
		"superblock":          {func(s *sample) { s.change("log/store", flip) }, "log/store", "unread"},
		"middle missing":      {func(s *sample) { s.change(middle, remove) }, middle, "is missing"},
		"segment missing":     {func(s *sample) { s.change(last, remove) }, last, "is missing"},
		"middle cut":          {func(s *sample) { s.change(middle, func(b []byte) []byte { return b[:300] }) }, middle, "records end at"},
		"segment cut":         {func(s *sample) { s.change(last, func(b []byte) []byte { return b[:300] }) }, last, "known to be durable"},
		"snapshot flipped":    {func(s *sample) { s.change(snapshot, flip) }, snapshot, "checksum"},
		"snapshot misnamed":   {func(s *sample) { s.rename(snapshot, "snap/0000000200000004.snap") }, "snap/0000000200000004.snap", "holds the state at (2,3)"},
		"log begins too late": {func(s *sample) { s.change(first, remove); s.change(snapshot, remove) }, "snap", "no whole snapshot reaches back"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSample(t)
			c.do(s)
			text, sound := s.verify(false)
			if sound != (c.want == "") || !strings.Contains(text, c.also) || (c.want != "" && !strings.Contains(text, "\nDIR/"+c.want+"\n  at offset ")) {
				t.Errorf("sound: %v; want damage of %q, %q in:\n%s", sound, c.want, c.also, text)
			}
		})
	}
}

func (s *sample) rename(from, to string) {
	s.t.Helper()
	if err := os.Rename(filepath.Join(s.dir, from), filepath.Join(s.dir, to)); err != nil {
		s.t.Fatal(err)
	}
}

// A snapshot whose checksums are right and whose label is not.
func TestVerifyComparesTheDigest(t *testing.T) {
	s := newSample(t)
	store, err := snap.Open(snap.Options{Dir: filepath.Join(s.dir, "snap")})
	if err != nil {
		t.Fatal(err)
	}
	view := s.state.View()
	write := func(w io.Writer) error {
		_, err := view.WriteTo(w)
		return err
	}
	if _, err := store.Create(quorum.SnapMeta{Zxid: s.at, Chain: s.chain, Digest: view.Digest() + 1}, write); err != nil {
		t.Fatal(err)
	}
	if text, sound := s.verify(false); sound || !strings.Contains(text, "with digest") {
		t.Error(text)
	}
	if _, err := store.Create(quorum.SnapMeta{Zxid: s.at, Chain: s.chain + 1, Digest: view.Digest()}, write); err != nil {
		t.Fatal(err)
	}
	if text, sound := s.verify(false); !sound || !strings.Contains(text, "of another history") {
		t.Error(text)
	}
}

// A log may be sound and its node may not vote all the same: that is said.
func TestVerifyTellsOfARebuild(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	log, found, err := wal.Open(wal.Options{Dir: dir, Node: 7})
	if err != nil {
		t.Fatal(err)
	}
	control := found.Control.Clone()
	control.NeedsRebuild, control.Reason = true, "its disk was lost"
	if err := log.Append([]quorum.Record{{Type: quorum.RecordControl, Control: control}}); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		if sound, err := Verify(&out, dir, asJSON); err != nil || !sound || !strings.Contains(out.String(), "its disk was lost") {
			t.Errorf("%v, %v\n%s", sound, err, out.String())
		}
	}
}

// FuzzEntry shows entries with any bytes in them: each is a line for people and
// an object for programs.
func FuzzEntry(f *testing.F) {
	for _, cmd := range commands() {
		data, err := proto.Marshal(cmd)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(quorum.EntryCommand), data)
	}
	f.Add(uint8(quorum.EntryConfig), (&quorum.Configuration{Members: []quorum.Member{{ID: 7, Role: quorum.RoleVoter}}}).Encode())
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		e := quorum.Entry{Zxid: 1, Kind: quorum.EntryKind(kind), Data: data}
		l := lineOf(&wal.RecordInfo{Kind: wal.KindRecord, Record: quorum.Record{Type: quorum.RecordEntry, Entry: e}})
		if text := l.text(); strings.ContainsAny(text, "\n\x00\x1b") {
			t.Errorf("%q", text)
		}
		if _, err := json.Marshal(l); err != nil {
			t.Error(err)
		}
	})
}

func TestNoLogThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{t.TempDir(), file, filepath.Join(t.TempDir(), "gone")} {
		if err := Dump(io.Discard, dir, Options{}); !errors.Is(err, ErrNoLog) {
			t.Errorf("Dump of %s: %v", dir, err)
		}
		if _, err := Verify(io.Discard, dir, false); !errors.Is(err, ErrNoLog) {
			t.Errorf("Verify of %s: %v", dir, err)
		}
	}
}

// The log in a data directory may be named itself; the snapshots are found then,
// too.
func TestTheLogItselfMayBeNamed(t *testing.T) {
	s := newSample(t)
	for _, dir := range []string{s.dir, filepath.Join(s.dir, "log"), filepath.Join(s.dir, "log") + "/"} {
		var out bytes.Buffer
		if sound, err := Verify(&out, dir, false); err != nil || !sound || !strings.Contains(out.String(), "could use: 1") {
			t.Errorf("%s: %v\n%s", dir, err, out.String())
		}
	}
}
