package sim

import (
	"fmt"
	"strings"
)

// Cut is what is left out of a run to make it shorter. The mixture and the
// strikes of the seed are drawn as ever; then this is taken away.
type Cut struct {
	Strikes map[int]bool // left out, by number
	Knobs   map[int]bool // of the mixture, turned to calm, by number in knobs
	Until   int64        // faults end then; 0: as drawn
	Writes  int          // most that clients write before the faults end, plus one; 0: as many as drawn
	Pace    int64        // strikes come that much sooner, in percent of their time; 0: 100
	Salt    uint64       // another course of everything but the faults; 0: that of the seed
}

func (c *Cut) skips(strike int) bool { return c != nil && c.Strikes[strike] }

// clone copies c so that the two share nothing.
func (c *Cut) clone() *Cut {
	d := *c
	d.Strikes, d.Knobs = map[int]bool{}, map[int]bool{}
	for i := range len(c.Strikes) + maxStrikes {
		if c.Strikes[i] {
			d.Strikes[i] = true
		}
	}
	for i := range knobs {
		if c.Knobs[i] {
			d.Knobs[i] = true
		}
	}
	return &d
}

// knob is one part of a mixture that can be turned off.
type knob struct {
	name string
	off  func(f *faults)
}

// knobs are tried in this order.
var knobs = []knob{
	{"message loss", func(f *faults) { f.loss = 0 }},
	{"duplicates", func(f *faults) { f.dup = 0 }},
	{"reordering", func(f *faults) { f.reorder = 0 }},
	{"late messages", func(f *faults) { f.late = 0 }},
	{"the slow network", func(f *faults) { f.delay = min(f.delay, 500) }},
	{"the slow disks", func(f *faults) { f.fsync, f.slow = min(f.fsync, 500), 0 }},
	{"hanging fsyncs", func(f *faults) { f.stall = 0 }},
	{"failing fsyncs", func(f *faults) { f.diskErrors = 0 }},
	{"failing reads", func(f *faults) { f.readErrors = 0 }},
	{"the codec", func(f *faults) { f.wire = false }},
	{"the slow state machine", func(f *faults) { f.applyLag = 0 }},
	{"inputs gathered", func(f *faults) { f.lazy = 0 }},
	{"snapshots", func(f *faults) { f.snapEvery = 0 }},
	{"purges", func(f *faults) { f.purge = 0 }},
	{"reads", func(f *faults) { f.read = 0 }},
	{"sessions", func(f *faults) { f.open, f.touch = 0, 0 }},
	{"clients that give up", func(f *faults) { f.forget = 0 }},
	{"padding", func(f *faults) { f.bodyMax = 0 }},
	{"small messages", func(f *faults) { f.tuning.MessageBytes = 0 }},
	{"the small window", func(f *faults) { f.tuning.WindowBytes = 0 }},
	{"the small cache", func(f *faults) { f.tuning.CacheBytes = 0 }},
	{"few pending requests", func(f *faults) { f.tuning.MaxPending = 0 }},
	{"renewals", func(f *faults) { f.tuning.CounterLimit = 0 }},
	{"programs of two ages", func(f *faults) { f.levels = false }},
	{"observers", func(f *faults) { f.observers = 0 }},
	{"changes of members", func(f *faults) { f.every[faultMembers] = 0 }},
	{"drifting clocks", func(f *faults) { f.drift = 0 }},
	{"the first epoch", func(f *faults) { f.minEpoch = 1 }},
}

// apply takes from a mixture what c leaves out.
func (c *Cut) apply(f *faults) {
	if c == nil {
		return
	}
	for i := range knobs {
		if c.Knobs[i] {
			knobs[i].off(f)
		}
	}
	if c.Writes > 0 {
		f.writes = c.Writes - 1
	}
}

// strikeAt is when a strike comes that was drawn for a time.
func (c *Cut) strikeAt(drawn int64) int64 {
	if c != nil && c.Pace > 0 {
		return drawn * c.Pace / 100
	}
	return drawn
}

// calmAt is when the faults end.
func (c *Cut) calmAt(drawn int64) int64 {
	if c != nil && c.Until > 0 {
		return min(c.Until, drawn)
	}
	return drawn
}

// String lists what is left out of the mixture.
func (c *Cut) String() string {
	var names []string
	for i := range knobs {
		if c.Knobs[i] {
			names = append(names, knobs[i].name)
		}
	}
	if c.Writes > 0 {
		names = append(names, fmt.Sprintf("all but %d writes", c.Writes-1))
	}
	if c.Pace > 0 {
		names = append(names, fmt.Sprintf("%d%% of the time before each strike", 100-c.Pace))
	}
	if c.Until > 0 {
		names = append(names, fmt.Sprintf("all faults after %d ms", c.Until/millisecond))
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
