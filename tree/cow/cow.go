// Package cow holds ordered tables that can be frozen and rolled back.
//
// It guarantees that a Frozen table never changes, whatever is done to the
// Table that it came from, and that Freeze takes constant time; that Rollback
// takes back every change since Begin. It does not guard a Table against
// concurrent use: one goroutine owns it. Frozen tables may be read by any
// number of goroutines, also while the owner goes on changing the Table.
package cow

import (
	"sort"

	"github.com/tidwall/btree"
)

// undoKept is the largest journal whose memory is kept for the next
// transaction.
const undoKept = 1024

// Table is an ordered set of items with a journal of the changes since Begin.
type Table[T any] struct {
	tr     *btree.BTreeG[T]
	frozen *btree.BTreeG[T] // a copy equal to tr; nil after a change
	undo   []step[T]
	// Hook, when set, is called before every change. Tests inject faults here.
	Hook func()
}

// step undoes one change: item comes back, or item goes.
type step[T any] struct {
	item T
	had  bool
}

// New is an empty table ordered by less.
func New[T any](less func(a, b T) bool) *Table[T] {
	return &Table[T]{tr: btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})}
}

// Begin starts a transaction: what follows can be rolled back, what was before
// cannot.
func (t *Table[T]) Begin() {
	if len(t.undo) == 0 {
		return // as most tables in most transactions
	}
	if cap(t.undo) > undoKept {
		t.undo = nil
		return
	}
	clear(t.undo)
	t.undo = t.undo[:0]
}

// Rollback takes back every change since Begin, newest first.
func (t *Table[T]) Rollback() {
	for i := len(t.undo) - 1; i >= 0; i-- {
		if s := t.undo[i]; s.had {
			t.tr.Set(s.item)
		} else {
			t.tr.Delete(s.item)
		}
		t.frozen = nil
	}
	t.Begin()
}

// Set puts item in, in the place of an equal one.
func (t *Table[T]) Set(item T) {
	if t.Hook != nil {
		t.Hook()
	}
	t.frozen = nil
	prev, had := t.tr.Set(item)
	if !had {
		prev = item
	}
	t.undo = append(t.undo, step[T]{item: prev, had: had})
}

// Delete removes the item equal to key and says whether there was one.
func (t *Table[T]) Delete(key T) (T, bool) {
	if t.Hook != nil {
		t.Hook()
	}
	prev, had := t.tr.Delete(key)
	if had {
		t.frozen = nil
		t.undo = append(t.undo, step[T]{item: prev, had: true})
	}
	return prev, had
}

// Load appends an item greater than all others; it is Set, made fast, and
// cannot be rolled back.
func (t *Table[T]) Load(item T) {
	t.frozen = nil
	t.tr.Load(item)
}

// Get is the item equal to key.
func (t *Table[T]) Get(key T) (T, bool) { return t.tr.Get(key) }

// Rank is the number of items less than key.
func (t *Table[T]) Rank(key T) int {
	less := t.tr.Less
	return sort.Search(t.tr.Len(), func(i int) bool {
		item, _ := t.tr.GetAt(i)
		return !less(item, key)
	})
}

// Min is the least item.
func (t *Table[T]) Min() (T, bool) { return t.tr.Min() }

// Len is the number of items.
func (t *Table[T]) Len() int { return t.tr.Len() }

// Ascend calls f for every item not less than from, in order, until f says
// false. f must not change the table.
func (t *Table[T]) Ascend(from T, f func(T) bool) { t.tr.Ascend(from, f) }

// Freeze is the table as it is now, for ever.
func (t *Table[T]) Freeze() Frozen[T] {
	if t.frozen == nil {
		t.frozen = t.tr.Copy()
	}
	return Frozen[T]{t.frozen}
}

// Frozen is an immutable table. Only methods that do not touch the copy's own
// bookkeeping are offered, so that concurrent use is safe.
type Frozen[T any] struct{ tr *btree.BTreeG[T] }

// Get is the item equal to key.
func (f Frozen[T]) Get(key T) (T, bool) { return f.tr.Get(key) }

// Len is the number of items.
func (f Frozen[T]) Len() int { return f.tr.Len() }

// Ascend calls g for every item not less than from, in order, until g says
// false.
func (f Frozen[T]) Ascend(from T, g func(T) bool) { f.tr.Ascend(from, g) }

// Scan calls g for every item, in order, until g says false.
func (f Frozen[T]) Scan(g func(T) bool) { f.tr.Scan(g) }
