package handlers

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// testService is lease.Service over a real lease.State, without a quorum: a
// write is applied at once. What only a cluster can do to a gateway (lag,
// leaders lost, drains) is set by hand.
type testService struct {
	mu        sync.Mutex
	state     *lease.State
	tokens    *lease.Tokens
	ahead     quorum.Zxid // what the cluster has proposed beyond this node
	fail      error       // answer of every call but Status
	result    *lease.Result
	touches   int
	reads     []lease.Read
	applied   chan struct{} // closed and replaced by every write
	pages     map[string]*pinned
	age       uint64
	status    func(*lease.Status)
	awaits    chan lease.Interest // told of every Await, when not nil
	changes   []lease.MembersChange
	transfers []quorum.NodeID
}

type pinned struct {
	view *lease.View
	name string
	id   quorum.Zxid
}

const testEpoch = 7

var testCluster = quorum.ClusterID{0xc1, 0x05}

func newTestService() *testService {
	return &testService{
		state: lease.New(lease.DefaultSettings()), tokens: lease.NewTokens(testCluster, []byte("a secret of at least 32 bytes ...")),
		applied: make(chan struct{}), pages: make(map[string]*pinned),
	}
}

func (s *testService) Write(_ context.Context, cmd *commandpb.Command, token string) (lease.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return lease.Result{}, s.fail
	}
	if s.result != nil {
		return *s.result, nil
	}
	ref, err := s.tokens.Resolve(token)
	if err != nil {
		return lease.Result{Zxid: s.state.View().Zxid()}, err
	}
	if ref != nil {
		ref.OpenTtlMs = cmd.GetSession().GetOpenTtlMs()
	}
	cmd.Format, cmd.Session = lease.Format, ref
	res := s.apply(cmd)
	if res.Opened {
		res.Remaining = res.Session.TTL
		if ref == nil {
			res.Token = s.tokens.Draw(res.Session.ID)
		}
	}
	return res, nil
}

// apply is for those who hold mu.
func (s *testService) apply(cmd *commandpb.Command) lease.Result {
	data, err := proto.Marshal(cmd)
	if err != nil {
		panic(err)
	}
	s.age++
	next := s.state.View().Zxid() + 1
	if next.Epoch() == 0 {
		next = quorum.MakeZxid(testEpoch, 1)
	}
	res, _, err := s.state.Apply(&quorum.Entry{
		Zxid: next, Kind: quorum.EntryCommand, Data: data,
		Stamp: quorum.Stamp{Wall: 1_790_000_000_000 + int64(s.age), Age: s.age},
	})
	if err != nil {
		panic(err)
	}
	close(s.applied)
	s.applied = make(chan struct{})
	return res
}

func (s *testService) view() *lease.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.View()
}

