package sim

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"perch/quorum"
)

// TestExplore walks a part of the tiny world; make soak-sim walks a million
// states.
func TestExplore(t *testing.T) {
	states := 20_000
	if testing.Short() {
		states = 2_000
	}
	var out bytes.Buffer
	r := Explore(ExploreOptions{Seed: 1, States: states, Bounds: TinyWorld, Leap: 20, Out: &out})
	if r.Failure != nil {
		t.Fatalf("%v\n%s", r.Failure, tail(out.String(), 100))
	}
	if r.States != states || r.Epochs < 3 || r.Committed < 2 || r.Depth < 40 {
		t.Errorf("it did not come far: %+v", r)
	}
	t.Logf("explore: %d distinct states, depth %d, %d steps", r.States, r.Depth, r.Steps)
	renewing := TinyWorld
	renewing.Renew = 1
	r = Explore(ExploreOptions{Seed: 1, States: states / 4, Bounds: renewing, Leap: 20, Out: &out})
	if r.Failure != nil || r.Epochs < 3 {
		t.Fatalf("%v, %d epochs\n%s", r.Failure, r.Epochs, tail(out.String(), 100))
	}
}

// TestExploreToTheEnd: a world that is tiny enough is walked to its end, and any
// order of trying finds the same states.
func TestExploreToTheEnd(t *testing.T) {
	small := Bounds{Writes: 1, Crashes: 0, Elections: 0, GiveUps: 1, Depth: 100, Flying: 6}
	a := Explore(ExploreOptions{Seed: 1, Bounds: small})
	b := Explore(ExploreOptions{Seed: 2, Bounds: small})
	c := Explore(ExploreOptions{Seed: 3, Bounds: small, Leap: 7})
	if !a.Exhausted || !b.Exhausted || !c.Exhausted || a.Failure != nil || a.States < 50 {
		t.Fatalf("%+v, %+v, %+v", a, b, c)
	}
	if a.States != b.States || a.States != c.States {
		t.Errorf("%d states in one order, %d and %d in others", a.States, b.States, c.States)
	}
}

// TestExploreBites: the explorer finds bugs, of which it knows nothing.
func TestExploreBites(t *testing.T) {
	blind := func(m *quorum.Message) { // a candidate never learns that others are ahead of it
		if m.Type == quorum.MsgAckEpoch {
			m.Cred.Last, m.Cred.CurrentEpoch = 0, 0
		}
	}
	for _, c := range []struct {
		name, mutant string
		tamper       func(*quorum.Message)
	}{
		{"ack before fsync", "ack-ahead", nil},
		{"epoch before log", "epoch-before-log", nil},
		{"no ahead check", "", blind},
		{"a crash loses what was fsynced", "lost-fsync", nil},
	} {
		var out bytes.Buffer
		opt := ExploreOptions{States: 8_000, Bounds: TinyWorld, Leap: 20, Mutant: c.mutant, Tamper: c.tamper, Out: &out}
		var r Exploration
		for walk := range uint64(12) { // many short walks find more than a long one
			opt.Seed = walk
			if r = Explore(opt); r.Failure != nil {
				break
			}
		}
		if r.Failure == nil {
			t.Errorf("%s: not found", c.name)
			continue
		}
		if len(r.Path) == 0 || !strings.Contains(out.String(), "VIOLATION") {
			t.Errorf("%s: found by %v, and no transcript", c.name, r.Path)
		}
		if again := Explore(opt); !slices.Equal(again.Path, r.Path) {
			t.Errorf("%s: the second walk finds another way", c.name)
		}
		t.Logf("%s: walk %d, %d states, %d actions, %v", c.name, opt.Seed, r.States, len(r.Path), r.Failure)
	}
}

