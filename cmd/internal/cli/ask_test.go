package cli

import (
	"net/http"
	"strings"
	"testing"

	"perch/cmd/internal/exit"
)

var (
	noLeader = problem(503, "no_leader", `,"retryable":true,"outcome":"not_applied"`)
	timedOut = problem(504, "commit_timeout", `,"retryable":true,"outcome":"unknown"`)
	bare502  = reply{status: 502, body: "<html>Bad Gateway</html>"}
	bare503  = reply{status: 503, body: "upstream"}
	cut      = reply{cut: true}
	node     = reply{body: `{"path":"/a","etag":"1","stat":{}}`}
)

// What is repeated, how often, and how it ends when it is not.
func TestRepetition(t *testing.T) {
	const put, post, get, multi = "PUT /v1/nodes/a", "POST /v1/locks/l/acquire", "GET /v1/nodes/a", "POST /v1/multi?include=text"
	grant := reply{body: `{"fencing_token":7,"remaining_ms":30000,"waited_ms":0,"session_id":1,"name":"l"}`}
	for name, c := range map[string]struct {
		args    []string
		key     string
		answers []reply
		tries   int
		code    int
	}{
		"a write that was not applied":         {[]string{"set", "a", "x"}, put, []reply{noLeader, node}, 2, exit.OK},
		"a write whose outcome is unknown":     {[]string{"set", "a", "x"}, put, []reply{timedOut, node}, 2, exit.OK},
		"a write whose connection is cut":      {[]string{"set", "a", "x"}, put, []reply{cut, node}, 2, exit.OK},
		"a write through a proxy":              {[]string{"set", "a", "x"}, put, []reply{bare502, bare503, node}, 3, exit.OK},
		"a write that stays unknown":           {[]string{"set", "a", "x", "--timeout", "50ms"}, put, []reply{timedOut}, 1, exit.Unknown},
		"a write that stays undone":            {[]string{"set", "a", "x", "--timeout", "50ms"}, put, []reply{noLeader}, 1, exit.Unavailable},
		"a write refused by a proxy":           {[]string{"set", "a", "x", "--timeout", "50ms"}, put, []reply{bare503}, 1, exit.Unknown},
		"our own mistake":                      {[]string{"set", "a", "x"}, put, []reply{problem(500, "internal", ""), node}, 1, exit.Unknown},
		"a read":                               {[]string{"get", "a"}, get, []reply{cut, noLeader, {body: "v"}}, 3, exit.OK},
		"a read that nobody serves":            {[]string{"get", "a", "--timeout", "50ms"}, get, []reply{noLeader}, 1, exit.Unavailable},
		"a grant":                              {[]string{"lock", "acquire", "l"}, post, []reply{cut, timedOut, grant}, 3, exit.OK},
		"too many requests":                    {[]string{"get", "a"}, get, []reply{problem(429, "rate_limited", ""), {body: "v"}}, 2, exit.OK},
		"too many sessions":                    {[]string{"get", "a"}, get, []reply{problem(429, "too_many_sessions", ""), {body: "v"}}, 1, exit.Unavailable},
		"a duplicate under way":                {[]string{"set", "a", "x"}, put, []reply{problem(409, "idempotency_in_progress", ""), node}, 2, exit.OK},
		"a multi that reads and changes":       {[]string{"multi", "get /a", "set /a x"}, multi, []reply{timedOut}, 1, exit.Unknown},
		"the same, which was not applied":      {[]string{"multi", "get /a", "set /a x"}, multi, []reply{noLeader, {body: `{"zxid":1,"results":[]}`}}, 2, exit.OK},
		"a multi that only reads":              {[]string{"multi", "get /a"}, multi, []reply{timedOut, {body: `{"zxid":1,"results":[]}`}}, 2, exit.OK},
		"something that is no answer of Perch": {[]string{"stat", "a"}, "GET /v1/stat/a", []reply{{body: "<html>"}}, 1, exit.Failure},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, map[string][]reply{c.key: c.answers})
			_, said, code := f.run(c.args...)
			if len(f.had) != c.tries || code != c.code {
				t.Errorf("%d requests, want %d; exit code %d, want %d\n%s", len(f.had), c.tries, code, c.code, said)
			}
			for _, g := range f.had {
				if g.line != f.had[0].line || g.header.Get("Idempotency-Key") != f.had[0].header.Get("Idempotency-Key") ||
					g.header.Get("Perch-Session") != f.had[0].header.Get("Perch-Session") {
					t.Errorf("it is not repeated as it was: %v", g)
				}
			}
		})
	}
}

func TestKeys(t *testing.T) {
	f := newFake(t, map[string][]reply{"PUT /v1/nodes/a": {node}, "POST /v1/multi?include=text": {{body: `{"zxid":1,"results":[]}`}}})
	f.run("set", "a", "x")
	f.run("set", "a", "x")
	f.run("set", "a", "x", "--idempotency-key", "order-17")
	f.run("multi", "get /a", "set /a x")
	f.run("get", "a")
	var keys []string
	for _, g := range f.had {
		keys = append(keys, g.header.Get("Idempotency-Key"))
	}
	if len(keys) != 5 || keys[0] == "" || keys[1] == "" || keys[0] == keys[1] || keys[2] != "order-17" || keys[3] != "" || keys[4] != "" {
		t.Errorf("keys: %q", keys)
	}
}

