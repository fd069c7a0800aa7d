package quorum

// patience is how long a follower bears the silence of its leader. It adapts to
// a starved host (RULES.md part D): four times the p99.9 of the gaps between
// pings over the last minute, and half as much again each time when a suspected
// leader turns out to be alive in the same life.
type patience struct {
	base     uint32 // ticks, from Tuning
	lastPing uint64
	window   [2]gaps // the present and the last half minute
	since    uint64  // tick at which the present half began
	floor    uint32  // raised by false suspicions, for a minute
	floorAt  uint64
	suspects Promise
}

// gaps holds the two longest gaps and how many there were; the second longest
// of about 1 500 is their p99.9.
type gaps struct {
	longest, second uint32
	n               uint32
}

const halfMinute = 3000 // ticks

func (p *patience) tick(now uint64) {
	if now-p.since >= halfMinute {
		p.window[1], p.window[0], p.since = p.window[0], gaps{}, now
	}
	if p.floor != 0 && now-p.floorAt >= 2*halfMinute {
		p.floor = 0
	}
}

// ping notes a ping of the leader.
func (p *patience) ping(now uint64) {
	if p.lastPing != 0 {
		w, gap := &p.window[0], uint32(min(now-p.lastPing, 1<<20))
		w.n++
		if gap > w.longest {
			w.longest, w.second = gap, w.longest
		} else if gap > w.second {
			w.second = gap
		}
	}
	p.lastPing = now
}

// suspect notes whom this node has just given up.
func (p *patience) suspect(id NodeID, b Boot) { p.suspects = Promise{id, b} }

// rejoin raises the time-out when the leader that was given up is alive.
func (p *patience) rejoin(id NodeID, b Boot, now uint64) {
	if p.suspects == (Promise{id, b}) {
		p.floor = min(max(p.current(), p.base)*3/2, maxFollowerTimeout)
		p.floorAt = now
	}
	p.suspects, p.lastPing = Promise{}, 0
}

func (p *patience) current() uint32 {
	return max(4*max(p.window[0].second, p.window[1].second), p.floor)
}

// ticks is the time-out, spread by id so that followers do not all leave in the
// same instant.
func (p *patience) ticks(id NodeID) uint32 {
	return min(max(p.current(), p.base), maxFollowerTimeout) + uint32(id%5)
}
