package cli

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"perch/cmd/internal/exit"
)

// Lines of a pipe are run one after the other, from where cd went.
func TestShell(t *testing.T) {
	f := newFake(t, map[string][]reply{
		"GET /v1/stat/app%20x":                       {{body: aNode + "}"}},
		"GET /v1/nodes/app%20x%2Fcolor":              {{body: "blue\n"}},
		"GET /v1/nodes/color":                        {{body: "red\n"}},
		"GET /v1/children/app%20x?limit=1000":        {{body: `{"nodes":[{"path":"/app x/color"}],"zxid":1,"cursor":"1"}`}},
		"POST /v1/sessions":                          {{body: `{"id":1,"ttl_ms":30000,"remaining_ms":30000}`}},
		"POST /v1/nodes/app%20x%2Fe?mode=ephemeral":  {{body: aNode + "}"}},
		"POST /v1/nodes/app%20x%2Fe2?mode=ephemeral": {{body: aNode + "}"}},
		"DELETE /v1/sessions/self":                   {{status: 204}},
	})
	lines := `# look around
cd "/app x"
pwd
get color
get ../color
ls
create -e e
create -e e2 'a value'
cd ../..
pwd
help exit-codes
`
	out, said, code := f.runWith(nil, lines, "shell")
	if code != exit.OK || !strings.HasPrefix(out, "/app x\nblue\nred\ncolor\n/a\n/a\n/\nExit codes of all commands") || said != "" {
		t.Errorf("exit code %d\n%s\n%s", code, out, said)
	}
	opened, closed := 0, 0
	for _, line := range f.lines() {
		opened += strings.Count(line, "POST /v1/sessions {")
		closed += strings.Count(line, "DELETE /v1/sessions/self")
	}
	session := ""
	for _, g := range f.had {
		if strings.Contains(g.line, "mode=ephemeral") {
			session += g.header.Get("Perch-Session") + " "
		}
	}
	if one := strings.Fields(session); opened != 1 || closed != 1 || len(one) != 2 || one[0] != one[1] {
		t.Errorf("%d sessions opened, %d closed; the nodes are in %s", opened, closed, session)
	}
}

// It goes on after a failure, unless it was asked not to, and ends as its last
// line did.
func TestShellFailures(t *testing.T) {
	f := newFake(t, map[string][]reply{"GET /v1/nodes/a": {{body: "v\n"}}, "GET /v1/nodes/b": {problem(404, "no_node", "")}})
	for _, c := range []struct {
		lines string
		args  []string
		out   string
		code  int
	}{
		{"get /b\nget /a\n", nil, "v\n", exit.OK},
		{"get /a\nget /b\n", nil, "v\n", exit.NotFound},
		{"get /b\nget /a\n", []string{"-e"}, "", exit.NotFound},
		{"get 'b\nget /a", nil, "v\n", exit.OK},
		{"get 'b", nil, "", exit.Usage},
		{"serve\n", nil, "", exit.Usage},
		{"get /b\nquit\nget /a\n", nil, "", exit.NotFound},
		{"set /a -\n", nil, "", exit.NotFound}, // the lines are not its input; the script has no such request
	} {
		out, said, code := f.runWith(nil, c.lines, append([]string{"shell"}, c.args...)...)
		if out != c.out || code != c.code {
			t.Errorf("%q: exit code %d, printed %q, said %s", c.lines, code, out, said)
		}
	}
}

func TestCompletion(t *testing.T) {
	children := `{"nodes":[{"path":"/app/color","stat":{"num_children":0,"ctime":"2026-11-28T00:00:00Z","mtime":"2026-11-28T00:00:00Z"}},` +
		`{"path":"/app/con fig","stat":{"num_children":2,"ctime":"2026-11-28T00:00:00Z","mtime":"2026-11-28T00:00:00Z"}}],"zxid":1,"cursor":"1"}`
	f := newFake(t, map[string][]reply{
		"GET /v1/children/app?include=stat&limit=1000": {{body: children}},
		"GET /v1/children/x?include=stat&limit=1000":   {noLeader},
		"GET /v1/locks?limit=200&prefix=ni":            {{body: `{"locks":[{"name":"nightly","holders":[],"waiting":0,"etag":"x"}],"zxid":1}`}},
		"GET /v1/locks?prefix=ni&limit=200":            {{body: `{"locks":[{"name":"nightly","holders":[],"waiting":0,"etag":"x"}],"zxid":1}`}},
		"GET /v1/queues?prefix=j&limit=200":            {{body: `{"names":["jobs"],"zxid":1}`}},
	})
	for line, want := range map[string]string{
		"get /app/":        "/app/color\n/app/con fig/\n:6\n",
		"get /app/col":     "/app/color\n:4\n",
		"get /x/":          ":6\n",
		"lock acquire ni":  "nightly\n:4\n",
		"queue claim j":    "jobs\n:4\n",
		"delete /y /app/c": "/app/color\n/app/con fig/\n:6\n",
	} {
		out, _, _ := f.run(append([]string{"__completeNoDesc"}, strings.Fields(line)...)...)
		if out != want {
			t.Errorf("%q completes to %q, want %q", line, out, want)
		}
	}
	s := &shell{opt: Options{Env: map[string]string{"PERCH_URL": f.URL}, dir: "/app"}, in: strings.NewReader(""), out: new(bytes.Buffer), err: io.Discard}
	s.opt.own = &ownSession{}
	for left, want := range map[string][]string{
		"get /app/col":    {"get ", "/app/color "},
		"get 'col":        {"get ", "color "},
		"get ":            {"get ", "color ", "'con fig/'"},
		"cd ../app/con":   {"cd ", "'../app/con fig/'"},
		"que":             {"", "queue "},
		"queue cl":        {"queue ", "claim "},
		"set  /app/co":    {"set  ", "/app/color ", "'/app/con fig/'"},
		"lock acquire ni": {"lock acquire ", "nightly "},
	} {
		head, found := s.complete(context.Background(), left)
		if got := append([]string{head}, found...); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", left, got, want)
		}
	}
}
