package lease

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// The model's ACLs, quotas, containers and TTL nodes.

// ann is somebody who has shown a password.
const ann = "ann:bW9kZWwgb2YgYSBwYXNzd29yZHM="

// mquota and mdefault belong to a node, and go with it.
type mquota struct{ nodes, bytes *int64 }

type mdefault struct {
	acl  []tree.ACLEntry
	zxid quorum.Zxid
}

// open is the ACL that lets everybody do everything.
var open = []tree.ACLEntry{{Scheme: "world", ID: "anyone", Perms: 31}}

// list is what a request's entries become.
func (x *mtxn) list(asked []*commandpb.AclEntry) (list []tree.ACLEntry) {
	if len(asked) == 0 {
		refuse(tree.ErrInvalidACL)
	}
	for _, a := range asked {
		same := []tree.ACLEntry{{Scheme: a.Scheme, ID: a.Id, Perms: tree.Perms(a.Perms)}}
		if a.Scheme == "auth" {
			same = x.who.entries(tree.Perms(a.Perms))
		}
		if a.Perms < 1 || a.Perms > 31 || len(same) == 0 || !slices.Contains([]string{"world", "digest", "principal"}, same[0].Scheme) {
			refuse(tree.ErrInvalidACL)
		}
		for _, e := range same {
			if !slices.Contains(list, e) {
				list = append(list, e)
			}
		}
	}
	return list
}

// need refuses who has not the permission on the node at path.
func (x *mtxn) need(path string, p tree.Perms) {
	if !x.who.passes(x.nodes[path].acl, p) {
		refuse(tree.ErrPermissionDenied)
	}
}

// affords refuses what is more than a creator may have.
func (x *mtxn) affords(creator string, nodes, bytes int64) {
	if creator == "" {
		return
	}
	var has, holds int64
	for _, n := range x.nodes {
		if n.creator == creator {
			has++
			holds += int64(len(n.data))
		}
	}
	beyond := func(more, all, most int64) bool { return most > 0 && more > 0 && all+more > most }
	if beyond(nodes, has, x.set.PrincipalNodes) || beyond(bytes, holds, x.set.PrincipalBytes) {
		refuse(tree.ErrTooManyNodes)
	}
}

// room refuses so many nodes and bytes more where a quota at or above path has
// none for them.
func (x *mtxn) room(path string, nodes, bytes int64) {
	for p := path; p != ""; p = tree.Parent(p) {
		q := x.nodes[p].quota
		if q == nil {
			continue
		}
		use := x.use(p)
		if nodes > 0 && q.nodes != nil && use.Nodes+nodes > *q.nodes {
			x.overrun(tree.Overrun{Path: p, Limit: *q.nodes})
		}
		if bytes > 0 && q.bytes != nil && use.Bytes+bytes > *q.bytes {
			x.overrun(tree.Overrun{Path: p, Bytes: true, Limit: *q.bytes})
		}
	}
}

// overrun refuses, with the path that the caller has for the quota.
func (x *mtxn) overrun(o tree.Overrun) {
	if root := x.who.root; root != "" {
		rest, below := strings.CutPrefix(o.Path+"/", root+"/")
		if o.Path = ""; below {
			o.Path = "/" + strings.TrimSuffix(rest, "/")
		}
	}
	x.res.Overrun = o
	refuse(tree.ErrQuotaExceeded)
}

// use is the quota of path with what it holds.
func (m *model) use(path string) (q tree.Quota) {
	if n := m.nodes[path]; n.quota != nil {
		q.MaxNodes, q.MaxBytes = n.quota.nodes, n.quota.bytes
	}
	for p, n := range m.nodes {
		if strings.HasPrefix(p+"/", strings.TrimSuffix(path, "/")+"/") {
			q.Nodes++
			q.Bytes += int64(len(n.data))
		}
	}
	return q
}

// fallback is the ACL of a new node without one of its own.
func (m *model) fallback(path string) []tree.ACLEntry {
	for p := path; ; p = mparent(p) {
		if n := m.nodes[p]; n != nil && n.fallback != nil {
			return n.fallback.acl
		}
		if p == "/" {
			return open
		}
	}
}

