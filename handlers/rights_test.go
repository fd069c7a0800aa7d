package handlers

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/handlers/identity"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// right is what an operation demands, and how it answers where that is wanting.
type right struct {
	perm     lease.Perm // on its path, or PermCluster on "/"; of several any one will do. 0: to be somebody
	granted  string     // the answer to one who has that permission alone
	stranger string     // the answer to another tenant, who may do everything in a place of its own
}

const (
	denied      = "403 permission_denied"
	unknownHere = "404 no_such_session"
)

// rights has a row for every operation: one without is a failure of TestRights.
// What is open to everybody has none of the three.
var rights = map[string]right{
	"readNode": {lease.PermRead, "200", denied}, "headNode": {lease.PermRead, "200", denied},
	"statNode": {lease.PermRead, "200", denied}, "listChildren": {lease.PermRead, "200", denied},
	"listTree": {lease.PermRead, "200", denied}, "getQuota": {lease.PermRead, "200", denied},
	"watchNode": {lease.PermRead, "200", denied}, "streamNode": {lease.PermRead, "429 too_many_waiters", denied},
	"putNode":       {lease.PermWrite, "200", denied},
	"createNode":    {lease.PermCreate, "409 node_exists", denied},
	"deleteNode":    {lease.PermDelete, "409 not_empty", denied},
	"multi":         {lease.PermWrite, "200", denied},
	"getAcl":        {lease.PermRead | lease.PermAdmin, "200", denied},
	"getDefaultAcl": {lease.PermRead | lease.PermAdmin, "200", denied},
	"setAcl":        {lease.PermAdmin, "200", denied}, "setDefaultAcl": {lease.PermAdmin, "200", denied},
	"deleteDefaultAcl": {lease.PermAdmin, "204", denied},
	"setQuota":         {lease.PermAdmin, "200", denied}, "deleteQuota": {lease.PermAdmin, "204", denied},

	"createSession": {0, "201", "201"}, "listSessions": {0, "200", "200"}, "whoami": {0, "200", "200"}, "getCluster": {0, "200", "200"},
	"getSession":       {lease.PermCluster, "200", unknownHere},
	"closeSession":     {lease.PermCluster, "204", "204"}, // as of one that is gone
	"keepSessionAlive": {0, "410 session_expired", "410 session_expired"},

	"listTokens": {lease.PermCluster, "200", denied}, "createToken": {lease.PermCluster, "201", denied},
	"revokeToken": {lease.PermCluster, "204", denied}, "listPrincipals": {lease.PermCluster, "200", denied},
	"getPrincipal": {lease.PermCluster, "200", denied}, "putPrincipal": {lease.PermCluster, "200", denied},
	"deletePrincipal": {lease.PermCluster, "204", denied}, "addMember": {lease.PermCluster, "200", denied},
	"removeMember": {lease.PermCluster, "200", denied}, "transferLeadership": {lease.PermCluster, "200", denied},
	"metrics": {lease.PermCluster, "200", denied}, "downloadSnapshot": {lease.PermCluster, "200", denied},

	"listLocks": anybodys, "listSemaphores": anybodys, "listElections": anybodys, "listOnce": anybodys, "listBarriers": anybodys,
	"listCounters": anybodys, "listQueues": anybodys,
	"getLock": look, "getSemaphore": look, "getLeader": look, "getOnce": look, "getBarrier": lookOrUse, "getCounter": lookOrUse,
	"getQueue": lookOrUse, "peekMessages": lookOrUse,
	"breakLock": {lease.PermAdmin, "204", denied}, "breakSemaphore": {lease.PermAdmin, "204", denied},
	"acquireLock": use("200"), "acquireSemaphore": use("200"), "acquireLockSet": use("200"), "campaign": use("200"), "beginOnce": use("200"),
	"renewLock": use(lost), "renewSemaphore": use(lost), "renewLeadership": use(lost),
	"releaseLock": use(lost), "releaseSemaphore": use(lost), "resign": use(lost), "abandonOnce": use(lost), "releaseLockSet": use(lost),
	"revokeLock": use("200"), "proclaim": use("409 not_leader"), "completeOnce": use(lost), "forgetOnce": use("204"),
	"closeBarrier": use("200"), "openBarrier": use("204"), "enterBarrier": use("409 barrier_waiting"), "leaveBarrier": use("200"),
	"addCounter": use("200"), "setCounter": use("200"), "deleteCounter": use("204"),
	"configureQueue": use("200"), "deleteQueue": use("409 not_empty"), "enqueue": use("201"), "claimMessages": use("200"),
	"ackMessages": use("410 receipt_lost"), "nackMessages": use("410 receipt_lost"), "extendMessages": use("410 receipt_lost"),
	"redriveMessages": use("200"),

	"livez": {}, "readyz": {}, "openapi": {},
}

