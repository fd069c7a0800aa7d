package quorum

import (
	"cmp"
	"fmt"
)

// CheckBounds reports the first queue of this core that is longer than it may
// become, whatever peers, clients and disk do (ZAB.md 6, assertion 22).
func (c *Core) CheckBounds() error {
	f, ld, t := &c.r.follow, &c.r.lead, &c.tun
	over := cmp.Or(
		rule(len(c.requests.list) <= t.MaxPending, "requests without an end"),
		rule(len(f.stash) <= stashMax, "proposals behind a gap"),
		rule(len(f.pongs) <= 2*maxFollowerTimeout, "pongs not confirmed"),
		rule(len(ld.pings) <= 2*maxFollowerTimeout+1, "pings remembered"),
		rule(len(ld.learners) <= len(c.peers), "learners"),
		rule(len(ld.homes) <= maxHomes, "homes"),
		rule(len(ld.round.next) <= len(c.peers)+1 && len(ld.round.flying) <= len(c.peers)+1, "readers of a round"),
		rule(ld.window <= t.WindowBytes+c.largest(), "bytes proposed and not committed"),
		rule(c.log.tailBytes <= c.log.unemitted()+t.CacheBytes+t.CacheBytes/4+c.largest(), "entries in memory"),
	)
	if over != "" {
		return fmt.Errorf("node %d: too many: %s", c.cfg.ID, over)
	}
	return nil
}

// largest is the size of the largest entry in memory.
func (c *Core) largest() (size int) {
	for i := range c.log.tail {
		size = max(size, c.log.tail[i].Size())
	}
	return size
}

// unemitted is how many bytes of the log were not handed out yet.
func (l *log) unemitted() (size int) {
	for i := l.index(l.emitted); i < len(l.tail); i++ {
		size += l.tail[i].Size()
	}
	return size
}
