package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// Matrix is a run over modes and numbers of connections.
type Matrix struct {
	Addrs  []string // of the nodes
	Bare   string   // of the bare handler; "" leaves it out
	Modes  []Mode
	Conns  []int
	Began  func() // is told of every round; may be nil
	Rounds int    // of which the median counts
	Load   Load   // Warmup, Duration and Value of every measurement
}

// Cell is one line of the outcome.
type Cell struct {
	Mode  Mode
	Conns int
	Perch Result
	Bare  Result    // zero without a bare handler
	Share []float64 // Perch's rate in percent of the bare one, one a round
}

// Run measures cell by cell and hands each to done. Perch and the bare handler
// alternate, so that what else the machine does hits both alike; the nodes
// that the connections go to rotate from round to round, so that one
// connection is not always with the leader.
func (m Matrix) Run(ctx context.Context, done func(Cell)) error {
	if err := m.prepare(); err != nil {
		return err
	}
	for _, mode := range m.Modes {
		for _, conns := range m.Conns {
			cell, err := m.cell(ctx, mode, conns)
			if err != nil {
				return err
			}
			done(cell)
		}
	}
	return nil
}

func (m Matrix) prepare() error {
	load := m.Load
	load.Addrs, load.Conns = m.Addrs, slices.Max(m.Conns)
	return load.Prepare()
}

func (m Matrix) cell(ctx context.Context, mode Mode, conns int) (Cell, error) {
	cell := Cell{Mode: mode, Conns: conns}
	var perch, bare []Result
	for round := range m.Rounds {
		if m.Began != nil {
			m.Began()
		}
		load := m.Load
		load.Mode, load.Conns, load.Addrs, load.First = mode, conns, m.Addrs, round
		r, err := load.Run(ctx)
		if err != nil {
			return cell, err
		}
		perch = append(perch, r)
		if m.Bare == "" {
			continue
		}
		load.Addrs, load.First = []string{m.Bare}, 0
		b, err := load.Run(ctx)
		if err != nil {
			return cell, err
		}
		bare = append(bare, b)
		cell.Share = append(cell.Share, 100*r.PerSecond()/max(b.PerSecond(), 1))
	}
	slices.Sort(cell.Share)
	cell.Perch, cell.Bare = median(perch), median(bare)
	return cell, nil
}

// median is the result of the median rate, with the errors of all.
func median(rs []Result) Result {
	if len(rs) == 0 {
		return Result{}
	}
	slices.SortFunc(rs, func(a, b Result) int { return a.Requests - b.Requests })
	r := rs[len(rs)/2]
	r.Errors, r.Error = 0, ""
	for _, other := range rs {
		r.Errors += other.Errors
		if r.Error == "" {
			r.Error = other.Error
		}
	}
	return r
}

// Head writes the head of the table, in Markdown.
func Head(w io.Writer, bare bool) {
	if bare {
		fmt.Fprintln(w, "| mode | connections | Perch/s | p50 | p99 | bare net/http/s | share | lowest to highest round | errors |")
		fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
		return
	}
	fmt.Fprintln(w, "| mode | connections | Perch/s | p50 | p99 | errors |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- |")
}

// Line writes one cell as a line of the table.
func (c Cell) Line(w io.Writer) {
	fmt.Fprintf(w, "| %s | %d | %.0f | %s | %s |", c.Mode, c.Conns, c.Perch.PerSecond(), short(c.Perch.P50), short(c.Perch.P99))
	if n := len(c.Share); n > 0 {
		fmt.Fprintf(w, " %.0f | %.1f %% | %.1f to %.1f %% |", c.Bare.PerSecond(), c.Share[n/2], c.Share[0], c.Share[n-1])
	}
	fmt.Fprintf(w, " %d |\n", c.Perch.Errors)
}

func short(d time.Duration) string {
	if d < time.Millisecond {
		return fmt.Sprintf("%d µs", d.Microseconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