// due says whether the time of the node at path is over.
func (m *model) due(path string) bool {
	n := m.nodes[path]
	if n == nil || len(m.children(path)) > 0 {
		return false
	}
	switch n.mode {
	case tree.ModeContainer:
		return n.creates > 0 && m.age >= n.emptied+500
	case tree.ModeTTL:
		return m.age >= n.written+uint64(n.ttl)
	}
	return false
}

func (x *mtxn) reap(paths []string) {
	for _, p := range paths {
		if !x.due(p) {
			continue
		}
		if x.cause = tree.CauseTTL; x.nodes[p].mode == tree.ModeContainer {
			x.cause = tree.CauseContainer
		}
		x.remove(p)
	}
}

// administered is the node whose policy is to change.
func (x *mtxn) administered(path string) *mnode {
	x.granted(path, tree.PermAdmin)
	if x.nodes[path] == nil {
		refuse(tree.ErrNoNode)
	}
	x.need(path, tree.PermAdmin)
	return x.nodes[path]
}

func (x *mtxn) setACL(op *commandpb.SetAcl) {
	path := x.target(op.Path)
	x.checkPath(path)
	x.reserved(path)
	list := x.list(op.Acl)
	n := x.administered(path)
	if op.Aversion != nil && *op.Aversion != n.aversion {
		refuse(tree.ErrVersionMismatch)
	}
	n.acl = list
	n.aversion++
	x.emit(tree.EventACL, path)
	x.result(path)
}

func (x *mtxn) setDefault(op *commandpb.SetDefaultAcl) {
	path := x.target(op.Path)
	x.checkPath(path)
	x.reserved(path)
	var d *mdefault
	if len(op.Acl) > 0 {
		d = &mdefault{x.list(op.Acl), x.e.Zxid}
	}
	n := x.administered(path)
	if op.IfPresent && n.fallback == nil || op.IfAbsent && n.fallback != nil {
		refuse(tree.ErrETagMismatch)
	}
	if n.fallback = d; d != nil && !slices.Equal(d.acl, open) {
		x.res.ACL = &tree.ACL{Entries: d.acl}
	}
}

func (x *mtxn) setQuota(op *commandpb.SetQuota) {
	path := x.target(op.Path)
	if x.who.root != "" && path == x.who.root {
		refuse(tree.ErrPermissionDenied)
	}
	x.checkPath(path)
	x.reserved(path)
	if bounded := op.MaxNodes != nil || op.MaxBytes != nil; bounded == op.Remove {
		refuse(tree.ErrInvalidArgument)
	}
	n := x.administered(path)
	if n.quota = (*mquota)(nil); !op.Remove {
		n.quota = &mquota{op.MaxNodes, op.MaxBytes}
		x.res.Quota = x.use(path)
	}
}

