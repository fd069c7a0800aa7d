package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"perch/cmd/internal/exit"
)

const aGrant = `{"name":"l","fencing_token":7,"session_id":1,"remaining_ms":29000,"waited_ms":5}`

// Who waits asks again and again for one place: in one session, as one owner, and
// keeps it in between.
func TestAcquireKeepsItsPlace(t *testing.T) {
	held := problem(409, "lock_held", `,"retryable":true,"position":2`)
	f := newFake(t, map[string][]reply{"POST /v1/locks/l/acquire": {held, cut, {body: aGrant}}})
	out, said, code := f.run("lock", "acquire", "l", "--wait", "-1", "--ttl", "1m")
	if code != exit.OK || out != "7\n" || len(f.had) != 3 {
		t.Fatalf("exit code %d after %d requests: %s%s", code, len(f.had), out, said)
	}
	session := f.had[0].header.Get("Perch-Session")
	if len(session) != 32 || !strings.Contains(said, "export PERCH_SESSION="+session+"\n") {
		t.Errorf("the session is %q, said: %s", session, said)
	}
	for _, g := range f.had {
		var spec struct {
			Owner  string
			WaitMs int64 `json:"wait_ms"`
			StayMs int64 `json:"stay_ms"`
			TTLMs  int64 `json:"ttl_ms"`
		}
		_, body, _ := strings.Cut(g.line, "acquire ")
		if err := json.Unmarshal([]byte(body), &spec); err != nil {
			t.Fatal(err)
		}
		if g.header.Get("Perch-Session") != session || g.header.Get("Idempotency-Key") != "" || spec.Owner == "" ||
			spec.WaitMs != 25_000 || spec.StayMs != 5_000 || spec.TTLMs != 60_000 {
			t.Errorf("%v", g)
		}
	}
}

func TestAcquireGivesUp(t *testing.T) {
	f := newFake(t, map[string][]reply{
		"POST /v1/locks/l/acquire":    {problem(409, "lock_held", "")},
		"POST /v1/locks/m/acquire":    {problem(409, "mode_mismatch", "")},
		"POST /v1/lock-sets/acquire":  {{body: `{"names":["a","b"],"fencing_token":8,"session_id":1,"remaining_ms":1,"waited_ms":0}`}},
		"POST /v1/once/o/begin":       {problem(409, "once_done", "")},
		"POST /v1/barriers/b/enter":   {problem(409, "barrier_waiting", "")},
		"POST /v1/queues/q/claim":     {{body: `{"messages":[]}`}},
		"POST /v1/semaphores/s/renew": {problem(410, "hold_lost", "")},
	})
	session := []string{"--session", "0123456789abcdef012345"}
	for line, want := range map[string]int{
		"lock acquire l": exit.NotObtained, "lock acquire m --wait -1": exit.Precondition, "lock acquire a b": exit.OK,
		"once begin o --key k --wait -1": exit.Precondition, "barrier enter b --count 2 --wait 0": exit.NotObtained,
		"sem renew s": exit.Gone,
	} {
		if _, said, code := f.run(append(strings.Fields(line), session...)...); code != want {
			t.Errorf("%s: exit code %d, want %d: %s", line, code, want, said)
		}
	}
	out, _, _ := f.run("lock", "acquire", "a", "b", "-o", "json")
	var set map[string]any
	if err := json.Unmarshal([]byte(out), &set); err != nil || len(set["session_token"].(string)) != 32 || set["fencing_token"] != 8.0 {
		t.Errorf("%v: %s", err, out)
	}
}

// Who waits for ever is told when it is not others that he waits for.
func TestAcquireSaysThatNobodyAnswers(t *testing.T) {
	none := problem(503, "no_leader", "")
	f := newFake(t, map[string][]reply{"POST /v1/locks/l/acquire": {none, none, none, none, // as often as it is asked in 1.1 s
		{body: `{"name":"l","fencing_token":8,"session_id":1,"remaining_ms":1,"waited_ms":0}`}}})
	out, said, code := f.run("lock", "acquire", "l", "--wait", "-1", "--ttl", "2s", "--timeout", "100ms")
	if code != exit.OK || out != "8\n" || strings.Count(said, "waiting on") != 1 || !strings.Contains(said, "no_leader") {
		t.Errorf("exit code %d, printed %q, said %q", code, out, said)
	}
}

