package handlers

import (
	"fmt"
	"slices"
	"strings"
)

// The tables of TestMalformedRequests. What depends on the operations is made
// from their table, so that a new operation is attacked without being asked.

const (
	badPath     = "400 invalid_path"
	badValue    = "400 invalid_argument"
	badField    = "400 invalid_json"
	noParameter = "400 unknown_parameter"
	noEndpoint  = "404 no_such_endpoint"
	noMethod    = "405 method_not_allowed"
	noSession   = "410 session_expired"
	plainText   = "400" // net/http's own
)

// wire is a request of HTTP/1.1 with header lines and a body of told length.
func wire(line, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s HTTP/1.1\r\nHost: localhost\r\n", line)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

// framed is a PUT whose framing is written by hand.
func framed(rest string) string {
	return "PUT /v1/nodes/app HTTP/1.1\r\nHost: localhost\r\n" + rest
}

func badPaths() (rows []malformed) {
	tails := []string{
		"a//b", "a%2F%2Fb", "a/%2F/b", "a/", "a%2F", "a//", "a/./b", "a/.", "./a", "a/../b", "a/..", "../a", "..", ".",
		"a/%2e%2e/b", "a/%2E./b", ".%2e", "%2e", "a%2F..%2Fb", "a/..%2Fb", "a%00", "%00", "a%00.txt", "a%01", "a%0Ab", "a%0D%0AX:%20y",
		"a%09", "a%1B%5B31m", "a%1F", "a%7F", "a%C2%80", "a%C2%85", "a%C2%9F", "a%EE%80%80", "a%EF%A3%BF", "a%EF%BF%B0",
		"a%EF%BF%BD", "a%EF%BF%BF", "a%F0%90%80%80", "a%F0%9F%98%80", "a%F4%8F%BF%BF", "a%F4%90%80%80", "a%FF", "%FE%FF", "a%80",
		"a%C0%AF", "a%C0%80", "a%E0%80%AF", "a%F0%80%80%AF", "a%ED%A0%80", "a%ED%A0%80%ED%B0%80", "a%E2%82", "a%C3", "a%C3%28",
		strings.Repeat("x", 1024), strings.Repeat("%78", 1024), strings.Repeat("%C3%A4", 512), strings.Repeat("x/", 64) + "x",
		strings.Repeat("x%2F", 64) + "x", strings.Repeat("d/", 1000) + "d", strings.Repeat("y", 4096),
	}
	for i := range operations {
		op := &operations[i]
		prefix, ok := strings.CutSuffix(op.path, "{path}")
		if !ok {
			continue
		}
		for _, tail := range tails {
			rows = append(rows, malformed{wire(op.method+" "+prefix+tail, wellFormed[op.id]), badPath})
		}
		for _, tail := range []string{"a%", "a%2", "%zz", "a%g0", "%u0041", "a%%"} {
			rows = append(rows, malformed{wire(op.method+" "+prefix+tail, ""), plainText})
		}
	}
	return rows
}

func badEndpoints() (rows []malformed) {
	for _, target := range []string{
		"/", "/v1", "/v1/", "/v1/nodes", "/v1/stat", "/v2/nodes/app", "/V1/nodes/app", "/v1/Nodes/app", "/v1%2Fnodes/app",
		"//v1/nodes/app", "/./v1/nodes/app", "/v1/../v1/nodes/app", "/%76%31/nodes/app", "/v1/nodes%2Fapp", "/v1/node/app",
		"/v1/sessions/", "/v1/sessions/1/2", "/v1/sessions/1/keepalive/2", "/v1/cluster/", "/v1/cluster/member", "/v1/members",
		"/livez/", "/livez/x", "/metrics/x", "/openapi.yml", "/openapi.yaml/", "/favicon.ico", "/v1/locks/nightly/acquire/",
		"/v1/queues/q/", "/v1/snapshots", "/debug/pprof/", "/admin", "/.env", "/v1/nodes\\app",
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			rows = append(rows, malformed{wire(method+" "+target, ""), noEndpoint})
		}
	}
	for i := range operations {
		allowed := methodsOf(operations[i].path)
		for _, method := range []string{"PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "G-T"} {
			if !slices.Contains(allowed, method) {
				rows = append(rows, malformed{wire(method+" "+example(operations[i].path), ""), noMethod})
			}
		}
	}
	return rows
}

