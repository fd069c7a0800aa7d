package handlers

import (
	"net/http"
	"slices"
)

// operation is what the edge must know of an operation of openapi.yaml before
// the generated code takes over. A test compares the table with the document.
type operation struct {
	id     string
	method string
	path   string     // as in openapi.yaml, which is also chi's pattern
	query  []string   // declared query parameters
	ifs    []string   // declared conditional headers
	raw    bool       // the body is bytes: of a node, a message or a result
	json   *jsonShape // shape of the JSON body; nil when there is none
	ops    bool       // for those who run it: outside /v1, without session and drain
	open   bool       // for everybody, whoever asks
	keyed  bool       // takes Idempotency-Key
	fenced bool       // takes fence

	discloses bool // changes nothing, and is told of in the audit log all the same
}

// writes says whether the operation can change state.
func (o *operation) writes() bool { return o.method != http.MethodGet && o.method != http.MethodHead }

// audited says whether the audit log tells of the operation.
func (o *operation) audited() bool { return o.writes() || o.discloses }

const (
	ifMatch     = "If-Match"
	ifNoneMatch = "If-None-Match"
)

// What several operations declare.
var (
	atQuery   = []string{"consistency", "min_zxid"}
	readQuery = append([]string{"wait_ms"}, atQuery...)
	pageQuery = append([]string{"limit", "page_token"}, atQuery...)

	listQuery  = append([]string{"prefix"}, pageQuery...)
	fenceQuery = []string{"fence"}
)

