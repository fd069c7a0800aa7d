// Package logview shows the log of a node to people and to programs, and judges
// whether it is sound: perch log and perch log verify.
//
// It changes nothing, takes no lock and asks no node, so it may be used beside a
// running one. It shows the shape of what was written, never a value: of bytes
// only their number, and of the hash of a session's token enough to tell
// sessions apart. No secret is in a log (RULES.md R19).
package logview

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"perch/quorum"
	"perch/quorum/wal"
)

// ErrNoLog is wrapped by what is returned for a directory that holds no log.
var ErrNoLog = errors.New("no log")

// place is where a log and the snapshots beside it are.
type place struct {
	log  string
	snap string // "" when there are none
}

// find takes the data directory of a node, or the log in it.
func find(dir string) (place, error) {
	p := place{log: filepath.Join(dir, "log"), snap: filepath.Join(dir, "snap")}
	if !isDir(p.log) {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return p, err
		}
		p = place{log: dir}
		if filepath.Base(abs) == "log" {
			p.snap = filepath.Join(filepath.Dir(abs), "snap")
		}
	}
	if !isDir(p.log) {
		return p, fmt.Errorf("%w: %s is no directory", ErrNoLog, dir)
	}
	if p.snap != "" && !isDir(p.snap) {
		p.snap = ""
	}
	return p, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Options choose what Dump shows and how.
type Options struct {
	JSON bool
	// Only what concerns positions from From to To, both included; To 0: no end.
	From, To quorum.Zxid
}

// filtered says whether only some positions were asked for.
func (o *Options) filtered() bool { return o.From > 0 || o.To > 0 }

func (o *Options) wants(r *wal.RecordInfo) bool {
	if !o.filtered() || r.Kind == wal.KindInvalid {
		return true
	}
	if r.Kind != wal.KindRecord || r.Record.Type == quorum.RecordControl {
		return false
	}
	return r.Zxid >= o.From && (o.To == 0 || r.Zxid <= o.To)
}

// Dump writes everything in the log of a node to w, in file order, one line
// each; dir is its data directory or the log in it. It judges nothing: what is
// damaged is shown as far as it can be read. It returns ErrNoLog when there is
// no log.
func Dump(w io.Writer, dir string, opt Options) (err error) {
	p, err := find(dir)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriter(w)
	defer func() {
		if flushed := buffer.Flush(); err == nil {
			err = flushed
		}
	}()
	out := newPrinter(buffer, opt.JSON)
	met := false
	err = wal.Walk(p.log, func(r wal.RecordInfo) error {
		met = true
		if !opt.wants(&r) {
			return nil
		}
		return out.record(lineOf(&r))
	})
	if err == nil && !met {
		err = fmt.Errorf("%w in %s", ErrNoLog, p.log)
	}
	return err
}
