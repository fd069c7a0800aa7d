package cli

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
)

// perch runs a command as perch does.
func perch(args, env []string, stdin string, stdout, stderr io.Writer) error {
	return perchIn(context.Background(), args, env, stdin, stdout, stderr)
}

func perchIn(ctx context.Context, args, env []string, stdin string, stdout, stderr io.Writer) error {
	o := &Options{Env: map[string]string{}}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		o.Env[name] = value
	}
	root := &cobra.Command{
		Use: "perch", SilenceErrors: true, SilenceUsage: true, Args: WordBelow,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(o.Commands()...)
	root.AddCommand(o.ShellCommand())
	Arrange(root)
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// reply is an answer of a fake node.
type reply struct {
	status int // 0: 200
	body   string
	header map[string]string
	cut    bool // the connection ends instead
}

// problem is a refusal of Perch's.
func problem(status int, code, more string) reply {
	body := `{"type":"urn:perch:` + code + `","title":"The title.","code":"` + code + `","request_id":"r1"` + more + `}`
	return reply{status: status, body: body, header: map[string]string{"Perch-Code": code}}
}

// got is a request that a fake node had.
type got struct {
	line   string // method, URI and body
	header http.Header
}

// fake is a node that gives the answers of a script.
type fake struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string][]reply // by method and URI; the last one stays
	had     []got
}

func newFake(t *testing.T, answers map[string][]reply) *fake {
	t.Helper()
	f := &fake{answers: answers}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := r.Method + " " + r.URL.RequestURI()
	f.mu.Lock()
	f.had = append(f.had, got{strings.TrimSpace(key + " " + string(body)), r.Header})
	list, ok := f.answers[key]
	if len(list) > 1 {
		f.answers[key] = list[1:]
	}
	f.mu.Unlock()
	answer := problem(http.StatusNotFound, "not_in_the_script", "")
	if ok {
		answer = list[0]
	}
	if answer.cut {
		panic(http.ErrAbortHandler)
	}
	for name, value := range answer.header {
		w.Header().Set(name, value)
	}
	if answer.status != 0 {
		w.WriteHeader(answer.status)
	}
	_, _ = io.WriteString(w, answer.body)
}

// lines are the requests so far.
func (f *fake) lines() (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.had {
		list = append(list, g.line)
	}
	return list
}

// run runs a command against f.
func (f *fake) run(args ...string) (out, said string, code int) {
	return f.runWith(nil, "", args...)
}

func (f *fake) runWith(env []string, stdin string, args ...string) (out, said string, code int) {
	var stdout, stderr bytes.Buffer
	err := perch(args, append([]string{"PERCH_URL=" + f.URL}, env...), stdin, &stdout, &stderr)
	code = exit.Report(&stderr, err)
	return stdout.String(), stderr.String(), code
}
