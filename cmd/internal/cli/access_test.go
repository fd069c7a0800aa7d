package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perch/cmd/internal/exit"
)

const testToken = "perch_t0_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// asked is a node that notes what it is asked and gives fixed answers.
func asked(t *testing.T, answers map[string]string) (url string, requests *[]string) {
	t.Helper()
	requests = new([]string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		line := strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
		*requests = append(*requests, line)
		if r.Header.Get("Authorization") != "Bearer "+testToken {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"code":"unauthenticated","title":"The request does not prove who it is from."}`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		answer, ok := answers[r.Method+" "+r.URL.RequestURI()]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			answer = `{"code":"no_such_principal","title":"The principal does not exist.","field":"name"}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

// ask runs a command against url with testToken.
func ask(t *testing.T, url string, args ...string) (out, stderr string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	err = perch(args, []string{"PERCH_URL=" + url, "PERCH_TOKEN=" + testToken, "PERCH_HTTP=:1"}, "", &o, &e)
	return o.String(), e.String(), err
}

func TestTokenCommands(t *testing.T) {
	url, requests := asked(t, map[string]string{
		"POST /v1/tokens": `{"id":"t5","principal":"ci","secret":"perch_t5_x","created_at":"2026-11-27T00:00:00Z"}`,
		"GET /v1/tokens": `{"tokens":[{"id":"t0","principal":"admin","created_at":"2026-11-27T00:00:00Z"}],
			"next_page_token":"n"}`,
		"GET /v1/tokens?page_token=n": `{"tokens":[{"id":"t5","principal":"ci","label":"build","created_at":"2026-11-27T00:00:00Z",
			"expires_at":"2026-12-27T00:00:00Z"}]}`,
		"DELETE /v1/tokens/t5": "",
	})
	out, stderr, err := ask(t, url, "token", "create", "ci", "--label", "build")
	if err != nil || out != "perch_t5_x\n" || !strings.Contains(stderr, "t5 of ci, expires: never") || strings.Contains(stderr, "perch_t5") {
		t.Errorf("%q %q %v", out, stderr, err)
	}
	if got := (*requests)[0]; got != `POST /v1/tokens {"label":"build","principal":"ci"}` {
		t.Error(got)
	}
	out, _, err = ask(t, url, "token", "list")
	want := `ID  PRINCIPAL  CREATED               EXPIRES               LABEL
t0  admin      2026-11-27T00:00:00Z  never                 
t5  ci         2026-11-27T00:00:00Z  2026-12-27T00:00:00Z  build
`
	if err != nil || out != want {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = ask(t, url, "token", "list", "-o", "json")
	var list []map[string]any
	if err != nil || json.Unmarshal([]byte(out), &list) != nil || len(list) != 2 || list[1]["label"] != "build" {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _, err = ask(t, url, "token", "revoke", "t5"); err != nil || out != "" {
		t.Errorf("%v %q", err, out)
	}
	_, _, _ = ask(t, url, "token", "create", "ci", "--expires", "1h")
	if got := (*requests)[len(*requests)-1]; !strings.Contains(got, `"expires_at":"`) {
		t.Error(got)
	}
}

func TestPrincipalCommands(t *testing.T) {
	const ci = `{"name":"ci","root":"/teams/ci","grants":[{"prefix":"/","perms":["read","write"]},{"prefix":"/a=b","perms":["use"]}],"disabled":true,"etag":"17"}`
	url, requests := asked(t, map[string]string{
		"PUT /v1/principals/ci": ci, "GET /v1/principals/ci": ci,
		"GET /v1/principals": `{"principals":[` + ci + `]}`, "DELETE /v1/principals/ci": "",
	})
	table := "NAME  ROOT       GRANTS                 STATE     ETAG\nci    /teams/ci  /=read,write /a=b=use  disabled  17\n"
	for _, args := range [][]string{
		{"principal", "put", "ci", "--root", "/teams/ci", "--grant", "/=read,write", "--grant", "/a=b=use", "--disabled", "--if-match", "16"},
		{"principal", "get", "ci"}, {"principal", "list"},
	} {
		if out, _, err := ask(t, url, args...); err != nil || out != table {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	want := `PUT /v1/principals/ci {"disabled":true,"grants":[{"perms":["read","write"],"prefix":"/"},{"perms":["use"],"prefix":"/a=b"}],"root":"/teams/ci"}`
	if got := (*requests)[0]; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if _, _, err := ask(t, url, "principal", "delete", "ci"); err != nil {
		t.Error(err)
	}
	_, _, err := ask(t, url, "principal", "get", "none")
	if exit.CodeOf(err) != exit.NotFound || err.Error() != "no_such_principal: The principal does not exist. (name)" {
		t.Errorf("%v", err)
	}
}

func TestWhoami(t *testing.T) {
	url, _ := asked(t, map[string]string{
		"GET /v1/whoami": `{"principal":"acme:alice","root":"/acme","roles":["acme","acme:dev"],"grants":[{"prefix":"/","perms":["read"]}],"address":"127.0.0.1"}`,
	})
	out, _, err := ask(t, url, "whoami")
	for _, want := range []string{"PRINCIPAL    acme:alice", "ROLES        acme acme:dev", "ROOT         /acme", "GRANTS       /=read", "ADDRESS      127.0.0.1"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: no %q in\n%s", err, want, out)
		}
	}
}

func TestTokenFiles(t *testing.T) {
	url, _ := asked(t, map[string]string{"GET /v1/whoami": `{"principal":"admin","grants":[]}`})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(testToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, env := range [][]string{{"PERCH_TOKEN_FILE=" + file}, {"PERCH_TOKEN_FILE=" + file, "PERCH_TOKEN=another"}} {
		if err := perch([]string{"whoami", "--url", url}, env, "", io.Discard, io.Discard); err != nil {
			t.Errorf("%v: %v", env, err)
		}
	}
	if err := perch([]string{"whoami", "--url", url}, nil, "", io.Discard, io.Discard); err == nil || !strings.HasPrefix(err.Error(), "unauthenticated") {
		t.Errorf("without a token: %v", err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	err := perch([]string{"whoami", "--url", url, "--token-file", file}, nil, "", io.Discard, io.Discard)
	if exit.CodeOf(err) != exit.Usage || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a token that others can read: %v", err)
	}
}

func TestClientFaults(t *testing.T) {
	for name, args := range map[string][]string{
		"in the clear":     {"whoami", "--url", "http://perch.example:7070"},
		"no host":          {"whoami", "--url", "perch.example"},
		"user in the URL":  {"whoami", "--url", "https://u:p@perch.example"},
		"another output":   {"whoami", "-o", "yaml"},
		"no principal":     {"token", "create"},
		"negative":         {"token", "create", "ci", "--expires", "-1h"},
		"grant of nothing": {"principal", "put", "ci", "--grant", "/a="},
		"no prefix":        {"principal", "put", "ci", "--grant", "=read"},
		"unknown command":  {"token", "steal"},
	} {
		t.Run(name, func(t *testing.T) {
			err := perch(args, []string{"PERCH_TOKEN=" + testToken}, "", io.Discard, io.Discard)
			if exit.CodeOf(err) != exit.Usage || strings.Contains(err.Error(), testToken) {
				t.Errorf("%v", err)
			}
		})
	}
}
