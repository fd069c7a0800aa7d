package handlers

import (
	"reflect"
	"testing"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

func TestAddMembers(t *testing.T) {
	e := newEdgeTest(t)
	a := e.do("POST /v1/cluster/members", `{"force":true,"members":[
		{"id":"4","address":"10.0.0.4:7501"},
		{"id":"5","address":"h5:7501","role":"observer","replace":true}]}`).want("200")
	if a.Header.Get("Perch-Zxid") != formatZxid(quorum.MakeZxid(testEpoch, 99)) || a.json()["cluster_id"] != testClusterHex {
		t.Errorf("%v %s", a.Header, a.body)
	}
	e.do("POST /v1/cluster/members", `{"members":[{"id":"65535","address":"h:1","role":"voter"}]}`).want("200")
	caller := &commandpb.Caller{Address: "192.0.2.1"}
	want := []lease.MembersChange{
		{Caller: caller, Force: true, Set: []quorum.MemberChange{
			{ID: 4, Role: quorum.RoleVoter, Addr: "10.0.0.4:7501"},
			{ID: 5, Role: quorum.RoleObserver, Addr: "h5:7501", Replace: true}}},
		{Caller: caller, Set: []quorum.MemberChange{{ID: 65535, Role: quorum.RoleVoter, Addr: "h:1"}}},
	}
	if !reflect.DeepEqual(e.svc.changes, want) {
		t.Errorf("got %+v", e.svc.changes)
	}
}

func TestAddMembersRefuses(t *testing.T) {
	e := newEdgeTest(t)
	for body, field := range map[string]string{
		`{"members":[]}`: "/members",
		`{"members":[{"id":"0","address":"h:1"}]}`:                            "/members/0/id",
		`{"members":[{"id":"04","address":"h:1"}]}`:                           "/members/0/id",
		`{"members":[{"id":"65536","address":"h:1"}]}`:                        "/members/0/id",
		`{"members":[{"address":"h:1"}]}`:                                     "/members/0/id",
		`{"members":[{"id":"4"}]}`:                                            "/members/0/address",
		`{"members":[{"id":"4","address":"h:1","role":"leader"}]}`:            "/members/0/role",
		`{"members":[{"id":"4","address":"h:1"},{"id":"4","address":"h:2"}]}`: "/members/1/id",
	} {
		p := e.do("POST /v1/cluster/members", body).want("400 invalid_argument").json()
		if p["field"] != field {
			t.Errorf("%s: field %v", body, p["field"])
		}
	}
	if p := e.do("POST /v1/cluster/members", "").want("400 invalid_argument").json(); p["field"] != "/members" {
		t.Errorf("without a body: %v", p)
	}
	e.do("POST /v1/cluster/members", `{"members":[{"id":4,"address":"h:1"}]}`).want("400 invalid_json")
	e.do("POST /v1/cluster/members?force=true", `{"members":[{"id":"4","address":"h:1"}]}`).want("400 unknown_parameter")
	if len(e.svc.changes) != 0 {
		t.Errorf("%+v was asked for", e.svc.changes)
	}
}

func TestRemoveMember(t *testing.T) {
	e := newEdgeTest(t)
	e.do("DELETE /v1/cluster/members/2", "").want("200")
	e.do("DELETE /v1/cluster/members/3?force=true", "").want("200")
	caller := &commandpb.Caller{Address: "192.0.2.1"}
	want := []lease.MembersChange{
		{Caller: caller, Remove: []quorum.NodeID{2}}, {Caller: caller, Remove: []quorum.NodeID{3}, Force: true}}
	if !reflect.DeepEqual(e.svc.changes, want) {
		t.Errorf("got %+v", e.svc.changes)
	}
	e.do("DELETE /v1/cluster/members/two", "").want("400 invalid_argument")
	e.do("GET /v1/cluster/members/2", "").want("405 method_not_allowed")
}

// TestMembersFaults: what a node answers reaches the client with its words.
func TestMembersFaults(t *testing.T) {
	e := newEdgeTest(t)
	for want, err := range map[string]error{
		"404 no_such_member":   &lease.Refused{Why: lease.ErrNoMember, Text: "because"},
		"400 invalid_argument": &lease.Refused{Why: tree.ErrInvalidArgument, Text: "because"},
		"503 not_caught_up":    &lease.Refused{Why: lease.ErrNotCaughtUp, Text: "because"},
	} {
		e.svc.fail, e.svc.ahead = err, quorum.MakeZxid(testEpoch, 7)
		a := e.do("DELETE /v1/cluster/members/2", "").want(want)
		if a.json()["detail"] != "because" {
			t.Errorf("%s: %s", want, a.body)
		}
		if want == "404 no_such_member" && a.Header.Get("Perch-Zxid") != formatZxid(e.svc.ahead) {
			t.Errorf("404 without its position: %v", a.Header)
		}
	}
	e.svc.fail = lease.ErrCommitTimeout
	e.do("DELETE /v1/cluster/members/2", "").want("504 commit_timeout")
}
