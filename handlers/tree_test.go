package handlers

import (
	"strings"
	"testing"
)

// paths are those of a page of nodes.
func (a *answer) paths() []string {
	a.t.Helper()
	var out []string
	list, _ := a.json()["nodes"].([]any)
	for _, n := range list {
		out = append(out, n.(map[string]any)["path"].(string))
	}
	return out
}

func TestListTree(t *testing.T) {
	e := newEdgeTest(t)
	for _, path := range []string{"app/b/x", "app/a/deep/er", "app/a-", "app/b/y", "apple"} {
		e.do("PUT /v1/nodes/"+path+"?parents=true", path).want("201")
	}
	whole := "/app /app/a /app/a/deep /app/a/deep/er /app/a- /app/b /app/b/x /app/b/y"
	for query, want := range map[string]string{
		"": whole, "?depth=1": "/app /app/a /app/a- /app/b", "?depth=2": "/app /app/a /app/a/deep /app/a- /app/b /app/b/x /app/b/y",
		"?depth=2147483647": whole, "?consistency=local": whole,
	} {
		if got := strings.Join(e.do("GET /v1/tree/app"+query, "").want("200").paths(), " "); got != want {
			t.Errorf("%s lists %s", query, got)
		}
	}
	for limit := range 8 {
		var got []string
		page := ""
		for {
			a := e.do("GET /v1/tree/app?limit="+jsonNumber(limit+1)+page, "").want("200")
			got = append(got, a.paths()...)
			next, _ := a.json()["next_page_token"].(string)
			if next == "" {
				break
			}
			page = "&page_token=" + next
			e.do("PUT /v1/nodes/app/zz"+jsonNumber(len(got)), "").want("201") // not on the pages that follow
		}
		if len(got) < 8 || strings.Join(got[:8], " ") != whole {
			t.Errorf("pages of %d: %v", limit+1, got)
		}
		e.do("DELETE /v1/nodes/app/zz"+jsonNumber(limit+1), "")
		for i := range 9 {
			e.do("DELETE /v1/nodes/app/zz"+jsonNumber(i), "")
		}
	}
	a := e.do("GET /v1/tree/app/b?include=text,stat", "").want("200")
	node := a.json()["nodes"].([]any)[1].(map[string]any)
	if node["text"] != "app/b/x" || node["stat"] == nil || node["etag"] == nil || a.Header.Get("Etag") != "" {
		t.Errorf("page %s", a.body)
	}
	if a.json()["cursor"] != a.Header.Get("Perch-Zxid") {
		t.Errorf("page %s with %v", a.body, a.Header)
	}
	e.do("GET /v1/tree/none", "").want("404 no_node")
	e.do("GET /v1/tree/", "").want("200")
	for _, bad := range []string{"depth=0", "depth=-1", "depth=x", "limit=0", "limit=1001", "include=acl", "consistency=x", "min_zxid=-1"} {
		e.do("GET /v1/tree/app?"+bad, "").want("400 invalid_argument")
	}
	e.do("GET /v1/tree/app?wait_ms=1", "").want("400 unknown_parameter")
	e.do("GET /v1/tree/app?page_token=gone", "").want("410 page_expired")
}
