package sim

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
)

// In some seeds, and in directed schedules that say so, the cluster is restored
// (RULES.md R9): the voters start on stores that hold a state of the past. To the
// observer that state is position 0. The rest of a seed is as it would be without.

const pastSalt = 0x70617374

// drawPast draws whether a seed is of a restored cluster, and of what. Its source of
// chance is its own, so that all other seeds stay what they were.
func drawPast(r *rng, f *faults) {
	if r.below(8) != 0 {
		return
	}
	f.past.Zxid = quorum.MakeZxid(pick(r, quorum.Epoch(1), 5, 7000), uint32(1+r.below(1000)))
	f.past.Epoch = f.past.Zxid.Epoch() + pick(r, quorum.Epoch(0), 4, 3000)
}

// pastFile is the snapshot that a restored store holds.
func pastFile(p quorum.Past) *snapFile {
	return &snapFile{
		meta: quorum.SnapMeta{Zxid: p.Zxid, Chain: p.Chain(), Digest: p.Digest, Size: 1000, Hash: 1},
		held: pastHeld(p.Zxid),
	}
}

// pastHeld is a state of package lease at z, with a lock that a session holds.
func pastHeld(z quorum.Zxid) []byte {
	s := newHeldState()
	data, err := proto.Marshal(&commandpb.Command{
		Format:  lease.Format,
		Session: &commandpb.SessionRef{Ref: &commandpb.SessionRef_TokenHash{TokenHash: make([]byte, 32)}, OpenTtlMs: 60_000},
		Op:      &commandpb.Command_Acquire{Acquire: &commandpb.Acquire{Wants: []*commandpb.Want{{Name: lockName(0)}}}},
	})
	if err != nil {
		panic(err)
	}
	if _, _, err := s.Apply(&quorum.Entry{Zxid: z, Kind: quorum.EntryCommand, Data: data}); err != nil {
		panic(err)
	}
	var b bytes.Buffer
	if _, err := s.View().WriteTo(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// restored puts a state of the past into a new store.
func (d *disk) restoredFrom(p quorum.Past) {
	d.img.control.Past = p
	d.img.hist = quorum.NewHistory(p.Zxid, p.Chain())
	d.snaps = []*snapFile{pastFile(p)}
}

// restores says whether the operator makes the new store of a node by restoring:
// that of every voter until the cluster has formed, and now and then after that.
func (n *node) restores() bool {
	if n.w.script || n.w.faults.past == (quorum.Past{}) || !n.votes() {
		return false
	}
	return n.w.obs.cluster == quorum.ClusterID{} || n.rng.chance(300)
}

// astray says whether a store was restored from something else than the cluster.
func (n *node) astray() bool {
	p := n.disk.img.control.Past
	return p != (quorum.Past{}) && p != n.w.faults.past
}

// checkR9Astray: R9, a store that was restored from something else has no part in
// the cluster.
func (o *observer) checkR9Astray(n *node, s *quorum.Soft) {
	if s.State != quorum.StateLooking || s.Forming != quorum.Unformed {
		o.w.fail(0, "node %d, restored from another state, is %s (R9)", n.id, softText(s))
	}
	n.soft = *s
}

// checkR9First: R9, the first transaction of a cluster that was restored leaves the
// past behind, and no other does.
func (o *observer) checkR9First(z quorum.Zxid, kind quorum.EntryKind) {
	first := o.ledger.len() == 1 && o.ledger.start != 0
	if first != (kind == quorum.EntryRestored) {
		o.w.fail(0, "%v is committed as number %d and is of kind %d; the first of a restored cluster, and no other, ends the past (R9)", z, o.ledger.len(), kind)
	}
}

// beginAnewHeld applies that transaction to the state of package lease: nothing of
// the past is alive behind it.
func (n *node) beginAnewHeld(e *quorum.Entry) {
	if n.w.held == nil {
		return
	}
	res, _, err := n.held.state.Apply(e)
	if err != nil || res.Fault != "" {
		n.w.fail(29, "node %d applies %v: %v %s", n.id, e.Zxid, err, res.Fault)
		return
	}
	if v := n.held.state.View(); v.Sessions() != 0 || v.Oldest() != e.Zxid || !v.InGap(e.Zxid-1) || v.InGap(n.w.obs.ledger.start) {
		n.w.fail(29, "node %d has %d sessions of the past at %v, and events after %v", n.id, v.Sessions(), e.Zxid, v.Oldest())
	}
	n.heldFollow(&res)
}