// With several addresses one that does not answer costs nothing but the attempt.
func TestAnotherAddress(t *testing.T) {
	f := newFake(t, map[string][]reply{"GET /v1/nodes/a": {{body: "v"}}})
	out, said, code := f.run("get", "a", "--url", "http://127.0.0.1:1,"+f.URL)
	if out != "v" || code != 0 {
		t.Errorf("%q, exit code %d: %s", out, code, said)
	}
	if out, said, code := f.run("get", "a", "--url", "http://down.invalid:1,"+f.URL); out != "v" || code != 0 {
		t.Errorf("after a name that is not known: %q, exit code %d: %s", out, code, said)
	}
	down := newFake(t, map[string][]reply{"PUT /v1/nodes/a": {noLeader}})
	up := newFake(t, map[string][]reply{"PUT /v1/nodes/a": {node}})
	if _, said, code := f.run("set", "a", "x", "--url", down.URL+","+up.URL); code != 0 || len(up.had) != 1 {
		t.Errorf("exit code %d, %d requests: %s", code, len(up.had), said)
	}
}

func TestExitCodesOfRefusals(t *testing.T) {
	for code, c := range map[string]struct {
		status, write, read int
	}{
		"invalid_argument":  {400, exit.Usage, exit.Usage},
		"unauthenticated":   {401, exit.Refused, exit.Refused},
		"permission_denied": {403, exit.Refused, exit.Refused},
		"no_node":           {404, exit.NotFound, exit.NotFound},
		"node_exists":       {409, exit.Precondition, exit.Precondition},
		"once_done":         {409, exit.Precondition, exit.Precondition},
		"lock_held":         {409, exit.NotObtained, exit.NotObtained},
		"no_permits":        {409, exit.NotObtained, exit.NotObtained},
		"session_expired":   {410, exit.Gone, exit.Gone},
		"fence_stale":       {412, exit.Precondition, exit.Precondition},
		"too_large":         {413, exit.Failure, exit.Failure},
		"a_code_to_come":    {410, exit.Gone, exit.Gone},
		"storage_full":      {507, exit.Unknown, exit.Unavailable},
	} {
		f := newFake(t, map[string][]reply{"DELETE /v1/nodes/a": {problem(c.status, code, "")}, "GET /v1/nodes/a": {problem(c.status, code, "")}})
		if _, said, got := f.run("delete", "a"); got != c.write || !strings.Contains(said, "perch: "+code+": The title.\n") {
			t.Errorf("%s: exit code %d, want %d; said: %s", code, got, c.write, said)
		}
		if _, _, got := f.run("get", "a"); got != c.read {
			t.Errorf("%s: exit code %d of a read, want %d", code, got, c.read)
		}
	}
}

// What something else says at that address is not what Perch says.
func TestAnswersOfSomethingElse(t *testing.T) {
	f := newFake(t, map[string][]reply{"GET /v1/nodes/a": {{status: http.StatusNotFound, body: "<html>"}}})
	if _, said, code := f.run("get", "a"); code != exit.Failure || !strings.Contains(said, "is --url right?") {
		t.Errorf("exit code %d: %s", code, said)
	}
}

// What a refusal knows is said, and with -v the request id.
func TestRefusalsAreTold(t *testing.T) {
	held := problem(http.StatusConflict, "lock_held", `,"position":3,"holder":{"owner":"a\u001b[2J","session_id":5,"remaining_ms":4200}`)
	failed := problem(http.StatusPreconditionFailed, "version_mismatch", `,"failed_index":1,"field":"/ops/1/version","detail":"it is 4"`)
	f := newFake(t, map[string][]reply{"POST /v1/locks/l/acquire": {held}, "POST /v1/multi?include=text": {failed}})
	_, said, _ := f.run("lock", "acquire", "l", "-v")
	for _, want := range []string{
		`lock_held: The title. Its holder: a\x1b[2J, whose time is over in 4s unless it is renewed. Place in the queue: 3.`,
		"perch: request id: r1\n", "perch: POST " + f.URL + "/v1/locks/l/acquire: 409 Conflict",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
	_, said, _ = f.run("multi", "check /a", "set -v 3 /a x")
	if want := "perch: version_mismatch: The title. Nothing was done; operation 2 failed. (/ops/1/version: it is 4)\n"; !strings.HasPrefix(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
	_, said, code := f.run("get", "a", "--url", "http://127.0.0.1:1")
	if code != exit.Unavailable || !strings.Contains(said, "connection refused") || !strings.Contains(said, "perch serve") {
		t.Errorf("exit code %d: %s", code, said)
	}
}
