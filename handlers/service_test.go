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
	proposed  *commandpb.Command  // the last one
	callers   []*commandpb.Caller // of all calls
	outcomes  map[ticket]lease.Outcome
	backups   backups
	onPiece   func(offset int64) error // before a piece of a backup is handed out; nil: nothing
}

type pinned struct {
	view *lease.View
	from lease.Cursor
}

const (
	testEpoch = 7
	testWall  = 1_790_000_000_000
)

var testCluster = quorum.ClusterID{0xc1, 0x05}

func newTestService() *testService {
	return &testService{
		state: lease.New(lease.DefaultSettings()), tokens: lease.NewTokens(testCluster, []byte("a secret of at least 32 bytes ...")),
		applied: make(chan struct{}), pages: make(map[string]*pinned),
		outcomes: make(map[ticket]lease.Outcome),
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
		cmd.Session = ref
	}
	s.proposed = cmd
	s.callers = append(s.callers, cmd.Caller)
	s.level(cmd)
	res := s.apply(cmd)
	if res.Opened {
		res.Remaining = res.Session.TTL
		if ref == nil {
			res.Token = s.tokens.Draw(res.Session.ID)
		}
	}
	return res, nil
}

// level raises the feature level when cmd is the first that needs a higher one,
// so that positions are what they are without that. What a principal does needs
// it, too.
func (s *testService) level(cmd *commandpb.Command) {
	level := s.state.View().Level()
	if level < lease.Format && (lease.FormatOf(cmd) > level || cmd.Caller.GetPrincipal() != "") {
		s.apply(&commandpb.Command{Format: level, Op: &commandpb.Command_RaiseLevel{
			RaiseLevel: &commandpb.RaiseLevel{Level: lease.Format}}})
	}
	cmd.Format = s.state.View().Level()
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
		Stamp: quorum.Stamp{Wall: s.now(), Age: s.age},
	})
	if err != nil {
		panic(err)
	}
	for _, o := range res.Outcomes {
		s.outcomes[ticket{o.Place, o.Attach}] = o
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

// now is the wall clock, which moves with every write; for those who hold mu.
func (s *testService) now() int64 { return testWall + int64(s.age) }

func (s *testService) wall() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
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

func (s *testService) alive(view *lease.View, caller *commandpb.Caller, token string) (lease.Info, error) {
	ref, err := s.tokens.Resolve(token)
	if err != nil {
		return lease.Info{}, err
	}
	info, known := view.Lookup(ref, caller.GetPrincipal())
	if known != lease.KnownAlive {
		return info, tree.ErrSessionExpired
	}
	return info, nil
}

func (s *testService) Read(ctx context.Context, q lease.Read) (a lease.Answer, err error) {
	s.mu.Lock()
	s.reads, s.callers = append(s.reads, q), append(s.callers, q.Caller)
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
	if q.Token != "" {
		info, err := s.alive(view, q.Caller, q.Token)
		if err != nil {
			ref, _ := s.tokens.Resolve(q.Token)
			if ref != nil && q.Kind == lease.ReadHold && view.Lost(q, ref, s.wall()) {
				err = tree.ErrHoldLost
			}
			return lease.Answer{Zxid: view.Zxid()}, err
		}
		if q.Session == 0 {
			q.Session = info.ID
		}
	}
	a, more, err := from.view.Read(q, from.from, s.wall())
	if more {
		s.mu.Lock()
		a.NextPage = "page-" + jsonNumber(len(s.pages))
		s.pages[a.NextPage] = &pinned{from.view, lease.After(q.Kind, a)}
		s.mu.Unlock()
	}
	return a, err
}

func (s *testService) Events(ctx context.Context, q lease.EventQuery) (lease.EventBatch, error) {
	s.mu.Lock()
	s.callers = append(s.callers, q.Caller)
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
		if _, err := s.alive(view, q.Caller, q.Token); err != nil {
			return lease.EventBatch{Cursor: view.Zxid()}, err
		}
	}
	if q.Now {
		q.Since = view.Zxid()
	}
	return view.Events(q, tree.Bounds{Events: q.Limit, Bytes: 1 << 20}, s.wall())
}

