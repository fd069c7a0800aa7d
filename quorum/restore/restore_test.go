package restore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/disk"
	"perch/quorum/snap"
	"perch/quorum/wal"
)

// state is one of a cluster that has written so many nodes.
func state(t testing.TB, nodes int) *lease.State {
	t.Helper()
	s := lease.New(lease.DefaultSettings())
	for i := range nodes {
		data, err := proto.Marshal(&commandpb.Command{Format: 1, Op: &commandpb.Command_Put{
			Put: &commandpb.Put{Path: fmt.Sprintf("/n%d", i), Data: bytes.Repeat([]byte{byte(i)}, 300)}}})
		if err != nil {
			t.Fatal(err)
		}
		entry := &quorum.Entry{Zxid: quorum.MakeZxid(7, uint32(i+1)), Kind: quorum.EntryCommand, Data: data, Stamp: quorum.Stamp{Age: uint64(i)}}
		if _, _, err := s.Apply(entry); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// files are the contents of a directory, by name.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func equal(a, b map[string]string) bool {
	for name, text := range a {
		if b[name] != text {
			return false
		}
	}
	return len(a) == len(b)
}

func TestInto(t *testing.T) {
	s, root := state(t, 20), t.TempDir()
	view := s.View()
	told := int64(0)
	sum, err := Into(root+"/one", Source{View: s.View(), Epoch: 9}, Options{Progress: func(n int64) { told = n }})
	if err != nil || sum.Zxid != view.Zxid() || sum.Digest != view.Digest() || sum.Epoch != 9 || sum.Nodes != view.Nodes() || sum.Age != 19 {
		t.Fatalf("%+v: %v", sum, err)
	}
	if _, err := Into(root+"/two", Source{View: s.View(), Epoch: 9}, Options{}); err != nil {
		t.Fatal(err)
	}
	if !equal(files(t, root+"/one"), files(t, root+"/two")) || told == 0 {
		t.Errorf("two directories of one state differ, or nothing was told of %d bytes", told)
	}

	// What a node finds.
	opt := wal.Options{Dir: root + "/one/log", Node: 3}
	for range 2 { // the second time there is nothing to do
		if err := Begin(opt, root+"/one"); err != nil {
			t.Fatal(err)
		}
	}
	log, found, err := wal.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	past := quorum.Past{Zxid: view.Zxid(), Digest: view.Digest(), Epoch: 9}
	chain, held := found.History.Chain(view.Zxid())
	if c := found.Control; c.Past != past || c.Formed || c.AcceptedEpoch != 0 || !held || chain != past.Chain() || found.History.Last() != view.Zxid() {
		t.Errorf("%+v, log up to %v", found.Control, found.History.Last())
	}
	store, err := snap.Open(snap.Options{Dir: root + "/one/snap"})
	if err != nil {
		t.Fatal(err)
	}
	if m, ok, err := store.Newest(); err != nil || !ok || m.Zxid != view.Zxid() || m.Chain != chain || m.Digest != view.Digest() || m.Config != "" {
		t.Errorf("%+v %v %v", m, ok, err)
	}
}

func TestIntoRefuses(t *testing.T) {
	root := t.TempDir()
	if _, err := Into(root+"/none", Source{View: state(t, 0).View()}, Options{}); err == nil {
		t.Error("a state without a transaction is restored")
	}
	if _, err := Into(root+"/none", Source{View: state(t, 1).View(), Epoch: mostEpoch}, Options{}); err == nil {
		t.Error("an epoch that nobody reaches is taken")
	}
	for _, name := range []string{"log/store", "snap/x.snap", "mine", "restored.json"} {
		dir := filepath.Join(root, strings.ReplaceAll(name, "/", "-"))
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		before := files(t, dir)
		if _, err := Into(dir, Source{View: state(t, 1).View()}, Options{}); !errors.Is(err, ErrNotEmpty) || !equal(before, files(t, dir)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	lock, err := (disk.OS{}).Lock(root)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := Into(root, Source{View: state(t, 1).View()}, Options{}); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("two restores at once: %v", err)
	}
}

// A restore that ends anywhere is refused by Begin, and done again by the next one.
func TestIntoIsInterrupted(t *testing.T) {
	s := state(t, 5)
	want := t.TempDir()
	if _, err := Into(want, Source{View: s.View()}, Options{}); err != nil {
		t.Fatal(err)
	}
	whole := files(t, want)
	for name, leave := range map[string]func(dir string) error{
		"begun": func(dir string) error { return put(dir, begunName, nil) },
		"half a snapshot": func(dir string) error {
			return errors.Join(put(dir, begunName, nil), os.Mkdir(dir+"/snap", 0o700), os.WriteFile(dir+"/snap/x.tmp", []byte("half"), 0o600))
		},
		"another one": func(dir string) error {
			_, err := Into(dir, Source{View: state(t, 9).View()}, Options{})
			return errors.Join(err, put(dir, begunName, nil))
		},
	} {
		dir := t.TempDir()
		if err := leave(dir); err != nil {
			t.Fatal(err)
		}
		if err := Begin(wal.Options{Dir: dir + "/log", Node: 1}, dir); !errors.Is(err, ErrInterrupted) {
			t.Errorf("%s: a node starts: %v", name, err)
		}
		if _, err := Into(dir, Source{View: s.View()}, Options{}); err != nil || !equal(files(t, dir), whole) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A node that dies while it takes over a restored directory goes on with its next
// start; a log that belongs to something else is left alone.
func TestBeginIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	if _, err := Into(dir, Source{View: state(t, 5).View()}, Options{}); err != nil {
		t.Fatal(err)
	}
	note, err := os.ReadFile(filepath.Join(dir, doneName))
	if err != nil {
		t.Fatal(err)
	}
	opt := wal.Options{Dir: dir + "/log", Node: 1}
	log, _, err := wal.Open(opt) // made, and then it died
	if err != nil || log.Close() != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it died before it removed the note
		if err := Begin(opt, dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, doneName), note, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, doneName), bytes.Replace(note, []byte(`"epoch":7`), []byte(`"epoch":8`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Begin(opt, dir); err == nil {
		t.Error("another restore is taken over by a log that begins with one")
	}
	if err := os.WriteFile(filepath.Join(dir, doneName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Begin(opt, dir); err == nil {
		t.Error("a note that cannot be read is passed over")
	}
}

// backupFile writes a backup as a node sends it.
func backupFile(t *testing.T, s *lease.State) string {
	t.Helper()
	store, err := snap.Open(snap.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	v := s.View()
	m, err := store.Create(quorum.SnapMeta{Zxid: v.Zxid(), Digest: v.Digest()}, func(w io.Writer) error {
		_, err := v.WriteTo(w)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := store.Pin(m.Zxid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	line, err := NewHead(m, quorum.ClusterID{1}, "perch", 12).Line()
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, m.Size)
	if _, err := p.ReadAt(body, 0); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, append(line, body...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// read reads a backup to its end.
func read(path string) (Head, *lease.State, error) {
	b, err := OpenBackup(path)
	if err != nil {
		return Head{}, nil, err
	}
	defer b.Close()
	s, err := lease.Restore(b)
	return b.Head, s, err
}

func TestBackup(t *testing.T) {
	s := state(t, 30)
	path := backupFile(t, s)
	h, got, err := read(path)
	if err != nil || got.View().Digest() != s.View().Digest() || h.Zxid != s.View().Zxid() || h.Epoch != 12 || h.Name != "perch" ||
		h.Cluster != "01000000000000000000000000000000" || h.Digest != DigestText(s.View().Digest()) {
		t.Fatalf("%+v: %v", h, err)
	}
}

// Whatever is damaged of a backup, it is refused, with the place.
func TestDamagedBackup(t *testing.T) {
	path := backupFile(t, state(t, 30))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var damage *disk.DamageError
		if _, _, err := read(path); !errors.As(err, &damage) || damage.File != path || damage.Offset > int64(len(text)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range good {
		if i > 400 && i%37 != 0 {
			continue
		}
		bad := bytes.Clone(good)
		bad[i] ^= 8
		refused(fmt.Sprint("byte ", i), bad)
	}
	for _, n := range []int{0, 5, 100, 300, len(good) / 2, len(good) - 1} {
		refused(fmt.Sprint("cut to ", n), good[:n])
	}
	refused("longer", append(bytes.Clone(good), 0))
	line := bytes.IndexByte(good, '\n') + 1
	refused("another line", append(mustLine(t), good[line:]...))
}

// mustLine is a line that is sound, and of something else.
func mustLine(t *testing.T) []byte {
	t.Helper()
	line, err := NewHead(quorum.SnapMeta{Zxid: 5, Size: 1}, quorum.ClusterID{1}, "perch", 12).Line()
	if err != nil {
		t.Fatal(err)
	}
	return line
}
