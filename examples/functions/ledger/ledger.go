// Package ledger is a fake of somebody's own database, behind HTTP: accounts
// on which amounts are booked. It guarantees what one line of SQL would:
//
//	UPDATE account SET balance = balance + $1, fence = $2, op = $3
//	WHERE id = $4 AND (fence < $2 OR fence = $2 AND op < $3)
//
// so that nobody with an earlier fencing token, and no repetition under the
// same one, changes anything. It does not look whether an invocation has been
// booked before; it only tells, so that who asks too late counts as a fault.
package ledger

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
)

// Operation is what is asked of an account: a booking or, without an amount, a
// look, which moves fence and op as well.
type Operation struct {
	Fence      int64  `json:"fence"` // the fencing token of the lock
	Op         int64  `json:"op"`    // counts up within one hold
	Invocation string `json:"invocation"`
	Amount     int64  `json:"amount"`
}

// Account is what a look shows.
type Account struct {
	Balance     int64    `json:"balance"`
	Invocations []string `json:"invocations"` // that were booked, in order

	fence, op int64
}

// Ledger is an http.Handler: POST /accounts/ID with an Operation answers 200
// and the account, or 409: refused.
type Ledger struct {
	// Observe, if set, is called for every operation that was accepted, before
	// it is answered.
	Observe func(Operation)
	// Unfenced accepts everything. For showing what that leads to.
	Unfenced bool

	mu       sync.Mutex
	accounts map[string]*Account
	refused  int
}

// ServeHTTP does one operation.
func (l *Ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, ok := strings.CutPrefix(r.URL.Path, "/accounts/")
	var op Operation
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&op); err != nil || !ok || r.Method != http.MethodPost {
		http.Error(w, "POST /accounts/ID with an operation", http.StatusBadRequest)
		return
	}
	account, ok := l.Do(id, op)
	if !ok {
		http.Error(w, "somebody with a later token has been here", http.StatusConflict)
		return
	}
	if l.Observe != nil {
		l.Observe(op)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(account)
}

// Do does one operation, if its token allows it.
func (l *Ledger) Do(id string, op Operation) (Account, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.accounts == nil {
		l.accounts = map[string]*Account{}
	}
	a := l.accounts[id]
	if a == nil {
		a = &Account{Invocations: []string{}}
		l.accounts[id] = a
	}
	if !l.Unfenced && !(a.fence < op.Fence || a.fence == op.Fence && a.op < op.Op) {
		l.refused++
		return Account{}, false
	}
	a.fence, a.op = op.Fence, op.Op
	if op.Amount != 0 {
		a.Balance += op.Amount
		a.Invocations = append(a.Invocations, op.Invocation)
	}
	// A copy: it is encoded without the mutex. Appending moves nothing in it.
	return Account{Balance: a.Balance, Invocations: a.Invocations}, true
}

// Effects counts how often each invocation was booked, and the refusals.
func (l *Ledger) Effects() (booked map[string]int, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	booked = map[string]int{}
	for _, a := range l.accounts {
		for _, invocation := range a.Invocations {
			booked[invocation]++
		}
	}
	return booked, l.refused
}
