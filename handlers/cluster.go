package handlers

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"perch/gen/api"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// features are what every member has at a feature level.
func features(level uint32) []string {
	if level < 2 {
		return []string{"nodes", "sessions", "stream", "watch"}
	}
	list := []string{"access", "acl", "container", "multi", "nodes", "quota", "sessions", "stream", "tree", "ttl", "watch"}
	if level < 3 {
		return list
	}
	list = append(list, "barriers", "counters", "elections", "fence", "idempotency", "locks", "once", "queues", "semaphores")
	slices.Sort(list)
	return list
}

// GetCluster implements GET /v1/cluster.
func (e *edge) GetCluster(ctx context.Context, q api.GetClusterRequestObject) (api.GetClusterResponseObject, error) {
	if err := e.requireSession(ctx, q.Params.PerchSession); err != nil {
		return nil, err
	}
	err := e.requireCluster(ctx)
	if err != nil && !errors.Is(err, tree.ErrPermissionDenied) {
		return nil, err
	}
	s := e.svc.Status()
	body := e.renderCluster(&s)
	if err != nil {
		conceal(&body)
	}
	return api.GetCluster200JSONResponse{Body: body,
		Headers: api.GetCluster200ResponseHeaders{PerchZxid: int64(s.Applied)}}, nil
}

// conceal leaves out what is nothing to those who do not run the cluster: where its
// nodes reach each other, how they stand, and how much all tenants keep there.
func conceal(c *api.Cluster) {
	c.Counts = nil
	for i := range c.Members {
		m := &c.Members[i]
		m.Address, m.Digest, m.DigestZxid, m.NotReady = nil, nil, nil, nil
		m.LogBytes, m.DiskFreeBytes, m.DiskSizeBytes, m.DiskLow = nil, nil, nil, nil
	}
}

// requireSession refuses a request with the token of a session that is not
// alive, where the session has no other part in it.
func (e *edge) requireSession(ctx context.Context, session *string) error {
	token, err := e.session(ctx, session)
	if err != nil || token == "" {
		return err
	}
	_, err = e.readSession(ctx, 0, token, lease.At{Wait: floorPatience})
	return err
}

// TransferLeadership implements POST /v1/cluster/transfer.
func (e *edge) TransferLeadership(ctx context.Context, q api.TransferLeadershipRequestObject) (api.TransferLeadershipResponseObject, error) {
	if err := e.requireSession(ctx, q.Params.PerchSession); err != nil {
		return nil, err
	}
	to, err := transferTarget(q.Body)
	if err != nil {
		return nil, err
	}
	if err := e.svc.Transfer(ctx, callerOf(ctx), to); err != nil {
		return nil, noTransfer(err)
	}
	s := e.svc.Status()
	return api.TransferLeadership200JSONResponse{Body: e.renderCluster(&s),
		Headers: api.TransferLeadership200ResponseHeaders{PerchZxid: int64(s.Applied)}}, nil
}

// noTransfer says in words why the leadership did not move.
func noTransfer(err error) error {
	switch {
	case errors.Is(err, lease.ErrNoMember):
		return fail(codeNoMember, "").in("/to")
	case errors.Is(err, tree.ErrInvalidArgument):
		return badArgument("/to", "it is an observer, which never leads")
	case errors.Is(err, lease.ErrNotCaughtUp):
		return fail(codeNotCaughtUp, "no such voter is in sync, or it did not get there in time; the leader goes on")
	}
	return err
}

// transferTarget is the voter that the body names; 0: any.
func transferTarget(body *api.TransferSpec) (quorum.NodeID, error) {
	if body == nil || body.To == nil {
		return 0, nil
	}
	id, err := strconv.ParseUint(*body.To, 10, 16)
	if err != nil || id == 0 || strconv.FormatUint(id, 10) != *body.To {
		return 0, fail(codeNoMember, "").in("/to")
	}
	return quorum.NodeID(id), nil
}

func (e *edge) renderCluster(s *lease.Status) api.Cluster {
	limits, features := e.limits(&s.Settings), features(s.Level)
	c := api.Cluster{
		ClusterID: clusterID(s), Name: some(s.Name), Node: some(memberID(s.Node)), Version: some(e.version),
		Epoch: int64(s.Soft.Epoch), Zxid: int64(s.Applied), OldestZxid: int64(s.Oldest),
		Limits: &limits, Features: &features, Members: make([]api.Member, len(s.Members)),
		IdempotencyOldestMs: some(milliseconds(s.OldestRecord)),
	}
	if a := &s.Archive; a.State != "" {
		c.Archive = &api.ArchiveStatus{
			State: a.State, Zxid: some(int64(a.Zxid)), LagMs: a.Lag.Milliseconds(), Error: some(a.Error),
		}
	}
	if s.Soft.Leader != 0 {
		c.Leader = some(memberID(s.Soft.Leader))
	}
	renderHealth(&c, s)
	for i := range s.Members {
		c.Members[i] = renderMember(s, &s.Members[i])
	}
	return c
}

