package handlers

import "testing"

// A value that the caller may not read is left out; an empty one is there.
func TestWithheldValues(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/nodes/app", "").want("201")
	e.do("POST /v1/nodes/app/empty", "").want("201")
	e.do("POST /v1/nodes/app/secret", "x").want("201")
	e.do("PUT /v1/acl/app/secret", `{"entries":[{"scheme":"world","id":"anyone","perms":"cdwa"}]}`).want("200")
	for _, line := range []string{"GET /v1/children/app?include=data,text", "GET /v1/tree/app?include=data,text"} {
		list := e.do(line, "").want("200").json()["nodes"].([]any)
		for _, v := range list {
			n := v.(map[string]any)
			_, data := n["data"]
			_, text := n["text"]
			if shown := n["path"] != "/app/secret"; (data || text) != shown {
				t.Errorf("%s: %v", line, n)
			}
		}
	}
}
