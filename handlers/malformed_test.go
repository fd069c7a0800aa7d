package handlers

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// malformed is one request that must be refused, as it goes over the wire.
type malformed struct {
	text string
	want string // status and code; the status alone where net/http refuses it in plain text
}

// Every malformed request is refused at once with a status of the 4xx kind and a
// code, except where net/http refuses it in plain text (API.md rule 15); none of
// them reaches the log of the cluster.
func TestMalformedRequests(t *testing.T) {
	s := serveEdge(t)
	s.send("PUT /v1/nodes/app", "safe").want("201")
	before := s.svc.view().Digest()
	coded := map[string]bool{}
	for family, rows := range map[string][]malformed{
		"paths": badPaths(), "endpoints": badEndpoints(), "queries": badQueries(), "headers": badHeaders(),
		"JSON": badJSON(), "lengths": badLengths(), "request lines": badRequestLines(),
	} {
		t.Run(family, func(t *testing.T) {
			s := &served{edgeTest: &edgeTest{T: t, svc: s.svc, h: s.h}, addr: s.addr}
			for _, row := range rows {
				s.refuses(row)
				if strings.Contains(row.want, " ") {
					coded[row.text] = true
				}
				if s.svc.view().Digest() != before {
					t.Fatalf("%.200q changed the state", row.text)
				}
			}
		})
	}
	if len(coded) < 300 {
		t.Errorf("%d distinct requests are refused with a code", len(coded))
	}
	if got := s.send("GET /v1/nodes/app", "").want("200"); string(got.body) != "safe" {
		t.Errorf("afterwards the node holds %q", got.body)
	}
	s.client.CloseIdleConnections()
	if err := s.server.Shutdown(t.Context()); err != nil { // net/http lingers on what it refused
		t.Error(err)
	}
}

// How long a refusal may take, and for how long it is tried again: one slow
// answer may be the fault of the machine.
const (
	refusalPatience = 100 * time.Millisecond
	machinePatience = 30 * time.Second
)

// refuses sends a request until it is refused within refusalPatience.
func (s *served) refuses(row malformed) {
	s.Helper()
	for end := time.Now().Add(machinePatience); ; {
		began := time.Now()
		a := s.exchange(row.text)
		took := time.Since(began)
		if a == nil {
			s.Errorf("%.200q: no answer", row.text)
			return
		}
		if got := strings.TrimSpace(fmt.Sprint(a.StatusCode, " ", a.Header.Get("Perch-Code"))); got != row.want {
			s.Errorf("%.200q is answered %q, want %q\n%s", row.text, got, row.want, a.body)
			return
		}
		if strings.Contains(row.want, " ") {
			method, _, _ := strings.Cut(row.text, " ")
			a.conformProblem(&http.Request{URL: &url.URL{}}, method)
		}
		switch {
		case took <= refusalPatience:
			return
		case time.Now().After(end):
			s.Errorf("%.200q is answered after %v", row.text, took)
			return
		}
	}
}

// exchange sends bytes and reads the first answer; nil when there is none.
func (s *served) exchange(text string) *answer {
	s.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(machinePatience))
	sent := make(chan struct{})
	go func() { // the server may answer before it has read all
		defer close(sent)
		_, _ = io.WriteString(conn, text)
	}()
	defer func() { _ = conn.Close(); <-sent }()
	method, _, _ := strings.Cut(text, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return &answer{Response: res, body: body, t: s.T}
}
