package lease

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// A tenant's transcript (results, reads, events, refusals) is the same with and
// without another one beside it, once positions are renamed to ranks
// (RELIABILITY.md C16). What positions show is how much is written in the whole
// cluster, and nothing else.
func TestIsolation(t *testing.T) {
	const cases = 10_000 / thinned
	for seed := range uint64(cases) {
		alone, beside := tenancy(t, seed, false), tenancy(t, seed, true)
		for i, line := range alone {
			if i >= len(beside) || beside[i] != line {
				t.Fatalf("case %d, line %d\nalone:  %s\nbeside: %s", seed, i, line, beside[min(i, len(beside)-1)])
			}
		}
		if len(beside) > len(alone) {
			t.Fatalf("case %d: beside another it goes on with %s", seed, beside[len(alone)])
		}
	}
}

// The two tenants. The name and the place of the one begin as those of the
// other do, and both draw the same session tokens.
const (
	tenantA = "team"
	tenantB = "team-b"
)

// tenancy is the transcript of tenant A in one case: its acts, those of the
// cluster, and if it is beside those of tenant B, in one order.
func tenancy(t testing.TB, seed uint64, beside bool) []string {
	w := newWorld(t, seed)
	a, b := &tenant{world: w, name: tenantA, other: tenantB, tells: true}, &tenant{world: w, name: tenantB, other: tenantA}
	w.admit(a)
	if beside {
		w.admit(b)
	}
	order := rand.New(rand.NewPCG(seed, 1))
	for slot := range uint64(order.IntN(40) + 15) {
		w.tick(seed, slot)
		switch order.IntN(9) {
		case 0:
			w.upkeep(a)
		case 1, 2, 3, 4:
			a.act()
		default:
			if beside {
				b.act()
			}
		}
	}
	return a.lines
}

// world is a cluster with what happens in it at one time.
type world struct {
	*bench
	rooted bool          // principals have roots; else grants keep them apart
	rng    *rand.Rand    // of the present slot
	ranked []quorum.Zxid // transactions that are not tenant B's, in order
	others []quorum.Zxid // tenant B's
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{bench: newBench(t, DefaultSettings()), rooted: seed%2 == 0}
	w.cluster(raise(heldLevel))
	w.cluster(enabling("root"))
	return w
}

// tick moves to a slot, where the time and all choices are the same whether
// there is a tenant B or not.
func (w *world) tick(seed, slot uint64) {
	w.rng = rand.New(rand.NewPCG(seed, slot+2))
	w.wall, w.age = int64(1_000_000+slot), slot*400
}

// cluster applies a command that is not tenant B's.
func (w *world) cluster(c *commandpb.Command) Result {
	r := w.must(c)
	w.ranked = append(w.ranked, w.zxid)
	return r
}

// admit lets the administrator make a tenant with a token and a place.
func (w *world) admit(n *tenant) {
	w.wall, w.age, w.rng = 1000, 0, rand.New(rand.NewPCG(uint64(len(n.name)), 0))
	apply := w.cluster
	if !n.tells {
		apply = w.must
	}
	n.top = "/" + n.name
	p := &commandpb.PutPrincipal{Name: n.name, Grants: granting(n.top, PermAll&^PermCluster)}
	if w.rooted {
		p.Root, p.Grants[0].Prefix, n.top = "/tenants"+n.top, "/", ""
	} else {
		apply(by(root, create(&commandpb.Create{Path: n.top})))
	}
	apply(by(root, putPrincipal(p)))
	made := apply(by(root, createToken(&commandpb.CreateToken{Principal: n.name, SecretSha256: secretOf(n.name)})))
	n.token = made.APIToken.ID
}

// upkeep is what a leader does: it deletes the nodes whose time is over, and
// ends a session of tenant A now and then.
func (w *world) upkeep(a *tenant) {
	w.cluster(reaping(w.s.View().Due(w.age, reapMost)...))
	w.cluster(lapsing())
	if len(a.own) > 0 {
		w.cluster(expire(a.own[w.rng.IntN(len(a.own))]))
	}
}

// rank is the place of a position among those that tenant A may know. One that
// must be exactly such a position and is not is told as it is.
func (w *world) rank(z quorum.Zxid, exact bool) string {
	n, found := slices.BinarySearch(w.ranked, z)
	if found {
		return fmt.Sprint("#", n)
	}
	if exact && z != 0 {
		return fmt.Sprint("foreign ", z)
	}
	return fmt.Sprint("#", n-1)
}

func (w *world) stat(s tree.Stat) string {
	exact := w.rank
	return fmt.Sprint(exact(s.Czxid, true), exact(s.Mzxid, true), exact(s.Pzxid, true), exact(s.EphemeralOwner, true),
		[...]int64{s.Ctime, s.Mtime, s.Version, s.Cversion, s.Aversion, int64(s.DataLength), int64(s.NumChildren), int64(s.Mode), s.TTLMs})
}

func (w *world) node(n tree.Node) string {
	if n.Path == "" {
		return "-"
	}
	return fmt.Sprintf("%s %q %s", n.Path, n.Data, w.stat(n.Stat))
}

func (w *world) session(i Info) string {
	return fmt.Sprint(w.rank(i.ID, true), i.TTL, i.Ephemerals, i.Principal)
}

func (w *world) ops(ops []OpResult) string {
	var b strings.Builder
	for _, o := range ops {
		fmt.Fprint(&b, "; ", o.Path, o.Code, o.Created, o.Tagged, w.node(o.Node))
	}
	return b.String()
}

func (w *world) quota(q tree.Quota) string {
	bound := func(p *int64) int64 {
		if p == nil {
			return -1
		}
		return *p
	}
	return fmt.Sprint(bound(q.MaxNodes), bound(q.MaxBytes), q.Nodes, q.Bytes)
}

func (w *world) result(r Result) string {
	return fmt.Sprint(w.rank(r.Zxid, true), r.Code, r.Created, r.Failed, r.Opened, r.Fault, w.node(r.Node), w.session(r.Session),
		w.quota(r.Quota), w.ops(r.Ops), r.ACL.List(), w.held(r), w.kept(r))
}

func (w *world) answer(a Answer, more bool, err error) string {
	var b strings.Builder
	fmt.Fprint(&b, w.rank(a.Zxid, false), more, err, w.node(a.Node), w.quota(a.Quota), w.ops(a.Ops), a.Paths, a.Principals, a.APITokens)
	if a.ACL != nil || a.ETag != 0 {
		fmt.Fprint(&b, a.ACL.List(), w.rank(a.ETag, true))
	}
	fmt.Fprint(&b, a.Names, a.Holds)
	fmt.Fprint(&b, w.keptAnswer(a))
	for _, h := range a.Held {
		fmt.Fprint(&b, "; ", w.heldState(h))
	}
	for _, n := range a.Children {
		fmt.Fprint(&b, "; ", w.node(n))
	}
	for _, i := range a.Sessions {
		fmt.Fprint(&b, "; ", w.session(i))
	}
	return b.String()
}

func (w *world) batch(e EventBatch, err error) string {
	var b strings.Builder
	fmt.Fprint(&b, w.rank(e.Cursor, false), e.More, w.rank(e.Oldest, false), err)
	for _, v := range e.Events {
		fmt.Fprint(&b, "; ", w.rank(v.Zxid, true), v.Type, v.Cause, v.Path, w.stat(v.Stat))
	}
	return b.String()
}
