package lease

import (
	"crypto/sha256"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// pageBytes ends a page of a list (API.md rule 16).
const pageBytes = 1 << 20

// Cursor is where a list goes on: behind the entry that it names.
type Cursor struct {
	Name string      // of children their name, of a subtree the path as the caller sees it, of principals and tokens the principal
	ID   quorum.Zxid // of sessions and tokens, of messages theirs
}

// After is the cursor behind the last entry of a page of a list.
func After(kind ReadKind, a Answer) Cursor {
	switch kind {
	case ReadChildren:
		return Cursor{Name: tree.Name(a.Children[len(a.Children)-1].Path)}
	case ReadTree:
		return Cursor{Name: a.Children[len(a.Children)-1].Path}
	case ReadSessions:
		return Cursor{ID: a.Sessions[len(a.Sessions)-1].ID}
	case ReadMessages:
		return Cursor{ID: quorum.Zxid(a.Messages[len(a.Messages)-1].ID)}
	case ReadPrincipals:
		return Cursor{Name: a.Principals[len(a.Principals)-1].Name}
	case ReadHelds:
		return Cursor{Name: a.Held[len(a.Held)-1].Name}
	case ReadNames:
		return Cursor{Name: a.Names[len(a.Names)-1]}
	case ReadTokens:
		last := a.APITokens[len(a.APITokens)-1]
		id, _ := parseTokenID(last.ID)
		return Cursor{Name: last.Principal, ID: id}
	}
	return Cursor{}
}

// Auth says whether authentication is on.
func (v *View) Auth() bool { return v.auth }

// Access says whether the policy knows a caller at wall, Unix milliseconds:
// tree.OK or tree.ErrUnauthenticated.
func (v *View) Access(c *commandpb.Caller, wall int64) tree.Code {
	_, code := v.policy().access(c, wall)
	return code
}

// Governs says whether a caller may do at wall, Unix milliseconds, what concerns
// the whole cluster: tree.OK, tree.ErrUnauthenticated or
// tree.ErrPermissionDenied.
func (v *View) Governs(c *commandpb.Caller, wall int64) tree.Code {
	a, code := v.policy().access(c, wall)
	if code == tree.OK && !a.cluster() {
		return tree.ErrPermissionDenied
	}
	return code
}

// Resolve is the path in the whole tree of what a caller names so, at wall, Unix
// milliseconds.
func (v *View) Resolve(c *commandpb.Caller, path string, wall int64) (string, tree.Code) {
	a, code := v.policy().access(c, wall)
	if code != tree.OK {
		return "", code
	}
	return a.resolve(path)
}

// Identify is what the API token proves whose secret has this SHA-256, at wall,
// Unix milliseconds; false when it proves nothing.
func (v *View) Identify(secret [sha256.Size]byte, wall int64) (Identity, bool) {
	t, ok := v.apiSecrets.Get(&apiToken{secret: secret})
	if !ok || !t.live(wall) || v.policy().record(t.principal) == nil {
		return Identity{}, false
	}
	return Identity{Principal: t.principal, Token: tokenID(t.id), Expires: t.expires}, true
}

func (v *View) policy() policy {
	return policy{auth: v.auth, principals: v.principals, tokens: v.apiTokens}
}

// Read answers a question of its caller at wall, Unix milliseconds. More says
// that a list goes on at After. Session tokens, freshness and page tokens are not
// looked at: they are the node's.
func (v *View) Read(q Read, from Cursor, wall int64) (a Answer, more bool, err error) {
	return v.Continue(v, q, from, wall)
}

// Continue is Read for a page of a list that was begun at v: what is there is
// that of v, and what the caller may see of it is decided by the policy, and by
// the ACLs besides, of now.
func (v *View) Continue(now *View, q Read, from Cursor, wall int64) (a Answer, more bool, err error) {
	a.Zxid = v.zxid
	who, code := now.policy().access(q.Caller, wall)
	if code != tree.OK {
		return a, false, code
	}
	if now.lost(&q) {
		return a, false, tree.ErrHistoryLost
	}
	s := &sight{View: v, who: who, guard: who, q: q, from: from}
	if now != v {
		s.guard = &hindsight{access: who, now: now.tree}
	}
	if more, code = s.answer(&a); code != tree.OK {
		return Answer{Zxid: v.zxid}, false, code
	}
	return a, more, nil
}

// sight is a question on a view, with what its caller may see of it.
type sight struct {
	*View
	who   *access
	guard tree.Guard // who, or stricter
	q     Read
	from  Cursor
	path  string // q.Path in the whole tree
}

// hindsight asks the ACL that a node has now besides the one that it had.
type hindsight struct {
	*access
	now *tree.Reader
}

// May implements tree.Guard.
func (h *hindsight) May(path string, acl *tree.ACL, p tree.Perms) bool {
	own, there := h.now.ACL(path)
	return h.access.May(path, acl, p) && (!there || h.access.May(path, own, p))
}

func (s *sight) answer(a *Answer) (more bool, code tree.Code) {
	switch s.q.Kind {
	case ReadNode, ReadStat, ReadChildren, ReadTree, ReadACL, ReadDefaultACL, ReadQuota:
		if s.path, code = s.who.resolve(s.q.Path); code != tree.OK {
			return false, code
		}
		return s.ofTree(a)
	case ReadMulti:
		return false, s.multi(a)
	case ReadSession:
		return false, s.session(a)
	case ReadSessions:
		return s.sessionList(a), tree.OK
	case ReadHeld, ReadHelds:
		return s.ofHeld(a)
	case ReadHold:
		return false, s.ownHold(a)
	case ReadNames:
		return s.nameList(a)
	case ReadWhoami:
		a.Principals, a.Governs = []Principal{s.who.self()}, s.who.cluster()
		return false, tree.OK
	case ReadQueue, ReadMessages, ReadCounter, ReadBarrier:
		return s.kept(a)
	}
	if !s.who.cluster() {
		return false, tree.ErrPermissionDenied
	}
	switch s.q.Kind {
	case ReadPrincipal:
		p, ok := s.principals.Get(&principal{Principal: Principal{Name: s.q.Name}})
		if !ok {
			return false, tree.ErrNoPrincipal
		}
		a.Principals = []Principal{p.Principal}
		return false, tree.OK
	case ReadPrincipals:
		return s.principalList(a), tree.OK
	case ReadTokens:
		return s.tokenList(a), tree.OK
	}
	return false, tree.ErrInvalidArgument
}

// ofTree answers what is asked about a node.
func (s *sight) ofTree(a *Answer) (more bool, code tree.Code) {
	if s.q.Kind == ReadACL || s.q.Kind == ReadDefaultACL {
		return false, s.acl(a)
	}
	bare := s.q.Kind == ReadStat && !s.q.WithData // ZooKeeper's exists: no ACL is asked
	if bare && !s.who.Path(s.path, tree.PermRead) {
		return false, tree.ErrPermissionDenied
	}
	guard := s.guard
	if bare {
		guard = nil
	}
	if a.Node, code = s.tree.Read(guard, s.path); code != tree.OK {
		return false, code
	}
	if s.q.Kind != ReadNode && (s.q.Kind != ReadStat || bare) {
		a.Node.Data = nil
	}
	s.who.strip(&a.Node)
	switch s.q.Kind {
	case ReadChildren:
		more = s.children(a)
	case ReadTree:
		more, code = s.subtree(a)
	case ReadQuota:
		a.Quota, _ = s.tree.Quota(s.path)
	}
	return more, code
}

// page bounds a list of nodes.
func (s *sight) page(after string) tree.Page {
	return tree.Page{After: after, Limit: s.q.Limit, Bytes: pageBytes, WithData: s.q.WithData}
}

func (s *sight) children(a *Answer) (more bool) {
	a.Children, more, _ = s.tree.Children(s.path, s.page(s.from.Name))
	for i := range a.Children {
		n := &a.Children[i]
		if acl, _ := s.tree.ACL(n.Path); n.Data != nil && !s.guard.May(n.Path, acl, tree.PermRead) {
			n.Data = nil
		}
		s.who.strip(n)
	}
	return more
}

func (s *sight) subtree(a *Answer) (more bool, code tree.Code) {
	after := s.from.Name
	if after != "" {
		if after, code = s.who.resolve(after); code != tree.OK {
			return false, code
		}
	}
	a.Children, more, _ = s.tree.Tree(s.path, tree.TreePage{Page: s.page(after), Depth: s.q.Depth, Guard: s.guard})
	for i := range a.Children {
		s.who.strip(&a.Children[i])
	}
	return more, tree.OK
}

// acl shows the ACL of a node, or the default that is set at it, to whoever may
// read or administer the node; without the hashes of passwords if he may not do
// the latter.
func (s *sight) acl(a *Answer) tree.Code {
	const any = tree.PermRead | tree.PermAdmin
	if !s.who.Path(s.path, any) {
		return tree.ErrPermissionDenied
	}
	own, ok := s.tree.ACL(s.path)
	switch {
	case !ok:
		return tree.ErrNoNode
	case !s.who.May(s.path, own, any):
		return tree.ErrPermissionDenied
	}
	a.ACL = own
	if s.q.Kind == ReadACL {
		a.Node, _ = s.tree.Read(nil, s.path)
		a.Node.Data = nil
		s.who.strip(&a.Node)
	} else {
		a.ACL, a.ETag, _ = s.tree.DefaultACL(s.path)
	}
	if !s.who.May(s.path, own, tree.PermAdmin) {
		a.ACL = a.ACL.Masked()
	}
	return tree.OK
}

// multi answers gets and checks; what one of them finds is its own outcome.
func (s *sight) multi(a *Answer) tree.Code {
	if len(s.q.Ops) == 0 || len(s.q.Ops) > multiOps {
		return tree.ErrInvalidArgument
	}
	got := 0
	for _, one := range s.q.Ops {
		out := s.step(one)
		if got += len(out.Node.Data); got > max(multiBytes, s.settings.ValueBytes) {
			out = OpResult{Path: out.Path, Code: tree.ErrTooLarge}
		}
		a.Ops = append(a.Ops, out)
	}
	tag(a.Ops)
	return tree.OK
}

func (s *sight) step(one *commandpb.Op) (out OpResult) {
	var path string
	switch op := one.Op.(type) {
	case *commandpb.Op_Get:
		out.Path = op.Get.Path
		if path, out.Code = s.who.resolve(op.Get.Path); out.Code == tree.OK {
			out.Node, out.Code = s.tree.Read(s.who, path)
			s.who.strip(&out.Node)
		}
	case *commandpb.Op_Check:
		out.Path = op.Check.Path
		cond, ok := condition(op.Check.Condition)
		if path, out.Code = s.who.resolve(op.Check.Path); !ok {
			out.Code = tree.ErrInvalidArgument
		}
		if out.Code == tree.OK {
			out.Code = s.tree.Check(s.who, tree.CheckOp{Path: path, Condition: cond})
		}
	default:
		out.Code = tree.ErrInvalidArgument
	}
	return out
}

// session shows one session. Those of others do not exist.
func (s *sight) session(a *Answer) tree.Code {
	n, ok := s.sessions.Get(&session{id: s.q.Session})
	if !ok || !s.who.knows(n) {
		return tree.ErrNoSession
	}
	a.Sessions = []Info{s.info(n)}
	a.Paths, a.Holds = s.ephemerals(n.id), s.holdNames(n.id)
	return tree.OK
}

// ephemerals are the paths of a session's ephemerals that the caller can name.
func (s *sight) ephemerals(id quorum.Zxid) []string {
	paths := make([]string, 0, s.tree.Owned(id))
	for _, p := range s.tree.OwnedPaths(id) {
		if path, ok := s.who.shown(p); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// sessionList shows the caller's own sessions, or all to whoever runs the
// cluster.
func (s *sight) sessionList(a *Answer) (more bool) {
	add := func(n *session) bool {
		if more = len(a.Sessions) >= max(s.q.Limit, 1); !more {
			a.Sessions = append(a.Sessions, s.info(n))
		}
		return !more
	}
	if s.who.cluster() {
		s.sessions.Ascend(&session{id: s.from.ID + 1}, add)
		return more
	}
	s.heldBy.Ascend(heldSession{s.who.name, s.from.ID + 1}, func(h heldSession) bool {
		if h.principal != s.who.name {
			return false
		}
		n, _ := s.sessions.Get(&session{id: h.id})
		return add(n)
	})
	return more
}

func (s *sight) principalList(a *Answer) (more bool) {
	s.principals.Ascend(&principal{Principal: Principal{Name: s.from.Name}}, func(p *principal) bool {
		if p.Name == s.from.Name {
			return true
		}
		if more = len(a.Principals) >= max(s.q.Limit, 1); !more {
			a.Principals = append(a.Principals, p.Principal)
		}
		return !more
	})
	return more
}

func (s *sight) tokenList(a *Answer) (more bool) {
	from := &apiToken{principal: s.from.Name, id: s.from.ID}
	s.apiTokens.Ascend(from, func(t *apiToken) bool {
		if !apiTokenLess(from, t) {
			return true
		}
		if more = len(a.APITokens) >= max(s.q.Limit, 1); !more {
			a.APITokens = append(a.APITokens, t.info())
		}
		return !more
	})
	return more
}