func badQueries() (rows []malformed) {
	for i := range operations {
		op := &operations[i]
		target := op.method + " " + example(op.path)
		for _, query := range []string{"fences=a", "X=1", "%77ait=1", "WAIT_MS=1", "wait_ms%00=1", "wait-ms=1", "a=%zz", "%ff=1", "__proto__=1", "=1"} {
			rows = append(rows, malformed{wire(target+"?"+query, ""), noParameter})
		}
		for _, query := range []string{"a;b", "%zz=1", "a=1;b=2"} {
			rows = append(rows, malformed{wire(target+"?"+query, ""), badValue})
		}
		for _, name := range op.query {
			for _, query := range []string{name, name + "=", name + "=%zz", name + "=1&" + name + "=1", name + "=a;b"} {
				if query == queryPrefix+"=" {
					continue // every name begins so
				}
				if name != queryFence || !strings.Contains(query, "&") {
					rows = append(rows, malformed{wire(target+"?"+query, ""), badValue})
				}
			}
		}
	}
	for i := range operations {
		if op := &operations[i]; op.fenced {
			for _, fence := range []string{":", "%20", "a%20b", "-a", "a:x", "a:0", "a:-1", "a:1.0", "a:9223372036854775808", "a:%2B1", "a/b", "rooms/a",
				"locks/", "locks//a", "locks/a/b", "once/a/", "queues/a:1", "%00", "a:1" + strings.Repeat("&fence=a:1", 8)} {
				rows = append(rows, malformed{wire(op.method+" "+example(op.path)+"?fence="+fence, wellFormed[op.id]), badValue})
			}
		}
		rows = append(rows, badNames(&operations[i])...)
	}
	for target, values := range map[string][]string{
		"GET /v1/locks?limit=": {"0", "1001", "x"}, "GET /v1/locks?prefix=": {strings.Repeat("a", 256), "%00", "%FF", ":", "%2F", "a%2F", "-a"},
		"GET /v1/locks/ci?wait_ms=": {"-1", "300001"}, "GET /v1/once/ci?key=": {strings.Repeat("k", 256), "%00", "a%0Ab", "%FF"},
		"GET /v1/once/ci?include=": {"all"}, "DELETE /v1/once/ci?key=": {strings.Repeat("k", 256), "%00"},
		"POST /v1/once/ci/complete?failed=": {"1", "TRUE", "yes"}, "DELETE /v1/queues/ci?force=": {"1", "T"},
		"POST /v1/queues/ci/messages?delay_ms=": {"-1", "x", "2592000001"}, "POST /v1/queues/ci/messages?priority=": {"x", "2147483648", "1.0"},
		"GET /v1/nodes/app?wait_ms=":         {"-1", "300001", "1.5", "1e3", "0x10", "+", "%201", "99999999999999999999", "NaN", "ten"},
		"GET /v1/nodes/app?min_zxid=":        {"-1", "x", "99999999999999999999", "1.0", "%00"},
		"GET /v1/nodes/app?consistency=":     {"Local", "strong", "linearizable,local", "%20local"},
		"GET /v1/stat/app?include=":          {"all", "DATA", "%00"},
		"GET /v1/children/app?limit=":        {"0", "-1", "1001", "x", "1.5", "4294967297"},
		"GET /v1/children/app?page_token=":   {strings.Repeat("A", 513)},
		"GET /v1/children/app?include=data&": {"wait_ms=1"},
		"GET /v1/watch/app?scope=":           {"Node", "all", "node,children", "%00"},
		"GET /v1/watch/app?since=":           {"-1", "x", "1.5", "0x1", "9223372036854775808", "18446744073709551616", "%2B1"},
		"GET /v1/watch/app?since=0&limit=":   {"0", "-1", "1001", "x"},
		"GET /v1/stream/app?since=":          {"-1", "x", "9223372036854775808"},
		"PUT /v1/nodes/app?version=":         {"-1", "-2", "x", "1.0", "9223372036854775808", "0x0"},
		"PUT /v1/nodes/app?mode=":            {"persistent", "EPHEMERAL", "x", "container", "1"},
		"PUT /v1/nodes/app?parents=":         {"1", "yes", "TRUE", "T", "%00"},
		"PUT /v1/nodes/app?takeover=":        {"true", "1", "True"},
		"PUT /v1/nodes/app?ttl_ms=":          {"5000", "-1", "x", "0"},
		"POST /v1/nodes/new?mode=":           {"x", "Ephemeral", "persistent,ephemeral", "ephemeral"},
		"POST /v1/nodes/new?sequential=":     {"1", "on", "TRUE"},
		"DELETE /v1/nodes/app?recursive=":    {"1", "yes", "FALSE"},
		"DELETE /v1/nodes/app?version=":      {"-1", "x", "1e2"},
		"GET /v1/sessions?limit=":            {"0", "1001", "x", "-5"},
		"DELETE /v1/cluster/members/":        {"0", "65536", "x", "01", "-1", "%2B1", "1.0"},
		"GET /v1/sessions/":                  {"x", "-1", "1.5", "Self", "18446744073709551616", "%00", "0x1"},
	} {
		for _, v := range values {
			rows = append(rows, malformed{wire(target+v, ""), badValue})
		}
	}
	return rows
}

