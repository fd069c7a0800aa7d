package clients

import (
	"net/http"
	"strings"
)

// The nodes of these requests.
const (
	at    = "of%20prism%2F50%25%20off%2Fgr%C3%B6%C3%9Fe"
	token = "of-prism-0123456789abcdef"
)

func (p *proxied) nodes() {
	p.get(404, "/v1/nodes/"+at)
	p.post(404, "/v1/nodes/"+at, "x")
	made := p.post(201, "/v1/nodes/"+at+"?parents=true", "eins", "Idempotency-Key", "prism-1")
	p.post(201, "/v1/nodes/"+at+"?parents=true", "eins", "Idempotency-Key", "prism-1")
	p.post(422, "/v1/nodes/"+at+"?parents=true", "zwei", "Idempotency-Key", "prism-1")
	p.post(409, "/v1/nodes/"+at, "x")
	p.post(201, "/v1/nodes/"+at+"%2Fn-?sequential=true&mode=persistent", "x")
	p.post(201, "/v1/nodes/"+at+"%2Fttl?mode=ttl&ttl_ms=60000", "x")
	p.post(201, "/v1/nodes/"+at+"%2Fcontainer?mode=container", "")
	p.post(400, "/v1/nodes/a%2F..%2Fb", "x")

	read := p.get(200, "/v1/nodes/"+at)
	etag := read.header.Get("ETag")
	p.get(304, "/v1/nodes/"+at+"?wait_ms=1", "If-None-Match", etag)
	p.get(200, "/v1/nodes/"+at+"?consistency=local&min_zxid="+made.header.Get("Perch-Zxid"))
	p.send(200, http.MethodHead, "/v1/nodes/"+at, "")
	p.put(200, "/v1/nodes/"+at, "zwei", "If-Match", etag)
	p.put(412, "/v1/nodes/"+at, "drei", "If-Match", etag)
	p.put(412, "/v1/nodes/"+at+"?version=0", "drei")
	p.put(201, "/v1/nodes/"+at+"%2Fput", "\x00\xff", "If-None-Match", "*")
	p.put(404, "/v1/nodes/none%2Fput", "x")
	p.put(403, "/v1/nodes/perch%2Flocks", "x")

	p.get(200, "/v1/stat/"+at+"?include=text")
	p.get(200, "/v1/stat/"+at+"%2Fput?include=data")
	p.get(404, "/v1/stat/none")
	list := p.get(200, "/v1/children/"+at)
	p.get(304, "/v1/children/"+at, "If-None-Match", list.header.Get("ETag"))
	page := p.get(200, "/v1/children/"+at+"?include=text,stat&limit=1")
	p.get(200, "/v1/children/"+at+"?include=text,stat&limit=1&page_token="+page.text("next_page_token"))
	p.get(200, "/v1/children/%2F")
	p.get(200, "/v1/tree/"+at+"?depth=1&include=data")
	p.post(200, "/v1/multi", `{"ops":[{"op":"check","path":"/of prism"},{"op":"put","path":"/of prism/m","text":"x"},{"op":"get","path":"/of prism/m"},{"op":"add","counter":"multi","add":2}]}`)
	p.post(409, "/v1/multi", `{"ops":[{"op":"create","path":"/of prism/m"}]}`)
	p.post(404, "/v1/multi", `{"ops":[{"op":"check","path":"/none"}]}`)
	p.post(412, "/v1/multi", `{"ops":[{"op":"check_lock","lock":"nobody"}]}`)
	p.del(409, "/v1/nodes/"+at)
	p.del(412, "/v1/nodes/"+at+"%2Fput", "If-Match", `"1"`)
	p.del(204, "/v1/nodes/"+at+"%2Fput")
	p.del(404, "/v1/nodes/"+at+"%2Fput")
	p.del(204, "/v1/nodes/"+at+"?recursive=true")
}