// An ephemeral node without a session lives as long as the command, which closes
// the session when it is told to end.
func TestEphemeralInTheForeground(t *testing.T) {
	f := newFake(t, map[string][]reply{
		"POST /v1/sessions":                 {{body: `{"id":1,"ttl_ms":30000,"remaining_ms":30000}`}},
		"POST /v1/nodes/a?mode=ephemeral":   {{body: aNode + "}"}},
		"DELETE /v1/sessions/self":          {{status: 204}},
		"POST /v1/sessions/self/keepalive":  {{body: `{"id":1,"ttl_ms":30000,"remaining_ms":30000}`}},
		"POST /v1/nodes/b?mode=ephemeral":   {problem(404, "no_parent", "")},
		"POST /v1/nodes/c?mode=ephemeral":   {{body: aNode + "}"}},
		"POST /v1/nodes/a/b?mode=ephemeral": {cut},
	})
	ctx, end := context.WithCancel(context.Background())
	var out bytes.Buffer
	said := &onLine{text: "Ctrl-C", do: end}
	if err := perchIn(ctx, []string{"create", "-e", "/a"}, []string{"PERCH_URL=" + f.URL}, "", &out, said); err != nil || out.String() != "/a\n" {
		t.Errorf("%v: %s%s", err, &out, &said.all)
	}
	lines := f.lines()
	if lines[0] != `POST /v1/sessions {"ttl_ms":30000}` || lines[len(lines)-1] != "DELETE /v1/sessions/self" {
		t.Errorf("%q", lines)
	}
	if _, said, code := f.run("create", "-e", "-t", "1m", "/c"); code != exit.OK || !strings.Contains(said, "lives 1m0s unless it is renewed") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if _, _, code := f.run("create", "-e", "/b"); code != exit.NotFound {
		t.Errorf("exit code %d", code)
	}
}

// Who is told to end while he waits leaves nothing behind, and says so.
func TestInterruptedAcquire(t *testing.T) {
	f := newFake(t, map[string][]reply{"DELETE /v1/sessions/self": {{status: 204}}, "POST /v1/locks/l/acquire": {problem(409, "lock_held", "")}, "GET /v1/nodes/a": {cut}})
	ctx, end := context.WithCancel(context.Background())
	said := &onLine{text: "409", do: end}
	err := perchIn(ctx, []string{"lock", "acquire", "l", "--wait", "-1", "-v"}, []string{"PERCH_URL=" + f.URL}, "", new(bytes.Buffer), said)
	lines := f.lines()
	if exit.CodeOf(err) != exit.Interrupted || lines[len(lines)-1] != "DELETE /v1/sessions/self" ||
		f.had[0].header.Get("Perch-Session") != f.had[len(f.had)-1].header.Get("Perch-Session") {
		t.Errorf("exit code %d, %q", exit.CodeOf(err), lines)
	}
	ctx, end = context.WithCancel(context.Background())
	said = &onLine{text: "EOF", do: end}
	err = perchIn(ctx, []string{"get", "a", "-v"}, []string{"PERCH_URL=" + f.URL}, "", new(bytes.Buffer), said)
	if exit.CodeOf(err) != exit.Interrupted || len(f.lines()) != len(lines)+1 {
		t.Errorf("exit code %d, %q", exit.CodeOf(err), f.lines())
	}
}

// onLine does something once text is written.
type onLine struct {
	all  bytes.Buffer
	text string
	do   func()
}

func (l *onLine) Write(p []byte) (int, error) {
	l.all.Write(p)
	if strings.Contains(string(p), l.text) {
		l.do()
	}
	return len(p), nil
}