// What concerns things that are held, counted and queued.
var (
	anybodys = right{0, "200", "200"} // of which everybody sees his
	look     = right{lease.PermRead, "200", denied}

	lookOrUse = right{lease.PermRead | lease.PermUse, "200", denied}
)

const lost = "410 hold_lost"

func use(granted string) right { return right{lease.PermUse, granted, denied} }

// bySession are the operations that are about what the session of the request
// has.
var bySession = map[string]bool{
	"renewLock": true, "renewSemaphore": true, "renewLeadership": true, "releaseLock": true, "releaseSemaphore": true, "resign": true,
	"releaseLockSet": true, "proclaim": true, "completeOnce": true, "abandonOnce": true, "leaveBarrier": true,
}

// town is a cluster with authentication on, where tenant ann has something of
// everything: a node with a child, a session, an API token.
type town struct {
	*edgeTest
	provider *provider
	tokens   map[string]string // API tokens of principals
	session  lease.Info        // ann's
	annToken string            // the id of her API token
}

func newTown(t *testing.T) *town {
	p := newProvider(t)
	w := &town{provider: p, tokens: map[string]string{}, edgeTest: newEdgeTest(t, func(o *Options) {
		o.Rates.Failures, o.OIDC = 1_000_000, p.oidc(t)
	})}
	w.h.edge.waiters = 0 // a stream that is allowed would not end
	if _, err := w.svc.EnableAuth(t.Context(), "admin", identity.SecretHash(secretOf("admin"))); err != nil {
		t.Fatal(err)
	}
	w.admit("ann", "/tenants/ann", lease.PermAll&^lease.PermCluster)
	w.admit("bob", "/tenants/bob", lease.PermAll&^lease.PermCluster)
	ann := &commandpb.Caller{Principal: "ann"}
	for _, path := range []string{"", "/app", "/app/child"} {
		w.must(&commandpb.Command{Caller: &commandpb.Caller{Principal: "admin"}, Op: &commandpb.Command_Put{
			Put: &commandpb.Put{Path: "/tenants/ann" + path, Data: []byte("hers"), Parents: true}}})
	}
	for _, op := range []*commandpb.Command{
		{Op: &commandpb.Command_AddCounter{AddCounter: &commandpb.AddCounter{Name: "ann", Add: 1}}},
		{Op: &commandpb.Command_Enqueue{Enqueue: &commandpb.Enqueue{Queue: "ann", Data: []byte("hers")}}},
		{Op: &commandpb.Command_Enqueue{Enqueue: &commandpb.Enqueue{Queue: "other"}}},
	} {
		op.Caller = &commandpb.Caller{Principal: "admin"}
		w.must(op)
	}
	w.session = w.must(&commandpb.Command{Caller: ann, Op: &commandpb.Command_OpenSession{OpenSession: &commandpb.OpenSession{TtlMs: 30_000}}}).Session
	return w
}

func secretOf(name string) string { return (name + strings.Repeat("-", 43))[:43] }