// badNames sends to an operation on a thing what cannot be its name.
func badNames(op *operation) (rows []malformed) {
	if !strings.Contains(op.path, "{name}") || strings.HasPrefix(op.path, "/v1/principals") {
		return nil
	}
	for _, name := range []string{".", "..", "-a", "_", ":a", "a%20b", "a%2Fb", "%00", "a@b", "%C3%A9", "*", strings.Repeat("a", 256)} {
		target := strings.Replace(op.path, "{name}", name, 1)
		rows = append(rows, malformed{wire(op.method+" "+target, wellFormed[op.id], "Perch-Session: "+tokenA), badValue})
	}
	return rows
}

// badKeys are values of Idempotency-Key that are none.
var badKeys = []string{
	"", "\"\"", "a b", "\"a", "a\"", "\"a\"b\"", "é", strings.Repeat("k", 129), "k\r\nIdempotency-Key: k", "k\r\nIdempotency-Key: l", "\"\" \"\"",
}

func badHeaders() (rows []malformed) {
	for i := range operations {
		if op := &operations[i]; op.keyed {
			for _, key := range badKeys {
				rows = append(rows, malformed{wire(op.method+" "+example(op.path), wellFormed[op.id], "Idempotency-Key: "+key), badValue})
			}
		}
	}
	for i := range operations {
		op := &operations[i]
		for _, name := range []string{ifMatch, ifNoneMatch} {
			if !op.ops && !slices.Contains(op.ifs, name) {
				rows = append(rows, malformed{wire(op.method+" "+example(op.path), wellFormed[op.id], name+": \"1\""), badValue})
			}
		}
	}
	long := strings.Repeat("x", headerBytesMax)
	for header, want := range map[string]string{
		"If-None-Match: \"1\", \"2\"": badValue, "If-None-Match: ": badValue, "If-None-Match: \"": badValue, "If-None-Match: \"a b\"": badValue,
		"If-None-Match: **": badValue, "If-None-Match: W/": badValue, "If-None-Match: w/\"1\"": badValue, "If-None-Match: \"1\"x": badValue,
		"Prefer: wait=-1": badValue, "Prefer: wait=x": badValue, "Prefer: wait=": badValue, "Prefer: wait=301": badValue, "Prefer: wait=1.5": badValue,
		"Perch-Session: ": noSession, "Perch-Session: short": noSession, "Perch-Session: " + strings.Repeat("a", 21): noSession,
		"Perch-Session: " + strings.Repeat("a", 129): noSession, "Perch-Session: " + strings.Repeat("a", 21) + "!": noSession,
		"Perch-Session: " + strings.Repeat("a", 22) + " b": noSession, "Perch-Session: " + strings.Repeat("é", 22): noSession,
		"Perch-Session: " + strings.Repeat("a", 22): noSession, "Perch-Session: ps1_0000000000000001_" + strings.Repeat("A", 43): noSession,
		"Idempotency-Key: k": badValue, "Idempotency-Key: ": badValue,
		"Content-Encoding: gzip": "415 unsupported_encoding", "Content-Encoding: br": "415 unsupported_encoding",
		"Content-Encoding: ": "415 unsupported_encoding", "Content-Encoding: Identity": "415 unsupported_encoding",
		"Content-Encoding: identity, gzip": "415 unsupported_encoding", "Content-Encoding: identity\r\nContent-Encoding: identity": "415 unsupported_encoding",
		"X: " + long: "431 headers_too_large", "Cookie: " + long: "431 headers_too_large", strings.Repeat("X: y\r\n", 3000) + "Z: z": "431 headers_too_large",
		long + ": x": "431 headers_too_large", "X: " + strings.Repeat("x", 80<<10): "431",
		"X y: z": plainText, ": z": plainText, "X": plainText, "X : y": plainText, " X: y": plainText, "X: a\x00b": plainText, "X: a\x01b": plainText,
		"X\x00: y": plainText, "X\xff: y": plainText, "X: a\x7fb": plainText, "(X): y": plainText, "X: a\rb": plainText, "Host: localhost": plainText,
		"Expect: a miracle": "417",
	} {
		rows = append(rows, malformed{wire("GET /v1/nodes/app", "", header), want})
	}
	for _, header := range []string{
		"If-Match: 1,2", "If-Match: ", "If-Match: \"1\"\r\nIf-Match: \"1\"", "If-Match: *\r\nIf-None-Match: *", "If-None-Match: \"1\"", "If-None-Match: x",
		"If-Unmodified-Since: Tue, 01 Sep 2026 00:00:00 GMT", "If-Range: \"1\"", "Content-Range: bytes 5-9/10", "Idempotency-Key: \"k",
		"Perch-Session: " + strings.Repeat("a", 22) + "\r\nPerch-Session: " + strings.Repeat("a", 22),
	} {
		rows = append(rows, malformed{wire("PUT /v1/nodes/app", "x", header), badValue})
	}
	for _, host := range []string{"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[fe80::1]", "notlocalhost", "0.0.0.0:1"} {
		rows = append(rows, malformed{"GET /v1/nodes/app HTTP/1.1\r\nHost: " + host + "\r\n\r\n", "421 misdirected_request"})
	}
	for _, origin := range []string{"Origin: null", "Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"} {
		rows = append(rows, malformed{wire("PUT /v1/nodes/app", "x", origin), "403 permission_denied"})
	}
	return rows
}

