package lease

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// Short names for commands, so that tables of rules can be read.

const (
	persistent = commandpb.Mode_MODE_PERSISTENT
	ephemeral  = commandpb.Mode_MODE_EPHEMERAL
)

func byToken(t string) *commandpb.SessionRef {
	h := sha256.Sum256([]byte(t))
	return &commandpb.SessionRef{Ref: &commandpb.SessionRef_TokenHash{TokenHash: h[:]}}
}

func byID(id quorum.Zxid) *commandpb.SessionRef {
	return &commandpb.SessionRef{Ref: &commandpb.SessionRef_Id{Id: uint64(id)}}
}

func opening(ref *commandpb.SessionRef, ttlMs uint64) *commandpb.SessionRef {
	ref.OpenTtlMs = ttlMs
	return ref
}

func with(ref *commandpb.SessionRef, c *commandpb.Command) *commandpb.Command {
	c.Session = ref
	return c
}

func create(op *commandpb.Create) *commandpb.Command {
	return &commandpb.Command{Format: 1, Op: &commandpb.Command_Create{Create: op}}
}

func put(op *commandpb.Put) *commandpb.Command {
	return &commandpb.Command{Format: 1, Op: &commandpb.Command_Put{Put: op}}
}

func del(op *commandpb.Delete) *commandpb.Command {
	return &commandpb.Command{Format: 1, Op: &commandpb.Command_Delete{Delete: op}}
}

func openSession(ttlMs uint64) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_OpenSession{OpenSession: &commandpb.OpenSession{TtlMs: ttlMs}}}
}

func closeSession(id quorum.Zxid) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_CloseSession{CloseSession: &commandpb.CloseSession{Id: uint64(id)}}}
}

func setTTL(ttlMs uint64) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_SetTtl{SetTtl: &commandpb.SetTtl{TtlMs: ttlMs}}}
}

func expire(ids ...quorum.Zxid) *commandpb.Command {
	op := &commandpb.ExpireSessions{}
	for _, id := range ids {
		op.Ids = append(op.Ids, uint64(id))
	}
	return &commandpb.Command{Op: &commandpb.Command_ExpireSessions{ExpireSessions: op}}
}

func configure(op *commandpb.Configure) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_Configure{Configure: op}}
}

func ifVersion(v int64) *commandpb.Condition {
	return &commandpb.Condition{When: &commandpb.Condition_Version{Version: v}}
}

func ifETag(z quorum.Zxid) *commandpb.Condition {
	return &commandpb.Condition{When: &commandpb.Condition_Etag{Etag: uint64(z)}}
}

func ifAbsent() *commandpb.Condition {
	return &commandpb.Condition{When: &commandpb.Condition_IfAbsent{IfAbsent: true}}
}

func ifPresent() *commandpb.Condition {
	return &commandpb.Condition{When: &commandpb.Condition_IfPresent{IfPresent: true}}
}