// must applies a command that is accepted.
func (w *town) must(cmd *commandpb.Command) lease.Result {
	w.Helper()
	res, err := w.svc.Write(w.Context(), cmd, "")
	if err != nil || res.Code != tree.OK {
		w.Fatalf("%v: %v %v", cmd, res.Code, err)
	}
	return res
}

// admit makes a principal with one grant and an API token.
func (w *town) admit(name, prefix string, perms lease.Perm) {
	w.Helper()
	admin := &commandpb.Caller{Principal: "admin"}
	p := &commandpb.PutPrincipal{Name: name}
	if perms != 0 {
		p.Grants = []*commandpb.Grant{{Prefix: prefix, Perms: uint32(perms)}}
	}
	w.must(&commandpb.Command{Caller: admin, Op: &commandpb.Command_PutPrincipal{PutPrincipal: p}})
	w.token(name, 0)
}

// token gives a principal an API token.
func (w *town) token(name string, expires int64) string {
	hash := identity.SecretHash(secretOf(fmt.Sprint(name, expires)))
	id := w.must(&commandpb.Command{Caller: &commandpb.Caller{Principal: "admin"}, Op: &commandpb.Command_CreateToken{
		CreateToken: &commandpb.CreateToken{Principal: name, SecretSha256: hash[:], ExpiresMs: expires}}}).APIToken.ID
	if expires == 0 && name == "ann" {
		w.annToken = id
	}
	text := identity.TokenText(id, secretOf(fmt.Sprint(name, expires)))
	if expires == 0 {
		w.tokens[name] = text
		open := &commandpb.Command{Caller: &commandpb.Caller{Principal: name}, Op: &commandpb.Command_OpenSession{
			OpenSession: &commandpb.OpenSession{TtlMs: 30_000}}}
		if _, err := w.svc.Write(w.Context(), open, tokenA); err != nil {
			w.Fatal(err)
		}
	}
	return text
}

// line is a request of the operation about something of ann's.
func (w *town) line(op *operation, node string) string {
	id := map[string]string{"revokeToken": w.annToken, "removeMember": "4"}[op.id]
	if id == "" {
		id = fmt.Sprint(uint64(w.session.ID))
	}
	return op.method + " " + strings.NewReplacer("{path}", "tenants/ann/"+node, "{id}", id, "{name}", "ann").Replace(op.path)
}

func bodyOf(op *operation, node string) string {
	switch op.id {
	case "multi":
		return `{"ops":[{"op":"set","path":"/tenants/ann/` + node + `","text":"x"}]}`
	case "createToken":
		return `{"principal":"ann"}`
	case "addMember":
		return `{"members":[{"id":"4","address":"127.0.0.1:7504","role":"observer"}]}`
	}
	return wellFormed[op.id]
}

// asks has somebody send the operation to ann's node.
func (w *town) asks(op *operation, node, authorization string) *answer {
	w.Helper()
	var headers []string
	if authorization != "" {
		headers = append(headers, "Authorization: "+authorization)
	}
	if bySession[op.id] {
		headers = append(headers, held(tokenA))
	}
	if op.id == "keepSessionAlive" {
		headers = append(headers, "Perch-Session: "+w.svc.tokens.Draw(w.session.ID))
	}
	return w.do(w.line(op, node), bodyOf(op, node), headers...)
}

// unmoved fails the test unless the state is the one before but for the time
// that has passed, and nobody was asked to change members or leader.
func (w *town) unmoved(before *lease.View, what string) {
	w.Helper()
	var snapshot bytes.Buffer
	if _, err := before.WriteTo(&snapshot); err != nil {
		w.Fatal(err)
	}
	same, err := lease.Restore(&snapshot)
	if err != nil {
		w.Fatal(err)
	}
	now := w.svc.view()
	if now.Zxid() != before.Zxid() { // a command that does nothing at that time
		data, _ := proto.Marshal(&commandpb.Command{Format: now.Level(), Op: &commandpb.Command_ExpireSessions{}})
		_, _, err = same.Apply(&quorum.Entry{Zxid: now.Zxid(), Kind: quorum.EntryCommand, Data: data,
			Stamp: quorum.Stamp{Wall: w.svc.wall(), Age: now.Age()}})
	}
	if err != nil || same.View().Digest() != now.Digest() || len(w.svc.changes)+len(w.svc.transfers) > 0 {
		w.Errorf("%s: it had an effect: %v", what, err)
	}
}