// badJSON sends to every operation with a JSON body what is no JSON, and for
// each field of its shape what the field does not take.
func badJSON() (rows []malformed) {
	for i := range operations {
		op := &operations[i]
		if op.json == nil {
			continue
		}
		line := op.method + " " + example(op.path)
		add := func(body, want string) { rows = append(rows, malformed{wire(line, body), want}) }
		for _, body := range []string{
			"{", "}", "[", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":1", "{,}", "{\"a\"}", "{\"a\":}", "{:1}", "{1:1}", "{a:1}", "{'a':1}", "{}{}", "{} x", "{},",
			"null", "nul", "true", "1", "\"x\"", "[]", "[{}]", "NaN", "undefined", "\xef\xbb\xbf{}", "{\x00}", "\x00", "\xff\xfe{\x00}\x00", "{\v}", "{\u00a0}",
			"{/**/}", "{}//", "#{}", "{\"unknown\":1}", "{\"\":1}", "{\"__proto__\":{}}", "{\"\\ud800\":1}", "{\"\xff\":1}", "{\"\\x41\":1}",
			"ttl_ms=1000", "<x/>", "---\nttl_ms: 1", strings.Repeat("[", 64), strings.Repeat("[", 100_000), strings.Repeat("{\"a\":", 33),
		} {
			add(body, badField)
		}
		badFields(op.json, "", "", add)
	}
	for line, bodies := range badBodies {
		for _, body := range bodies {
			rows = append(rows, malformed{wire(line, body), badValue})
		}
	}
	return rows
}

