package tree

// ext is what only some nodes have: a nil *ext is that of an ordinary node,
// which anyone may use and nobody answers for. It is immutable; nodes for which
// it is the same share one.
type ext struct {
	mode     Mode  // ModeContainer, ModeTTL or 0: an owner makes a node ephemeral
	ttlMs    int64 // of ModeTTL
	acl      *ACL
	aversion int64
	creator  string
	due      uint64 // cluster age at which the node goes if it has no child; 0: never
}

func (z *znode) acl() *ACL {
	if z.ext == nil {
		return nil
	}
	return z.ext.acl
}