var operations = []operation{
	{id: "readNode", method: "GET", path: "/v1/nodes/{path}", query: readQuery, ifs: []string{ifNoneMatch}},
	{id: "headNode", method: "HEAD", path: "/v1/nodes/{path}", query: readQuery, ifs: []string{ifNoneMatch}},
	{id: "putNode", method: "PUT", path: "/v1/nodes/{path}", raw: true,
		query: []string{"fence", "version", "parents", "mode", "ttl_ms", "takeover"}, ifs: []string{ifMatch, ifNoneMatch}, keyed: true, fenced: true},
	{id: "createNode", method: "POST", path: "/v1/nodes/{path}", raw: true,
		query: []string{"fence", "mode", "sequential", "parents", "ttl_ms"}, keyed: true, fenced: true},
	{id: "deleteNode", method: "DELETE", path: "/v1/nodes/{path}",
		query: []string{"fence", "version", "recursive"}, ifs: []string{ifMatch}, keyed: true, fenced: true},
	{id: "statNode", method: "GET", path: "/v1/stat/{path}",
		query: append([]string{"include"}, readQuery...), ifs: []string{ifNoneMatch}},
	{id: "listChildren", method: "GET", path: "/v1/children/{path}",
		query: append([]string{"include", "limit", "page_token"}, readQuery...), ifs: []string{ifNoneMatch}},
	{id: "listTree", method: "GET", path: "/v1/tree/{path}",
		query: append([]string{"include", "depth"}, pageQuery...)},
	{id: "multi", method: "POST", path: "/v1/multi", query: []string{"fence", "include"}, json: multiBody, keyed: true, fenced: true},
	{id: "watchNode", method: "GET", path: "/v1/watch/{path}", query: []string{"scope", "since", "limit", "wait_ms"}},
	{id: "streamNode", method: "GET", path: "/v1/stream/{path}", query: []string{"scope", "since"}},
	{id: "createSession", method: "POST", path: "/v1/sessions", json: ttlBody, keyed: true},
	{id: "listSessions", method: "GET", path: "/v1/sessions", query: pageQuery},
	{id: "getSession", method: "GET", path: "/v1/sessions/{id}", query: atQuery},
	{id: "closeSession", method: "DELETE", path: "/v1/sessions/{id}", keyed: true},
	{id: "keepSessionAlive", method: "POST", path: "/v1/sessions/{id}/keepalive", json: ttlBody},
	{id: "listLocks", method: "GET", path: "/v1/locks", query: listQuery},
	{id: "getLock", method: "GET", path: "/v1/locks/{name}", query: readQuery, ifs: []string{ifNoneMatch}},
	{id: "breakLock", method: "DELETE", path: "/v1/locks/{name}", keyed: true},
	{id: "acquireLock", method: "POST", path: "/v1/locks/{name}/acquire", json: acquireBody, keyed: true},
	{id: "renewLock", method: "POST", path: "/v1/locks/{name}/renew", json: holderBody},
	{id: "releaseLock", method: "POST", path: "/v1/locks/{name}/release", json: releaseBody, keyed: true},
	{id: "revokeLock", method: "POST", path: "/v1/locks/{name}/revoke", json: revokeBody, keyed: true},
	{id: "acquireLockSet", method: "POST", path: "/v1/lock-sets/acquire", json: lockSetBody, keyed: true},
	{id: "releaseLockSet", method: "POST", path: "/v1/lock-sets/release", json: namesBody, keyed: true},
	{id: "listSemaphores", method: "GET", path: "/v1/semaphores", query: listQuery},
	{id: "getSemaphore", method: "GET", path: "/v1/semaphores/{name}", query: readQuery, ifs: []string{ifNoneMatch}},
	{id: "breakSemaphore", method: "DELETE", path: "/v1/semaphores/{name}", keyed: true},
	{id: "acquireSemaphore", method: "POST", path: "/v1/semaphores/{name}/acquire", json: semaphoreBody, keyed: true},
	{id: "renewSemaphore", method: "POST", path: "/v1/semaphores/{name}/renew", json: holderBody},
	{id: "releaseSemaphore", method: "POST", path: "/v1/semaphores/{name}/release", json: releaseBody, keyed: true},
	{id: "listElections", method: "GET", path: "/v1/elections", query: listQuery},
	{id: "getLeader", method: "GET", path: "/v1/elections/{name}", query: readQuery, ifs: []string{ifNoneMatch}},
	{id: "campaign", method: "POST", path: "/v1/elections/{name}/campaign", json: campaignBody, keyed: true},
	{id: "renewLeadership", method: "POST", path: "/v1/elections/{name}/renew", json: holderBody},
	{id: "proclaim", method: "POST", path: "/v1/elections/{name}/proclaim", query: fenceQuery, json: proclaimBody,
		keyed: true, fenced: true},
	{id: "resign", method: "POST", path: "/v1/elections/{name}/resign", json: releaseBody, keyed: true},
	{id: "listOnce", method: "GET", path: "/v1/once", query: listQuery},
	{id: "getOnce", method: "GET", path: "/v1/once/{name}", query: append([]string{"key", "include"}, readQuery...),
		ifs: []string{ifNoneMatch}},
	{id: "forgetOnce", method: "DELETE", path: "/v1/once/{name}", query: []string{"key"}, keyed: true},
	{id: "beginOnce", method: "POST", path: "/v1/once/{name}/begin", json: onceBody, keyed: true},
	{id: "completeOnce", method: "POST", path: "/v1/once/{name}/complete", query: []string{"failed", "fence"}, raw: true,
		keyed: true, fenced: true},
	{id: "abandonOnce", method: "POST", path: "/v1/once/{name}/abandon", json: abandonBody, keyed: true},
	{id: "listBarriers", method: "GET", path: "/v1/barriers", query: listQuery},
	{id: "getBarrier", method: "GET", path: "/v1/barriers/{name}", query: readQuery, ifs: []string{ifNoneMatch}},
	{id: "closeBarrier", method: "PUT", path: "/v1/barriers/{name}", query: fenceQuery, keyed: true, fenced: true},
	{id: "openBarrier", method: "DELETE", path: "/v1/barriers/{name}", query: fenceQuery, keyed: true, fenced: true},
	{id: "enterBarrier", method: "POST", path: "/v1/barriers/{name}/enter", json: enterBody, keyed: true},
	{id: "leaveBarrier", method: "POST", path: "/v1/barriers/{name}/leave", json: leaveBody, keyed: true},
	{id: "listCounters", method: "GET", path: "/v1/counters", query: listQuery},
	{id: "getCounter", method: "GET", path: "/v1/counters/{name}", query: readQuery, ifs: []string{ifNoneMatch}},
	{id: "deleteCounter", method: "DELETE", path: "/v1/counters/{name}", query: fenceQuery, keyed: true, fenced: true},
	{id: "addCounter", method: "POST", path: "/v1/counters/{name}/add", query: fenceQuery, json: addBody,
		keyed: true, fenced: true},
	{id: "setCounter", method: "POST", path: "/v1/counters/{name}/set", query: fenceQuery, json: setBody,
		keyed: true, fenced: true},
	{id: "listQueues", method: "GET", path: "/v1/queues", query: listQuery},
	{id: "getQueue", method: "GET", path: "/v1/queues/{name}", query: atQuery},
	{id: "configureQueue", method: "PUT", path: "/v1/queues/{name}", query: fenceQuery, json: queueBody,
		keyed: true, fenced: true},
	{id: "deleteQueue", method: "DELETE", path: "/v1/queues/{name}", query: []string{"force", "fence"},
		keyed: true, fenced: true},
	{id: "enqueue", method: "POST", path: "/v1/queues/{name}/messages", query: []string{"delay_ms", "priority", "fence"},
		raw: true, keyed: true, fenced: true},
	{id: "peekMessages", method: "GET", path: "/v1/queues/{name}/messages", query: append([]string{"include"}, pageQuery...)},
	{id: "claimMessages", method: "POST", path: "/v1/queues/{name}/claim", query: []string{"include"}, json: claimBody, keyed: true},
	{id: "ackMessages", method: "POST", path: "/v1/queues/{name}/ack", query: fenceQuery, json: ackBody,
		keyed: true, fenced: true},
	{id: "nackMessages", method: "POST", path: "/v1/queues/{name}/nack", query: fenceQuery, json: nackBody,
		keyed: true, fenced: true},
	{id: "extendMessages", method: "POST", path: "/v1/queues/{name}/extend", query: fenceQuery, json: extendBody,
		keyed: true, fenced: true},
	{id: "redriveMessages", method: "POST", path: "/v1/queues/{name}/redrive", query: fenceQuery, json: redriveBody,
		keyed: true, fenced: true},
	{id: "getAcl", method: "GET", path: "/v1/acl/{path}", query: atQuery},
	{id: "setAcl", method: "PUT", path: "/v1/acl/{path}", query: fenceQuery, ifs: []string{ifMatch}, json: aclBody, keyed: true, fenced: true},
	{id: "getDefaultAcl", method: "GET", path: "/v1/acl-default/{path}", query: atQuery},
	{id: "setDefaultAcl", method: "PUT", path: "/v1/acl-default/{path}", query: fenceQuery, ifs: []string{ifMatch}, json: aclBody, keyed: true, fenced: true},
	{id: "deleteDefaultAcl", method: "DELETE", path: "/v1/acl-default/{path}", query: fenceQuery, ifs: []string{ifMatch}, keyed: true, fenced: true},
	{id: "getQuota", method: "GET", path: "/v1/quota/{path}", query: atQuery},
	{id: "setQuota", method: "PUT", path: "/v1/quota/{path}", query: fenceQuery, json: quotaBody, keyed: true, fenced: true},
	{id: "deleteQuota", method: "DELETE", path: "/v1/quota/{path}", query: fenceQuery, keyed: true, fenced: true},
	{id: "listTokens", method: "GET", path: "/v1/tokens", query: pageQuery},
	{id: "createToken", method: "POST", path: "/v1/tokens", json: tokenBody, keyed: true},
	{id: "revokeToken", method: "DELETE", path: "/v1/tokens/{id}", keyed: true},
	{id: "listPrincipals", method: "GET", path: "/v1/principals", query: pageQuery},
	{id: "getPrincipal", method: "GET", path: "/v1/principals/{name}", query: atQuery},
	{id: "putPrincipal", method: "PUT", path: "/v1/principals/{name}", ifs: []string{ifMatch, ifNoneMatch},
		json: principalBody, keyed: true},
	{id: "deletePrincipal", method: "DELETE", path: "/v1/principals/{name}", ifs: []string{ifMatch}, keyed: true},
	{id: "whoami", method: "GET", path: "/v1/whoami"},
	{id: "getCluster", method: "GET", path: "/v1/cluster"},
	{id: "addMember", method: "POST", path: "/v1/cluster/members", json: membersBody, keyed: true},
	{id: "removeMember", method: "DELETE", path: "/v1/cluster/members/{id}", query: []string{"force"}, keyed: true},
	{id: "transferLeadership", method: "POST", path: "/v1/cluster/transfer", json: transferBody, keyed: true},
	{id: "downloadSnapshot", method: "GET", path: "/v1/snapshot", discloses: true},
	{id: "livez", method: "GET", path: "/livez", ops: true, open: true},
	{id: "readyz", method: "GET", path: "/readyz", ops: true, open: true},
	{id: "metrics", method: "GET", path: "/metrics", ops: true},
	{id: "openapi", method: "GET", path: "/openapi.yaml", ops: true, open: true},
}

type routeKey struct{ method, path string }

var operationOf = func() map[routeKey]*operation {
	m := make(map[routeKey]*operation, len(operations))
	for i := range operations {
		m[routeKey{operations[i].method, operations[i].path}] = &operations[i]
	}
	return m
}()

// methodsOf lists what a path of the document can be asked, for Allow. HEAD
// comes with every GET.
func methodsOf(path string) []string {
	var methods []string
	for i := range operations {
		if operations[i].path != path {
			continue
		}
		methods = append(methods, operations[i].method)
		if operations[i].method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}
