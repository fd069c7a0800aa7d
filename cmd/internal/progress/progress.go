// Package progress shows people how far long work is: one line on a terminal
// that is painted anew as the work goes on, and nothing anywhere else.
//
// A Meter that is not to be seen costs next to nothing, so the work need not ask
// whether anybody looks. It is painted at most ten times a second, by whoever
// does the work: there is no goroutine, and a Meter is for one at a time.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// paintEvery is the least time between two paintings.
const paintEvery = 100 * time.Millisecond

// IsTerminal says whether what is written to w is seen by a person.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Unit is what is counted.
type Unit int

// Bytes are shown in KiB, MiB and so on, Items as they are.
const (
	Items Unit = iota
	Bytes
)

// Meter is how far one piece of work is. The zero value shows nothing.
type Meter struct {
	out   io.Writer // nil: nobody looks
	what  string
	unit  Unit
	total int64
	now   func() time.Time

	done    int64
	began   time.Time
	painted time.Time
	width   int // of the line that is on the terminal
}

// New begins a Meter of what, such as "restore", on w if that is a terminal.
// total is in unit; 0 when it is not known.
func New(w io.Writer, what string, total int64, unit Unit) *Meter {
	if !IsTerminal(w) {
		return &Meter{}
	}
	return begin(w, what, total, unit, time.Now)
}

func begin(w io.Writer, what string, total int64, unit Unit, now func() time.Time) *Meter {
	return &Meter{out: w, what: what, unit: unit, total: total, now: now, began: now()}
}

// Add counts n more.
func (m *Meter) Add(n int64) { m.Set(m.done + n) }

// Set says that n are done.
func (m *Meter) Set(n int64) {
	m.done = n
	if m.out == nil {
		return
	}
	if at := m.now(); at.Sub(m.painted) >= paintEvery {
		m.painted = at
		m.paint(m.line(at))
	}
}

// Done takes the line away, so that what is printed next begins one. It may be
// called more than once.
func (m *Meter) Done() {
	if m.width > 0 {
		m.paint("")
		fmt.Fprint(m.out, "\r")
		m.width = 0
	}
}

// Reader counts the bytes that are read from r.
func (m *Meter) Reader(r io.Reader) io.Reader { return &reader{m, r} }

type reader struct {
	m *Meter
	r io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.m.Add(int64(n))
	return n, err
}

// paint puts line over the one before.
func (m *Meter) paint(line string) {
	fmt.Fprint(m.out, "\r", line, strings.Repeat(" ", max(0, m.width-len(line))))
	m.width = len(line)
}

func (m *Meter) line(at time.Time) string {
	rate := 0.0
	if took := at.Sub(m.began).Seconds(); took > 0 {
		rate = float64(m.done) / took
	}
	text := m.what + "  " + m.amount(m.done)
	if m.total > 0 {
		text += fmt.Sprintf(" of %s  %d%%", m.amount(m.total), min(100, 100*m.done/m.total))
	}
	if rate >= 1 {
		text += "  " + m.amount(int64(rate)) + "/s"
	}
	if left := m.total - m.done; left > 0 && rate > 0 {
		text += fmt.Sprintf("  %v left", time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second))
	}
	return text
}

func (m *Meter) amount(n int64) string {
	if m.unit == Bytes {
		return Size(n)
	}
	return fmt.Sprint(n)
}

// Size is a number of bytes as people read it, such as 1.5 MiB.
func Size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), -1
	for value >= 1<<10 && unit < 4 {
		value, unit = value/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[unit])
}
