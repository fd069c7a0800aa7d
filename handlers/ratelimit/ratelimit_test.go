package ratelimit

import (
	"strconv"
	"testing"
	"time"
)

// clock is a clock that only the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func (c *clock) move(d time.Duration) { c.at = c.at.Add(d) }

func newClocked(perSecond int) (*Table, *clock) {
	c := &clock{at: time.Unix(1_790_000_000, 0)}
	return newTable(perSecond, c.now), c
}

func allowed(t *Table, key string, tries int) (n int) {
	for range tries {
		if t.Allow(key) {
			n++
		}
	}
	return n
}

func TestEachKeyHasItsRate(t *testing.T) {
	table, c := newClocked(10)
	for _, key := range []string{"a", "b"} {
		if n := allowed(table, key, 100); n != 10 {
			t.Errorf("%s: %d at once", key, n)
		}
	}
	c.move(300 * time.Millisecond)
	if n := allowed(table, "a", 100); n != 3 {
		t.Errorf("%d after 300 ms", n)
	}
	c.move(time.Hour)
	if n := allowed(table, "a", 100); n != 10 {
		t.Errorf("%d after an hour", n)
	}
}

func TestLeftCountsNothing(t *testing.T) {
	table, c := newClocked(2)
	for range 100 {
		if !table.Left("a") {
			t.Fatal("looking costs something")
		}
	}
	if len(table.keys) != 0 {
		t.Error("looking is remembered")
	}
	allowed(table, "a", 2)
	if table.Left("a") || !table.Left("b") {
		t.Error("wrong key")
	}
	c.move(500 * time.Millisecond)
	if !table.Left("a") {
		t.Error("nothing left after half a second")
	}
}

// However many keys come the table stays small, and forgets first who came
// longest ago.
func TestKeysAreBounded(t *testing.T) {
	table, _ := newClocked(1)
	table.Allow("old")
	table.Allow("busy")
	for i := range 3 * keysMax {
		table.Allow(strconv.Itoa(i))
		if i%100 == 0 && table.Allow("busy") {
			t.Fatal("a key in use was forgotten")
		}
	}
	if len(table.keys) != keysMax || table.used.Len() != keysMax {
		t.Errorf("%d keys, %d in order of use", len(table.keys), table.used.Len())
	}
	if !table.Allow("old") {
		t.Error("the oldest was kept")
	}
}

func TestNoLimit(t *testing.T) {
	table := New(0)
	if n := allowed(table, "a", 1000); n != 1000 || !table.Left("a") {
		t.Errorf("%d", n)
	}
}

func TestAddressKeys(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64", "2001:db8::ffff:1": "2001:db8::/64", "": "",
	} {
		if got := AddressKey(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
