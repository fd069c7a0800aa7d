package main

import (
	"fmt"
	"sort"
)

// ranks holds which zxid of one side is which of the other. That is possible if
// and only if both sides' zxids, renamed to ranks, are the same.
type ranks struct {
	pairs []zxidPair // sorted by both
}

type zxidPair struct{ zk, perch int64 }

// add says whether two zxids can be the same moment, and remembers it.
func (r *ranks) add(zk, perch int64) error {
	i := sort.Search(len(r.pairs), func(i int) bool { return r.pairs[i].zk >= zk })
	if i < len(r.pairs) && r.pairs[i].zk == zk {
		if r.pairs[i].perch != perch {
			return fmt.Errorf("zookeeper's 0x%x was %d and is %d now", zk, r.pairs[i].perch, perch)
		}
		return nil
	}
	if i > 0 && r.pairs[i-1].perch >= perch {
		return fmt.Errorf("zookeeper has 0x%x after 0x%x, perch %d not after %d", zk, r.pairs[i-1].zk, perch, r.pairs[i-1].perch)
	}
	if i < len(r.pairs) && r.pairs[i].perch <= perch {
		return fmt.Errorf("zookeeper has 0x%x before 0x%x, perch %d not before %d", zk, r.pairs[i].zk, perch, r.pairs[i].perch)
	}
	r.pairs = append(r.pairs, zxidPair{})
	copy(r.pairs[i+1:], r.pairs[i:])
	r.pairs[i] = zxidPair{zk, perch}
	return nil
}

// addStat does so for the zxids of one node.
func (r *ranks) addStat(zk, perch stat) error {
	for _, z := range []struct {
		name      string
		zk, perch int64
	}{{"czxid", zk.Czxid, perch.Czxid}, {"mzxid", zk.Mzxid, perch.Mzxid}, {"pzxid", zk.Pzxid, perch.Pzxid}} {
		if err := r.add(z.zk, z.perch); err != nil {
			return fmt.Errorf("%s: %w", z.name, err)
		}
	}
	return nil
}
