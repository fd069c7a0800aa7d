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
	raw    bool       // the body is the bytes of a node
	json   *jsonShape // shape of the JSON body; nil when there is none
	ops    bool       // for those who run it: outside /v1, without session and drain
	open   bool       // for everybody, whoever asks
}

// writes says whether the operation can change state.
func (o *operation) writes() bool { return o.method != http.MethodGet && o.method != http.MethodHead }

const (
	ifMatch     = "If-Match"
	ifNoneMatch = "If-None-Match"
)

// What several operations declare.
var (
	atQuery   = []string{"consistency", "min_zxid"}
	readQuery = append([]string{"wait_ms"}, atQuery...)
	pageQuery = append([]string{"limit", "page_token"}, atQuery...)
)

var operations = []operation{
	{id: "readNode", method: "GET", path: "/v1/nodes/{path}", query: readQuery, ifs: []string{ifNoneMatch}},
	{id: "headNode", method: "HEAD", path: "/v1/nodes/{path}", query: readQuery, ifs: []string{ifNoneMatch}},
	{id: "putNode", method: "PUT", path: "/v1/nodes/{path}", raw: true,
		query: []string{"version", "parents", "mode", "ttl_ms", "takeover"}, ifs: []string{ifMatch, ifNoneMatch}},
	{id: "createNode", method: "POST", path: "/v1/nodes/{path}", raw: true,
		query: []string{"mode", "sequential", "parents", "ttl_ms"}},
	{id: "deleteNode", method: "DELETE", path: "/v1/nodes/{path}",
		query: []string{"version", "recursive"}, ifs: []string{ifMatch}},
	{id: "statNode", method: "GET", path: "/v1/stat/{path}",
		query: append([]string{"include"}, readQuery...), ifs: []string{ifNoneMatch}},
	{id: "listChildren", method: "GET", path: "/v1/children/{path}",
		query: append([]string{"include", "limit", "page_token"}, readQuery...), ifs: []string{ifNoneMatch}},
	{id: "listTree", method: "GET", path: "/v1/tree/{path}",
		query: append([]string{"include", "depth"}, pageQuery...)},
	{id: "multi", method: "POST", path: "/v1/multi", query: []string{"include"}, json: multiBody},
	{id: "watchNode", method: "GET", path: "/v1/watch/{path}", query: []string{"scope", "since", "limit", "wait_ms"}},
	{id: "streamNode", method: "GET", path: "/v1/stream/{path}", query: []string{"scope", "since"}},
	{id: "createSession", method: "POST", path: "/v1/sessions", json: ttlBody},
	{id: "listSessions", method: "GET", path: "/v1/sessions", query: pageQuery},
	{id: "getSession", method: "GET", path: "/v1/sessions/{id}", query: atQuery},
	{id: "closeSession", method: "DELETE", path: "/v1/sessions/{id}"},
	{id: "keepSessionAlive", method: "POST", path: "/v1/sessions/{id}/keepalive", json: ttlBody},
	{id: "getAcl", method: "GET", path: "/v1/acl/{path}", query: atQuery},
	{id: "setAcl", method: "PUT", path: "/v1/acl/{path}", ifs: []string{ifMatch}, json: aclBody},
	{id: "getDefaultAcl", method: "GET", path: "/v1/acl-default/{path}", query: atQuery},
	{id: "setDefaultAcl", method: "PUT", path: "/v1/acl-default/{path}", ifs: []string{ifMatch}, json: aclBody},
	{id: "deleteDefaultAcl", method: "DELETE", path: "/v1/acl-default/{path}", ifs: []string{ifMatch}},
	{id: "getQuota", method: "GET", path: "/v1/quota/{path}", query: atQuery},
	{id: "setQuota", method: "PUT", path: "/v1/quota/{path}", json: quotaBody},
	{id: "deleteQuota", method: "DELETE", path: "/v1/quota/{path}"},
	{id: "listTokens", method: "GET", path: "/v1/tokens", query: pageQuery},
	{id: "createToken", method: "POST", path: "/v1/tokens", json: tokenBody},
	{id: "revokeToken", method: "DELETE", path: "/v1/tokens/{id}"},
	{id: "listPrincipals", method: "GET", path: "/v1/principals", query: pageQuery},
	{id: "getPrincipal", method: "GET", path: "/v1/principals/{name}", query: atQuery},
	{id: "putPrincipal", method: "PUT", path: "/v1/principals/{name}", ifs: []string{ifMatch, ifNoneMatch},
		json: principalBody},
	{id: "deletePrincipal", method: "DELETE", path: "/v1/principals/{name}", ifs: []string{ifMatch}},
	{id: "whoami", method: "GET", path: "/v1/whoami"},
	{id: "getCluster", method: "GET", path: "/v1/cluster"},
	{id: "addMember", method: "POST", path: "/v1/cluster/members", json: membersBody},
	{id: "removeMember", method: "DELETE", path: "/v1/cluster/members/{id}", query: []string{"force"}},
	{id: "transferLeadership", method: "POST", path: "/v1/cluster/transfer", json: transferBody},
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