// unproven are credentials that do not hold, each for one reason.
func (w *town) unproven() map[string]string {
	all := map[string]string{
		"none": "", "garbage": "garbage", "no credentials": "Bearer", "another scheme": "Negotiate YII=", "password alone": "Basic YW5uOmFubg==",
		"unknown token": "Bearer " + identity.TokenText("t0", strings.Repeat("x", 43)),
		"expired token": "Bearer " + w.token("ann", w.svc.wall()+2),
		"session token": "Bearer " + w.svc.tokens.Draw(w.session.ID),
	}
	for name, token := range w.provider.refused(w.T) {
		all["JWT "+name] = "Bearer " + token
	}
	return all
}

// The matrix of who may do what: every operation with credentials that do not
// hold, by another tenant, without the permission and with nothing but that
// (RELIABILITY.md C8). What is refused has no effect, and tells nobody what is
// there.
func TestRights(t *testing.T) {
	town := newTown(t)
	bad := town.unproven()
	// Time passes with every write: with this one the token is over.
	town.admit("acme:alice", "/tenants/ann", lease.PermRead)
	good := "Bearer " + town.provider.token(town.T, nil)
	town.do("GET /v1/nodes/tenants/ann/app", "", "Authorization: "+good).want("200")
	for i := range operations {
		op := &operations[i]
		row, there := rights[op.id]
		if !there {
			t.Errorf("%s has no row", op.id)
			continue
		}
		t.Run(op.id, func(t *testing.T) {
			e := *town.edgeTest
			e.T = t
			w := *town
			w.edgeTest = &e
			if !op.open {
				w.refusesUnproven(op, bad)
				w.refusesUnknown(op)
				w.refusesStranger(op, row)
				w.refusesWithout(op, row)
			}
		})
	}
	for i := range operations { // at the end, since they have effects
		town.allowsWith(&operations[i])
	}
	if len(rights) != len(operations) {
		t.Errorf("%d rows for %d operations", len(rights), len(operations))
	}
}

func (w *town) refusesUnproven(op *operation, bad map[string]string) {
	for name, authorization := range bad {
		before := w.svc.view()
		a := w.asks(op, "app", authorization).want("401 unauthenticated")
		if got := a.Header["Www-Authenticate"]; len(got) != 1 || got[0] != "Bearer" {
			w.Errorf("%s: WWW-Authenticate %q", name, got)
		}
		if w.svc.view().Digest() != before.Digest() {
			w.Errorf("%s: something was proposed", name)
		}
	}
}

// refusesUnknown asks as somebody whom the identity provider knows and the
// cluster does not, which is for apply to say.
func (w *town) refusesUnknown(op *operation) {
	before := w.svc.view()
	want := "401 unauthenticated"
	if op.id == "keepSessionAlive" || strings.HasPrefix(op.id, "renew") {
		want = rights["keepSessionAlive"].stranger // the session is not his, whoever he is
	}
	w.asks(op, "app", "Bearer "+w.provider.token(w.T, map[string]any{"sub": "mallory"})).want(want)
	w.unmoved(before, "no record")
}

// refusesStranger asks as another tenant, of what is there and what is not: the
// answers are the same.
func (w *town) refusesStranger(op *operation, row right) {
	before := w.svc.view()
	there := w.asks(op, "app", "Bearer "+w.tokens["bob"]).want(row.stranger)
	if row.perm == 0 {
		return // what he does is his
	}
	missing := w.asks(op, "none", "Bearer "+w.tokens["bob"]).want(row.stranger)
	if got, want := withoutMarks(there), withoutMarks(missing); got != want {
		w.Errorf("it tells what is there:\n%s\nof what is not:\n%s", got, want)
	}
	w.unmoved(before, "another tenant")
}