// drawPolicy draws what needs level 2.
func drawPolicy(t *rapid.T, m *model) *commandpb.Command {
	if m.level == 1 && rapid.Bool().Draw(t, "raise") {
		return raise(2)
	}
	path := rapid.SampledFrom(slices.Sorted(maps.Keys(m.nodes))).Draw(t, "node")
	if rapid.IntRange(0, 3).Draw(t, "new") == 0 {
		path = rapid.SampledFrom(modelPaths).Draw(t, "path")
	}
	data := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "data")
	ttl := rapid.SampledFrom([]uint64{0, 9, 10, 30}).Draw(t, "ttl")
	cmd := &commandpb.Command{Format: 2}
	switch rapid.IntRange(0, 10).Draw(t, "policy") {
	case 0:
		cmd.Op = &commandpb.Command_SetAcl{SetAcl: &commandpb.SetAcl{
			Path: path, Acl: drawList(t), Aversion: rapid.Ptr(rapid.Int64Range(0, 1), true).Draw(t, "aversion"),
		}}
	case 1:
		cmd.Op = &commandpb.Command_SetDefaultAcl{SetDefaultAcl: &commandpb.SetDefaultAcl{
			Path: path, Acl: drawList(t), IfPresent: rapid.IntRange(0, 5).Draw(t, "present") == 0, IfAbsent: rapid.IntRange(0, 5).Draw(t, "absent") == 0,
		}}
	case 2:
		cmd.Op = &commandpb.Command_SetQuota{SetQuota: &commandpb.SetQuota{
			Path: path, Remove: rapid.IntRange(0, 3).Draw(t, "remove") == 0,
			MaxNodes: rapid.Ptr(rapid.Int64Range(0, 8), true).Draw(t, "most nodes"), MaxBytes: rapid.Ptr(rapid.Int64Range(0, 30), true).Draw(t, "most bytes"),
		}}
	case 3, 4:
		cmd.Op = &commandpb.Command_Reap{Reap: &commandpb.Reap{Paths: []string{path, rapid.SampledFrom(modelPaths).Draw(t, "another")}}}
	case 5, 6:
		cmd.Op = &commandpb.Command_Put{Put: &commandpb.Put{
			Path: path, Data: data, Mode: commandpb.Mode_MODE_TTL, TtlMs: ttl, Parents: rapid.Bool().Draw(t, "parents"), Condition: drawCondition(t, m, path),
		}}
	case 7:
		cmd.Op = &commandpb.Command_Put{Put: &commandpb.Put{Path: path, Data: data, Existing: true, Condition: drawCondition(t, m, path)}}
	default:
		mode := rapid.SampledFrom([]commandpb.Mode{0, commandpb.Mode_MODE_CONTAINER, commandpb.Mode_MODE_TTL}).Draw(t, "mode")
		if mode != commandpb.Mode_MODE_TTL && ttl != 9 {
			ttl = 0
		}
		cmd.Op = &commandpb.Command_Create{Create: &commandpb.Create{
			Path: path + rapid.SampledFrom([]string{"", "/a", "/b"}).Draw(t, "below"), Data: data, Mode: mode, TtlMs: ttl, Acl: drawList(t),
		}}
	}
	return cmd
}

func drawList(t *rapid.T) []*commandpb.AclEntry {
	kinds := rapid.SampledFrom([][]*commandpb.AclEntry{
		nil, {{Scheme: "world", Id: "anyone", Perms: 31}}, {{Scheme: "world", Id: "anyone", Perms: 31}}, {{Scheme: "digest", Id: ann, Perms: 31}},
		{{Scheme: "auth", Perms: 31}}, {{Scheme: "world", Id: "anyone", Perms: 15}, {Scheme: "auth", Perms: 16}},
		{{Scheme: "principal", Id: "a", Perms: 31}}, {{Scheme: "principal", Id: "b", Perms: 1}, {Scheme: "auth", Perms: 31}},
		{{Scheme: "world", Id: "anyone", Perms: 1}, {Scheme: "world", Id: "anyone", Perms: 1}, {Scheme: "auth", Perms: 30}},
		{{Scheme: "world", Id: "anyone"}}, {{Scheme: "world", Id: "anyone", Perms: 32}}, {{Scheme: "other", Perms: 1}},
	})
	return kinds.Draw(t, "acl")
}

// plainEvents are events as they can be compared: without pointers.
func plainEvents(events []tree.Event) []string {
	list := make([]string, 0, len(events))
	for _, e := range events {
		acl := e.ACL.List()
		e.ACL = nil
		list = append(list, fmt.Sprintf("%+v %v", e, acl))
	}
	return list
}

// comparePolicy asks the tree of a view for what the model knows of a node
// beside its stat.
func comparePolicy(t *rapid.T, v *View, m *model, path string) {
	n := m.nodes[path]
	if acl, ok := v.tree.ACL(path); !ok || !slices.Equal(acl.List(), n.acl) {
		t.Fatalf("%s has the ACL %v, want %v", path, acl, n.acl)
	}
	if q, ok := v.tree.Quota(path); !ok || !reflect.DeepEqual(q, m.use(path)) {
		t.Fatalf("%s has the quota %+v, want %+v", path, q, m.use(path))
	}
	acl, zxid, ok := v.tree.DefaultACL(path)
	if d := n.fallback; ok != (d != nil) || ok && (zxid != d.zxid || !slices.Equal(acl.List(), d.acl)) {
		t.Fatalf("%s has the default %v of %v, want %+v", path, acl, zxid, d)
	}
	if slices.Contains(v.tree.Due(m.age, 100), path) != m.due(path) {
		t.Fatalf("%s is due: %v", path, m.due(path))
	}
}
