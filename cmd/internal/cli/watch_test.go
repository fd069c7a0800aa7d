package cli

import (
	"strings"
	"testing"

	"perch/cmd/internal/exit"
)

const (
	event5 = `{"zxid":5,"type":"created","path":"/a/x","cause":"request","stat":{"version":0,"data_length":1,"ctime":"2026-11-28T00:00:00Z","mtime":"2026-11-28T00:00:00Z"}}`
	event6 = `{"zxid":6,"type":"deleted","path":"/a/x","cause":"session_expired"}`
	other6 = `{"zxid":6,"type":"deleted","path":"/a","cause":"session_expired"}`
	event7 = `{"zxid":7,"type":"created","path":"/a","cause":"request"}`
)

// A watch goes on from its cursor whatever happens to those who answer, and ends
// between two transactions.
func TestWatch(t *testing.T) {
	f := newFake(t, map[string][]reply{
		"GET /v1/watch/a?scope=subtree":                       {{body: `{"events":[],"cursor":"4","more":false}`}},
		"GET /v1/watch/a?scope=subtree&since=4&wait_ms=25000": {cut, {body: `{"events":[` + event5 + `],"cursor":"5","more":false}`}},
		"GET /v1/watch/a?scope=subtree&since=5&wait_ms=25000": {{body: `{"events":[],"cursor":"5","more":false}`}, bare502,
			{body: `{"events":[` + event6 + `,` + other6 + `,` + event7 + `],"cursor":"9","more":false}`}},
	})
	out, said, code := f.run("watch", "-R", "/a", "--count", "2")
	want := "created  /a/x  version 0, 1 bytes  zxid 5\ndeleted  /a/x  (session_expired)  zxid 6\ndeleted  /a  (session_expired)  zxid 6\n"
	if code != exit.OK || out != want || !strings.Contains(said, "watching /a since 4\n") || !strings.HasSuffix(said, "goes on with --since 6\n") {
		t.Errorf("exit code %d\n%s%s", code, out, said)
	}
}

// A watch that never began does not go on with what it was given.
func TestWatchOfNoCursor(t *testing.T) {
	f := newFake(t, map[string][]reply{})
	if _, said, code := f.run("watch", "/a", "--since", "abc"); code == exit.OK || strings.Contains(said, "goes on") {
		t.Errorf("exit code %d, said %q", code, said)
	}
}

func TestWatchForPrograms(t *testing.T) {
	f := newFake(t, map[string][]reply{
		"GET /v1/watch/a?scope=children&since=4&wait_ms=25000": {{body: `{"events":[` + event5 + `,` + event6 + `],"cursor":"6","more":false}`}},
		"GET /v1/watch/b?scope=node&since=4&wait_ms=25000":     {problem(410, "cursor_expired", `,"oldest_zxid":7`)},
	})
	out, _, code := f.run("watch", "--children", "/a", "--count", "2", "--since", "4", "-o", "json")
	if code != exit.OK || out != event5+"\n"+event6+"\n" {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if _, said, code := f.run("watch", "/b", "--since", "4"); code != exit.Gone || !strings.Contains(said, "cursor_expired") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if _, said, code := f.run("watch", "/c", "--url", "http://127.0.0.1:1", "--timeout", "50ms"); code != exit.Unavailable {
		t.Errorf("exit code %d: %s", code, said)
	}
}
