// Package ratelimit lets each of many keys, such as principals or addresses, do
// so much a second.
//
// It guarantees that its memory is bounded whatever keys come, and that a key
// which is still remembered gets no more than its rate and one second's worth at
// once. A key that has been forgotten, for want of use or because too many others
// came, begins anew.
package ratelimit

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// keysMax is how many keys a Table remembers: about 4 MB.
const keysMax = 16_384

// Table has one token bucket for each key. It may be used concurrently. A nil
// Table allows everything.
type Table struct {
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu   sync.Mutex
	keys map[string]*list.Element
	used *list.List // of *bucket, the last used first
}

type bucket struct {
	key     string
	limiter *rate.Limiter
}

// New allows perSecond events a second for each key, and as many at once. With
// 0 it is nil: there is no limit.
func New(perSecond int) *Table { return newTable(perSecond, time.Now) }

func newTable(perSecond int, now func() time.Time) *Table {
	if perSecond == 0 {
		return nil
	}
	return &Table{
		rate: rate.Limit(perSecond), burst: perSecond, now: now,
		keys: make(map[string]*list.Element), used: list.New(),
	}
}

// Allow counts an event of key, and says whether it may happen.
func (t *Table) Allow(key string) bool {
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bucket(key).AllowN(t.now(), 1)
}

// Left says whether an event of key could happen now, and counts none: for
// events that are known only once they have happened.
func (t *Table) Left(key string) bool {
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at, known := t.keys[key]
	return !known || at.Value.(*bucket).limiter.TokensAt(t.now()) >= 1
}

// bucket is that of key, made if need be. The caller holds mu.
func (t *Table) bucket(key string) *rate.Limiter {
	if at, known := t.keys[key]; known {
		t.used.MoveToFront(at)
		return at.Value.(*bucket).limiter
	}
	if len(t.keys) >= keysMax {
		oldest := t.used.Back()
		delete(t.keys, t.used.Remove(oldest).(*bucket).key)
	}
	b := &bucket{key: key, limiter: rate.NewLimiter(t.rate, t.burst)}
	t.keys[key] = t.used.PushFront(b)
	return b.limiter
}

// AddressKey is the key of an IP address. Of IPv6 it is the network of 64 bits
// that one client has all addresses of.
func AddressKey(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Is4() {
		return address
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return address
	}
	return network.String()
}
