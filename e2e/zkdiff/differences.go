package main

import (
	"slices"
	"strings"
)

// difference is something in which Perch is meant to differ from ZooKeeper. The
// table of docs/zookeeper.md has the same rows; a test sees to that.
type difference struct {
	name, zookeeper, perch, reason string

	// ops end with one in which the difference shows: ZooKeeper answers the
	// first code, Perch the second. Every run shows them all.
	ops           []op
	zkCode, pCode int

	// explains says whether a random op has met the difference. It leaves both
	// sides in the same state.
	explains func(o op, z, p answer) bool
}

// plainCodes are codes of Perch with less than one error of ZooKeeper for each,
// and so without a zk_code.
var plainCodes = map[string]struct {
	zk        int
	name, why string
}{
	"no_parent":     {codeNoNode, "NoNode (-101)", "of a create: it is the parent that is missing"},
	"etag_mismatch": {codeNoNode, "NoNode (-101)", "of a set of any version, which is a PUT with `If-Match: *`: HTTP answers 412 where there is nothing to match"},
	"invalid_path":  {codeBadArguments, "BadArguments (-8)", "it is the path"},
	"reserved_path": {codeNoAuth, "NoAuth (-102)", "nobody may: the path is below `/perch`"},
}

var differences = []difference{
	{
		name: "creating `/`", zookeeper: "NodeExists", perch: "400 `invalid_argument`",
		reason: "it can never succeed; deleting `/` is that on both sides",
		ops:    []op{{Kind: opCreate, Session: observer, Absolute: true, Path: "/", Mode: persistent}},
		zkCode: codeNodeExists, pCode: codeBadArguments,
	},
	{
		name: "the name `/zookeeper`", zookeeper: "is reserved, and exists", perch: "is a name like others",
		reason: "nothing of ZooKeeper's own is kept there",
		ops:    []op{{Kind: opExists, Session: observer, Absolute: true, Path: "/zookeeper"}},
		zkCode: codeOK, pCode: codeNoNode,
	},
	{
		name: "the name `/perch`", zookeeper: "is a name like others", perch: "is reserved, also in the root of a principal: writing there is 403 `reserved_path`",
		reason: "locks and the other primitives keep their state there, in forms of their own",
		ops:    []op{{Kind: opCreate, Session: observer, Absolute: true, Path: "/perch", Mode: persistent}},
		zkCode: codeOK, pCode: codeNoAuth,
	},
	{
		name: "calls that can never succeed", zookeeper: "fail with what is met first: NoNode for a path that no node can have, or what an earlier operation of a multi fails with",
		perch:    "400 `invalid_path`, and 400 `invalid_acl` in a multi, before the state is looked at",
		reason:   "a mistake of the caller should not look like a missing node, nor take a place in the log",
		explains: neverRight,
	},
	{
		name: "an ephemeral of another session", zookeeper: "is set like any node",
		perch:  "likewise without `Perch-Session` and in a multi; a PUT with it is 409 `node_exists` with the holder",
		reason: "a PUT is also how a session claims a name, and must not take it from its owner unawares; `takeover=true` does it on purpose",
		ops: []op{{Kind: opCreate, Session: 0, Path: "/mine", Mode: ephemeral},
			{Kind: opSet, Session: 1, Path: "/mine", Version: anyVersion, Holding: true}},
		zkCode: codeOK, pCode: codeNodeExists,
	},
	{
		name: "an entry of an ACL without permissions", zookeeper: "is stored", perch: "400 `invalid_acl`",
		reason: "an entry adds permissions and never takes any away, so one without is a mistake",
		ops:    []op{{Kind: opSetACL, Session: observer, Version: anyVersion, ACL: []aclEntry{{"world", "anyone", ""}}}},
		zkCode: codeOK, pCode: codeInvalidACL,
	},
	{
		name: "an entry of an ACL that `auth` repeats", zookeeper: "is stored twice: equal entries are looked for before `auth` is replaced",
		perch:    "is stored once",
		reason:   "equal entries allow the same",
		explains: repeatedEntry,
	},
	{
		name: "an empty multi", zookeeper: "succeeds", perch: "400 `invalid_argument`",
		reason: "it can only be a mistake",
		ops:    []op{{Kind: opMulti, Session: observer}},
		zkCode: codeOK, pCode: codeBadArguments,
	},
	{
		name: "a long multi", zookeeper: "is bounded by `jute.maxbuffer` alone", perch: "128 operations, 1 MiB of values",
		reason: "a transaction is applied in one go while all others wait; the bounds keep that short",
		ops:    []op{{Kind: opMulti, Session: observer, Ops: repeat(op{Kind: opCheck, Version: anyVersion}, 129)}},
		zkCode: codeOK, pCode: codeBadArguments,
	},
	{
		name: "long paths", zookeeper: "are bounded by `jute.maxbuffer` alone", perch: "1 024 bytes, 64 names",
		reason: "a path is part of a URL, and of every event and log entry",
		ops:    []op{{Kind: opCreate, Session: observer, Path: "/" + strings.Repeat("x", 1024), Mode: persistent}},
		zkCode: codeOK, pCode: codeBadArguments,
	},
	{
		name: "large values", zookeeper: "over 1 MiB with all else in the request: the connection is closed", perch: "over 1 MiB: 413 `too_large`",
		reason: "an answer tells what is wrong",
	},
	{
		name: "containers", zookeeper: "go within a minute of losing their last child", perch: "within a second",
		reason: "timers are exact and looked at by the leader all the time",
	},
	{
		name: "TTL nodes", zookeeper: "need `zookeeper.extendedTypesEnabled`, go within a minute of their TTL, at most 34 years",
		perch:  "always there, go within a second of their TTL, 1 s to 24 h of cluster age, which stands still without a leader",
		reason: "they need no room in the owner's field, which is why ZooKeeper has a switch; and what nobody could refresh should not go",
	},
	{
		name: "what a closed session takes with it", zookeeper: "goes at one zxid, its events in no order", perch: "at one zxid, its events in the order of the paths",
		reason: "every node tells the same events in the same order, and a cursor can stand between two transactions",
	},
	{
		name: "counters", zookeeper: "versions and sequence numbers have 32 bits and wrap", perch: "64 bits; a sequential name grows beyond ten digits",
		reason: "a wrapped number would sort before its elders",
	},
	{
		name: "digest ids", zookeeper: "any text stands after `user:`", perch: "the base64 of a SHA-1, or `invalid_acl`",
		reason: "an id that no password can have, such as a masked one that is sent back, would lock everybody out",
	},
	{
		name: "the mode of a node", zookeeper: "is not told", perch: "`stat.mode`, and `ttl_ms`",
		reason: "whoever lists nodes should see which of them go by themselves",
	},
}

// neverRight says whether both refuse, and Perch for a path or an ACL that is
// none.
func neverRight(o op, z, p answer) bool {
	if z.Code == codeOK || z.Code == p.Code && z.Failed == p.Failed {
		return false
	}
	early := z.Code == codeExpired || o.Kind == opMulti && z.Failed < p.Failed
	return strings.HasPrefix(p.Said, "invalid_path") || strings.HasPrefix(p.Said, "invalid_acl") && early
}

// repeatedEntry says whether ZooKeeper's ACL is Perch's with an entry repeated.
func repeatedEntry(_ op, z, p answer) bool {
	var once []aclEntry
	for _, e := range z.ACL {
		if !slices.Contains(once, e) {
			once = append(once, e)
		}
	}
	return z.Code == codeOK && p.Code == codeOK && len(once) < len(z.ACL) && slices.Equal(once, p.ACL)
}

func repeat(o op, n int) []op {
	ops := make([]op, n)
	for i := range ops {
		ops[i] = o
	}
	return ops
}
