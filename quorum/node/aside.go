package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"perch/quorum"
	files "perch/quorum/disk"
	"perch/quorum/wal"
)

// A store that is damaged, or whose content is not to be trusted, is set aside
// and the node starts on an empty one that needs to be rebuilt (ZAB.md 3). The
// old files are kept for people in set-aside-<n> of the data directory. What was
// decided stands, durably, in a file of its own before anything is moved, so
// that a crash in between is carried on by the next start and never leaves a
// store that takes itself for a new one:
//
//  1. write rebuild.json: why, what is known of the cluster, where to;
//  2. move the snapshots, then the log;
//  3. make an empty log that says in its control state that it needs rebuild;
//  4. delete rebuild.json.

// ErrRebuild is what Run returns when this node found that its store is not to
// be trusted. The next Open sets it aside.
var ErrRebuild = errors.New("the store of this node is not to be trusted: it is set aside at the next start")

const (
	asideMark   = "rebuild.json"
	asidePrefix = "set-aside-"
	asideKept   = 2 // directories
)

// aside is the content of rebuild.json.
type aside struct {
	Dir      string           `json:"dir"` // set-aside-<n>
	Reason   string           `json:"reason"`
	Cluster  quorum.ClusterID `json:"cluster"`
	Founding []quorum.Member  `json:"founding"`
}

// spoiled says why a store must be set aside; false when the error is about
// something else.
func spoiled(err error) (reason string, ok bool) {
	var damage *wal.DamageError
	if errors.As(err, &damage) {
		if damage.Misplaced { // there may be nothing wrong with the store but whose files these are
			return "", false
		}
		return fmt.Sprintf("%s is damaged at offset %d: %s", damage.File, damage.Offset, damage.Reason), true
	}
	var s spoiledError
	if errors.As(err, &s) {
		return s.Error(), true
	}
	return "", false
}

// spoiledError is the reason in the control state of a store.
type spoiledError string

func (e spoiledError) Error() string { return string(e) }

// rebuildable says whether the other voters of --peers are a majority, so that
// there is somebody to be rebuilt from.
func rebuildable(cfg *Config) bool {
	voters, others := 0, 0
	for _, p := range cfg.Peers {
		if p.Role == quorum.RoleObserver {
			continue
		}
		voters++
		if p.ID != cfg.ID {
			others++
		}
	}
	return others > voters/2
}

// setAside decides that the present store is set aside, and does it. A store of
// another node is left alone: then the error says so.
func setAside(cfg *Config, reason string) error {
	a := aside{Reason: reason}
	report, err := wal.Verify(filepath.Join(cfg.Dir, "log"))
	switch {
	case err != nil: // nothing can be read; the others tell which cluster it is
	case report.Node != 0 && report.Node != cfg.ID:
		return fmt.Errorf("%w: %s belongs to node %d, this is node %d", wal.ErrForeign, cfg.Dir, report.Node, cfg.ID)
	case report.Control.Spoiled && !report.Control.Formed: // its founders are not those of the cluster
	default:
		a.Cluster, a.Founding = report.Control.Cluster, report.Control.Founding
	}
	taken, err := asides(cfg.Dir)
	if err != nil {
		return err
	}
	last := 0
	if n := len(taken); n > 0 {
		last = taken[n-1]
	}
	a.Dir = asidePrefix + strconv.Itoa(last+1)
	if err := writeAside(cfg.Dir, &a); err != nil {
		return err
	}
	return finishAside(cfg)
}

func writeAside(dir string, a *aside) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	f, err := files.Install(files.OS{}, dir, asideMark, func(f files.File) error {
		_, err := f.WriteAt(b, 0)
		return err
	})
	if err != nil {
		return err
	}
	return f.Close()
}

// finishAside carries on what rebuild.json says; without one it does nothing.
func finishAside(cfg *Config) error {
	b, err := os.ReadFile(filepath.Join(cfg.Dir, asideMark))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var a aside
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err == nil && !strings.HasPrefix(a.Dir, asidePrefix) {
		err = fmt.Errorf("it names %q", a.Dir)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(cfg.Dir, asideMark), err)
	}
	steps := []func() error{
		func() error { return moveAside(cfg.Dir, a.Dir) },
		func() error { return emptyStore(cfg, &a) },
		func() error { return os.Remove(filepath.Join(cfg.Dir, asideMark)) },
		func() error { return files.OS{}.SyncDir(cfg.Dir) },
		func() error { return pruneAsides(cfg.Dir) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("set the store in %s aside: %w", cfg.Dir, err)
		}
	}
	cfg.Log.Error("the store of this node was set aside; it is rebuilt from the other nodes", keyNode, cfg.ID,
		"reason", a.Reason, "kept", filepath.Join(cfg.Dir, a.Dir))
	return nil
}

// moveAside moves the log last: once it stands there, what has its name in the
// data directory is the new one.
func moveAside(dir, to string) error {
	to = filepath.Join(dir, to)
	if err := (files.OS{}).MkdirAll(to); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(to, "log")); err == nil {
		return nil
	}
	for _, name := range []string{"snap", "log"} {
		err := os.Rename(filepath.Join(dir, name), filepath.Join(to, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, d := range []string{to, dir} {
			if err := (files.OS{}).SyncDir(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// emptyStore makes a log with a new incarnation that needs to be rebuilt.
func emptyStore(cfg *Config, a *aside) error {
	log, found, err := wal.Open(wal.Options{Dir: filepath.Join(cfg.Dir, "log"), Node: cfg.ID, SegmentBytes: cfg.SegmentBytes})
	if err != nil {
		return err
	}
	ctl := found.Control.Clone()
	if !ctl.NeedsRebuild {
		ctl.NeedsRebuild, ctl.Reason, ctl.Cluster, ctl.Founding = true, a.Reason, a.Cluster, a.Founding
		err = log.Append([]quorum.Record{{Type: quorum.RecordControl, Control: ctl}})
	}
	return errors.Join(err, log.Close()) // the latter marks it
}

// asides are the numbers of the directories set aside, rising.
func asides(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ns []int
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), asidePrefix); ok {
			if n, err := strconv.Atoi(number); err == nil && n > 0 {
				ns = append(ns, n)
			}
		}
	}
	slices.Sort(ns)
	return ns, nil
}

// pruneAsides keeps the newest.
func pruneAsides(dir string) error {
	ns, err := asides(dir)
	for len(ns) > asideKept && err == nil {
		err = os.RemoveAll(filepath.Join(dir, asidePrefix+strconv.Itoa(ns[0])))
		ns = ns[1:]
	}
	return err
}

// leaveSpoiled ends this node a while after its core has found the store
// spoiled, when that is durable. It serves nothing meanwhile; the while is for
// whoever looks at its status and its metrics.
func (n *Node) leaveSpoiled() {
	if !rebuildable(&n.cfg) {
		return
	}
	n.disk.queue.put(diskJob{do: func() {
		n.spawn(func(ctx context.Context) {
			timer := time.NewTimer(n.cfg.RebuildAfter)
			defer timer.Stop()
			select {
			case <-timer.C:
				n.fail(ErrRebuild)
			case <-ctx.Done():
			}
		})
	}})
}
