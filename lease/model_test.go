package lease

import (
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
	level    uint32
	zxid     quorum.Zxid
	age      uint64
	nodes    map[string]*mnode
	sessions map[quorum.Zxid]*msession
	ended    map[string]uint64 // token hash -> age at the end
	events   []mevent
	trimmed  quorum.Zxid

	auth   bool
	people map[string]Principal
	keys   map[quorum.Zxid]mkey
}

type mnode struct {
	data                []byte
	czxid, mzxid, pzxid quorum.Zxid
	ctime, mtime        int64
	version             int64
	creates, deletes    int64 // of children
	owner               quorum.Zxid
	mode                tree.Mode // of containers and TTL nodes
	ttl                 int64
	written, emptied    uint64 // age at the last change of the data, of the end of the last child
	acl                 []tree.ACLEntry
	aversion            int64
	quota               *mquota
	fallback            *mdefault
	creator             string
}

type msession struct {
	ttl       uint64
	hash      string // "" when the server drew the token
	principal string
}

type mevent struct {
	tree.Event
	age uint64
}

func newModel(set Settings) *model {
	return &model{
		set: set, level: 1, nodes: map[string]*mnode{"/": {acl: open}}, sessions: map[quorum.Zxid]*msession{}, ended: map[string]uint64{},
		people: map[string]Principal{}, keys: map[quorum.Zxid]mkey{},
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
	c.ended, c.people, c.keys = maps.Clone(m.ended), maps.Clone(m.people), maps.Clone(m.keys)
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
	s := tree.Stat{
		Czxid: n.czxid, Mzxid: n.mzxid, Pzxid: n.pzxid, Ctime: n.ctime, Mtime: n.mtime, Version: n.version,
		Cversion: n.creates + n.deletes, EphemeralOwner: n.owner, DataLength: len(n.data), NumChildren: len(m.children(path)),
	}
	if s.Mode, s.TTLMs, s.Aversion = n.mode, n.ttl, n.aversion; n.owner != 0 {
		s.Mode = tree.ModeEphemeral
	}
	return s
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
	who    mcaller
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
		x.res = Result{Zxid: e.Zxid, Code: code, Failed: x.res.Failed, Overrun: x.res.Overrun}
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

// try runs a command; one that is refused says so by a panic.
func (x *mtxn) try(cmd *commandpb.Command, faulty bool) (code tree.Code) {
	defer func() {
		if r, ok := recover().(refusal); ok {
			code = tree.Code(r)
		}
	}()
	if cmd.GetMulti() != nil {
		x.res.Failed = -1
	}
	if faulty {
		return tree.ErrInternal
	}
	if cmd.Format > x.level {
		refuse(tree.ErrInvalidArgument)
	}
	x.identify(cmd)
	x.session(cmd)
	x.run(cmd)
	if x.owner != 0 && (x.opened || cmd.GetOpenSession() != nil || cmd.GetSetTtl() != nil) {
		x.res.Opened = x.opened
		x.res.Session = x.info(x.owner)
	}
	return tree.OK
}

func (x *mtxn) run(cmd *commandpb.Command) {
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
	case cmd.GetRaiseLevel() != nil:
		x.level = cmd.GetRaiseLevel().Level
	case cmd.GetReap() != nil:
		x.reap(cmd.GetReap().Paths)
	case cmd.GetSetAcl() != nil:
		x.setACL(cmd.GetSetAcl())
	case cmd.GetSetDefaultAcl() != nil:
		x.setDefault(cmd.GetSetDefaultAcl())
	case cmd.GetSetQuota() != nil:
		x.setQuota(cmd.GetSetQuota())
	case cmd.GetConfigure() != nil:
		x.configure(cmd.GetConfigure())
	case cmd.GetMulti() != nil:
		x.multi(cmd.GetMulti().Ops)
	case cmd.Op != nil:
		x.govern(cmd)
	default:
		refuse(tree.ErrInvalidArgument)
	}
}

func (m *model) info(id quorum.Zxid) Info {
	s := m.sessions[id]
	return Info{ID: id, TTL: time.Duration(s.ttl) * time.Millisecond, Ephemerals: len(m.owned(id)), Principal: s.principal}
}

func (x *mtxn) session(cmd *commandpb.Command) {
	ref := cmd.Session
	if ref == nil {
		return
	}
	hash := x.who.handle(ref)
	for id, s := range x.sessions {
		if hash != "" && s.hash == hash || hash == "" && s.hash == "" && uint64(id) == ref.GetId() && s.principal == x.who.name {
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
	if len(x.sessions) >= x.set.Sessions || x.who.name != "" && len(x.sessionsOf(x.who.name)) >= x.set.PrincipalSessions {
		refuse(tree.ErrTooManySessions)
	}
	x.owner, x.opened = x.e.Zxid, true
	x.sessions[x.owner] = &msession{ttl, hash, x.who.name}
}

func (x *mtxn) openSession(cmd *commandpb.Command) {
	x.checkTTL(cmd.GetOpenSession().TtlMs)
	if x.owner == 0 {
		x.open(x.who.handle(cmd.Session), cmd.GetOpenSession().TtlMs)
	}
}

func (x *mtxn) closeSession(id quorum.Zxid) {
	switch {
	case x.owner == 0 && id == 0, x.owner != 0 && id != 0 && id != x.owner:
		refuse(tree.ErrInvalidArgument)
	case x.owner == 0 && (x.sessions[id] == nil || !x.who.governs() && x.sessions[id].principal != x.who.name):
		refuse(tree.ErrNoSession)
	case x.owner == 0 && !x.who.governs():
		refuse(tree.ErrInvalidArgument)
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
	if c.PrincipalSessions != nil && x.level > 1 {
		x.set.PrincipalSessions, x.set.PrincipalNodes, x.set.PrincipalBytes = int(*c.PrincipalSessions), *c.PrincipalNodes, *c.PrincipalBytes
		return
	}
	if c.EventBytes == nil || *c.EventBytes < 0 {
		refuse(tree.ErrInvalidArgument)
	}
	x.set.EventBytes = *c.EventBytes
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