// badBodies are JSON of the right shape that says what cannot be.
var badBodies = map[string][]string{
	"POST /v1/multi": {
		`{}`, `{"ops":[]}`, `{"ops":[{}]}`, `{"ops":[{"op":"fly","path":"/app"}]}`, `{"ops":[{"op":"PUT","path":"/app"}]}`,
		`{"ops":[{"op":"put","path":"/app","data":"eA==","text":"x"}]}`, `{"ops":[{"op":"put","path":"/app","version":-1}]}`,
		`{"ops":[{"op":"put","path":"/app","etag":"1, 2"}]}`, `{"ops":[{"op":"put","path":"/app","mode":"container"}]}`,
		`{"ops":[{"op":"get","path":"/app","data":"eA=="}]}`, `{"ops":[{"op":"get","path":"/app","recursive":true}]}`,
		`{"ops":[{"op":"check","path":"/app","text":"x"}]}`, `{"ops":[{"op":"delete","path":"/app","parents":true}]}`,
		`{"ops":[{"op":"set","path":"/app","sequential":true}]}`, `{"ops":[{"op":"create","path":"/new","version":0}]}`,
		`{"ops":[{"op":"create","path":"/new","mode":"eternal"}]}`, `{"ops":[{"op":"create","path":"/new","ttl_ms":5000}]}`,
		`{"ops":[{"op":"create","path":"/new","mode":"ephemeral"}]}`, `{"ops":[{"op":"create","path":"/"}]}`, `{"ops":[{"op":"delete","path":"/"}]}`,
		`{"ops":[{"op":"check_lock"}]}`, `{"ops":[{"op":"check_lock","lock":"a","path":"/app"}]}`, `{"ops":[{"op":"check_lock","lock":"a b"}]}`,
		`{"ops":[{"op":"check_lock","lock":"a","fencing_token":0}]}`, `{"ops":[{"op":"add","counter":"c"}]}`, `{"ops":[{"op":"add","add":1}]}`,
		`{"ops":[{"op":"enqueue","text":"x"}]}`, `{"ops":[{"op":"enqueue","queue":"a/b"}]}`, `{"ops":[{"op":"ack","queue":"q"}]}`,
		`{"ops":[{"op":"ack","receipt":"1-1"}]}`, `{"ops":[{"op":"get","path":"/app","lock":"a"}]}`, `{"ops":[{"op":"put","path":"/app","add":1}]}`,
		`{"ops":[` + strings.Repeat(`{"op":"get","path":"/app"},`, 128) + `{"op":"get","path":"/app"}]}`,
	},
	"POST /v1/locks/ci/acquire": {
		`{}`, `{"ttl_ms":999}`, `{"ttl_ms":86400001}`, `{"ttl_ms":0}`, `{"ttl_ms":5000,"wait_ms":-1}`, `{"ttl_ms":5000,"wait_ms":300001}`,
		`{"ttl_ms":5000,"stay_ms":-1}`, `{"ttl_ms":5000,"stay_ms":300001}`, `{"ttl_ms":5000,"mode":"Shared"}`, `{"ttl_ms":5000,"mode":""}`,
		`{"ttl_ms":5000,"owner":"a\nb"}`, `{"ttl_ms":5000,"owner":"` + strings.Repeat("o", 256) + `"}`, `{"ttl_ms":5000,"lock_delay_ms":-1}`,
		`{"ttl_ms":5000,"lock_delay_ms":60001}`,
	},
	"POST /v1/lock-sets/acquire": {
		`{}`, `{"ttl_ms":5000,"locks":[]}`, `{"ttl_ms":5000,"locks":[{}]}`, `{"ttl_ms":5000,"locks":[{"name":"a"},{"name":"a"}]}`,
		`{"ttl_ms":5000,"locks":[{"name":"a","mode":"x"}]}`, `{"locks":[{"name":"a"}]}`, `{"ttl_ms":5000,"locks":[{"name":"a/b"}]}`,
		`{"ttl_ms":5000,"locks":[` + strings.Repeat(`{"name":"a"},`, 32) + `{"name":"b"}]}`,
	},
	"POST /v1/lock-sets/release": {`{}`, `{"names":[]}`, `{"names":["a/b"]}`},
	"POST /v1/semaphores/ci/acquire": {
		`{}`, `{"ttl_ms":5000}`, `{"ttl_ms":5000,"limit":0}`, `{"ttl_ms":5000,"limit":-1}`, `{"ttl_ms":5000,"limit":2,"permits":3}`,
		`{"ttl_ms":5000,"limit":2,"permits":0}`, `{"limit":2}`,
	},
	"POST /v1/elections/ci/campaign": {`{}`, `{"ttl_ms":5000,"value":"a\nb"}`, `{"ttl_ms":5000,"value":"` + strings.Repeat("v", 4097) + `"}`},
	"POST /v1/elections/ci/proclaim": {`{}`, `{"value":"a\nb","fencing_token":1}`, `{"fencing_token":1}`, `{"value":"x"}`, `{"value":"x","fencing_token":0}`, `{"value":"x","fencing_token":-1}`},
	"POST /v1/locks/ci/renew":        {`{}`, `{"fencing_token":1}`},
	"POST /v1/locks/ci/release":      {`{}`, `{"fencing_token":0}`},
	"POST /v1/locks/ci/revoke":       {`{"reason":"a\u0000"}`, `{"break_after_ms":-1}`, `{"reason":"` + strings.Repeat("r", 256) + `"}`},
	"POST /v1/once/ci/begin": {
		`{}`, `{"ttl_ms":5000}`, `{"ttl_ms":5000,"key":"k","period_ms":1000}`, `{"ttl_ms":5000,"key":""}`, `{"ttl_ms":5000,"key":"a\nb"}`,
		`{"key":"k"}`, `{"ttl_ms":5000,"period_ms":999}`, `{"ttl_ms":5000,"period_ms":31622400001}`, `{"ttl_ms":5000,"period_ms":1000,"offset_ms":1000}`,
		`{"ttl_ms":5000,"key":"k","offset_ms":1}`, `{"ttl_ms":5000,"key":"k","max_attempts":0}`, `{"ttl_ms":5000,"key":"k","keep_ms":0}`,
	},
	"POST /v1/once/ci/complete":  {``},
	"POST /v1/once/ci/abandon":   {`{}`, `{"key":""}`},
	"POST /v1/barriers/ci/enter": {`{}`, `{"count":0,"ttl_ms":5000}`, `{"count":2}`, `{"count":2,"ttl_ms":5000,"generation":-1}`},
	"POST /v1/barriers/ci/leave": {`{}`, `{"wait_ms":-1}`, `{"generation":-1}`},
	"POST /v1/counters/ci/add":   {``, `{}`, `{"expect":1}`},
	"POST /v1/counters/ci/set":   {``, `{}`, `{"expect":1}`},
	"PUT /v1/queues/ci":          {``, `{"max_attempts":-1}`, `{"dead_letter":""}`, `{"dead_letter":"a/b"}`},
	"POST /v1/queues/ci/claim":   {`{"count":0}`, `{"count":101}`, `{"ttl_ms":999}`, `{"ttl_ms":43200001}`, `{"wait_ms":-1}`},
	"POST /v1/queues/ci/ack":     {`{}`, `{"receipts":[]}`, `{"receipts":[""]}`, `{"receipts":["` + strings.Repeat("r", 129) + `"]}`},
	"POST /v1/queues/ci/nack":    {`{"receipts":["1-1"],"delay_ms":-1}`, `{"receipts":["1-1"],"delay_ms":2592000001}`},
	"POST /v1/queues/ci/extend":  {`{"receipts":["1-1"]}`, `{"receipts":["1-1"],"ttl_ms":999}`},
	"POST /v1/queues/ci/redrive": {`{}`, `{"to":"a/b"}`, `{"to":"other","limit":0}`},
	"PUT /v1/quota/app":          {`{}`, `{"max_nodes":-1}`, `{"max_bytes":-1}`, `{"max_nodes":1,"max_bytes":-9223372036854775808}`},
	"PUT /v1/acl/app":            {`{"entries":[{"scheme":"world","id":"anyone","perms":"r"}],"aversion":-1}`},
	"PUT /v1/acl-default/app":    {`{"entries":[{"scheme":"world","id":"anyone","perms":"r"}],"aversion":0}`},
	"PUT /v1/principals/ci": {
		`{"grants":[{"prefix":"/","perms":["fly"]}]}`, `{"grants":[{"prefix":"/","perms":["READ"]}]}`, `{"grants":[{"prefix":"/","perms":[]}]}`,
		`{"name":"another"}`, `{"grants":[{"prefix":"/a","perms":["cluster"]}]}`,
	},
	"POST /v1/tokens": {
		`{}`, `{"principal":""}`, `{"principal":"a\u0000b"}`, `{"principal":"ci","label":"a\nb"}`, `{"principal":"ci","expires_at":"2001-01-01T00:00:00Z"}`,
		`{"principal":"ci","secret_sha256":"00"}`, `{"principal":"ci","secret_sha256":"` + strings.Repeat("AB", 32) + `"}`,
		`{"principal":"ci","secret_sha256":"` + strings.Repeat("zz", 32) + `"}`, `{"principal":"` + strings.Repeat("x", 256) + `"}`,
	},
	"POST /v1/cluster/members": {`{"members":[]}`, `{"members":[{}]}`, `{"members":[{"id":"0","address":"h:1"}]}`, `{"members":[{"id":"1"}]}`},
}

