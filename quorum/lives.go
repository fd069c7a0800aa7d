package quorum

import (
	"fmt"
	"slices"
)

// Lives of a disk (RULES.md R3). A store that was taken back to an older image
// has forgotten what it promised and acknowledged since. What tells it apart is
// the counter of its starts: whoever counts a voter keeps, durably and before he
// counts it, the newest life that he has seen of its disk.

// formerMax bounds the incarnations remembered of a peer.
const formerMax = 4

// admitBoot orders lives inside one incarnation: an older life is dropped, a
// clone of the present one too, a newer or another one replaces it. What a
// replaced incarnation still has in some route is dropped as well; it comes back
// with a newer life, when its directory was put back, or by a notification when
// the one that seemed to replace it is silent: that was a late message then.
func (c *Core) admitBoot(p *peer, b Boot, notify bool) bool {
	if b == p.boot {
		return !p.cloned
	}
	if b.Incarnation == p.boot.Incarnation {
		if b.Counter > p.boot.Counter {
			*p = peer{id: p.id, boot: b, former: p.former, rival: p.rival}
			return true
		}
		p.cloned = p.cloned || b.Counter == p.boot.Counter
		return false
	}
	former := p.former
	for i, f := range former {
		if f == b && notify && c.tick-p.heard > reachTicks {
			former = slices.Delete(slices.Clone(former), i, i+1)
			break
		}
		if f.Incarnation == b.Incarnation && f.Counter >= b.Counter {
			p.rival = max(c.tick, 1)
			return false
		}
	}
	if p.boot != (Boot{}) {
		former = append(former[max(0, len(former)-formerMax+1):len(former):len(former)], p.boot)
	}
	*p = peer{id: p.id, boot: b, former: former, rival: p.rival}
	return true
}

// recall takes over what was kept of a peer's disks before this start.
func (p *peer) recall(seen []Life) {
	for _, s := range seen {
		if s.ID != p.id {
			continue
		}
		if p.boot != (Boot{}) {
			p.former = append(p.former, p.boot)
		}
		p.boot, p.kept = s.Boot, true
	}
}

// remember keeps the life of a peer whose disk counts; it counts once that is
// durable. Lives of disks that no configuration in force names are forgotten:
// they count nowhere, and a later configuration never names them again, since a
// store that is taken in again is a new one.
func (c *Core) remember(p *peer) {
	if p.kept || p.boot == (Boot{}) || !c.counts(p.id, p.boot.Incarnation) {
		return
	}
	var seen []Life
	for _, s := range c.ctl.Seen {
		same := s.ID == p.id && s.Boot.Incarnation == p.boot.Incarnation
		if !same && c.counts(s.ID, s.Boot.Incarnation) {
			seen = append(seen, s)
		}
	}
	seen = append(seen, Life{p.id, p.boot})
	slices.SortStableFunc(seen, func(a, b Life) int { return int(a.ID) - int(b.ID) })
	c.setControl(func(ctl *Control) { ctl.Seen = seen })
	p.kept, p.keptAt = true, c.claim()
	if l := c.learner(p.id); l != nil && l.boot == p.boot {
		l.keptAt = p.keptAt
	}
}

// warn tells a store that is refused for its life what was seen of its disk. An
// answer is not answered: two stores that refuse each other would never end.
func (c *Core) warn(p *peer, m *Message) {
	if m.Type != MsgNotify || m.Seen != (Boot{}) {
		return
	}
	for _, b := range append([]Boot{p.boot}, p.former...) {
		if b.Incarnation == m.FromBoot.Incarnation && b != m.FromBoot {
			n := c.notification(p.id)
			n.Seen = b
			c.send(n, c.claim())
		}
	}
}

// outlived says whether others have seen a life of this very disk that this
// start knows nothing of: the directory is an older image of itself, or a copy.
func (c *Core) outlived(seen Boot) bool {
	own := c.ctl.Boot
	if seen.Incarnation != own.Incarnation || seen.Counter < own.Counter || seen == own {
		return false
	}
	c.Spoil(fmt.Sprintf("this data directory is an older image of itself, or a copy: this is start %d of it, and others have seen another start %d", own.Counter, seen.Counter))
	return true
}