func (s *testService) Await(ctx context.Context, i lease.Interest) error {
	if s.awaits != nil {
		s.awaits <- i
	}
	s.mu.Lock()
	s.callers = append(s.callers, i.Caller)
	s.mu.Unlock()
	for {
		s.mu.Lock()
		view, applied, fail := s.state.View(), s.applied, s.fail
		s.mu.Unlock()
		if fail != nil {
			return fail
		}
		if view.Happened(i, s.wall()) {
			return nil
		}
		select {
		case <-applied:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *testService) Touch(ctx context.Context, caller *commandpb.Caller, token string, ttl time.Duration) (lease.Held, error) {
	s.mu.Lock()
	fail := s.fail
	s.touches++
	s.callers = append(s.callers, caller)
	s.mu.Unlock()
	if fail != nil {
		return lease.Held{}, fail
	}
	view := s.view()
	info, err := s.alive(view, caller, token)
	if err != nil {
		return lease.Held{Zxid: view.Zxid()}, err
	}
	if ttl != 0 && ttl != info.TTL {
		res, err := s.Write(ctx, &commandpb.Command{Caller: caller, Op: &commandpb.Command_SetTtl{
			SetTtl: &commandpb.SetTtl{TtlMs: uint64(ttl.Milliseconds())}}}, token)
		if err != nil {
			return lease.Held{}, err
		}
		info = res.Session
	}
	return lease.Held{Info: info, Remaining: info.TTL, Zxid: s.view().Zxid()}, nil
}

func (s *testService) TouchLater(caller *commandpb.Caller, _ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callers = append(s.callers, caller)
	s.touches++
}

func (s *testService) touched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.touches
}

func (s *testService) Transfer(_ context.Context, caller *commandpb.Caller, to quorum.NodeID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callers = append(s.callers, caller)
	if code := s.state.View().Governs(caller, s.now()); code != tree.OK {
		return code
	}
	s.transfers = append(s.transfers, to)
	return s.fail
}

func (s *testService) Status() lease.Status {
	view := s.view()
	st := lease.Status{
		Node: 1, Cluster: testCluster, Name: "test", Applied: view.Zxid(), Digest: view.Digest(),
		Oldest: view.Oldest(), Ready: true, Sessions: view.Sessions(), Nodes: view.Nodes(), Settings: view.Settings(), Level: view.Level(),
		Soft: quorum.Soft{Leader: 1, Epoch: testEpoch, Established: true, Commit: view.Zxid()},
		Members: []lease.MemberStatus{
			{Progress: quorum.Progress{ID: 1, Role: quorum.RoleVoter}, Addr: "127.0.0.1:7501"},
			{Progress: quorum.Progress{ID: 2, Role: quorum.RoleVoter, Connected: true, Synced: true}, Addr: "127.0.0.1:7502", Known: true, Lag: 3},
			{Progress: quorum.Progress{ID: 4, Role: quorum.RoleObserver}, Addr: "127.0.0.1:7504", Known: true},
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
	s.callers = append(s.callers, c.Caller)
	if code := s.state.View().Governs(c.Caller, s.now()); code != tree.OK {
		return 0, code
	}
	s.changes = append(s.changes, c)
	return quorum.MakeZxid(testEpoch, 99), nil
}

// expire ends the session of a token as the leader does.
func (s *testService) expire(t *testing.T, token string) {
	t.Helper()
	info, err := s.alive(s.view(), nil, token)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply(&commandpb.Command{Format: s.state.View().Level(), Op: &commandpb.Command_ExpireSessions{
		ExpireSessions: &commandpb.ExpireSessions{Ids: []uint64{uint64(info.ID)}}}})
}

// reap ends nodes as the leader does once their time is over.
func (s *testService) reap(paths ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age += 60_000
	s.apply(&commandpb.Command{Format: s.state.View().Level(), Op: &commandpb.Command_Reap{Reap: &commandpb.Reap{Paths: paths}}})
}

var _ lease.Service = (*testService)(nil)

func (s *testService) Auth() bool { return s.view().Auth() }

func (s *testService) Authenticate(_ context.Context, secret [32]byte) (lease.Identity, error) {
	who, ok := s.view().Identify(secret, s.wall())
	if !ok {
		return who, tree.ErrUnauthenticated
	}
	return who, nil
}

func (s *testService) EnableAuth(ctx context.Context, admin string, secret [32]byte) (bool, error) {
	if s.Auth() {
		return false, nil
	}
	res, err := s.Write(ctx, &commandpb.Command{Op: &commandpb.Command_EnableAuth{EnableAuth: &commandpb.EnableAuth{
		Admin: &commandpb.PutPrincipal{Name: admin, Grants: []*commandpb.Grant{{Prefix: "/", Perms: uint32(lease.PermAll)}}},
		Token: &commandpb.CreateToken{Principal: admin, SecretSha256: secret[:]},
	}}}, "")
	if err == nil && res.Code != tree.OK {
		err = res.Code
	}
	return err == nil, err
}