// floor waits for z as a node that lags behind the cluster.
func (s *testService) floor(ctx context.Context, z quorum.Zxid, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		s.mu.Lock()
		now, ahead, applied := s.state.View().Zxid(), s.ahead, s.applied
		s.mu.Unlock()
		switch {
		case z <= now:
			return nil
		case z > ahead:
			return tree.ErrHistoryLost
		}
		select {
		case <-applied:
		case <-timer.C:
			return lease.ErrNotCaughtUp
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *testService) alive(view *lease.View, token string) (lease.Info, error) {
	ref, err := s.tokens.Resolve(token)
	if err != nil {
		return lease.Info{}, err
	}
	info, known := view.Lookup(ref)
	if known != lease.KnownAlive {
		return info, tree.ErrSessionExpired
	}
	return info, nil
}

func (s *testService) Read(ctx context.Context, q lease.Read) (a lease.Answer, err error) {
	s.mu.Lock()
	s.reads = append(s.reads, q)
	fail := s.fail
	s.mu.Unlock()
	if fail != nil {
		return a, fail
	}
	if err := s.floor(ctx, q.At.Floor, q.At.Wait); err != nil {
		return lease.Answer{Zxid: s.view().Zxid()}, err
	}
	view := s.view()
	from := &pinned{view: view}
	if q.PageToken != "" {
		s.mu.Lock()
		from = s.pages[q.PageToken]
		s.mu.Unlock()
		if from == nil {
			return lease.Answer{Zxid: view.Zxid()}, lease.ErrPageExpired
		}
	}
	a.Zxid = from.view.Zxid()
	if q.Token != "" {
		info, err := s.alive(view, q.Token)
		if err != nil || q.Kind == lease.ReadSession && q.Session == 0 {
			a.Sessions = []lease.Info{info}
			return a, err
		}
	}
	return a, s.evaluate(&a, from, q)
}

func (s *testService) evaluate(a *lease.Answer, from *pinned, q lease.Read) error {
	more, ok, last := false, true, pinned{view: from.view}
	switch q.Kind {
	case lease.ReadNode, lease.ReadStat, lease.ReadChildren:
		if a.Node, ok = from.view.Get(q.Path); !ok {
			return tree.ErrNoNode
		}
		if q.Kind == lease.ReadChildren {
			a.Children, more, _ = from.view.Children(q.Path, tree.Page{
				After: from.name, Limit: q.Limit, Bytes: 1 << 20, WithData: q.WithData})
		}
	case lease.ReadSession:
		info, ok := from.view.Session(q.Session)
		if !ok {
			return tree.ErrNoSession
		}
		a.Sessions = []lease.Info{info}
	case lease.ReadSessions:
		a.Sessions, more = from.view.SessionList(from.id, q.Limit)
	}
	if more {
		if n := len(a.Children); n > 0 {
			last.name = tree.Name(a.Children[n-1].Path)
		}
		if n := len(a.Sessions); n > 0 {
			last.id = a.Sessions[n-1].ID
		}
		s.mu.Lock()
		a.NextPage = "page-" + string(rune('A'+len(s.pages)))
		s.pages[a.NextPage] = &last
		s.mu.Unlock()
	}
	return nil
}

func (s *testService) Events(ctx context.Context, q lease.EventQuery) (lease.EventBatch, error) {
	s.mu.Lock()
	fail := s.fail
	s.mu.Unlock()
	if fail != nil {
		return lease.EventBatch{}, fail
	}
	if !q.Now {
		if err := s.floor(ctx, q.Since, q.Floor); err != nil {
			return lease.EventBatch{Cursor: s.view().Zxid()}, err
		}
	}
	view := s.view()
	if q.Token != "" {
		if _, err := s.alive(view, q.Token); err != nil {
			return lease.EventBatch{Cursor: view.Zxid()}, err
		}
	}
	if q.Now {
		return lease.EventBatch{Cursor: view.Zxid(), Oldest: view.Oldest()}, nil
	}
	return view.Events(q.Path, q.Scope, q.Since, tree.Bounds{Events: q.Limit, Bytes: 1 << 20})
}

func (s *testService) Await(ctx context.Context, i lease.Interest) error {
	if s.awaits != nil {
		s.awaits <- i
	}
	for {
		s.mu.Lock()
		view, applied, fail := s.state.View(), s.applied, s.fail
		s.mu.Unlock()
		if fail != nil {
			return fail
		}
		batch, err := view.Events(i.Path, i.Scope, i.Since, tree.Bounds{Events: 1, Bytes: 1 << 20})
		if err != nil || len(batch.Events) > 0 {
			return nil
		}
		select {
		case <-applied:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *testService) Touch(ctx context.Context, _ *commandpb.Caller, token string, ttl time.Duration) (lease.Held, error) {
	s.mu.Lock()
	fail := s.fail
	s.touches++
	s.mu.Unlock()
	if fail != nil {
		return lease.Held{}, fail
	}
	view := s.view()
	info, err := s.alive(view, token)
	if err != nil {
		return lease.Held{Zxid: view.Zxid()}, err
	}
	if ttl != 0 && ttl != info.TTL {
		res, err := s.Write(ctx, &commandpb.Command{Op: &commandpb.Command_SetTtl{
			SetTtl: &commandpb.SetTtl{TtlMs: uint64(ttl.Milliseconds())}}}, token)
		if err != nil {
			return lease.Held{}, err
		}
		info = res.Session
	}
	return lease.Held{Info: info, Remaining: info.TTL, Zxid: s.view().Zxid()}, nil
}

func (s *testService) TouchLater(*commandpb.Caller, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touches++
}

func (s *testService) Transfer(_ context.Context, _ *commandpb.Caller, to quorum.NodeID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.transfers = append(s.transfers, to)
	return s.fail
}

func (s *testService) Status() lease.Status {
	view := s.view()
	st := lease.Status{
		Node: 1, Cluster: testCluster, Name: "test", Applied: view.Zxid(), Digest: view.Digest(),
		Oldest: view.Oldest(), Ready: true, Sessions: view.Sessions(), Nodes: view.Nodes(), Settings: view.Settings(),
		Soft: quorum.Soft{Leader: 1, Epoch: testEpoch, Established: true, Commit: view.Zxid()},
		Members: []lease.MemberStatus{
			{Progress: quorum.Progress{ID: 1, Role: quorum.RoleVoter}, Addr: "127.0.0.1:7501"},
			{Progress: quorum.Progress{ID: 2, Role: quorum.RoleVoter, Connected: true, Synced: true}, Addr: "127.0.0.1:7502"},
			{Progress: quorum.Progress{ID: 4, Role: quorum.RoleObserver}, Addr: "127.0.0.1:7504"},
		},
	}
	if s.status != nil {
		s.status(&st)
	}
	return st
}

// ChangeMembers notes what is asked for; fail is its answer when set.
func (s *testService) ChangeMembers(_ context.Context, c lease.MembersChange) (quorum.Zxid, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.ahead, s.fail
	}
	s.changes = append(s.changes, c)
	return quorum.MakeZxid(testEpoch, 99), nil
}

// expire ends the session of a token as the leader does.
func (s *testService) expire(t *testing.T, token string) {
	t.Helper()
	info, err := s.alive(s.view(), token)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply(&commandpb.Command{Format: lease.Format, Op: &commandpb.Command_ExpireSessions{
		ExpireSessions: &commandpb.ExpireSessions{Ids: []uint64{uint64(info.ID)}}}})
}

var _ lease.Service = (*testService)(nil)

func (s *testService) Auth() bool { return false }

func (s *testService) Authenticate(context.Context, [32]byte) (lease.Identity, error) {
	return lease.Identity{}, tree.ErrUnauthenticated
}

func (s *testService) EnableAuth(context.Context, string, [32]byte) (bool, error) { return false, nil }
