package tree

// quota is the quota of the subtree at path, with its exact use.
type quota struct {
	path string
	Quota
}

func quotaLess(a, b quota) bool { return a.path < b.path }

// usage is what the nodes of one creator take.
type usage struct {
	creator      string
	nodes, bytes int64
}

func usageLess(a, b usage) bool { return a.creator < b.creator }

// account has the quotas above and the creators bear the change from old to z;
// either may be nil.
func (t *Tree) account(old, z *znode) {
	if t.quotas.Len() == 0 && old.plain() && z.plain() {
		return
	}
	was, is := old.weight(), z.weight()
	at := z
	if z == nil {
		at = old
	}
	t.count(at.path, is.nodes-was.nodes, is.bytes-was.bytes)
	if was.creator == is.creator {
		t.charge(usage{is.creator, is.nodes - was.nodes, is.bytes - was.bytes})
		return
	}
	t.charge(usage{was.creator, -was.nodes, -was.bytes})
	t.charge(is)
}

// plain says that no creator answers for z.
func (z *znode) plain() bool { return z == nil || z.ext == nil }

// weight is what z adds to the usage of its creator.
func (z *znode) weight() usage {
	if z == nil {
		return usage{}
	}
	return usage{z.creator(), 1, int64(len(z.data))}
}

// count adds to the use of every quota at and above path.
func (t *Tree) count(path string, nodes, bytes int64) {
	if t.quotas.Len() == 0 || nodes == 0 && bytes == 0 {
		return
	}
	for p := path; p != ""; p = Parent(p) {
		if q, ok := t.quotas.Get(quota{path: p}); ok {
			t.sum -= q.digest()
			q.Nodes += nodes
			q.Bytes += bytes
			t.setQuota(q)
		}
	}
}

func (t *Tree) charge(by usage) {
	if by.creator == "" || by.nodes == 0 && by.bytes == 0 {
		return
	}
	u, _ := t.usages.Get(by)
	u.creator = by.creator
	u.nodes += by.nodes
	u.bytes += by.bytes
	if u.nodes == 0 {
		t.usages.Delete(u)
		return
	}
	t.usages.Set(u)
}

// Overrun is the bound of a quota that has no room for a change.
type Overrun struct {
	Path  string // of the quota
	Bytes bool   // the bound is one of bytes, else of nodes
	Limit int64
}

// fits says whether so many nodes and bytes more find room under the quotas at
// and above path. What shrinks or stays always does.
func (t *Tree) fits(x *Txn, path string, nodes, bytes int64) Code {
	if t.quotas.Len() == 0 {
		return OK
	}
	for p := path; p != ""; p = Parent(p) {
		q, _ := t.quotas.Get(quota{path: p})
		switch {
		case beyond(q.MaxNodes, q.Nodes, nodes):
			x.Overrun = Overrun{Path: p, Limit: *q.MaxNodes}
			return ErrQuotaExceeded
		case beyond(q.MaxBytes, q.Bytes, bytes):
			x.Overrun = Overrun{Path: p, Bytes: true, Limit: *q.MaxBytes}
			return ErrQuotaExceeded
		}
	}
	return OK
}

func beyond(most *int64, used, more int64) bool {
	return most != nil && more > 0 && used+more > *most
}

// affords says whether the creator may have so many nodes and bytes more.
func (t *Tree) affords(x *Txn, more usage) Code {
	if more.creator == "" {
		return OK
	}
	u, _ := t.usages.Get(more)
	if most := x.Limits.CreatorNodes; most > 0 && beyond(&most, u.nodes, more.nodes) {
		return ErrTooManyNodes
	}
	if most := x.Limits.CreatorBytes; most > 0 && beyond(&most, u.bytes, more.bytes) {
		return ErrTooManyNodes
	}
	return OK
}

// SetQuotaOp bounds a subtree.
type SetQuotaOp struct {
	Path     string
	MaxNodes *int64 // the node at Path included; nil: no bound
	MaxBytes *int64 // of data; nil: no bound
	Remove   bool   // the subtree has no quota any more
}

// SetQuota bounds the subtree at a node, and answers with what it holds. Bounds
// below that are allowed: then nothing may grow.
func (t *Tree) SetQuota(x *Txn, op SetQuotaOp) (Quota, Code) {
	if _, code := t.administer(x, op.Path, op.check()); code != OK {
		return Quota{}, code
	}
	q, had := t.quotas.Get(quota{path: op.Path})
	if op.Remove {
		t.dropQuota(op.Path)
		return Quota{}, OK
	}
	if had {
		t.sum -= q.digest()
	} else {
		q.path = op.Path
		q.Nodes, q.Bytes = countBelow(t.nodes, op.Path)
	}
	q.MaxNodes, q.MaxBytes = op.MaxNodes, op.MaxBytes
	t.setQuota(q)
	return q.Quota, OK
}

func (op SetQuotaOp) check() Code {
	bounded := op.MaxNodes != nil || op.MaxBytes != nil
	if bounded == op.Remove || negative(op.MaxNodes) || negative(op.MaxBytes) {
		return ErrInvalidArgument
	}
	return OK
}

func negative(bound *int64) bool { return bound != nil && *bound < 0 }

// setQuota stores q; the digest of the one before is gone from the sum.
func (t *Tree) setQuota(q quota) {
	t.sum += q.digest()
	t.quotas.Set(q)
}

func (t *Tree) dropQuota(path string) {
	if t.quotas.Len() == 0 {
		return
	}
	if q, had := t.quotas.Delete(quota{path: path}); had {
		t.sum -= q.digest()
	}
}

func (q *quota) digest() uint64 {
	var h hasher
	h.byte(digestQuota)
	for _, bound := range [...]*int64{q.MaxNodes, q.MaxBytes} {
		if bound == nil {
			h.byte(0)
			continue
		}
		h.byte(1)
		h.u64(uint64(*bound))
	}
	h.u64(uint64(q.Nodes))
	h.u64(uint64(q.Bytes))
	return h.sum(q.path)
}

// Quota is the bounds of the subtree at path and what it holds; without a quota
// that is counted. False when there is no node at path.
func (r *Reader) Quota(path string) (Quota, bool) {
	if q, ok := r.quotas.Get(quota{path: path}); ok {
		return q.Quota, true
	}
	nodes, bytes, ok := r.Count(path)
	return Quota{Nodes: nodes, Bytes: bytes}, ok
}
