package wire

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"perch/quorum"
)

// Entries are most of what travels, so they are written and read by hand, as
// wire.proto describes them: the generated code would make two objects and a
// copy of each. A test holds the two against each other.

const fieldEntries = 64

// Field numbers of Entry.
const (
	entryZxid       = 1
	entryKind       = 2
	entryOriginNode = 3
	entryOriginBoot = 4
	entryOriginID   = 5
	entryWall       = 6
	entryAge        = 7
	entryData       = 8
)

func appendEntry(b []byte, e *quorum.Entry) []byte {
	b = protowire.AppendTag(b, fieldEntries, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(entryBytes(e)))
	b = appendFixed(b, entryZxid, uint64(e.Zxid))
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

// entryBytes is the length of an entry inside its tag and length.
func entryBytes(e *quorum.Entry) int {
	n := 0
	for _, v := range [...]uint64{uint64(e.Zxid), e.Origin.Boot, e.Origin.ID, uint64(e.Stamp.Wall), e.Stamp.Age} {
		if v != 0 {
			n += 9
		}
	}
	for _, v := range [...]uint64{uint64(e.Kind), uint64(e.Origin.Node)} {
		if v != 0 {
			n += 1 + protowire.SizeVarint(v)
		}
	}
	if len(e.Data) > 0 {
		n += 1 + protowire.SizeBytes(len(e.Data))
	}
	return n
}

func appendFixed(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = append(b, byte(n<<3)|byte(protowire.Fixed64Type))
	return binary.LittleEndian.AppendUint64(b, v)
}

func appendVarint(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = append(b, byte(n<<3)|byte(protowire.VarintType))
	return protowire.AppendVarint(b, v)
}

// split cuts a message where its entries begin.
func split(body []byte) (front, entries []byte, err error) {
	for rest := body; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, nil, malformed(n)
		}
		if num == fieldEntries {
			return body[:len(body)-len(rest)], rest, nil
		}
		size := protowire.ConsumeFieldValue(num, typ, rest[n:])
		if size < 0 {
			return nil, nil, malformed(size)
		}
		rest = rest[n+size:]
	}
	return body, nil, nil
}

// decodeEntries reads what follows the front of a message: nothing but entries.
func decodeEntries(b []byte) ([]quorum.Entry, error) {
	count, err := countEntries(b)
	if err != nil || count == 0 {
		return nil, err
	}
	entries := make([]quorum.Entry, count)
	for i := range entries {
		_, _, n := protowire.ConsumeTag(b)
		one, size := protowire.ConsumeBytes(b[n:])
		if err := decodeEntry(one, &entries[i]); err != nil {
			return nil, fmt.Errorf("entry %d of %d: %w", i+1, count, err)
		}
		b = b[n+size:]
	}
	return entries, nil
}

func countEntries(b []byte) (int, error) {
	count := 0
	for ; len(b) > 0; count++ {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, malformed(n)
		}
		if num != fieldEntries || typ != protowire.BytesType {
			return 0, fmt.Errorf("%w: field %d behind the entries", ErrMalformed, num)
		}
		if count == MaxList {
			return 0, fmt.Errorf("%w: more than %d entries", ErrMalformed, MaxList)
		}
		_, size := protowire.ConsumeBytes(b[n:])
		if size < 0 {
			return 0, malformed(size)
		}
		b = b[n+size:]
	}
	return count, nil
}

func decodeEntry(b []byte, e *quorum.Entry) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(n)
		}
		b = b[n:]
		n, err := decodeEntryField(b, num, typ, e)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	switch {
	case e.Kind < quorum.EntryCommand || e.Kind > quorum.EntryRestored:
		return fmt.Errorf("%w: entry kind %d", ErrMalformed, e.Kind)
	case e.Zxid.Counter() == 0:
		return fmt.Errorf("%w: entry at %v", ErrMalformed, e.Zxid)
	}
	return nil
}

// decodeEntryField reads the value of one field and returns its length.
func decodeEntryField(b []byte, num protowire.Number, typ protowire.Type, e *quorum.Entry) (int, error) {
	var v uint64
	n := -1
	switch {
	case num == entryData && typ == protowire.BytesType:
		data, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return 0, malformed(n)
		}
		if len(data) > 0 {
			// The cut capacity keeps an append from writing over the next entry.
			e.Data = data[:len(data):len(data)]
		}
		return n, nil
	case (num == entryKind || num == entryOriginNode) && typ == protowire.VarintType:
		v, n = protowire.ConsumeVarint(b)
	case num >= entryZxid && num <= entryAge && typ == protowire.Fixed64Type:
		v, n = protowire.ConsumeFixed64(b)
	case num > entryData:
		n = protowire.ConsumeFieldValue(num, typ, b) // of a later version
	}
	if n < 0 {
		return 0, fmt.Errorf("%w: field %d of an entry", ErrMalformed, num)
	}
	return n, setEntryField(num, v, e)
}

func setEntryField(num protowire.Number, v uint64, e *quorum.Entry) error {
	switch num {
	case entryZxid:
		e.Zxid = quorum.Zxid(v)
	case entryKind:
		if v > 255 {
			return fmt.Errorf("%w: entry kind %d", ErrMalformed, v)
		}
		e.Kind = quorum.EntryKind(v)
	case entryOriginNode:
		if v > maxNode {
			return fmt.Errorf("%w: node %d", ErrMalformed, v)
		}
		e.Origin.Node = quorum.NodeID(v)
	case entryOriginBoot:
		e.Origin.Boot = v
	case entryOriginID:
		e.Origin.ID = v
	case entryWall:
		e.Stamp.Wall = int64(v)
	case entryAge:
		e.Stamp.Age = v
	}
	return nil
}

func malformed(n int) error {
	return fmt.Errorf("%w: %v", ErrMalformed, protowire.ParseError(n))
}
