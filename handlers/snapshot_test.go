package handlers

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"testing"

	"perch/handlers/audit"
	"perch/lease"
)

// A download is one state, whatever is written meanwhile.
func TestDownloadSnapshot(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/a", "x").want("201")
	view := e.svc.view()
	var want bytes.Buffer
	if _, err := view.WriteTo(&want); err != nil {
		t.Fatal(err)
	}
	e.svc.onPiece = func(offset int64) error {
		if offset > 0 {
			e.svc.apply(putCommand("/b"))
		}
		return nil
	}
	a := e.do("GET /v1/snapshot", "").want("200")
	if !bytes.Equal(a.body, want.Bytes()) {
		t.Errorf("%d bytes, want %d", len(a.body), want.Len())
	}
	for name, value := range map[string]string{
		"Content-Type": "application/octet-stream", "Content-Length": strconv.Itoa(want.Len()),
		"Perch-Zxid": formatZxid(view.Zxid()), "Perch-Digest": digestText(view.Digest()),
	} {
		if got := a.Header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	head := e.do("HEAD /v1/snapshot", "").want("200")
	if len(head.body) != 0 || head.Header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %d bytes, %v", len(head.body), head.Header)
	}
	e.do("GET /v1/snapshot?zxid=1", "").want("400 unknown_parameter")
}

// What fails before the first byte is a plain error; behind it the answer is
// shorter than it said.
func TestDownloadThatFails(t *testing.T) {
	e := newEdgeTest(t)
	e.svc.fail = lease.ErrOverloaded
	e.do("GET /v1/snapshot", "").want("503 overloaded")
	e.svc.fail = nil
	e.do("PUT /v1/nodes/a", "x").want("201")
	e.svc.onPiece = func(offset int64) error {
		if offset > 0 {
			return errors.New("the disk is gone")
		}
		return nil
	}
	w := httptest.NewRecorder()
	e.h.ServeHTTP(w, request("GET /v1/snapshot", ""))
	said, err := strconv.Atoi(w.Header().Get("Content-Length"))
	if err != nil || w.Code != 200 || w.Body.Len() == 0 || w.Body.Len() >= said {
		t.Errorf("%d: %d bytes of %d: %v", w.Code, w.Body.Len(), said, err)
	}
}

// Whoever downloads everything stands in the audit log.
func TestDownloadIsAudited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	e, _ := newGuarded(t, withAudit(t, path, true))
	e.do("GET /v1/snapshot", "", bearer(adminToken)).want("200")
	entries, text := auditLines(t, path)
	if len(entries) != 2 || entries[0].Event != audit.Begin || entries[1].Route != "/v1/snapshot" || entries[1].Zxid == "" {
		t.Errorf("%s", text)
	}
}
