package handlers

import (
	"net/http"
	"strings"
	"testing"

	"perch/gen/client"
)

// TestGeneratedClient goes through gen/client, which escapes and decodes as
// other generated clients do.
func TestGeneratedClient(t *testing.T) {
	s := serveEdge(t)
	c, err := client.NewClientWithResponses("http://"+s.addr, client.WithHTTPClient(s.client))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	yes, ttl, ephemeral := true, int64(5000), client.PutNodeParamsModeEphemeral
	token := strings.Repeat("c", 22)
	for _, path := range []string{"a/b", "/lead/ing", "sp ace/ä%25"} {
		put, err := c.PutNodeWithBodyWithResponse(ctx, path, &client.PutNodeParams{Parents: &yes}, "text/plain", strings.NewReader(path))
		if err != nil || put.JSON201 == nil {
			t.Fatalf("%s: %v %s", path, err, put.Body)
		}
		if want := "/" + strings.TrimPrefix(path, "/"); put.JSON201.Path != want || put.Headers201.PerchZxid == 0 {
			t.Errorf("%s became %s", path, put.JSON201.Path)
		}
		got, err := c.ReadNodeWithResponse(ctx, put.JSON201.Path, &client.ReadNodeParams{MinZxid: &put.Headers201.PerchZxid})
		if err != nil || string(got.Body) != path {
			t.Errorf("%s: %v %s", path, err, got.Body)
		}
		head, err := c.HeadNodeWithResponse(ctx, path, nil)
		if err != nil || head.StatusCode() != http.StatusOK {
			t.Errorf("%s: %v %d", path, err, head.StatusCode())
		}
	}
	e, err := c.PutNodeWithBodyWithResponse(ctx, "e", &client.PutNodeParams{Mode: &ephemeral, TTLMs: &ttl, PerchSession: &token}, "", strings.NewReader(""))
	if err != nil || e.JSON201 == nil || e.JSON201.Stat.EphemeralOwner == 0 {
		t.Fatalf("%v %s", err, e.Body)
	}
	include := client.Include{client.DetailData, client.DetailStat}
	stat, err := c.StatNodeWithResponse(ctx, "a/b", &client.StatNodeParams{Include: &include})
	if err != nil || stat.JSON200 == nil || string(*stat.JSON200.Data) != "a/b" {
		t.Errorf("%v %s", err, stat.Body)
	}
	text, check := "text", "/a/b"
	many, err := c.MultiWithResponse(ctx, nil, client.TxnRequest{Ops: []client.Op{
		{Op: client.Check, Path: &check}, {Op: client.Put, Path: &text, Text: &text}, {Op: client.Delete, Path: &text},
	}})
	if err != nil || many.JSON200 == nil || len(many.JSON200.Results) != 3 || many.JSON200.Results[1].Stat == nil {
		t.Errorf("%v %s", err, many.Body)
	}
	name := "example.org:job@x"
	principal, err := c.PutPrincipalWithResponse(ctx, name, nil, client.PrincipalSpec{
		Name: &name, Grants: []client.GrantRule{{Prefix: "/a", Perms: []string{"read"}}}})
	if err != nil || principal.JSON200 == nil || principal.JSON200.Name != name {
		t.Errorf("%v %s", err, principal.Body)
	}
	since, scope := "0", client.WatchScopeSubtree
	watch, err := c.WatchNodeWithResponse(ctx, "/", &client.WatchNodeParams{Since: &since, Scope: &scope})
	if err != nil || watch.JSON200 == nil || len(watch.JSON200.Events) != 9 {
		t.Errorf("%v %s", err, watch.Body)
	}
	session, err := c.CreateSessionWithResponse(ctx, nil, client.SessionSpec{TTLMs: &ttl})
	if err != nil || session.JSON201 == nil || session.JSON201.Token == nil {
		t.Fatalf("%v %s", err, session.Body)
	}
	kept, err := c.KeepSessionAliveWithResponse(ctx, "self", &client.KeepSessionAliveParams{PerchSession: session.JSON201.Token}, client.KeepAlive{})
	if err != nil || kept.JSON200 == nil || *kept.JSON200.RemainingMs != ttl {
		t.Errorf("%v %s", err, kept.Body)
	}
	none, err := c.ReadNodeWithResponse(ctx, "none", nil)
	if err != nil || none.ApplicationProblemJSON4XX == nil || none.ApplicationProblemJSON4XX.Code != "no_node" {
		t.Errorf("%v %s", err, none.Body)
	}
	cluster, err := c.GetClusterWithResponse(ctx, nil)
	if err != nil || cluster.JSON200 == nil || *cluster.JSON200.Leader != "1" {
		t.Errorf("%v %s", err, cluster.Body)
	}
}