// badFields adds the faults of every field below shape, which stands between
// before and after.
func badFields(shape *jsonShape, before, after string, add func(body, want string)) {
	if shape.kind == jsonArray {
		badFields(shape.items, before+"[", "]"+after, add)
		return
	}
	for name, field := range shape.fields {
		open := before + "{\"" + name + "\":"
		kind := field.kind
		if kind == jsonInt32 {
			kind = jsonInteger
			add(open+"2147483648}"+after, badValue)
			add(open+"-2147483649}"+after, badValue)
		}
		for _, v := range wrongFor[kind] {
			add(open+v+"}"+after, badField)
		}
		good := map[jsonKind]string{jsonInteger: "1", jsonString: "\"x\"", jsonBoolean: "true", jsonObject: "{}", jsonArray: "[]",
			jsonBytes: "\"eA==\"", jsonTime: "\"2026-09-01T00:00:00Z\""}[kind]
		add(before+"{\""+strings.ToUpper(name)+"\":"+good+"}"+after, badField)
		add(open+good+",\""+name+"\":"+good+"}"+after, badField)
		add(open+good+",}"+after, badField)
		add(open+good+after, badField)
		if kind == jsonInteger {
			add(open+"9223372036854775808}"+after, badValue)
			add(open+"-9223372036854775809}"+after, badValue)
			add(open+strings.Repeat("9", 400)+"}"+after, badValue)
		}
		badFields(field, open, "}"+after, add)
	}
}

