// Package restore makes a data directory whose first state is that of a former
// cluster, and reads and writes the backup files that such a state is kept in
// (RULES.md R9).
//
// It guarantees:
//   - A directory is prepared whole or not at all: a restore that was interrupted
//     is recognized, by the next one, which does it again, and by Begin, which
//     refuses to start on it.
//   - What was restored was read back from the disk, and has the digest that the
//     state was written with.
//   - The same state makes the same bytes, whichever node the directory is for: it
//     holds nothing of a node and no time. So the voters can compare what they were
//     restored from, and the core has a cluster form only where all have the same.
//   - A directory that holds anything else is not touched.
//
// It does not found a cluster: that is done by the voters when they start on such
// directories (R8). Who takes part then, and the id of the cluster, have nothing to
// do with the former one. It does not know where a state comes from: a backup file
// is one source, an archive another.
package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/disk"
	"perch/quorum/snap"
	"perch/quorum/wal"
)

// Source is what is restored.
type Source struct {
	// View is the state itself. Cluster age goes on from where it stands there.
	View *lease.View
	// Epoch is the highest that the former cluster is known to have reached, at
	// least that of the state. The new cluster begins far above it.
	Epoch quorum.Epoch
}

// Options say how a restore goes on.
type Options struct {
	Progress func(bytes int64) // called now and then with what has been written, in bytes; nil: not called
}

// Summary says what a directory was restored to.
type Summary struct {
	Zxid     quorum.Zxid
	Digest   uint64
	Epoch    quorum.Epoch // highest known of the former cluster
	Age      uint64       // cluster age, milliseconds
	Nodes    int          // of the tree
	Sessions int          // that end with the first transaction of the new cluster
	Bytes    int64        // of the snapshot file
}

var (
	// ErrNotEmpty is wrapped by what Into returns for a directory that holds
	// something.
	ErrNotEmpty = errors.New("the data directory is not empty")
	// ErrInterrupted is wrapped by what Begin returns for a directory that was not
	// restored to the end.
	ErrInterrupted = errors.New("a restore into this data directory was interrupted")
)

// Names in a data directory.
const (
	snapDir = "snap"

	// begunName stands there while a restore is under way.
	begunName = "restoring"
	// doneName says what was restored, until a node has started on it.
	doneName = "restored.json"

	mostEpoch = 1 << 31 // of a former cluster; in two thousand centuries
)

// done is the content of doneName.
type done struct {
	Format int          `json:"format"`
	Zxid   quorum.Zxid  `json:"zxid"`
	Digest string       `json:"digest"`
	Epoch  quorum.Epoch `json:"epoch"`
}

const doneFormat = 1

// Into prepares dir, which must be missing or empty, so that a node that starts on
// it begins with the state of s. It returns when everything is durable. The error
// wraps ErrNotEmpty, or is that of the disk; then what was begun is done again by
// the next call.
func Into(dir string, s Source, o Options) (Summary, error) {
	sum, err := into(dir, s, o)
	if err != nil {
		return Summary{}, fmt.Errorf("restore into %s: %w", dir, err)
	}
	return sum, nil
}

func into(dir string, s Source, o Options) (Summary, error) {
	view := s.View
	past := quorum.Past{Zxid: view.Zxid(), Digest: view.Digest(), Epoch: max(s.Epoch, view.Zxid().Epoch())}
	switch {
	case past.Zxid == 0:
		return Summary{}, errors.New("the state holds no transaction: there is nothing to restore")
	case past.Epoch >= mostEpoch:
		return Summary{}, fmt.Errorf("the former cluster cannot have reached epoch %d", past.Epoch)
	}
	if err := (disk.OS{}).MkdirAll(dir); err != nil {
		return Summary{}, err
	}
	lock, err := (disk.OS{}).Lock(dir)
	if err != nil {
		return Summary{}, err
	}
	defer func() { _ = lock.Close() }()
	if err := begin(dir); err != nil {
		return Summary{}, err
	}
	meta, err := write(dir, view, past, o)
	if err != nil {
		return Summary{}, err
	}
	if err := finish(dir, past); err != nil {
		return Summary{}, err
	}
	return Summary{
		Zxid: past.Zxid, Digest: past.Digest, Epoch: past.Epoch, Age: view.Age(), Nodes: view.Nodes(),
		Sessions: view.Sessions(), Bytes: meta.Size,
	}, nil
}

// begin takes an empty directory, or what an interrupted restore has left there.
// The caller has locked it.
func begin(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if err := mayTake(entries); err != nil {
		return err
	}
	if err := put(dir, begunName, nil); err != nil {
		return err
	}
	for _, name := range []string{snapDir, doneName, doneName + disk.TempSuffix} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return (disk.OS{}).SyncDir(dir)
}

