package lease

import (
	"fmt"
	"strings"

	"perch/gen/commandpb"
)

// What tenants do to what is held, under the same names.

var heldNames = []string{"a", "b"}

// heldCommand often meets what is held.
func (n *tenant) heldCommand() *commandpb.Command {
	token, name := fmt.Sprint("shared token ", n.rng.IntN(3)), pickOne(n, heldNames...)
	kind := commandpb.Kind(n.rng.IntN(4))
	run := &commandpb.Run{Key: name}
	switch n.rng.IntN(12) {
	case 0:
		return lockShared(token, name, n.flag())
	case 1:
		return lockSet(token, n.flag(), heldNames...)
	case 2:
		return semaphore(token, name, 1, 2, n.flag())
	case 3:
		return campaign(token, name, name, n.flag())
	case 4:
		return beginRun(token, "job", run, n.flag())
	case 5, 6:
		op := &commandpb.Release{Kind: kind, Names: []string{name}, Token: pickOne(n, 0, 0, uint64(n.position()))}
		if kind == kindOnce {
			op.Names, op.Run = []string{"job"}, run
		}
		return release(token, op)
	case 7:
		return pickOne(n, breaking(kind, name), revoking(&commandpb.Revoke{Name: name, Reason: n.name}))
	case 8:
		return pickOne(n, completing(token, &commandpb.Complete{Name: "job", Data: n.data()}), forgetting("job", ""))
	case 9:
		return fenced(put(n.put()), fenceOf(kind, name, pickOne(n, 0, n.position())))
	case 10:
		return proclaiming(token, &commandpb.Proclaim{Name: name, Value: n.name})
	}
	return lock(token, name, n.flag())
}

func (w *world) held(r Result) string {
	var b strings.Builder
	fmt.Fprint(&b, r.Replayed, w.hold(r.Hold), w.rank(r.Place.ID, true), r.Place.Attach, r.Place.Position, w.heldState(r.Held))
	for _, id := range r.Ended {
		fmt.Fprint(&b, w.rank(id, true))
	}
	for _, o := range r.Outcomes {
		fmt.Fprint(&b, "; ", w.rank(o.Place, true), o.Attach, o.Code, w.hold(o.Hold), w.heldState(o.Held))
	}
	return b.String()
}

func (w *world) hold(h Hold) string {
	return fmt.Sprint(h.Kind, h.Names, h.Key, h.Owner, w.rank(h.Session, true), w.rank(h.Token, true), h.Shared, h.Permits, h.Attempt, h.Revoked, h.Reason)
}

func (w *world) heldState(h HeldState) string {
	var b strings.Builder
	fmt.Fprint(&b, h.Kind, h.Name, w.rank(h.Tag, true), h.Held, h.Waiting, h.Limit, h.Value, h.Revoked, h.Reason, h.Run)
	for _, o := range h.Holders {
		fmt.Fprint(&b, o.Owner, w.rank(o.Session, true), w.rank(o.Token, true), o.Shared, o.Permits, o.Since)
	}
	return b.String()
}
