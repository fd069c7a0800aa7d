package sim

import (
	"fmt"
	"io"
	"strings"
)

const (
	maxStrikes  = 4096
	shrinkTries = 900 // runs
	shrinkSalts = 24  // other courses tried in a round
)

// Shrink plays a failing seed again and again with less and less in it, as long
// as the same assertion fails, and writes the transcript of the shortest such
// run to out, after a few lines on what it is. It reports that run; one without
// a Failure means that the seed does not fail.
func Shrink(opt Options, out io.Writer) Report {
	opt.Out, opt.Cut = nil, &Cut{}
	s := shrinker{opt: opt, best: opt.Cut.clone()}
	first := s.play(s.best)
	if first.Failure == nil {
		return first
	}
	s.what, s.report = class(first.Failure), first
	s.cost = s.costOf(s.best, &first)
	for idle := 0; idle < 3 && s.tries < shrinkTries; idle++ {
		before := s.cost
		s.dropLate()
		s.dropStrikes()
		s.dropKnobs()
		s.fewerWrites()
		s.earlier()
		s.otherCourses()
		if s.cost < before {
			idle = -1
		}
	}
	s.header(out, &first)
	opt.Cut, opt.Out = s.best, out
	return Run(opt)
}

// shrinker looks for a shorter run greedily: whatever can be taken away without
// a change of what fails stays away.
type shrinker struct {
	opt    Options
	what   string
	tries  int
	best   *Cut
	report Report
	cost   int
}

func (s *shrinker) play(c *Cut) Report {
	s.tries++
	opt := s.opt
	opt.Cut = c
	return Run(opt)
}

// class names what failed, without positions and times.
func class(v *Violation) string {
	if v.Number != 0 {
		return assertions[v.Number]
	}
	text, _, _ := strings.Cut(v.Text, ":")
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// costOf weighs what a reader has to take in: events, and faults that may
// matter.
func (s *shrinker) costOf(c *Cut, r *Report) int {
	return r.Events + 50*(r.Strikes-len(c.Strikes)) + 20*(len(knobs)-len(c.Knobs))
}

// try takes a cut over if it fails in the same way and is shorter.
func (s *shrinker) try(c *Cut) bool {
	if s.tries >= shrinkTries {
		return false
	}
	r := s.play(c)
	if r.Failure == nil || class(r.Failure) != s.what {
		return false
	}
	cost := s.costOf(c, &r)
	if cost >= s.cost {
		return false
	}
	s.best, s.report, s.cost = c, r, cost
	return true
}

// with tries the best cut after a change.
func (s *shrinker) with(change func(c *Cut)) bool {
	c := s.best.clone()
	change(c)
	return s.try(c)
}

// dropLate takes away the strikes that have not happened when the run fails.
func (s *shrinker) dropLate() {
	s.with(func(c *Cut) {
		for i, at := range s.report.strikes {
			if at > s.report.Failure.At {
				c.Strikes[i] = true
			}
		}
	})
}

// dropStrikes is delta debugging: halves, quarters, and in the end single
// strikes are left out.
func (s *shrinker) dropStrikes() {
	for size := s.report.Strikes; size >= 1; size /= 2 {
		for from := 0; from < s.report.Strikes; from += size {
			if !s.has(from, size) {
				continue
			}
			s.with(func(c *Cut) {
				for i := from; i < min(from+size, s.report.Strikes); i++ {
					c.Strikes[i] = true
				}
			})
		}
	}
}

// has says whether any of the strikes from on is still there.
func (s *shrinker) has(from, size int) bool {
	for i := from; i < min(from+size, s.report.Strikes); i++ {
		if !s.best.Strikes[i] {
			return true
		}
	}
	return false
}

// dropKnobs calms the mixture, at once or part by part.
func (s *shrinker) dropKnobs() {
	all := func(c *Cut) {
		for i := range knobs {
			c.Knobs[i] = true
		}
	}
	if s.with(all) {
		return
	}
	for i := range knobs {
		if !s.best.Knobs[i] {
			s.with(func(c *Cut) { c.Knobs[i] = true })
		}
	}
}

func (s *shrinker) fewerWrites() {
	for _, most := range []int{0, 1, 2, 4, 8, 16} {
		if (s.best.Writes == 0 || most < s.best.Writes-1) && s.with(func(c *Cut) { c.Writes = most + 1 }) {
			return
		}
	}
}

// earlier has the faults strike and end sooner.
func (s *shrinker) earlier() {
	pace := int64(100)
	if s.best.Pace > 0 {
		pace = s.best.Pace
	}
	for _, part := range []int64{10, 30, 60, 85} {
		if s.with(func(c *Cut) { c.Pace = max(1, pace*part/100) }) {
			break
		}
	}
	for part := int64(1); part <= 8; part++ {
		until := s.report.Failure.At * part / 8
		if s.with(func(c *Cut) { c.Until = until }) {
			return
		}
	}
}

// otherCourses lets everything but the faults take another course.
func (s *shrinker) otherCourses() {
	for range shrinkSalts {
		s.with(func(c *Cut) { c.Salt = uint64(s.tries) })
	}
}

func (s *shrinker) header(out io.Writer, first *Report) {
	r := &s.report
	fmt.Fprintf(out, "# seed %d, %d nodes: %v\n", s.opt.Seed, r.Nodes, r.Failure)
	fmt.Fprintf(out, "# shrunk in %d runs, from %d events, %d strikes and %d ms\n",
		s.tries, first.Events, first.Strikes, first.Virtual/millisecond)
	fmt.Fprintf(out, "#                  to %d events, %d strikes and %d ms\n",
		r.Events, r.Strikes-len(s.best.Strikes), r.Virtual/millisecond)
	fmt.Fprintf(out, "# what strikes:%s\n", s.strikesLeft())
	fmt.Fprintf(out, "# left out: %v\n", s.best)
	if s.best.Salt != 0 {
		fmt.Fprintf(out, "# in another course (%d) than that of the seed alone\n", s.best.Salt)
	}
}

// strikesLeft names the strikes that the shortest run has.
func (s *shrinker) strikesLeft() string {
	text := ""
	for i, k := range s.report.kinds {
		if !s.best.Strikes[i] {
			text += fmt.Sprintf(" %s at %d ms,", faultNames[k], s.report.strikes[i]/millisecond)
		}
	}
	if text == "" {
		return " nothing"
	}
	return strings.TrimSuffix(text, ",")
}