func (p *proxied) watching() {
	first := p.get(200, "/v1/watch/watched?scope=subtree")
	p.put(201, "/v1/nodes/watched", "1")
	p.put(200, "/v1/nodes/watched", "2")
	p.del(204, "/v1/nodes/watched")
	p.get(200, "/v1/watch/watched?scope=node&limit=1&wait_ms=20000&since="+first.text("cursor"))
	p.get(400, "/v1/watch/watched?since=yesterday")
	p.get(410, "/v1/watch/watched?since=9007199254740991")

	// The proxy passes an answer on when it is whole: a stream ends with its session.
	// Nothing renews this one after the stream has begun.
	p.post(201, "/v1/sessions", `{"ttl_ms":4000}`, "Perch-Session", token+"-stream")
	p.get(200, "/v1/stream/watched?scope=subtree&since="+first.text("cursor"), "Perch-Session", token+"-stream")
}

func (p *proxied) sessions() {
	made := p.post(201, "/v1/sessions", `{"ttl_ms":60000}`)
	p.post(400, "/v1/sessions/self/keepalive", "")
	secret := made.text("token")
	p.post(200, "/v1/sessions/self/keepalive", `{"ttl_ms":30000}`, "Perch-Session", secret)
	p.get(200, "/v1/sessions/self", "Perch-Session", secret)
	p.get(200, "/v1/sessions/"+made.number("id"))
	p.get(404, "/v1/sessions/1")
	p.get(200, "/v1/sessions?limit=1")
	p.post(201, "/v1/nodes/ephemeral?mode=ephemeral", "x", "Perch-Session", secret)
	p.put(409, "/v1/nodes/ephemeral?mode=ephemeral&ttl_ms=60000", "x", "Perch-Session", token+"-2")
	p.put(200, "/v1/nodes/ephemeral?mode=ephemeral&ttl_ms=60000&takeover=true", "x", "Perch-Session", token+"-2")
	p.post(409, "/v1/nodes/ephemeral%2Fchild", "x")
	p.del(204, "/v1/sessions/self", "Perch-Session", secret)
	p.del(204, "/v1/sessions/self", "Perch-Session", token+"-2")
	p.get(410, "/v1/nodes/x", "Perch-Session", secret)
}

func (p *proxied) locks() {
	const lock = "/v1/locks/job.1"
	p.get(200, lock)
	grant := p.post(200, lock+"/acquire", `{"ttl_ms":60000,"owner":"größe","wait_ms":1000}`, "Perch-Session", token)
	p.post(409, lock+"/acquire", `{"ttl_ms":60000,"wait_ms":1}`)
	p.post(409, lock+"/acquire", `{"mode":"shared","owner":"größe"}`, "Perch-Session", token)
	p.post(400, lock+"/acquire", `{}`)
	state := p.get(200, lock)
	p.get(304, lock+"?wait_ms=1", "If-None-Match", state.header.Get("ETag"))
	p.get(200, "/v1/locks?prefix=job")
	p.post(200, lock+"/renew", `{"ttl_ms":60000}`, "Perch-Session", token)
	p.post(200, lock+"/revoke", `{"reason":"somebody else is in a hurry"}`)
	fence := "job.1:" + grant.number("fencing_token")
	p.put(201, "/v1/nodes/fenced?fence="+fence, "x")
	p.post(204, lock+"/release", "", "Perch-Session", token)
	p.put(412, "/v1/nodes/fenced?fence="+fence, "x")
	p.post(410, lock+"/renew", "", "Perch-Session", token)
	p.post(200, lock+"/acquire", `{"ttl_ms":60000,"mode":"shared"}`)
	p.del(204, lock)

	const sets = "/v1/lock-sets/"
	p.post(200, sets+"acquire", `{"locks":[{"name":"from"},{"name":"to","mode":"shared"}],"ttl_ms":60000}`, "Perch-Session", token)
	p.post(409, sets+"acquire", `{"locks":[{"name":"to"}],"ttl_ms":60000}`)
	p.post(204, sets+"release", `{"names":["from","to"]}`, "Perch-Session", token)
}