func marshal(t testing.TB, c *commandpb.Command) []byte {
	t.Helper()
	b, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bench is a state with a hand that applies to it.
type bench struct {
	t    testing.TB
	s    *State
	zxid quorum.Zxid
	wall int64
	age  uint64
}

func newBench(t testing.TB, set Settings) *bench {
	return &bench{t: t, s: New(set), zxid: quorum.MakeZxid(1, 0), wall: 1000}
}

func (b *bench) apply(c *commandpb.Command) (Result, []tree.Event) {
	b.t.Helper()
	b.zxid++
	b.wall++
	r, ev, err := b.s.Apply(&quorum.Entry{
		Zxid: b.zxid, Kind: quorum.EntryCommand, Data: marshal(b.t, c), Stamp: quorum.Stamp{Wall: b.wall, Age: b.age},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if r.Zxid != b.zxid && !r.Replayed {
		b.t.Fatalf("result at %v, want %v", r.Zxid, b.zxid)
	}
	return r, ev
}

// must applies a command that is expected to be accepted.
func (b *bench) must(c *commandpb.Command) Result {
	b.t.Helper()
	r, _ := b.apply(c)
	if r.Code != tree.OK {
		b.t.Fatalf("%v: %v %s", c, r.Code, r.Fault)
	}
	return r
}

// refused applies a command that is expected to end with the code and to leave
// everything as it was.
func (b *bench) refused(code tree.Code, c *commandpb.Command) Result {
	b.t.Helper()
	before := b.s.View()
	r, ev := b.apply(c)
	if r.Code != code {
		b.t.Fatalf("%v: %v, want %v", c, r.Code, code)
	}
	if len(ev) != 0 {
		b.t.Fatalf("%v: refused with events %v", c, ev)
	}
	after := b.s.View()
	if contents(b.t, before) != contents(b.t, after) {
		b.t.Fatalf("%v: refused and changed the state", c)
	}
	return r
}

// failer is what testing and rapid have in common.
type failer interface {
	Helper()
	Fatal(...any)
}

// contents is a snapshot without its header and digest.
func contents(t failer, v *View) string {
	t.Helper()
	w := *v
	w.zxid, w.age, w.digest = 0, 0, 0
	w.wall, w.wallAge = 0, 0
	return string(snapshotBytes(t, &w))
}

func snapshotBytes(t failer, v *View) []byte {
	t.Helper()
	var buf bytes.Buffer
	n, err := v.WriteTo(&buf)
	if err != nil || n != int64(buf.Len()) {
		t.Fatal(n, buf.Len(), err)
	}
	return buf.Bytes()
}

func (b *bench) stat(path string) tree.Stat {
	b.t.Helper()
	n, ok := b.s.View().tree.Get(path)
	if !ok {
		b.t.Fatalf("no node %s", path)
	}
	return n.Stat
}

func (b *bench) has(path string) bool {
	_, ok := b.s.View().tree.Get(path)
	return ok
}

// eventsOf asks for nobody in particular.
func eventsOf(v *View, path string, scope tree.Scope, since quorum.Zxid, b tree.Bounds) (EventBatch, error) {
	return v.Events(EventQuery{Path: path, Scope: scope, Since: since}, b, 0)
}

// sessionsIn is one page of the sessions, as nobody in particular sees it.
func sessionsIn(v *View, after quorum.Zxid, limit int) ([]Info, bool) {
	a, more, _ := v.Read(Read{Kind: ReadSessions, Limit: limit}, Cursor{ID: after}, 0)
	return a.Sessions, more
}

// newAccessBench is a bench at accessLevel.
func newAccessBench(t testing.TB, set Settings) *bench {
	b := newBench(t, set)
	b.must(raise(accessLevel))
	return b
}

// by has a caller ask for c.
func by(caller *commandpb.Caller, c *commandpb.Command) *commandpb.Command {
	c.Format, c.Caller = accessLevel, caller
	return c
}

func named(name string) *commandpb.Caller { return &commandpb.Caller{Principal: name} }

func putPrincipal(op *commandpb.PutPrincipal) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_PutPrincipal{PutPrincipal: op}}
}

func deletePrincipal(op *commandpb.DeletePrincipal) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_DeletePrincipal{DeletePrincipal: op}}
}

func createToken(op *commandpb.CreateToken) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_CreateToken{CreateToken: op}}
}

func revokeToken(id string) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_RevokeToken{RevokeToken: &commandpb.RevokeToken{Id: id}}}
}

func setACL(op *commandpb.SetAcl) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_SetAcl{SetAcl: op}}
}

func setDefaultACL(op *commandpb.SetDefaultAcl) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_SetDefaultAcl{SetDefaultAcl: op}}
}

func setQuota(op *commandpb.SetQuota) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_SetQuota{SetQuota: op}}
}

func reaping(paths ...string) *commandpb.Command {
	return &commandpb.Command{Format: accessLevel, Op: &commandpb.Command_Reap{Reap: &commandpb.Reap{Paths: paths}}}
}

func multi(ops ...*commandpb.Op) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_Multi{Multi: &commandpb.Multi{Ops: ops}}}
}

func opCreate(op *commandpb.Create) *commandpb.Op {
	return &commandpb.Op{Op: &commandpb.Op_Create{Create: op}}
}

func opPut(op *commandpb.Put) *commandpb.Op { return &commandpb.Op{Op: &commandpb.Op_Put{Put: op}} }

func opDelete(op *commandpb.Delete) *commandpb.Op {
	return &commandpb.Op{Op: &commandpb.Op_Delete{Delete: op}}
}

func opCheck(op *commandpb.Check) *commandpb.Op {
	return &commandpb.Op{Op: &commandpb.Op_Check{Check: op}}
}

func opGet(path string) *commandpb.Op {
	return &commandpb.Op{Op: &commandpb.Op_Get{Get: &commandpb.Get{Path: path}}}
}

// enabling turns authentication on, with admin as the administrator.
func enabling(admin string) *commandpb.Command {
	return &commandpb.Command{Format: accessLevel, Op: &commandpb.Command_EnableAuth{EnableAuth: &commandpb.EnableAuth{
		Admin: &commandpb.PutPrincipal{Name: admin, Grants: granting("/", PermAll)},
		Token: &commandpb.CreateToken{Principal: admin, SecretSha256: secretOf("first")},
	}}}
}

func granting(prefix string, perms Perm) []*commandpb.Grant {
	return []*commandpb.Grant{{Prefix: prefix, Perms: uint32(perms)}}
}

func secretOf(text string) []byte {
	h := sha256.Sum256([]byte(text))
	return h[:]
}

// read asks as a caller.
func (b *bench) read(caller *commandpb.Caller, q Read) (Answer, error) {
	q.Caller = caller
	a, _, err := b.s.View().Read(q, Cursor{}, b.wall)
	return a, err
}
