package handlers

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestTokenForm(t *testing.T) {
	e := newEdgeTest(t)
	before := e.svc.view().Zxid()
	for _, c := range []struct{ body, code, field string }{
		{``, "invalid_argument", "/principal"}, {`{}`, "invalid_argument", "/principal"},
		{`{"principal":"a\u0007"}`, "invalid_argument", "/principal"},
		{`{"principal":"` + strings.Repeat("x", 256) + `"}`, "invalid_argument", "/principal"},
		{`{"principal":"ci","label":"` + strings.Repeat("x", 129) + `"}`, "invalid_argument", "/label"},
		{`{"principal":"ci","label":"a\nb"}`, "invalid_argument", "/label"},
		{`{"principal":"ci","expires_at":"2020-01-01T00:00:00Z"}`, "invalid_argument", "/expires_at"},
		{`{"principal":"ci","expires_at":"2999-01-01"}`, "invalid_json", "/expires_at"},
		{`{"principal":"ci","expires_at":"2999-01-01t00:00:00z"}`, "invalid_json", "/expires_at"},
		{`{"principal":"ci","expires_at":4102444800}`, "invalid_json", "/expires_at"},
		{`{"principal":"ci","secret_sha256":"` + strings.Repeat("A", 64) + `"}`, "invalid_argument", "/secret_sha256"},
		{`{"principal":"ci","secret_sha256":"` + strings.Repeat("a", 62) + `"}`, "invalid_argument", "/secret_sha256"},
		{`{"principal":"ci","secret_sha256":""}`, "invalid_argument", "/secret_sha256"},
		{`{"principal":"ci","secret":"hush"}`, "invalid_json", "/secret"},
	} {
		if p := e.do("POST /v1/tokens", c.body).want("400 " + c.code).json(); p["field"] != c.field {
			t.Errorf("%.80s: field %v, want %s", c.body, p["field"], c.field)
		}
	}
	for _, id := range []string{strings.Repeat("t", 65), "%FF", "t%0A"} {
		e.do("DELETE /v1/tokens/"+id, "").want("400 invalid_argument")
	}
	if e.svc.view().Zxid() != before {
		t.Error("something was applied")
	}
}

var tokenText = regexp.MustCompile(`^perch_(t[0-9]+)_([A-Za-z0-9_-]{43})$`)

// TestTokens: a drawn token is told once, and only its hash is written down.
func TestTokens(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/tokens", `{"principal":"ci"}`).want("404 no_such_principal")
	e.do("PUT /v1/principals/ci", `{"grants":[]}`).want("200")
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	a := e.do("POST /v1/tokens", `{"principal":"ci","label":"runner 7","expires_at":"`+expires.Format(time.RFC3339Nano)+`"}`).want("201")
	token := a.json()
	text, _ := token["secret"].(string)
	parts := tokenText.FindStringSubmatch(text)
	if parts == nil || token["id"] != parts[1] || token["principal"] != "ci" || token["label"] != "runner 7" {
		t.Fatalf("token %s", a.body)
	}
	if at, err := time.Parse(time.RFC3339, token["expires_at"].(string)); err != nil || !at.Equal(expires) {
		t.Errorf("it expires at %v", token["expires_at"])
	}
	create := e.svc.proposed.GetCreateToken()
	hash := sha256.Sum256([]byte(parts[2]))
	if !bytes.Equal(create.GetSecretSha256(), hash[:]) || strings.Contains(e.svc.proposed.String(), parts[2]) {
		t.Errorf("the command is %v", e.svc.proposed)
	}

	own := sha256.Sum256([]byte("drawn by the client"))
	a = e.do("POST /v1/tokens", `{"principal":"ci","secret_sha256":"`+hex.EncodeToString(own[:])+`"}`).want("201")
	if second := a.json(); second["secret"] != nil || second["expires_at"] != nil || second["label"] != nil {
		t.Errorf("token %s", a.body)
	}
	if p := e.do("POST /v1/tokens", `{"principal":"ci"}`).want("400 invalid_argument").json(); !strings.Contains(p["detail"].(string), "two live tokens") {
		t.Errorf("problem %v", p)
	}
	a = e.do("GET /v1/tokens", "").want("200")
	list := a.json()["tokens"].([]any)
	if len(list) != 2 || list[0].(map[string]any)["id"] != token["id"] || bytes.Contains(a.body, []byte("secret")) {
		t.Errorf("tokens %s", a.body)
	}
	one := e.do("GET /v1/tokens?limit=1", "").want("200").json()
	next := e.do("GET /v1/tokens?page_token="+one["next_page_token"].(string), "").want("200").json()
	if len(one["tokens"].([]any)) != 1 || len(next["tokens"].([]any)) != 1 {
		t.Errorf("pages %v and %v", one, next)
	}
	e.do("DELETE /v1/tokens/"+parts[1], "").want("204")
	e.do("DELETE /v1/tokens/"+parts[1], "").want("404 no_such_token")
	e.do("DELETE /v1/tokens/none", "").want("404 no_such_token")
	e.do("POST /v1/tokens", `{"principal":"ci"}`).want("201")
	e.do("DELETE /v1/principals/ci", "").want("204")
	if list := e.do("GET /v1/tokens", "").json()["tokens"].([]any); len(list) != 0 {
		t.Errorf("tokens outlive their principal: %v", list)
	}
	if log := e.log.String(); strings.Contains(log, parts[2]) {
		t.Error("the secret stands in the log")
	}
}