func (p *proxied) semaphores() {
	const semaphore = "/v1/semaphores/pool"
	p.get(200, semaphore)
	p.post(200, semaphore+"/acquire", `{"limit":2,"permits":2,"ttl_ms":60000,"owner":"a"}`, "Perch-Session", token)
	p.post(409, semaphore+"/acquire", `{"limit":2,"ttl_ms":60000}`)
	p.post(409, semaphore+"/acquire", `{"limit":3,"ttl_ms":60000}`)
	state := p.get(200, semaphore)
	p.get(304, semaphore, "If-None-Match", state.header.Get("ETag"))
	p.get(200, "/v1/semaphores")
	p.post(200, semaphore+"/renew", "", "Perch-Session", token)
	p.post(204, semaphore+"/release", `{}`, "Perch-Session", token)
	p.post(200, semaphore+"/acquire", `{"limit":2,"ttl_ms":60000}`)
	p.del(204, semaphore)
}

func (p *proxied) elections() {
	const election = "/v1/elections/chief"
	p.get(200, election)
	p.post(200, election+"/campaign", `{"ttl_ms":60000,"value":"10.0.0.7:8080"}`, "Perch-Session", token)
	p.post(409, election+"/campaign", `{"ttl_ms":60000}`)
	state := p.get(200, election)
	p.get(304, election, "If-None-Match", state.header.Get("ETag"))
	p.get(200, "/v1/elections?prefix=c")
	p.post(200, election+"/renew", `{}`, "Perch-Session", token)
	p.post(200, election+"/proclaim", `{"value":"10.0.0.8:8080"}`, "Perch-Session", token)
	p.post(204, election+"/resign", "", "Perch-Session", token)
	p.post(410, election+"/proclaim", `{"value":"x"}`, "Perch-Session", token+"-gone")
}

func (p *proxied) once() {
	const run = "/v1/once/report"
	p.get(200, run+"?key=monday")
	p.post(200, run+"/begin", `{"key":"monday","ttl_ms":60000}`, "Perch-Session", token)
	p.post(409, run+"/begin", `{"key":"monday","ttl_ms":60000}`)
	p.get(200, run+"?key=monday")
	p.post(200, run+"/complete", "42", "Perch-Session", token)
	p.post(409, run+"/begin", `{"key":"monday","ttl_ms":60000}`)
	state := p.get(200, run+"?key=monday&include=text")
	p.get(304, run+"?key=monday", "If-None-Match", state.header.Get("ETag"))
	p.post(200, run+"/begin", `{"period_ms":3600000,"ttl_ms":60000}`, "Perch-Session", token)
	p.post(204, run+"/abandon", "", "Perch-Session", token)
	p.get(200, "/v1/once")
	p.del(204, run+"?key=monday")
}

func (p *proxied) barriers() {
	const barrier = "/v1/barriers/start"
	p.get(200, barrier)
	p.put(200, barrier, "")
	state := p.get(200, barrier)
	p.get(304, barrier, "If-None-Match", state.header.Get("ETag"))
	p.get(200, "/v1/barriers")
	p.del(204, barrier)
	p.post(409, "/v1/barriers/double/enter", `{"count":2,"ttl_ms":60000,"wait_ms":1}`, "Perch-Session", token)
	p.post(200, "/v1/barriers/double/enter", `{"count":2,"ttl_ms":60000,"wait_ms":1000}`, "Perch-Session", token+"-3")
	p.post(409, "/v1/barriers/double/leave", `{"wait_ms":1}`, "Perch-Session", token)
	p.post(200, "/v1/barriers/double/leave", `{"wait_ms":1000}`, "Perch-Session", token+"-3")
}

func (p *proxied) counters() {
	const counter = "/v1/counters/ids"
	p.get(200, counter)
	p.post(200, counter+"/add", `{"add":3}`)
	p.post(412, counter+"/add", `{"add":1,"expect":7}`)
	p.post(200, counter+"/set", `{"value":-5,"expect":3}`)
	state := p.get(200, counter)
	p.get(304, counter, "If-None-Match", state.header.Get("ETag"))
	p.get(200, "/v1/counters")
	p.del(204, counter)
}

