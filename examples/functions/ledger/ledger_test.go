package ledger

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The rule of the SQL line, case by case on one account.
func TestFence(t *testing.T) {
	l := &Ledger{}
	for _, c := range []struct {
		fence, op int64
		accepted  bool
	}{
		{5, 1, true},
		{5, 1, false}, // sent twice
		{5, 2, true},
		{4, 9, false}, // an earlier hold, however many operations it did
		{7, 1, true},
		{5, 3, false}, // a holder that woke up
		{7, 2, true},
	} {
		if _, ok := l.Do("a", Operation{Fence: c.fence, Op: c.op, Invocation: "x", Amount: 1}); ok != c.accepted {
			t.Errorf("fence %d, op %d: accepted is %v, want %v", c.fence, c.op, ok, c.accepted)
		}
	}
	booked, refused := l.Effects()
	if booked["x"] != 4 || refused != 3 {
		t.Errorf("booked %d times and refused %d, want 4 and 3", booked["x"], refused)
	}
}

func TestHTTP(t *testing.T) {
	l := &Ledger{}
	ask := func(method, path, body string) int {
		w := httptest.NewRecorder()
		l.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w.Code
	}
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/accounts/a", `{"fence":3,"op":1,"invocation":"x","amount":2}`, http.StatusOK},
		{"POST", "/accounts/a", `{"fence":2,"op":1,"invocation":"x","amount":2}`, http.StatusConflict},
		{"POST", "/accounts/b", `{"fence":2,"op":1,"invocation":"x"}`, http.StatusOK},
		{"POST", "/accounts/a", `{`, http.StatusBadRequest},
		{"POST", "/elsewhere", `{}`, http.StatusBadRequest},
		{"GET", "/accounts/a", `{}`, http.StatusBadRequest},
	} {
		if got := ask(c.method, c.path, c.body); got != c.want {
			t.Errorf("%s %s %s: %d, want %d", c.method, c.path, c.body, got, c.want)
		}
	}
	if booked, _ := l.Effects(); booked["x"] != 1 {
		t.Errorf("booked %v: a look is not a booking", booked)
	}
}