// wrongFor are values that a field of a kind does not take.
var wrongFor = map[jsonKind][]string{
	jsonInteger: {"null", "\"1\"", "1.0", "1e3", "1E0", "01", "-", "+1", ".5", "1.", "0x10", "1_000", "NaN", "Infinity", "true", "{}", "[]", "[1]", "--1", "1 2"},
	jsonString: {"null", "1", "true", "{}", "[]", "'x'", "\"", "\"\\", "\"\\u12\"", "\"\\ud800\"", "\"\\udc00\\ud800\"", "\"\\x41\"", "\"\x00\"",
		"\"\n\"", "\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"a\" \"b\""},
	jsonBoolean: {"null", "1", "0", "\"true\"", "True", "TRUE", "tru", "truee", "{}", "[]"},
	jsonObject:  {"null", "1", "\"x\"", "true", "[]", "{\"unknown\":1}", "{"},
	jsonArray:   {"null", "1", "\"x\"", "true", "{}", "[", "[,]", "[null"},
	jsonBytes:   {"null", "1", "true", "{}", "[]", "\"x\"", "\"eA\"", "\"eA=\"", "\"eA==eA==\"", "\"-_==\"", "\"%41\"", "\"\\u00e9\""},
	jsonTime: {"null", "1790000000", "true", "{}", "\"\"", "\"now\"", "\"2026-09-01\"", "\"2026-09-01T00:00:00\"", "\"2026-13-01T00:00:00Z\"",
		"\"2026-02-30T00:00:00Z\"", "\"2026-09-01 00:00:00Z\"", "\"Tue, 01 Sep 2026 00:00:00 GMT\""},
}

