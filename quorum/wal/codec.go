package wal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"perch/gen/walpb"
	"perch/quorum"
)

var errPayload = errors.New("payload that this version cannot read")

// appendRecord appends r as a frame that will stand at offset.
func appendRecord(b []byte, r *quorum.Record, s salt, offset int64) ([]byte, error) {
	zxid, chain := r.Zxid, r.Chain
	if r.Type == quorum.RecordEntry {
		zxid, chain = r.Entry.Zxid, r.Entry.Chain
	}
	b, at := beginFrame(b, r.Type, zxid, chain)
	switch r.Type {
	case quorum.RecordControl:
		var err error
		if b, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(b, controlToProto(r.Control)); err != nil {
			return nil, err
		}
	case quorum.RecordEntry:
		b = appendEntry(b, &r.Entry)
	}
	if n := len(b) - at - frameHead; n > recordLimit {
		return nil, fmt.Errorf("wal: a record of %d bytes; the limit is %d", n, recordLimit)
	}
	return endFrame(b, at, s, offset), nil
}

// appendNumber appends a mark or a seal.
func appendNumber(b []byte, kind quorum.RecordType, zxid quorum.Zxid, chain, number uint64, s salt, offset int64) []byte {
	b, at := beginFrame(b, kind, zxid, chain)
	return endFrame(binary.LittleEndian.AppendUint64(b, number), at, s, offset)
}

// number is the payload of a mark or a seal.
func (f *frame) number() (uint64, bool) {
	if len(f.payload) != markLen {
		return 0, false
	}
	return binary.LittleEndian.Uint64(f.payload), true
}

// record turns a frame that is neither mark nor seal into what was appended.
// The data of an entry shares memory with the frame.
func (f *frame) record() (quorum.Record, error) {
	r := quorum.Record{Type: f.kind}
	var err error
	switch f.kind {
	case quorum.RecordControl:
		var pb walpb.Control
		if err = proto.Unmarshal(f.payload, &pb); err == nil {
			r.Control, err = controlFromProto(&pb)
		}
	case quorum.RecordEntry:
		r.Entry = quorum.Entry{Zxid: f.zxid, Chain: f.chain}
		err = decodeEntry(f.payload, &r.Entry)
	case quorum.RecordTruncate, quorum.RecordInstall, quorum.RecordCommit:
		r.Zxid, r.Chain = f.zxid, f.chain
		if len(f.payload) != 0 {
			err = errPayload
		}
	default:
		err = fmt.Errorf("record of type %d, which this version does not know", f.kind)
	}
	return r, err
}

// Field numbers of walpb.Entry.
const (
	entryKind       = 1
	entryOriginNode = 2
	entryOriginBoot = 3
	entryOriginID   = 4
	entryWall       = 5
	entryAge        = 6
	entryData       = 7
)

func appendEntry(b []byte, e *quorum.Entry) []byte {
	b = appendVarint(b, entryKind, uint64(e.Kind))
	b = appendVarint(b, entryOriginNode, uint64(e.Origin.Node))
	b = appendFixed(b, entryOriginBoot, e.Origin.Boot)
	b = appendFixed(b, entryOriginID, e.Origin.ID)
	b = appendFixed(b, entryWall, uint64(e.Stamp.Wall))
	b = appendFixed(b, entryAge, e.Stamp.Age)
	if len(e.Data) > 0 {
		b = protowire.AppendTag(b, entryData, protowire.BytesType)
		b = protowire.AppendBytes(b, e.Data)
	}
	return b
}

// EncodeEntry is e as the log holds it, but for zxid and chain hash, which stand
// beside it everywhere.
func EncodeEntry(e *quorum.Entry) []byte { return appendEntry(nil, e) }

// DecodeEntry is the reverse of EncodeEntry. It is not checked against the chain
// hash. The data shares memory with b.
func DecodeEntry(z quorum.Zxid, chain uint64, b []byte) (quorum.Entry, error) {
	e := quorum.Entry{Zxid: z, Chain: chain}
	err := decodeEntry(b, &e)
	return e, err
}

func appendVarint(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func appendFixed(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), v)
}

func decodeEntry(b []byte, e *quorum.Entry) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errPayload
		}
		b = b[n:]
		if n = decodeEntryField(b, num, typ, e); n < 0 {
			return fmt.Errorf("%w: field %d of an entry", errPayload, num)
		}
		b = b[n:]
	}
	return nil
}

// decodeEntryField reads the value of one field and returns its length, or a
// negative number.
func decodeEntryField(b []byte, num protowire.Number, typ protowire.Type, e *quorum.Entry) int {
	var v uint64
	n := -1
	switch {
	case num == entryData && typ == protowire.BytesType:
		data, n := protowire.ConsumeBytes(b)
		if n >= 0 && len(data) > 0 {
			e.Data = data[:len(data):len(data)]
		}
		return n
	case num > entryData:
		return protowire.ConsumeFieldValue(num, typ, b) // of a later version
	case num <= entryOriginNode && typ == protowire.VarintType:
		v, n = protowire.ConsumeVarint(b)
	case num > entryOriginNode && typ == protowire.Fixed64Type:
		v, n = protowire.ConsumeFixed64(b)
	}
	if n < 0 || !setEntryField(num, v, e) {
		return -1
	}
	return n
}

