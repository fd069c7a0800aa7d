package wal

import (
	"errors"
	"fmt"
	"io/fs"

	"perch/quorum"
	"perch/quorum/disk"
)

// Report is what Verify found.
type Report struct {
	Node    quorum.NodeID // 0: unknown, since neither superblock nor a header could be read
	Files   []FileReport  // superblock, segments, watermark
	Damage  []*DamageError
	Control quorum.Control // as of the last record; like the rest below only good without Damage
	History quorum.History
	Commit  quorum.Zxid // highest commit hint
}

// FileReport is one line of a Report.
type FileReport struct {
	File    string // path
	Size    int64
	Segment bool
	Records int         // of a segment: those that were replayed
	Last    quorum.Zxid // of a segment: where the log ends with it
	Note    string      // what is worth knowing and no damage; "" for none
	Read    bool        // false: what stands before it is damaged, so it was not judged
	Foreign bool        // no part of a log
}

// ErrNoLog is wrapped by what Verify returns for a directory without a log.
var ErrNoLog = errors.New("wal: no log there")

// verifyTries bounds how often Verify reads a log that changes meanwhile.
const verifyTries = 10

// Verify reads the log in dir from one end to the other and judges it as Open
// does, but changes nothing and takes no lock. It returns ErrNoLog when there is
// none, and other errors for what could not be read; damage is in the Report. A
// running node may write meanwhile: so what looks like damage is believed when
// it is seen a second time at the same place.
func Verify(dir string) (*Report, error) { return verify(disk.OS{}, dir) }

func verify(fsys disk.FS, dir string) (r *Report, err error) {
	var before *DamageError
	for range verifyTries {
		r, err = verifyOnce(fsys, dir)
		var now *DamageError
		switch {
		case errors.Is(err, fs.ErrNotExist): // purged since it was listed
		case err != nil || len(r.Damage) == 0:
			return r, err
		default:
			now = r.Damage[0]
		}
		if now != nil && before != nil && *now == *before {
			return r, nil
		}
		before = now
	}
	if err == nil {
		err = fmt.Errorf("wal: %s changes faster than it can be read; the last thing seen: %w", dir, r.Damage[0])
	}
	return nil, err
}

func verifyOnce(fsys disk.FS, dir string) (*Report, error) {
	opt := Options{Dir: dir, FS: fsys}
	l := &Log{opt: opt, mode: disk.ReadOnly}
	defer l.shut()
	f, err := l.examine()
	var damage *DamageError
	if err != nil && !errors.As(err, &damage) {
		return nil, err
	}
	if err == nil && f.super == nil && len(f.heads) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoLog, dir)
	}
	r := &Report{Control: l.state.control, History: l.state.history, Commit: l.state.commit}
	if f.super != nil {
		r.Node = f.super.node
	} else if len(f.heads) > 0 {
		r.Node = f.heads[0].control.Node
	}
	if damage != nil {
		r.Damage = append(r.Damage, damage)
	}
	return r, r.files(l, f)
}

// files adds a line for every file, and what can be said of segments that were
// not reached because of damage before them.
func (r *Report) files(l *Log, f found) error {
	infos, err := l.opt.FS.ReadDir(l.opt.Dir)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	for _, info := range infos {
		line := FileReport{File: l.path(info.Name), Size: info.Size, Read: true}
		seq, segment := parseSegmentName(info.Name)
		switch {
		case segment:
			if err := r.segment(l, f, seq, &line); err != nil {
				return err
			}
		case info.Name == watermarkName:
			line.Note = l.known.String()
		case info.Name != storeName:
			line.Foreign = true
		}
		r.Files = append(r.Files, line)
	}
	return nil
}

func (r *Report) segment(l *Log, f found, seq uint64, line *FileReport) error {
	last := true
	line.Segment = true
	line.Read = len(r.Damage) == 0 || r.Damage[0].File == line.File
	for i, h := range f.heads {
		if h.seg.seq != seq {
			continue
		}
		line.Records, line.Read = h.seg.records, line.Read || h.seg.replayed
		last = i == len(f.heads)-1
		if !last {
			line.Last = f.heads[i+1].last
		} else if h.seg.replayed {
			line.Last = r.History.Last()
		}
		if last && f.tail.torn {
			line.Note = fmt.Sprintf("behind offset %d stands a write that is under way, or never ended; the next start cuts it off", h.seg.end)
		}
	}
	if line.File == f.blank {
		line.Note = "nothing was ever written here; the next start removes it"
	}
	if line.Read {
		return nil
	}
	return walkSegment(l.opt.FS, file{seq: seq, path: line.File, size: line.Size}, func(info RecordInfo) error {
		torn := last && info.Offset > 0 && info.Offset+info.Size == line.Size
		if info.Kind == KindInvalid && !torn {
			r.Damage = append(r.Damage, &DamageError{File: info.File, Offset: info.Offset, Reason: info.Reason, Remedy: RemedyRebuild})
		}
		return nil
	})
}