func badLengths() []malformed {
	chunked := "Transfer-Encoding: chunked\r\n\r\n"
	var rows []malformed
	for rest, want := range map[string]string{
		"Content-Length: 1048577\r\n\r\n":                            "413 too_large",
		"Content-Length: 9223372036854775807\r\n\r\n":                "413 too_large",
		"Content-Length: 9999999999\r\nExpect: 100-continue\r\n\r\n": "413 too_large",
		"Content-Length: -1\r\n\r\n":                                 plainText, "Content-Length: x\r\n\r\n": plainText,
		"Content-Length: \r\n\r\n": plainText, "Content-Length: +1\r\n\r\nx": plainText, "Content-Length: 0x1\r\n\r\nx": plainText,
		"Content-Length: 1.0\r\n\r\nx": plainText, "Content-Length: 1 1\r\n\r\nx": plainText, "Content-Length: 1, 1\r\n\r\nx": plainText,
		"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx":     plainText,
		"Content-Length: 9223372036854775808\r\n\r\n":          plainText,
		"Transfer-Encoding: gzip\r\n\r\n":                      "501",
		"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n": "501",
		"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n":    "501",
		"Transfer-Encoding: x\r\n" + chunked + "0\r\n\r\n":     "501",
		chunked + "zz\r\n": badValue, chunked + "-1\r\n": badValue, chunked + "\r\n": badValue, chunked + "1 x\r\nx\r\n0\r\n\r\n": badValue,
		chunked + "0x1\r\nx\r\n0\r\n\r\n": badValue, chunked + "11111111111111111\r\n": badValue,
		chunked + "1\r\nxx\r\n0\r\n\r\n": badValue, chunked + "2\r\nx\r\n0\r\n\r\n": badValue,
		chunked + "g\r\n": badValue, chunked + "1;" + strings.Repeat("e", 20<<10) + "\r\nx\r\n0\r\n\r\n": badValue,
		chunked + strings.Repeat("10000\r\n"+strings.Repeat("x", 1<<16)+"\r\n", 17): "413 too_large",
		chunked + "100001\r\n" + strings.Repeat("x", 1<<20+1):                       "413 too_large",
	} {
		rows = append(rows, malformed{framed(rest), want})
	}
	for i := range operations {
		if op := &operations[i]; op.json != nil {
			rows = append(rows, malformed{wire(op.method+" "+example(op.path), "", fmt.Sprintf("Content-Length: %d", jsonBytesMax+1)), "413 too_large"})
		}
	}
	return rows
}

func badRequestLines() (rows []malformed) {
	host := "\r\nHost: localhost\r\n\r\n"
	for line, want := range map[string]string{
		"hello": plainText, "GET": plainText, "GET /v1/nodes/app": plainText, "GET  /v1/nodes/app HTTP/1.1": plainText, " GET /v1/nodes/app HTTP/1.1": plainText,
		"GET /v1/nodes/a b HTTP/1.1": plainText, "GET /v1/nodes/app HTTP/1.1 ": plainText, "GET /v1/nodes/app http/1.1": plainText,
		"GET /v1/nodes/app HTTP/1.x": plainText, "GET /v1/nodes/app HTTP/-1.1": plainText, "GET /v1/nodes/app HTTP/9.1": "505",
		"GET /v1/nodes/app HTTQ/1.1": plainText, "G(T /v1/nodes/app HTTP/1.1": plainText, "GET\t/v1/nodes/app HTTP/1.1": plainText,
		"GET v1/nodes/app HTTP/1.1": plainText, "GET /v1/nodes/a\x00 HTTP/1.1": plainText, "GET /v1/nodes/a\x7f HTTP/1.1": plainText,
		"GET :// HTTP/1.1": plainText, "GET http://[::1 HTTP/1.1": plainText, "GET http://local%zzhost/ HTTP/1.1": plainText,
		"GET * HTTP/1.1": noEndpoint, "CONNECT localhost:1 HTTP/1.1": noEndpoint,
		"GET http://evil.example/v1/nodes/app HTTP/1.1":                         "421 misdirected_request",
		"GET /v1/nodes/app?x=" + strings.Repeat("x", uriBytesMax) + " HTTP/1.1": "414 uri_too_long",
		"GET /v1/nodes/" + strings.Repeat("%41", uriBytesMax/3) + " HTTP/1.1":   "414 uri_too_long",
		"DELETE /" + strings.Repeat("x", uriBytesMax) + " HTTP/1.1":             "414 uri_too_long",
		"GET /v1/nodes/" + strings.Repeat("x", 80<<10) + " HTTP/1.1":            "431",
		strings.Repeat("M", 9<<10) + " /v1/nodes/app HTTP/1.1":                  noMethod,
	} {
		rows = append(rows, malformed{line + host, want})
	}
	return append(rows,
		malformed{"GET /v1/nodes/app HTTP/1.1\r\n\r\n", plainText},
		malformed{"GET /v1/nodes/app HTTP/1.1\r\nHost: local host\r\n\r\n", plainText},
		malformed{"GET /v1/nodes/app HTTP/1.1\r\nHost: localhost\x00\r\n\r\n", plainText},
	)
}