// renderHealth adds what an operator asks first.
func renderHealth(c *api.Cluster, s *lease.Status) {
	c.Quorum, c.Ready, c.StorageFull = &s.Soft.Established, &s.Ready, &s.Full
	c.FeatureLevel, c.LogStartZxid = new(int32(s.Level)), new(int64(s.LogStart))
	if !s.Ready {
		c.NotReady = &s.NotReady
	}
	if s.LeaderFor > 0 {
		c.LeaderForMs = new(milliseconds(s.LeaderFor))
	}
	if s.Events > 0 {
		c.OldestEventMs = new(milliseconds(s.OldestEvent))
	}
	c.Counts = &map[string]int64{
		"nodes": int64(s.Nodes), "sessions": int64(s.Sessions), "holds": int64(s.Holds), "places": int64(s.Places),
		"events": int64(s.Events), "event_bytes": s.EventBytes, "idempotency_records": int64(s.Records), "parked": int64(s.Watches),
	}
}

// renderMember tells what this node knows: of itself everything, of the others
// what they have told the leader, and the leader of them.
func renderMember(s *lease.Status, m *lease.MemberStatus) api.Member {
	out := api.Member{ID: memberID(m.ID), Address: &m.Addr, Role: memberRole(s, m)}
	if m.Known {
		out.Lag, out.Connected = new(int64(m.Lag)), &m.Connected
		out.DurableZxid = new(int64(m.Durable))
		out.Healthy = new(m.Connected && m.Synced)
	}
	renderFacts(&out, &m.Facts)
	if m.ID == s.Node {
		out.AppliedZxid = some(int64(s.Applied))
		out.DurableZxid = some(int64(s.Soft.Durable))
		digest := digestText(s.Digest)
		out.Digest, out.DigestZxid = &digest, some(int64(s.Applied))
		healthy := s.Ready
		out.Healthy = &healthy
	}
	return out
}

func renderFacts(out *api.Member, f *lease.MemberFacts) {
	if !f.Known {
		return
	}
	out.AppliedZxid, out.FeatureLevel = new(int64(f.Applied)), new(int32(f.Level))
	out.UptimeMs, out.ReportedMs = new(milliseconds(f.Uptime)), new(milliseconds(f.Reported))
	out.LogBytes, out.DiskLow = &f.LogBytes, &f.DiskLow
	out.DiskFreeBytes, out.DiskSizeBytes = new(int64(f.DiskFree)), new(int64(f.DiskSize))
	if f.Version != "" {
		out.Version = &f.Version
	}
	if f.NotReady != "" {
		out.NotReady = &f.NotReady
	}
	if f.Snapshot != 0 {
		out.SnapshotZxid, out.SnapshotAgeMs = new(int64(f.Snapshot)), new(milliseconds(f.SnapshotAge))
	}
}

func memberRole(s *lease.Status, m *lease.MemberStatus) string {
	switch {
	case m.Role == quorum.RoleObserver:
		return "observer"
	case s.Soft.Leader == 0, m.ID == s.Node && !s.Soft.Established:
		return "looking"
	case m.ID == s.Soft.Leader:
		return "leader"
	}
	return "follower"
}

// digestText is sixteen hexadecimal digits.
func digestText(d uint64) string {
	const width = 16
	text := strconv.FormatUint(d, 16)
	for len(text) < width {
		text = "0" + text
	}
	return text
}

// limits are the committed ones and those of this gateway, in bytes,
// milliseconds and counts.
func (e *edge) limits(s *lease.Settings) map[string]int64 {
	return map[string]int64{
		"value_bytes": int64(s.ValueBytes), "path_bytes": int64(s.PathBytes), "path_segments": int64(s.PathSegments),
		"transaction_nodes": int64(s.TxnNodes), "session_ephemerals": int64(s.SessionEphemerals),
		"sessions": int64(s.Sessions), "ttl_min_ms": s.TTLMinMs, "ttl_max_ms": s.TTLMaxMs,
		"event_age_ms": s.EventAgeMs, "event_bytes": s.EventBytes,
		"idempotency_bytes": s.RecordBytes, "idempotency_age_ms": s.RecordAgeMs, "idempotency_least_ms": s.RecordLeastMs,
		"ended_holds_age_ms": s.OverAgeMs, "waiting_per_name": int64(s.Waiting), "session_holds": int64(s.SessionHolds),
		"queue_messages": s.QueueMessages, "queue_bytes": s.QueueBytes, "lock_set_names": setNamesMax, "claim_messages": claimCountMax,
		"multi_operations": multiOpsMax, "multi_bytes": multiBytesMax, "acl_entries": aclEntriesMax,
		"wait_ms": milliseconds(e.waitMax), "parked_requests": e.waiters,
		"parked_requests_per_principal": int64(e.crowd.most),
		"page_entries":                  limitMax, "page_bytes": 1 << 20, "json_body_bytes": jsonBytesMax,
		"header_bytes": headerBytesMax, "uri_bytes": uriBytesMax, "streams_per_connection": streamsMax,
	}
}