// TestCopies: a copy is equal, shares nothing that changes, and what happens to
// it does not show in the original.
func TestCopies(t *testing.T) {
	e := &walk{rng: rng{state: 5}, opt: ExploreOptions{Bounds: TinyWorld}}
	for range 20 {
		p := e.root()
		for range 60 {
			acts := e.shuffle(e.actions(p))
			if len(acts) == 0 {
				break
			}
			before, q := e.state(p), deepCopy(&e.copier, p)
			if shared := sharing(p, q); shared != "" {
				t.Fatalf("a copy shares %s", shared)
			}
			if got := e.state(q); got != before {
				t.Fatalf("state %x, its copy %x", before, got)
			}
			e.do(q, acts[len(acts)-1])
			if got := e.state(p); got != before {
				t.Fatalf("%v in the copy changes the original", acts[len(acts)-1])
			}
			if p = q; p.world.failure != nil {
				t.Fatal(p.world.failure)
			}
		}
	}
}

// sharing names something that both values lead to and that may change.
func sharing(a, b *place) string {
	seen := map[unsafe.Pointer]string{}
	visit(reflect.ValueOf(a), "", func(p unsafe.Pointer, path string) bool {
		_, known := seen[p]
		seen[p] = path
		return !known
	})
	found, done := "", map[unsafe.Pointer]bool{}
	visit(reflect.ValueOf(b), "", func(p unsafe.Pointer, path string) bool {
		if _, ok := seen[p]; ok && found == "" {
			found = path
		}
		known := done[p]
		done[p] = true
		return !known
	})
	return found
}

// visit calls f for all memory that a value leads to; f says whether to go on.
func visit(v reflect.Value, path string, f func(unsafe.Pointer, string) bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && !unchanging[v.Type().Elem()] && f(v.UnsafePointer(), path) {
			visit(v.Elem(), path, f)
		}
	case reflect.Slice:
		if v.Cap() > 0 && v.Type().Elem().Kind() != reflect.Uint8 && f(v.UnsafePointer(), path) {
			for i := range v.Len() {
				visit(v.Index(i), path+"[]", f)
			}
		}
	case reflect.Map:
		if !v.IsNil() && f(v.UnsafePointer(), path) {
			for it := v.MapRange(); it.Next(); {
				visit(it.Value(), path+"{}", f)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			visit(v.Field(i), path+"."+v.Type().Field(i).Name, f)
		}
	case reflect.Array:
		for i := range v.Len() {
			visit(v.Index(i), path, f)
		}
	}
}

// TestDigestFields: every field that is named in digest.go exists.
func TestDigestFields(t *testing.T) {
	fields := map[string]bool{}
	known := map[reflect.Type]bool{}
	var list func(reflect.Type)
	list = func(t reflect.Type) {
		if known[t] {
			return
		}
		known[t] = true
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Array:
			list(t.Elem())
		case reflect.Struct:
			for i := range t.NumField() {
				fields[t.Name()+"."+t.Field(i).Name] = true
				list(t.Field(i).Type)
			}
		}
	}
	list(reflect.TypeFor[place]())
	for _, named := range []map[string]bool{leftOut, sessionFields, groupFields} {
		for name := range named {
			if !fields[name] {
				t.Errorf("digest.go names %s, which is not there any more", name)
			}
		}
	}
}

// TestDigestTellsApart: every field that counts changes the digest.
func TestDigestTellsApart(t *testing.T) {
	type inner struct {
		small bool
		list  []uint16
		text  string
	}
	type outer struct {
		one   inner
		two   *inner
		three map[int]inner
	}
	make := func(change func(*outer)) uint64 {
		v := outer{inner{false, []uint16{1, 2}, "a"}, &inner{}, map[int]inner{1: {}, 2: {}}}
		change(&v)
		var d digester
		digest(&d, &v)
		return d.sum
	}
	same := make(func(*outer) {})
	for i, change := range []func(*outer){
		func(o *outer) { o.one.small = true }, func(o *outer) { o.one.list[1] = 3 }, func(o *outer) { o.one.list = o.one.list[:1] },
		func(o *outer) { o.one.text = "b" }, func(o *outer) { o.two = nil }, func(o *outer) { o.two.text = "c" },
		func(o *outer) { delete(o.three, 2) }, func(o *outer) { o.three[2] = inner{small: true} }, func(o *outer) { o.three[3] = inner{} },
	} {
		if make(change) == same {
			t.Errorf("change %d does not show", i)
		}
	}
	if make(func(*outer) {}) != same {
		t.Error("a map has an order")
	}
}
