package node

import (
	"math/rand/v2"
	"testing"
	"time"

	"perch/quorum"
)

// TestTheRingFindsTheGroupOfAPosition against a slow look at all that was added,
// over what is overwritten and over a log that was cut.
func TestTheRingFindsTheGroupOfAPosition(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var r ring
	var all []passage
	z, base := quorum.Zxid(100), time.Now()
	for i := range 3 * stageRing {
		z += quorum.Zxid(rng.IntN(4))
		if i == 2*stageRing {
			z -= 1000 // another leader has cut what was not committed
		}
		p := passage{upTo: z, begin: base.Add(time.Duration(i))}
		r.add(p)
		all = append(all, p)
	}
	slow := func(z quorum.Zxid) (p passage, ok bool) {
		kept := all[len(all)-stageRing:]
		for i := len(kept) - 1; i >= 0; i-- {
			if kept[i].upTo < z {
				return p, ok
			}
			p, ok = kept[i], true
		}
		return passage{}, false
	}
	for probe := z + 10; probe > 90; probe-- {
		want, known := slow(probe)
		if got, ok := r.find(probe); got != want || ok != known {
			t.Fatalf("%v: found %+v (%v), want %+v (%v)", probe, got, ok, want, known)
		}
	}
	if _, ok := r.find(z + 1); ok {
		t.Error("a position that has not passed was found")
	}
	if _, ok := r.find(all[0].upTo); ok {
		t.Error("a position was found whose group may be gone")
	}
}
