package lease

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"perch/gen/commandpb"
	"perch/tree"
)

// Counters are exact whatever is added, and do what the obvious model does, alone
// and as parts of a multi.
func TestCountersAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newHeldBench(rapidTB{t: t})
		model := map[string]int64{}
		value := rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64(), rapid.SampledFrom([]int64{math.MaxInt64, math.MinInt64}))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
			was, there := model[name]
			v := value.Draw(t, "value")
			var expect []int64
			if rapid.Bool().Draw(t, "expects") {
				expect = []int64{rapid.OneOf(rapid.Just(was), value).Draw(t, "expect")}
			}
			met := len(expect) == 0 || expect[0] == was
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				sum := new(big.Int).Add(big.NewInt(was), big.NewInt(v))
				code := tree.OK
				if !met {
					code = tree.ErrVersionMismatch
				} else if !sum.IsInt64() {
					code = tree.ErrCounterOverflow
				} else {
					model[name] = sum.Int64()
				}
				compareCounter(t, b, addCounter(name, v, expect...), code, Counter{Name: name, Value: model[name], Previous: was})
			case 1:
				code := tree.ErrVersionMismatch
				if met {
					code, model[name] = tree.OK, v
				}
				compareCounter(t, b, setCounter(name, v, expect...), code, Counter{Name: name, Value: model[name], Previous: was})
			case 2:
				r, _ := b.apply(deleteCounter(name))
				if (r.Code == tree.OK) != there || !there && r.Code != tree.ErrNoNode {
					t.Fatal(r.Code, there)
				}
				delete(model, name)
			default:
				r, _ := b.apply(held(multi(opAdd(name, 1), opAdd(name, v))))
				sum := new(big.Int).Add(big.NewInt(was), big.NewInt(1))
				if one := sum.IsInt64(); !one || !sum.Add(sum, big.NewInt(v)).IsInt64() {
					if r.Code != tree.ErrCounterOverflow || r.Failed > 1 {
						t.Fatal(r)
					}
					break
				}
				model[name] = sum.Int64()
				if r.Code != tree.OK || r.Ops[0].Value != was+1 || r.Ops[1].Value != was+1+v || r.Ops[0].Tagged || !r.Ops[1].Tagged {
					t.Fatal(r)
				}
			}
			_, there = model[name]
			a, err := b.read(nil, Read{Kind: ReadCounter, Name: name})
			n, shown := b.s.View().tree.Get("/perch/counters/" + name)
			if err != nil || a.Counter.Value != model[name] || (a.Counter.Tag != 0) != there || shown != there ||
				shown && string(n.Data) != fmt.Sprint(model[name]) {
				t.Fatal(a.Counter, err, model)
			}
			if rapid.IntRange(0, 5).Draw(t, "restore") == 0 {
				b.s = restored(t, b.s)
			}
		}
	})
}

// compareCounter applies c and compares; nothing is told of the counter when it
// would overflow.
func compareCounter(t *rapid.T, b *bench, c *commandpb.Command, code tree.Code, want Counter) {
	r, _ := b.apply(c)
	if code == tree.ErrCounterOverflow {
		want = Counter{}
	}
	got := r.Counter
	if code == tree.OK && got.Tag != r.Zxid {
		t.Fatal(got)
	}
	got.Tag = 0
	if r.Code != code || got != want {
		t.Fatalf("%v: %v %+v, want %v %+v", c, r.Code, got, code, want)
	}
}

// rapidTB is a rapid test as far as a bench needs one.
type rapidTB struct {
	testing.TB
	t *rapid.T
}

func (r rapidTB) Helper()                   { r.t.Helper() }
func (r rapidTB) Fatal(a ...any)            { r.t.Fatal(a...) }
func (r rapidTB) Fatalf(f string, a ...any) { r.t.Fatalf(f, a...) }

func TestCounterRules(t *testing.T) {
	b := newHeldBench(t)
	for _, name := range []string{"", "a/b", "-a", "ä", string(make([]byte, 256))} {
		b.refused(tree.ErrInvalidArgument, addCounter(name, 1))
	}
	b.must(put(&commandpb.Put{Path: "/t"}))
	b.must(held(putPrincipal(&commandpb.PutPrincipal{Name: "tenant", Root: "/t", Grants: granting("/", PermUse)})))
	b.must(held(putPrincipal(&commandpb.PutPrincipal{Name: "looker", Grants: granting("/perch/counters", PermRead)})))
	b.must(held(enabling("root")))
	b.must(as("tenant", addCounter("c", 5)))
	b.must(as("root", addCounter("c", 1)))
	b.refused(tree.ErrPermissionDenied, as("looker", addCounter("c", 1)))
	b.refused(tree.ErrUnauthenticated, addCounter("c", 1))
	for name, want := range map[string]int64{"tenant": 5, "looker": 1, "root": 1} {
		if a, err := b.read(named(name), Read{Kind: ReadCounter, Name: "c"}); err != nil || a.Counter.Value != want {
			t.Error(name, a.Counter, err)
		}
	}
	// Where the tenant's root is gone nothing can be counted.
	b.must(as("root", del(&commandpb.Delete{Path: "/t", Recursive: true})))
	b.refused(tree.ErrNoParent, as("tenant", addCounter("c", 5)))
	// What stood in its place before there was a tenant counts from 0.
	b.must(as("root", deletePrincipal(&commandpb.DeletePrincipal{Name: "tenant"})))
	b.must(as("root", put(&commandpb.Put{Path: "/t/perch/counters/c", Data: []byte("x"), Parents: true})))
	b.must(as("root", put(&commandpb.Put{Path: "/t/perch/counters/c/below"})))
	b.must(as("root", putPrincipal(&commandpb.PutPrincipal{Name: "tenant", Root: "/t", Grants: granting("/", PermUse)})))
	if r := b.must(as("tenant", addCounter("c", 5))); r.Counter.Value != 5 {
		t.Error(r.Counter)
	}
	b.refused(tree.ErrNotEmpty, as("tenant", deleteCounter("c")))
}
