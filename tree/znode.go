package tree

import (
	"encoding/binary"
	"strings"

	"github.com/cespare/xxhash/v2"

	"perch/quorum"
)

// znode is one node as it is stored. It is immutable once it is in a table: a
// change puts a changed copy in its place, so that readers of older views keep
// theirs. Its size matters: a million of them are kept.
type znode struct {
	path     string
	data     []byte
	dataHash uint64 // xxhash of data; a change elsewhere in the node does not rehash it
	czxid    quorum.Zxid
	mzxid    quorum.Zxid
	pzxid    quorum.Zxid
	owner    quorum.Zxid
	ctime    int64
	mtime    int64
	version  int64
	creates  int64  // children ever created; numbers sequential ones
	slash    uint32 // index of the last slash of path
	children uint32
	ext      *ext // nil for an ordinary node
}

func newZnode(path string, data []byte) *znode {
	z := &znode{path: path, slash: uint32(strings.LastIndexByte(path, '/'))}
	z.setData(data)
	return z
}

func (z *znode) setData(data []byte) {
	z.data, z.dataHash = data, xxhash.Sum64(data)
}

// parent is the key of the parent: "" for the root and for its children.
func (z *znode) parent() string { return z.path[:z.slash] }
func (z *znode) name() string   { return z.path[z.slash+1:] }

// znodeLess orders by (parent, name): the children of a node stand together,
// and a parent stands before its children. The root, with both empty, is first.
func znodeLess(a, b *znode) bool {
	if ap, bp := a.parent(), b.parent(); ap != bp {
		return ap < bp
	}
	return a.name() < b.name()
}

// stat is what is shown. ZooKeeper counts creates inside and shows
// 2*creates - children, so that each create and each delete adds one
// (DataNode.copyStat).
func (z *znode) stat() Stat {
	s := Stat{
		Czxid: z.czxid, Mzxid: z.mzxid, Pzxid: z.pzxid, Ctime: z.ctime, Mtime: z.mtime,
		Version: z.version, Cversion: 2*z.creates - int64(z.children),
		EphemeralOwner: z.owner, DataLength: len(z.data), NumChildren: int(z.children),
		Mode: z.mode(),
	}
	if z.ext != nil {
		s.Aversion, s.TTLMs = z.ext.aversion, z.ext.ttlMs
	}
	return s
}

func (z *znode) node(withData bool) Node {
	n := Node{Path: z.path, Stat: z.stat()}
	if withData {
		n.Data = z.data
	}
	return n
}

// Kinds of records in the digest; they keep equal bytes of different records
// apart.
const (
	digestNode     = 'N'
	digestExtended = 'M' // a node with an ext
	digestEvent    = 'E'
	digestGuarded  = 'G' // an event with what an ext adds to it
	digestQuota    = 'Q'
	digestDefault  = 'D'
)

// digest is the node's part of the sum over the state. An ordinary node has the
// one that it had before there were others (RULES.md R6).
func (z *znode) digest() uint64 {
	var h hasher
	if z.ext == nil {
		h.byte(digestNode)
	} else {
		h.byte(digestExtended)
		h.u64(z.ext.sum)
	}
	h.u64(z.dataHash)
	h.u64(uint64(len(z.data)))
	for _, v := range [...]quorum.Zxid{z.czxid, z.mzxid, z.pzxid, z.owner} {
		h.u64(uint64(v))
	}
	for _, v := range [...]int64{z.ctime, z.mtime, z.version, z.creates} {
		h.u64(uint64(v))
	}
	h.u64(uint64(z.children))
	return h.sum(z.path)
}

// hasher gathers the fixed part of a record on the stack and hashes it with
// the record's text.
type hasher struct {
	buf [160]byte
	n   int
}

func (h *hasher) byte(b byte) {
	h.buf[h.n] = b
	h.n++
}

func (h *hasher) u64(v uint64) {
	binary.LittleEndian.PutUint64(h.buf[h.n:], v)
	h.n += 8
}

func (h *hasher) sum(text string) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(h.buf[:h.n])
	_, _ = d.WriteString(text)
	return d.Sum64()
}
