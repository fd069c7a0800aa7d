package lease

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// model is the replicated state in the slowest and most obvious way: maps that
// are copied for every command, everything counted anew. It is written from
// API.md and ZooKeeper's rules and shares nothing with the code but the types
// of results.
type model struct {
	set      Settings
	zxid     quorum.Zxid
	age      uint64
	nodes    map[string]*mnode
	sessions map[quorum.Zxid]*msession
	ended    map[string]uint64 // token hash -> age at the end
	events   []mevent
	trimmed  quorum.Zxid
}

type mnode struct {
	data                []byte
	czxid, mzxid, pzxid quorum.Zxid
	ctime, mtime        int64
	version             int64
	creates, deletes    int64 // of children
	owner               quorum.Zxid
}

type msession struct {
	ttl  uint64
	hash string // "" when the server drew the token
}

type mevent struct {
	tree.Event
	age uint64
}

func newModel(set Settings) *model {
	return &model{
		set: set, nodes: map[string]*mnode{"/": {}}, sessions: map[quorum.Zxid]*msession{}, ended: map[string]uint64{},
	}
}

func (m *model) clone() *model {
	c := *m
	c.nodes, c.sessions = map[string]*mnode{}, map[quorum.Zxid]*msession{}
	for p, n := range m.nodes {
		d := *n
		c.nodes[p] = &d
	}
	for id, s := range m.sessions {
		d := *s
		c.sessions[id] = &d
	}
	c.ended = maps.Clone(m.ended)
	c.events = slices.Clone(m.events)
	return &c
}

func (m *model) children(path string) (names []string) {
	for p := range m.nodes {
		if p != "/" && mparent(p) == path {
			names = append(names, p)
		}
	}
	slices.Sort(names)
	return names
}

func mparent(path string) string {
	i := strings.LastIndex(path, "/")
	return path[:max(i, 1)]
}

func (m *model) stat(path string) tree.Stat {
	n := m.nodes[path]
	return tree.Stat{
		Czxid: n.czxid, Mzxid: n.mzxid, Pzxid: n.pzxid, Ctime: n.ctime, Mtime: n.mtime, Version: n.version,
		Cversion: n.creates + n.deletes, EphemeralOwner: n.owner, DataLength: len(n.data), NumChildren: len(m.children(path)),
	}
}