// marks are what differs between two answers of the same kind.
var marks = regexp.MustCompile(`"(request_id|zxid)":("[^"]*"|\d+)`)

func withoutMarks(a *answer) string {
	h := a.Header.Clone()
	for _, name := range []string{"X-Request-Id", "Perch-Zxid", "Content-Length", "Date"} {
		h.Del(name)
	}
	body := strings.ReplaceAll(string(a.body), "/tenants/ann/none", "/tenants/ann/app") // as it was sent
	return fmt.Sprint(a.StatusCode, h, marks.ReplaceAllString(body, ""))
}

// refusesWithout asks as somebody who has every permission but the one.
func (w *town) refusesWithout(op *operation, row right) {
	if row.perm == 0 {
		return
	}
	missing := row.perm
	if op.id == "putNode" {
		missing |= lease.PermCreate // either would be asked for first
	}
	w.admit("all-but-"+op.id, "/", lease.PermAll&^missing&^lease.PermCluster)
	before := w.svc.view()
	a := w.asks(op, "app", "Bearer "+w.tokens["all-but-"+op.id])
	switch op.id {
	case "getSession", "closeSession":
		a.want(row.stranger)
	default:
		a.want(denied)
	}
	w.unmoved(before, "without the permission")
}

// allowsWith asks as somebody who has the one permission alone.
func (w *town) allowsWith(op *operation) {
	row := rights[op.id]
	if op.open {
		return
	}
	t := newTown(w.T)
	t.admit("only-"+op.id, "/", row.perm&-row.perm) // any of several
	t.asks(op, "app", "Bearer "+t.tokens["only-"+op.id]).want(row.granted)
}

// Side doors: what an operation reaches besides the path that it names, asked
// for by a tenant who may do everything in a place of its own.
func TestSideDoors(t *testing.T) {
	w := newTown(t)
	w.do("PUT /v1/nodes/tenants/bob", "", bearer(w.tokens["bob"])).want("201")
	own := `{"ops":[{"op":"put","path":"/tenants/bob/made","text":"x"},`
	requests := [][2]string{{"POST /v1/nodes/tenants/ann/new/deep?parents=true", ""}, {"POST /v1/nodes/tenants/ann/n-?sequential=true", ""},
		{"PUT /v1/nodes/tenants/annex?parents=true", ""}, {"DELETE /v1/nodes/tenants?recursive=true", ""}, {"PUT /v1/principals/bob", wellFormed["putPrincipal"]}}
	for _, op := range []string{"create", "put", "set", "delete", "check", "check_absent", "get"} {
		for _, path := range []string{"/tenants/ann/app", "/tenants/ann/none", "/tenants/ann", "/tenants", "/tenants/annex"} {
			requests = append(requests, [2]string{"POST /v1/multi", own + `{"op":"` + op + `","path":"` + path + `"}]}`})
		}
	}
	for _, above := range []string{"", "tenants", "tenants/ann", "tenants/annex"} {
		for _, view := range []string{"nodes/", "stat/", "children/", "tree/", "acl/", "acl-default/", "quota/"} {
			requests = append(requests, [2]string{"GET /v1/" + view + above, ""})
		}
		for _, scope := range []string{"node", "children", "subtree"} {
			requests = append(requests, [2]string{"GET /v1/watch/" + above + "?since=0&scope=" + scope, ""}, [2]string{"GET /v1/stream/" + above + "?scope=" + scope, ""})
		}
	}
	for _, r := range requests {
		before := w.svc.view()
		w.do(r[0], r[1], bearer(w.tokens["bob"])).want(denied)
		w.unmoved(before, r[0]+" "+r[1])
	}
}