// mayTake says whether a directory is empty, or holds what an interrupted restore
// may have left and nothing else.
func mayTake(entries []fs.DirEntry) error {
	begun := false
	for _, e := range entries {
		switch e.Name() {
		case begunName:
			begun = true
		case begunName + disk.TempSuffix:
		case snapDir, doneName, doneName + disk.TempSuffix:
		default:
			return fmt.Errorf("%w: it holds %s; restore into a new one", ErrNotEmpty, e.Name())
		}
	}
	for _, e := range entries {
		if !begun && e.Name() != begunName+disk.TempSuffix {
			return fmt.Errorf("%w: it holds %s; restore into a new one", ErrNotEmpty, e.Name())
		}
	}
	return nil
}

// write makes the snapshot and reads it back.
func write(dir string, view *lease.View, past quorum.Past, o Options) (quorum.SnapMeta, error) {
	written := int64(0)
	store, err := snap.Open(snap.Options{Dir: filepath.Join(dir, snapDir), Pace: func(n int) error {
		if written += int64(n); o.Progress != nil {
			o.Progress(written)
		}
		return nil
	}})
	if err != nil {
		return quorum.SnapMeta{}, err
	}
	meta, err := store.Create(quorum.SnapMeta{Zxid: past.Zxid, Chain: past.Chain(), Digest: past.Digest}, func(w io.Writer) error {
		_, err := view.WriteTo(w)
		return err
	})
	if err != nil {
		return meta, err
	}
	r, err := store.Open(past.Zxid)
	if err != nil {
		return meta, err
	}
	defer func() { _ = r.Close() }()
	state, err := lease.Restore(r)
	if err != nil {
		return meta, fmt.Errorf("read back what was written: %w", err)
	}
	if got := state.View(); got.Zxid() != past.Zxid || got.Digest() != past.Digest {
		return meta, fmt.Errorf("what was written is the state at %v with digest %016x, not %v with %016x", got.Zxid(), got.Digest(), past.Zxid, past.Digest)
	}
	return meta, nil
}

// finish says durably that the directory is prepared.
func finish(dir string, past quorum.Past) error {
	b, err := json.Marshal(done{Format: doneFormat, Zxid: past.Zxid, Digest: DigestText(past.Digest), Epoch: past.Epoch})
	if err != nil {
		return err
	}
	if err := put(dir, doneName, append(b, '\n')); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, begunName)); err != nil {
		return err
	}
	return (disk.OS{}).SyncDir(dir)
}

// put makes a file of a directory, durably and whole.
func put(dir, name string, content []byte) error {
	f, err := disk.Install(disk.OS{}, dir, name, func(f disk.File) error {
		_, err := f.WriteAt(content, 0)
		return err
	})
	if err != nil {
		return err
	}
	return f.Close()
}

// Begin is called before a node opens its log: it has the log of a directory that
// was restored begin with what was restored. Without a restore it does nothing. A
// crash in between is carried on by the next call.
func Begin(o wal.Options, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, begunName)); err == nil {
		return fmt.Errorf("%w: run the restore into %s again, or delete it", ErrInterrupted, dir)
	}
	past, ok, err := pending(dir)
	if err != nil || !ok {
		return err
	}
	if err := founded(o, past); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, doneName)); err != nil {
		return err
	}
	return (disk.OS{}).SyncDir(dir)
}

// pending is what a directory was restored from that no node has started on.
func pending(dir string) (past quorum.Past, ok bool, err error) {
	path := filepath.Join(dir, doneName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return past, false, nil
	}
	var d done
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err == nil && d.Format != doneFormat {
		err = fmt.Errorf("format %d; this program reads format %d", d.Format, doneFormat)
	}
	if err == nil {
		_, err = fmt.Sscanf(d.Digest, "%016x", &past.Digest)
	}
	if err != nil {
		return past, false, fmt.Errorf("read %s: %w", path, err)
	}
	past.Zxid, past.Epoch = d.Zxid, d.Epoch
	return past, true, nil
}

// founded has the log begin with past. A log that belongs to a cluster already is
// left alone.
func founded(o wal.Options, past quorum.Past) error {
	log, found, err := wal.Open(o)
	if err != nil {
		return err
	}
	ctl := found.Control.Clone()
	switch {
	case ctl.Past == past: // the crash came behind this
	case ctl.Past != (quorum.Past{}) || ctl.Formed || ctl.NeedsRebuild || len(ctl.Founding) > 0 || found.History.Last() != 0:
		err = fmt.Errorf("%s says that this data directory was restored, and its log belongs to something else: move both aside", doneName)
	default:
		ctl.Past = past
		err = log.Append([]quorum.Record{
			{Type: quorum.RecordControl, Control: ctl},
			{Type: quorum.RecordInstall, Zxid: past.Zxid, Chain: past.Chain()},
		})
	}
	return errors.Join(err, log.Close()) // the latter marks it
}
