package handlers

import "testing"

func TestQuotaForm(t *testing.T) {
	e := newEdgeTest(t)
	for body, want := range map[string]string{
		"": "400 invalid_argument", "{}": "400 invalid_argument", `{"max_nodes":-1}`: "400 invalid_argument",
		`{"max_nodes":1,"max_bytes":-1}`: "400 invalid_argument", `{"max_nodes":null}`: "400 invalid_json",
		`{"max_nodes":1,"nodes":0}`: "400 invalid_json", `{"max_bytes":1e3}`: "400 invalid_json",
	} {
		e.do("PUT /v1/quota/app", body).want(want)
	}
	e.do("PUT /v1/quota/app/", `{"max_nodes":1}`).want("400 invalid_path")
	e.do("PUT /v1/quota/app", `{"max_nodes":1}`, "If-Match: *").want("400 invalid_argument")
}

func TestQuota(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/app/a?parents=true", "12345").want("201")
	q := e.do("GET /v1/quota/app", "").want("200").json()
	if q["nodes"] != 2.0 || q["bytes"] != 5.0 || q["max_nodes"] != nil || q["max_bytes"] != nil {
		t.Errorf("quota %v", q)
	}
	q = e.do("PUT /v1/quota/app", `{"max_nodes":3,"max_bytes":8}`).want("200").json()
	if q["nodes"] != 2.0 || q["bytes"] != 5.0 || q["max_nodes"] != 3.0 || q["max_bytes"] != 8.0 {
		t.Errorf("quota %v", q)
	}
	a := e.do("PUT /v1/nodes/app/a", "123456789").want("409 quota_exceeded")
	if p := a.json(); p["zk_code"] != -125.0 || a.Header.Get("Perch-Zxid") == "" {
		t.Errorf("problem %v", p)
	}
	e.do("PUT /v1/nodes/app/a", "12345678").want("200")
	e.do("PUT /v1/nodes/app/b", "").want("201")
	e.do("PUT /v1/nodes/app/c", "").want("409 quota_exceeded")
	e.do("PUT /v1/quota/app", `{"max_nodes":0}`).want("200")
	e.do("PUT /v1/nodes/app/a", "a value of any length").want("200")
	e.do("DELETE /v1/nodes/app/b", "").want("204")
	e.do("PUT /v1/nodes/app/b", "").want("409 quota_exceeded")
	q = e.do("GET /v1/quota/app?consistency=local", "").want("200").json()
	if q["nodes"] != 2.0 || q["bytes"] != 21.0 || q["max_nodes"] != 0.0 || q["max_bytes"] != nil {
		t.Errorf("quota %v", q)
	}
	e.do("DELETE /v1/quota/app", "").want("204")
	e.do("DELETE /v1/quota/app", "").want("204")
	e.do("PUT /v1/nodes/app/b", "").want("201")
	e.do("GET /v1/quota/none", "").want("404 no_node")
	e.do("PUT /v1/quota/none", `{"max_nodes":1}`).want("404 no_node")
	e.do("DELETE /v1/quota/none", "").want("404 no_node")
}