func (p *proxied) queues() {
	const queue = "/v1/queues/jobs"
	p.get(404, queue)
	p.put(200, queue, `{"max_attempts":1}`)
	p.post(201, queue+"/messages?priority=1", "first", "Idempotency-Key", "prism-2")
	p.post(201, queue+"/messages?delay_ms=3600000", "\x00\xff")
	p.get(200, queue)
	p.get(200, queue+"/messages?include=text&limit=1")
	claim := func() string {
		claim := p.post(200, queue+"/claim?include=text", `{"count":10,"ttl_ms":60000,"wait_ms":1000}`)
		list, _ := claim.fields["messages"].([]any)
		if len(list) != 1 {
			p.Errorf("claim: %s", claim.body)
			return "0-0"
		}
		receipt, _ := list[0].(map[string]any)["receipt"].(string)
		return receipt
	}
	receipt := claim()
	p.post(200, queue+"/claim", "")
	p.post(200, queue+"/extend", `{"receipts":["`+receipt+`"],"ttl_ms":60000}`)
	p.post(200, queue+"/nack", `{"receipts":["`+receipt+`"]}`)
	p.get(200, "/v1/queues/jobs.dead/messages?include=data")
	p.post(200, "/v1/queues/jobs.dead/redrive", `{"to":"jobs"}`)
	p.post(200, queue+"/ack", `{"receipts":["`+claim()+`"]}`)
	p.post(410, queue+"/ack", `{"receipts":["99-1"]}`)
	p.get(200, "/v1/queues?prefix=j")
	p.del(409, queue)
	p.del(204, queue+"?force=true")
}

func (p *proxied) access() {
	p.put(201, "/v1/nodes/guarded", "x")
	acl := p.get(200, "/v1/acl/guarded")
	p.put(200, "/v1/acl/guarded", `{"entries":[{"scheme":"world","id":"anyone","perms":"cdrwa"}]}`, "If-Match", acl.header.Get("ETag"))
	p.put(400, "/v1/acl/guarded", `{"entries":[{"scheme":"nobody","id":"x","perms":"r"}]}`)
	p.get(404, "/v1/acl/none")
	p.put(200, "/v1/acl-default/guarded", `{"entries":[{"scheme":"world","id":"anyone","perms":"cdrwa"}]}`)
	p.get(200, "/v1/acl-default/guarded")
	p.del(204, "/v1/acl-default/guarded")
	p.put(200, "/v1/quota/guarded", `{"max_nodes":1}`)
	p.post(409, "/v1/nodes/guarded%2Ftoo-many", "x")
	p.get(200, "/v1/quota/guarded")
	p.del(204, "/v1/quota/guarded")

	p.put(200, "/v1/principals/ci", `{"grants":[{"prefix":"/guarded","perms":["read","write"]}]}`)
	p.get(200, "/v1/principals/ci")
	p.get(404, "/v1/principals/none")
	p.get(200, "/v1/principals?limit=10")
	made := p.post(201, "/v1/tokens", `{"principal":"ci","label":"of prism"}`)
	p.get(200, "/v1/tokens")
	p.get(200, "/v1/whoami")
	p.get(401, "/v1/whoami", "Authorization", "Bearer perch_t9_"+strings.Repeat("x", 43))
	p.del(204, "/v1/tokens/"+made.text("id"))
	p.del(204, "/v1/principals/ci")
}

func (p *proxied) cluster() {
	p.get(200, "/v1/cluster")
	p.get(200, "/v1/snapshot")
	p.post(400, "/v1/cluster/members", `{"members":[{"id":"0","address":"127.0.0.1:1"}]}`)
	p.del(404, "/v1/cluster/members/9")
	p.get(200, "/livez")
	p.get(200, "/readyz")
	p.get(200, "/metrics")
	p.get(200, "/openapi.yaml")
	p.post(200, "/v1/cluster/transfer", "") // last: a new leader is not ready at once
}