func setEntryField(num protowire.Number, v uint64, e *quorum.Entry) bool {
	switch num {
	case entryKind:
		e.Kind = quorum.EntryKind(v)
		return v <= 0xff
	case entryOriginNode:
		e.Origin.Node = quorum.NodeID(v)
		return v <= 0xffff
	case entryOriginBoot:
		e.Origin.Boot = v
	case entryOriginID:
		e.Origin.ID = v
	case entryWall:
		e.Stamp.Wall = int64(v)
	case entryAge:
		e.Stamp.Age = v
	}
	return true
}

func controlToProto(c *quorum.Control) *walpb.Control {
	pb := &walpb.Control{
		Node:          uint32(c.Node),
		Boot:          bootToProto(c.Boot),
		Formed:        c.Formed,
		NeedsRebuild:  c.NeedsRebuild,
		Spoiled:       c.Spoiled,
		Reason:        c.Reason,
		AcceptedEpoch: uint32(c.AcceptedEpoch),
		AcceptedFrom:  &walpb.Promise{Leader: uint32(c.AcceptedFrom.Leader), Boot: bootToProto(c.AcceptedFrom.Boot)},
		CurrentEpoch:  uint32(c.CurrentEpoch),
		Cluster:       c.Cluster[:],
	}
	if c.Past != (quorum.Past{}) {
		pb.Past = &walpb.Past{Zxid: uint64(c.Past.Zxid), Digest: c.Past.Digest, Epoch: uint32(c.Past.Epoch)}
	}
	for _, m := range c.Founding {
		pb.Founding = append(pb.Founding, &walpb.Member{Id: uint32(m.ID), Incarnation: m.Incarnation[:], Role: uint32(m.Role), Addr: m.Addr})
	}
	for _, s := range c.Seen {
		pb.Seen = append(pb.Seen, &walpb.Life{Id: uint32(s.ID), Boot: bootToProto(s.Boot)})
	}
	return pb
}

func bootToProto(b quorum.Boot) *walpb.Boot {
	return &walpb.Boot{Incarnation: b.Incarnation[:], Counter: b.Counter, Nonce: b.Nonce}
}

func controlFromProto(pb *walpb.Control) (*quorum.Control, error) {
	c := &quorum.Control{
		Formed:        pb.GetFormed(),
		NeedsRebuild:  pb.GetNeedsRebuild(),
		Spoiled:       pb.GetSpoiled(),
		Reason:        pb.GetReason(),
		AcceptedEpoch: quorum.Epoch(pb.GetAcceptedEpoch()),
		CurrentEpoch:  quorum.Epoch(pb.GetCurrentEpoch()),
		Past: quorum.Past{
			Zxid: quorum.Zxid(pb.GetPast().GetZxid()), Digest: pb.GetPast().GetDigest(), Epoch: quorum.Epoch(pb.GetPast().GetEpoch()),
		},
	}
	var d decoder
	c.Node = d.node(pb.GetNode())
	c.Boot = d.boot(pb.GetBoot())
	c.AcceptedFrom.Leader = d.node(pb.GetAcceptedFrom().GetLeader())
	c.AcceptedFrom.Boot = d.boot(pb.GetAcceptedFrom().GetBoot())
	c.Cluster = quorum.ClusterID(d.id(pb.GetCluster()))
	for _, m := range pb.GetFounding() {
		if m.GetRole() > 0xff {
			d.bad = true
		}
		c.Founding = append(c.Founding, quorum.Member{
			ID: d.node(m.GetId()), Incarnation: d.id(m.GetIncarnation()), Role: quorum.Role(m.GetRole()), Addr: m.GetAddr(),
		})
	}
	for _, s := range pb.GetSeen() {
		c.Seen = append(c.Seen, quorum.Life{ID: d.node(s.GetId()), Boot: d.boot(s.GetBoot())})
	}
	if d.bad {
		return nil, fmt.Errorf("%w: control state", errPayload)
	}
	return c, nil
}

// decoder narrows what protobuf has no type for; bad stays set after a value
// that does not fit.
type decoder struct{ bad bool }

func (d *decoder) node(v uint32) quorum.NodeID {
	d.bad = d.bad || v > 0xffff
	return quorum.NodeID(v)
}

func (d *decoder) id(b []byte) (id [16]byte) {
	if len(b) != len(id) {
		d.bad = true
		return id
	}
	copy(id[:], b)
	return id
}

func (d *decoder) boot(pb *walpb.Boot) quorum.Boot {
	return quorum.Boot{Incarnation: d.id(pb.GetIncarnation()), Counter: pb.GetCounter(), Nonce: pb.GetNonce()}
}
