package logview

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/disk"
	"perch/quorum/snap"
	"perch/quorum/wal"
)

// File is what is known of one file. The names of its fields do not change.
type File struct {
	Kind    string `json:"kind"` // file
	File    string `json:"file"` // path
	Bytes   int64  `json:"bytes"`
	State   string `json:"state"` // sound, damaged, unread (damage elsewhere came to light first), aside (damaged, and renamed by an earlier start), foreign (no part of the store)
	Records int    `json:"records,omitempty"`
	// Of a segment: where the log ends with it. Of a snapshot: its position.
	Zxid   *uint64 `json:"zxid,omitempty"`
	Digest string  `json:"digest,omitempty"` // of the state in a snapshot
	Note   string  `json:"note,omitempty"`
}

// Damage is one finding.
type Damage struct {
	Kind   string `json:"kind"` // damage
	File   string `json:"file"` // path
	Offset int64  `json:"offset"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

// Verdict is the last line.
type Verdict struct {
	Kind      string `json:"kind"` // verdict
	Sound     bool   `json:"sound"`
	Node      uint16 `json:"node"`  // 0: unknown
	Start     uint64 `json:"start"` // the log holds what is after Start, up to Last; 0 when it is not sound
	Last      uint64 `json:"last"`
	Commit    uint64 `json:"commit_hint"` // known to be committed up to here; 0: unknown
	Snapshots int    `json:"snapshots"`   // that a start could use
	Findings  int    `json:"findings"`
	// The log is sound and says that its node may not vote, for this reason.
	NeedsRebuild string `json:"needs_rebuild,omitempty"`
}

// Verify reads all of a node's log, and of the snapshots beside it, and writes a
// line for every file, every damage, and the verdict; dir is as for Dump. A torn
// end that nobody was told of is no damage. It returns whether all is sound, and
// an error when that could not be found out: ErrNoLog when there is no log.
func Verify(w io.Writer, dir string, asJSON bool) (sound bool, err error) {
	p, err := find(dir)
	if err != nil {
		return false, err
	}
	report, err := wal.Verify(p.log)
	if errors.Is(err, wal.ErrNoLog) {
		err = fmt.Errorf("%w in %s", ErrNoLog, p.log)
	}
	if err != nil {
		return false, err
	}
	v := verifier{log: report, damage: report.Damage}
	if p.snap != "" {
		if err := v.snapshots(p.snap); err != nil {
			return false, err
		}
	}
	v.files()
	return len(v.damage) == 0, v.print(newPrinter(w, asJSON))
}

type verifier struct {
	log    *wal.Report
	snaps  []*File
	usable int // snapshots
	lines  []*File
	damage []*disk.DamageError
}

func (v *verifier) print(out printer) error {
	var faults []error
	for _, f := range append(v.lines, v.snaps...) {
		faults = append(faults, out.file(f))
	}
	for _, d := range v.damage {
		faults = append(faults, out.damage(&Damage{Kind: "damage", File: d.File, Offset: d.Offset, Reason: d.Reason, Remedy: d.Remedy}))
	}
	verdict := &Verdict{Kind: "verdict", Sound: len(v.damage) == 0, Node: uint16(v.log.Node), Findings: len(v.damage)}
	if verdict.Sound {
		verdict.Start, verdict.Last = uint64(v.log.History.Start()), uint64(v.log.History.Last())
		verdict.Commit, verdict.Snapshots = uint64(v.log.Commit), v.usable
		if ctl := &v.log.Control; ctl.NeedsRebuild {
			verdict.NeedsRebuild = cmp.Or(ctl.Reason, "no reason was noted")
		}
	}
	return errors.Join(append(faults, out.verdict(verdict))...)
}

// files makes the lines of the log itself.
func (v *verifier) files() {
	for _, f := range v.log.Files {
		line := &File{Kind: "file", File: f.File, Bytes: f.Size, State: "sound", Records: f.Records, Note: f.Note}
		switch {
		case v.isDamaged(f.File):
			line.State = "damaged"
		case f.Foreign:
			line.State = "foreign"
		case !f.Read:
			line.State, line.Note = "unread", "not judged: the damage came to light first"
		case f.Segment:
			last := uint64(f.Last)
			line.Zxid = &last
		}
		v.lines = append(v.lines, line)
	}
}

func (v *verifier) isDamaged(path string) bool {
	for _, d := range v.damage {
		if d.File == path {
			return true
		}
	}
	return false
}

// snapshots reads the snapshots and asks whether one of them and the log give a
// state together, as a start does.
func (v *verifier) snapshots(dir string) error {
	all, err := snap.Inspect(dir, digest)
	if err != nil {
		return err
	}
	whole := 0
	for i := range all {
		line, err := v.snapshot(&all[i])
		if err != nil {
			return err
		}
		if line.State == "sound" {
			whole++
		}
		v.snaps = append(v.snaps, line)
	}
	if len(v.log.Damage) > 0 || v.usable > 0 {
		return nil
	}
	start, ctl := v.log.History.Start(), &v.log.Control
	switch {
	case whole > 0 && !ctl.Formed && !ctl.NeedsRebuild:
		v.damaged(dir, "there are snapshots, but the log is that of a node that never was a member: the log was lost or moved away")
	case start > 0:
		v.damaged(dir, fmt.Sprintf("the log begins after %v and no whole snapshot reaches back to it", start))
	}
	return nil
}

func (v *verifier) damaged(path, reason string) {
	v.damage = append(v.damage, &disk.DamageError{File: path, Reason: reason, Remedy: wal.RemedyRebuild})
}

// snapshot judges one file; its error is one of reading.
func (v *verifier) snapshot(one *snap.Inspected) (*File, error) {
	line := &File{Kind: "file", File: one.File, Bytes: one.Size, State: "sound"}
	var damage *disk.DamageError
	switch {
	case one.Aside:
		line.State, line.Note = "aside", "was found damaged by an earlier start; it may be deleted"
		return line, nil
	case errors.As(one.Err, &damage):
		line.State = "damaged"
		v.damage = append(v.damage, damage)
		return line, nil
	case one.Err != nil:
		return nil, one.Err
	}
	z := uint64(one.Meta.Zxid)
	line.Zxid, line.Digest = &z, bits(one.Meta.Digest)
	if len(v.log.Damage) == 0 {
		line.Note = v.relation(one.Meta)
	}
	return line, nil
}

// relation says how a whole snapshot stands to the log.
func (v *verifier) relation(m quorum.SnapMeta) string {
	h := &v.log.History
	chain, ok := h.Chain(m.Zxid)
	switch {
	case ok && chain == m.Chain:
		v.usable++
		return "belongs to the log"
	case m.Zxid > h.Last():
		return "ahead of the log, not used by a start: pulled and not installed, or taken meanwhile"
	case m.Zxid < h.Start():
		return "older than the log, not used by a start"
	}
	return "of another history than the log, not used by a start"
}

// digest restores the state in a snapshot and compares it with its label.
func digest(m quorum.SnapMeta, content io.Reader) error {
	state, err := lease.Restore(content)
	if err != nil {
		return err
	}
	if v := state.View(); v.Zxid() != m.Zxid || v.Digest() != m.Digest {
		return fmt.Errorf("it holds the state at %v with digest %016x, its header says %v, %016x", v.Zxid(), v.Digest(), m.Zxid, m.Digest)
	}
	return nil
}

func (p *textPrinter) file(f *File) error {
	name := filepath.Join(filepath.Base(filepath.Dir(f.File)), filepath.Base(f.File))
	text := fmt.Sprintf("%-8s %10d B  %s", f.State, f.Bytes, name)
	if f.Zxid != nil {
		text += ", up to " + position(*f.Zxid)
	}
	if f.Records > 0 {
		text += fmt.Sprintf(", %d records", f.Records)
	}
	if f.Digest != "" {
		text += ", digest " + f.Digest
	}
	if f.Note != "" {
		text += ": " + f.Note
	}
	_, err := fmt.Fprintln(p.w, text)
	return err
}

func (p *textPrinter) damage(d *Damage) error {
	_, err := fmt.Fprintf(p.w, "\n%s\n  at offset %d: %s\n  remedy: %s\n", d.File, d.Offset, d.Reason, d.Remedy)
	return err
}

func (p *textPrinter) verdict(v *Verdict) error {
	text := fmt.Sprintf("damaged: %d findings", v.Findings)
	if v.Sound {
		text = fmt.Sprintf("sound: the log of node %d holds what is after %s, up to %s", v.Node, position(v.Start), position(v.Last))
		if v.Commit > 0 {
			text += "; known to be committed up to " + position(v.Commit)
		}
		text += fmt.Sprintf("; snapshots that a start could use: %d", v.Snapshots)
		if v.NeedsRebuild != "" {
			text += "\nthe node may not vote before it was rebuilt: " + v.NeedsRebuild
		}
	}
	_, err := fmt.Fprintln(p.w, "\n"+text)
	return err
}