func (m *model) owned(id quorum.Zxid) (paths []string) {
	for p, n := range m.nodes {
		if n.owner == id {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

// mtxn is one command being tried on a copy of the model.
type mtxn struct {
	*model
	e      *quorum.Entry
	owner  quorum.Zxid
	cause  tree.Cause
	res    Result
	out    []tree.Event
	opened bool
}

// refusal ends a command from anywhere.
type refusal tree.Code

func refuse(c tree.Code) { panic(refusal(c)) }

// apply gives the model after e and what Apply should have answered. faulty:
// the implementation was made to panic, so the outcome is internal.
func (m *model) apply(e *quorum.Entry, cmd *commandpb.Command, faulty bool) (*model, Result, []tree.Event) {
	x := &mtxn{model: m.clone(), e: e, cause: tree.CauseRequest}
	x.age = max(x.age, e.Stamp.Age)
	x.res.Zxid = e.Zxid
	code := x.try(cmd, faulty)
	if code != tree.OK {
		holder := x.res.Node
		x.model, x.out = m.clone(), nil
		x.age = max(x.age, e.Stamp.Age)
		x.res = Result{Zxid: e.Zxid, Code: code}
		if code == tree.ErrNodeExists {
			x.res.Node = holder
		}
	}
	x.zxid = e.Zxid
	for _, ev := range x.out {
		x.events = append(x.events, mevent{ev, x.age})
	}
	x.trim()
	return x.model, x.res, x.out
}

func (x *mtxn) try(cmd *commandpb.Command, faulty bool) (code tree.Code) {
	defer func() {
		if r, ok := recover().(refusal); ok {
			code = tree.Code(r)
		}
	}()
	if faulty {
		return tree.ErrInternal
	}
	x.session(cmd)
	switch {
	case cmd.GetCreate() != nil:
		x.create(cmd.GetCreate())
	case cmd.GetPut() != nil:
		x.put(cmd.GetPut())
	case cmd.GetDelete() != nil:
		x.delete(cmd.GetDelete())
	case cmd.GetOpenSession() != nil:
		x.openSession(cmd)
	case cmd.GetCloseSession() != nil:
		x.closeSession(quorum.Zxid(cmd.GetCloseSession().Id))
	case cmd.GetSetTtl() != nil:
		x.setTTL(cmd.GetSetTtl().TtlMs)
	case cmd.GetExpireSessions() != nil:
		x.cause = tree.CauseSessionExpired
		for _, id := range cmd.GetExpireSessions().Ids {
			if x.sessions[quorum.Zxid(id)] != nil {
				x.end(quorum.Zxid(id))
			}
		}
	case cmd.GetConfigure() != nil:
		x.configure(cmd.GetConfigure())
	default:
		refuse(tree.ErrInvalidArgument)
	}
	if x.owner != 0 && (x.opened || cmd.GetOpenSession() != nil || cmd.GetSetTtl() != nil) {
		x.res.Opened = x.opened
		x.res.Session = x.info(x.owner)
	}
	return tree.OK
}

func (m *model) info(id quorum.Zxid) Info {
	return Info{ID: id, TTL: time.Duration(m.sessions[id].ttl) * time.Millisecond, Ephemerals: len(m.owned(id))}
}

func (x *mtxn) session(cmd *commandpb.Command) {
	ref := cmd.Session
	if ref == nil {
		return
	}
	hash := string(ref.GetTokenHash())
	for id, s := range x.sessions {
		if hash != "" && s.hash == hash || hash == "" && s.hash == "" && uint64(id) == ref.GetId() {
			x.owner = id
			return
		}
	}
	_, ended := x.ended[hash]
	fresh := len(hash) == 32 && !ended
	makesEphemeral := cmd.GetCreate().GetMode() == ephemeral || cmd.GetPut().GetMode() == ephemeral
	switch {
	case fresh && cmd.GetOpenSession() != nil:
	case fresh && ref.OpenTtlMs > 0 && makesEphemeral:
		x.open(hash, ref.OpenTtlMs)
	default:
		refuse(tree.ErrSessionExpired)
	}
}

func (x *mtxn) checkTTL(ttl uint64) {
	if int64(ttl) < x.set.TTLMinMs || int64(ttl) > x.set.TTLMaxMs {
		refuse(tree.ErrInvalidArgument)
	}
}

func (x *mtxn) open(hash string, ttl uint64) {
	x.checkTTL(ttl)
	if len(x.sessions) >= x.set.Sessions {
		refuse(tree.ErrTooManySessions)
	}
	x.owner, x.opened = x.e.Zxid, true
	x.sessions[x.owner] = &msession{ttl, hash}
}

func (x *mtxn) openSession(cmd *commandpb.Command) {
	x.checkTTL(cmd.GetOpenSession().TtlMs)
	if x.owner == 0 {
		x.open(string(cmd.Session.GetTokenHash()), cmd.GetOpenSession().TtlMs)
	}
}

func (x *mtxn) closeSession(id quorum.Zxid) {
	switch {
	case x.owner == 0 && id == 0, x.owner != 0 && id != 0 && id != x.owner:
		refuse(tree.ErrInvalidArgument)
	case x.owner == 0 && x.sessions[id] == nil:
		refuse(tree.ErrNoSession)
	}
	x.cause = tree.CauseSessionClosed
	x.end(max(id, x.owner))
	x.owner = 0
}

func (x *mtxn) end(id quorum.Zxid) {
	for _, p := range x.owned(id) {
		x.remove(p)
	}
	if h := x.sessions[id].hash; h != "" {
		x.ended[h] = x.age
	}
	delete(x.sessions, id)
	x.res.Ended = append(x.res.Ended, id)
}

func (x *mtxn) setTTL(ttl uint64) {
	if x.owner == 0 {
		refuse(tree.ErrInvalidArgument)
	}
	x.checkTTL(ttl)
	x.sessions[x.owner].ttl = ttl
}

func (x *mtxn) configure(c *commandpb.Configure) {
	if c.EventBytes == nil || *c.EventBytes < 0 {
		refuse(tree.ErrInvalidArgument)
	}
	x.set.EventBytes = *c.EventBytes
}

// Nodes.

func (x *mtxn) checkPath(path string) {
	limit := func(bad bool) {
		if bad {
			refuse(tree.ErrInvalidPath)
		}
	}
	limit(!strings.HasPrefix(path, "/") || len(path) > x.set.PathBytes)
	if path == "/" {
		return
	}
	parts := strings.Split(path[1:], "/")
	limit(len(parts) > x.set.PathSegments)
	for _, p := range parts {
		limit(p == "" || p == "." || p == ".." || strings.ContainsAny(p, "\x00\x1f"))
	}
}

func (x *mtxn) reserved(path string) {
	if path == "/perch" || strings.HasPrefix(path, "/perch/") {
		refuse(tree.ErrReservedPath)
	}
}

func (x *mtxn) emit(t tree.EventType, path string) {
	e := tree.Event{Zxid: x.e.Zxid, Type: t, Cause: x.cause, Path: path}
	if t != tree.EventDeleted {
		e.Stat = x.stat(path)
	}
	x.out = append(x.out, e)
}

func (x *mtxn) add(path string, data []byte, owner quorum.Zxid) {
	z, now := x.e.Zxid, x.e.Stamp.Wall
	x.nodes[path] = &mnode{data: data, czxid: z, mzxid: z, pzxid: z, ctime: now, mtime: now, owner: owner}
	p := x.nodes[mparent(path)]
	p.creates++
	p.pzxid = z
	x.emit(tree.EventCreated, path)
}

func (x *mtxn) remove(path string) {
	delete(x.nodes, path)
	p := x.nodes[mparent(path)]
	p.deletes++
	p.pzxid = x.e.Zxid
	x.emit(tree.EventDeleted, path)
}

// grow makes a node that is missing, and its parents.
func (x *mtxn) grow(path string, data []byte, eph, parents bool) {
	var missing []string
	for p := mparent(path); x.nodes[p] == nil; p = mparent(p) {
		missing = append([]string{p}, missing...)
	}
	top := mparent(path)
	if len(missing) > 0 {
		top = mparent(missing[0])
	}
	switch {
	case len(missing) > 0 && !parents:
		refuse(tree.ErrNoParent)
	case x.nodes[top].owner != 0:
		refuse(tree.ErrNoChildrenForEphemeral)
	case len(missing)+1 > x.set.TxnNodes:
		refuse(tree.ErrTooLarge)
	case eph && len(x.owned(x.owner)) >= x.set.SessionEphemerals:
		refuse(tree.ErrTooManyNodes)
	}
	for _, p := range missing {
		x.add(p, nil, 0)
	}
	var owner quorum.Zxid
	if eph {
		owner = x.owner
	}
	x.add(path, data, owner)
}

func (x *mtxn) result(path string) { x.res.Node = tree.Node{Path: path, Stat: x.stat(path)} }

func (x *mtxn) create(op *commandpb.Create) {
	path := op.Path
	if op.Sequential {
		x.checkPath(path + "0123456789")
	} else {
		x.checkPath(path)
		if path == "/" {
			refuse(tree.ErrInvalidArgument)
		}
	}
	if !op.Sequential || path != "/perch" {
		x.reserved(path)
	}
	if op.Mode == ephemeral && x.owner == 0 {
		refuse(tree.ErrInvalidArgument)
	}
	if len(op.Data) > x.set.ValueBytes {
		refuse(tree.ErrTooLarge)
	}
	if op.Sequential {
		number := int64(0)
		if p := x.nodes[mparent(path)]; p != nil {
			number = p.creates
		}
		path = fmt.Sprintf("%s%010d", path, number)
	}
	if x.nodes[path] != nil {
		x.result(path)
		refuse(tree.ErrNodeExists)
	}
	x.grow(path, op.Data, op.Mode == ephemeral, op.Parents)
	x.result(path)
	x.res.Created = true
}

func (x *mtxn) put(op *commandpb.Put) {
	x.checkPath(op.Path)
	x.reserved(op.Path)
	if op.Mode == ephemeral && x.owner == 0 || op.Takeover && op.Mode != ephemeral {
		refuse(tree.ErrInvalidArgument)
	}
	if len(op.Data) > x.set.ValueBytes {
		refuse(tree.ErrTooLarge)
	}
	n := x.nodes[op.Path]
	if n == nil {
		x.ifMissing(op.Condition)
		x.grow(op.Path, op.Data, op.Mode == ephemeral, op.Parents)
		x.result(op.Path)
		x.res.Created = true
		return
	}
	if op.Condition.GetIfAbsent() {
		refuse(tree.ErrETagMismatch)
	}
	foreign := x.owner != 0 && n.owner != 0 && n.owner != x.owner
	if op.Mode == ephemeral && n.owner == 0 || foreign && !op.Takeover {
		x.result(op.Path)
		refuse(tree.ErrNodeExists)
	}
	x.ifThere(op.Condition, n)
	if foreign && len(x.owned(x.owner)) >= x.set.SessionEphemerals {
		refuse(tree.ErrTooManyNodes)
	}
	if op.Mode == ephemeral {
		n.owner = x.owner
	}
	n.data, n.mzxid, n.mtime = op.Data, x.e.Zxid, x.e.Stamp.Wall
	n.version++
	x.emit(tree.EventChanged, op.Path)
	x.result(op.Path)
}

func (x *mtxn) ifMissing(c *commandpb.Condition) {
	switch c.GetWhen().(type) {
	case *commandpb.Condition_Version:
		refuse(tree.ErrNoNode)
	case *commandpb.Condition_Etag, *commandpb.Condition_IfPresent:
		refuse(tree.ErrETagMismatch)
	}
}

func (x *mtxn) ifThere(c *commandpb.Condition, n *mnode) {
	switch w := c.GetWhen().(type) {
	case *commandpb.Condition_Version:
		if w.Version != -1 && w.Version != n.version {
			refuse(tree.ErrVersionMismatch)
		}
	case *commandpb.Condition_Etag:
		if quorum.Zxid(w.Etag) != n.mzxid || w.Etag == 0 {
			refuse(tree.ErrETagMismatch)
		}
	}
}

func (x *mtxn) delete(op *commandpb.Delete) {
	x.checkPath(op.Path)
	if op.Path == "/" || op.Condition.GetIfAbsent() {
		refuse(tree.ErrInvalidArgument)
	}
	x.reserved(op.Path)
	n := x.nodes[op.Path]
	if n == nil {
		x.ifMissing(op.Condition)
		refuse(tree.ErrNoNode)
	}
	x.ifThere(op.Condition, n)
	if len(x.children(op.Path)) > 0 && !op.Recursive {
		refuse(tree.ErrNotEmpty)
	}
	all := x.below(op.Path)
	if len(all) > x.set.TxnNodes {
		refuse(tree.ErrTooLarge)
	}
	for _, p := range all {
		x.remove(p)
	}
}

func (x *mtxn) below(path string) (all []string) {
	for _, c := range x.children(path) {
		all = append(all, x.below(c)...)
	}
	return append(all, path)
}

// trim forgets events and ended tokens.
func (m *model) trim() {
	for len(m.events) > 0 {
		first, last, size := m.events[0], m.events[len(m.events)-1], int64(0)
		for _, e := range m.events {
			size += 128 + int64(len(e.Path))
		}
		if m.age-first.age < uint64(m.set.EventAgeMs) && (size <= m.set.EventBytes || first.Zxid == last.Zxid) {
			break
		}
		m.trimmed = first.Zxid
		m.events = slices.DeleteFunc(m.events, func(e mevent) bool { return e.Zxid == first.Zxid })
	}
	for len(m.ended) > 0 {
		first := ""
		for h, age := range m.ended {
			if first == "" || age < m.ended[first] || age == m.ended[first] && h < first {
				first = h
			}
		}
		if m.age-m.ended[first] < uint64(m.set.ClosedAgeMs) && len(m.ended) <= m.set.Sessions {
			return
		}
		delete(m.ended, first)
	}
}
