package handlers

import (
	"context"
	"fmt"
	"strconv"

	"perch/gen/api"
	"perch/lease"
	"perch/quorum"
)

// membersMax is the most members that one request may name.
const membersMax = 9

// AddMember implements POST /v1/cluster/members.
func (e *edge) AddMember(ctx context.Context, q api.AddMemberRequestObject) (api.AddMemberResponseObject, error) {
	if err := e.requireSession(ctx, q.Params.PerchSession); err != nil {
		return nil, err
	}
	set, err := memberChanges(q.Body.Members)
	if err != nil {
		return nil, err
	}
	c, z, err := e.changeMembers(ctx, lease.MembersChange{Set: set, Force: q.Body.Force != nil && *q.Body.Force})
	if err != nil {
		return nil, err
	}
	return api.AddMember200JSONResponse{Body: c, Headers: api.AddMember200ResponseHeaders{PerchZxid: z}}, nil
}

// RemoveMember implements DELETE /v1/cluster/members/{id}.
func (e *edge) RemoveMember(ctx context.Context, q api.RemoveMemberRequestObject) (api.RemoveMemberResponseObject, error) {
	if err := e.requireSession(ctx, q.Params.PerchSession); err != nil {
		return nil, err
	}
	id, err := readMemberID("id", q.ID)
	if err != nil {
		return nil, err
	}
	want := lease.MembersChange{Remove: []quorum.NodeID{id}, Force: q.Params.Force != nil && *q.Params.Force}
	c, z, err := e.changeMembers(ctx, want)
	if err != nil {
		return nil, err
	}
	return api.RemoveMember200JSONResponse{Body: c, Headers: api.RemoveMember200ResponseHeaders{PerchZxid: z}}, nil
}

// changeMembers has a change made and describes the cluster after it.
func (e *edge) changeMembers(ctx context.Context, want lease.MembersChange) (c api.Cluster, z int64, err error) {
	want.Caller = callerOf(ctx)
	at, err := e.svc.ChangeMembers(ctx, want)
	if err != nil && at != 0 {
		return c, 0, decided(err, at)
	}
	if err != nil {
		return c, 0, err
	}
	s := e.svc.Status()
	return e.renderCluster(&s), int64(at), nil
}

// memberChanges reads the members of a request.
func memberChanges(specs []api.MemberSpec) ([]quorum.MemberChange, error) {
	if len(specs) == 0 || len(specs) > membersMax {
		return nil, outOfRange("/members", 1, membersMax)
	}
	var set []quorum.MemberChange
	seen := make(map[quorum.NodeID]bool)
	for i, spec := range specs {
		at := func(field string) string { return fmt.Sprintf("/members/%d/%s", i, field) }
		id, err := readMemberID(at("id"), spec.ID)
		if err != nil {
			return nil, err
		}
		if seen[id] {
			return nil, badArgument(at("id"), "the member is named twice")
		}
		seen[id] = true
		if spec.Address == "" {
			return nil, badArgument(at("address"), "it is the host:port at which the other nodes reach the member")
		}
		role, err := readRole(at("role"), spec.Role)
		if err != nil {
			return nil, err
		}
		set = append(set, quorum.MemberChange{ID: id, Role: role, Addr: spec.Address, Replace: spec.Replace != nil && *spec.Replace})
	}
	return set, nil
}

func readRole(field string, role *api.MemberSpecRole) (quorum.Role, error) {
	switch {
	case role == nil || *role == api.Voter:
		return quorum.RoleVoter, nil
	case *role == api.Observer:
		return quorum.RoleObserver, nil
	}
	return 0, badArgument(field, "it is voter or observer")
}

// readMemberID reads what memberID writes.
func readMemberID(field, text string) (quorum.NodeID, error) {
	id, err := strconv.ParseUint(text, 10, 16)
	if err != nil || id == 0 || memberID(quorum.NodeID(id)) != text {
		return 0, badArgument(field, "it is the decimal of a node's --id, 1 to 65535")
	}
	return quorum.NodeID(id), nil
}
