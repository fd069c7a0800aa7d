package cow

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type item struct{ key, val int }

func less(a, b item) bool { return a.key < b.key }

func list(m map[int]int) (out []item) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, item{k, m[k]})
	}
	return out
}

func scan(f Frozen[item]) (out []item) {
	f.Scan(func(i item) bool { out = append(out, i); return true })
	return out
}

// Every frozen table stays what it was, and a rollback gives back what was
// there at Begin, whatever happens in between.
func TestTableAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := New(less)
		now, begin := map[int]int{}, map[int]int{}
		type frozen struct {
			f    Frozen[item]
			want []item
		}
		var all []frozen
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			k := rapid.IntRange(0, 200).Draw(t, "key")
			switch rapid.IntRange(0, 9).Draw(t, "do") {
			case 0:
				table.Begin()
				begin = maps.Clone(now)
			case 1:
				table.Rollback()
				now = maps.Clone(begin)
			case 2:
				all = append(all, frozen{table.Freeze(), list(now)})
			case 3, 4:
				_, had := table.Delete(item{key: k})
				if _, want := now[k]; had != want {
					t.Fatalf("delete of %d: %v", k, had)
				}
				delete(now, k)
			default:
				v := rapid.Int().Draw(t, "val")
				table.Set(item{k, v})
				now[k] = v
			}
			if table.Len() != len(now) {
				t.Fatalf("%d items, want %d", table.Len(), len(now))
			}
		}
		all = append(all, frozen{table.Freeze(), list(now)})
		for _, f := range all {
			if !slices.Equal(scan(f.f), f.want) || f.f.Len() != len(f.want) {
				t.Fatalf("frozen table changed: %v, want %v", scan(f.f), f.want)
			}
		}
	})
}

func TestLoadAndAscend(t *testing.T) {
	table := New(less)
	for i := range 1000 {
		table.Load(item{i, -i})
	}
	f := table.Freeze()
	table.Set(item{500, 1})
	var got []int
	f.Ascend(item{key: 498}, func(i item) bool {
		got = append(got, i.val)
		return len(got) < 3
	})
	if !slices.Equal(got, []int{-498, -499, -500}) {
		t.Fatal(got)
	}
	if i, ok := table.Get(item{key: 500}); !ok || i.val != 1 {
		t.Fatal(i, ok)
	}
	if i, ok := f.Get(item{key: 500}); !ok || i.val != -500 {
		t.Fatal(i, ok)
	}
	if i, ok := table.Min(); !ok || i.key != 0 {
		t.Fatal(i, ok)
	}
}

// Readers of frozen tables run beside the owner; the race detector watches.
func TestReadersBesideOwner(t *testing.T) {
	table := New(less)
	done := make(chan bool)
	readers := 0
	for round := range 20 {
		for i := range 200 {
			table.Set(item{(i * 7) % 311, round})
			table.Delete(item{key: (i * 3) % 311})
		}
		f, want := table.Freeze(), table.Len()
		readers++
		go func() {
			n := len(scan(f))
			f.Get(item{key: n})
			done <- n == want
		}()
	}
	for range readers {
		if !<-done {
			t.Error("a frozen table changed")
		}
	}
}
