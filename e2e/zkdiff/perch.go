package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// perchSide is Perch, as anybody with an HTTP client meets it: one request for
// one call of ZooKeeper.
type perchSide struct {
	base, root string
	web        *http.Client
	sessions   []string // tokens; "" when closed
	tokens     []string // of the last life of each session
	owners     map[int64]int
	cursor     string
	watches    map[int]perchWatch
	armed      int
}

// perchWatch is a one-shot watch: Perch has cursors instead.
type perchWatch struct {
	path, scope, since string
	session            int
}

// newPerchSide opens the sessions of a world whose root exists.
func newPerchSide(base, root string, web *http.Client) (*perchSide, error) {
	s := &perchSide{base: base, root: root, web: web, owners: map[int64]int{}, watches: map[int]perchWatch{},
		sessions: make([]string, len(credentials)), tokens: make([]string, len(credentials))}
	for i := range s.sessions {
		if err := s.open(i); err != nil {
			return nil, err
		}
	}
	r, err := s.send(observer, "GET", "/v1/watch"+escape(root)+"?scope=subtree&wait_ms=0", nil)
	if err == nil && r.status != http.StatusOK {
		err = r.unexpected()
	}
	s.cursor = r.header.Get("Perch-Zxid")
	return s, err
}

// reply is an answer of Perch.
type reply struct {
	what   string
	status int
	header http.Header
	body   []byte
}

func (r reply) unexpected() error {
	return fmt.Errorf("perch: %s: %d: %s", r.what, r.status, r.body)
}

// decode reads the JSON of a 2xx.
func (r reply) decode(v any) error {
	if err := json.Unmarshal(r.body, v); err != nil {
		return fmt.Errorf("%w: %w", r.unexpected(), err)
	}
	return nil
}

// send asks as a session: with its token, and with its credentials as HTTP
// Basic, which proves an identity of scheme digest. An empty header is left out.
func (s *perchSide) send(session int, method, target string, body []byte, header ...string) (reply, error) {
	req, err := http.NewRequest(method, s.base+target, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if session != observer {
		req.Header.Set("Perch-Session", s.tokens[session])
		if user, password, ok := strings.Cut(credentials[session], ":"); ok {
			req.SetBasicAuth(user, password)
		}
	}
	for i := 0; i+1 < len(header); i += 2 {
		if req.Header.Set(header[i], header[i+1]); header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	resp, err := s.web.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{method + " " + target, resp.StatusCode, resp.Header, text}, err
}

// escape is a path in a URL, with its slashes as they are.
func escape(path string) string {
	return strings.ReplaceAll(url.PathEscape(path), "%2F", "/")
}

func (s *perchSide) open(i int) error {
	if s.sessions[i] != "" {
		return nil
	}
	s.tokens[i] = rand.Text()
	r, err := s.send(i, "POST", "/v1/sessions", []byte(`{"ttl_ms":600000}`))
	if err != nil {
		return err
	}
	var made struct{ ID int64 }
	if r.status != http.StatusCreated {
		return r.unexpected()
	}
	if err := r.decode(&made); err != nil {
		return err
	}
	s.owners[made.ID] = len(s.owners) + 1
	s.sessions[i] = s.tokens[i]
	return nil
}

func (s *perchSide) close(i int) error {
	if s.sessions[i] == "" {
		return nil
	}
	r, err := s.send(i, "DELETE", "/v1/sessions/self", nil)
	if err == nil && r.status != http.StatusNoContent {
		err = r.unexpected()
	}
	s.sessions[i] = ""
	for n, w := range s.watches {
		if w.session == i {
			delete(s.watches, n)
		}
	}
	return err
}

func (s *perchSide) end() {
	for i := range s.sessions {
		_ = s.close(i)
	}
}

func (s *perchSide) do(o op) (answer, error) {
	switch o.Kind {
	case opOpen:
		return answer{}, s.open(o.Session)
	case opClose:
		return answer{}, s.close(o.Session)
	case opWatch:
		return s.watch(o)
	}
	method, target, body := s.request(o)
	r, err := s.send(o.Session, method, target, body, s.header(o)...)
	if err != nil {
		return answer{}, err
	}
	if r.status/100 != 2 {
		return r.refusal()
	}
	return s.answer(o, r)
}

// request is the mapping of docs/zookeeper.md.
func (s *perchSide) request(o op) (method, target string, body []byte) {
	path := escape(o.at(s.root))
	switch o.Kind {
	case opCreate:
		if o.ACL != nil {
			return "POST", "/v1/multi", s.multiBody([]op{o})
		}
		query := "?mode=" + string(o.Mode)
		if o.Mode == ttl {
			query += "&ttl_ms=" + strconv.FormatInt(o.TTLMs, 10)
		}
		if o.Sequential {
			query += "&sequential=true"
		}
		return "POST", "/v1/nodes" + path + query, []byte(o.Data)
	case opSet:
		return "PUT", "/v1/nodes" + path + versionQuery(o.Version), []byte(o.Data)
	case opDelete:
		return "DELETE", "/v1/nodes" + path + versionQuery(o.Version), nil
	case opExists:
		return "GET", "/v1/stat" + path, nil
	case opGet:
		return "GET", "/v1/stat" + path + "?include=data", nil
	case opChildren:
		return "GET", "/v1/children" + path, nil
	case opGetACL:
		return "GET", "/v1/acl" + path, nil
	case opSetACL:
		return "PUT", "/v1/acl" + path, aclBody(o)
	}
	return "POST", "/v1/multi", s.multiBody(o.Ops)
}

// header is what a call needs besides the URL, in pairs.
func (s *perchSide) header(o op) (header []string) {
	if o.Kind != opSet {
		return nil
	}
	if o.Version == anyVersion {
		header = append(header, "If-Match", "*") // without it, it would create the node
	}
	if o.Session != observer && s.sessions[o.Session] != "" && !o.Holding {
		header = append(header, "Perch-Session", "") // with one, the ephemerals of others are out of reach
	}
	return header
}

func versionQuery(version int32) string {
	if version == anyVersion {
		return ""
	}
	return fmt.Sprintf("?version=%d", version)
}

// wireACL is an entry as JSON.
type wireACL struct {
	Scheme string `json:"scheme"`
	ID     string `json:"id"`
	Perms  string `json:"perms"`
}

func toWireACL(entries []aclEntry) []wireACL {
	out := []wireACL{}
	for _, e := range entries {
		out = append(out, wireACL(e))
	}
	return out
}

func aclBody(o op) []byte {
	body := struct {
		Entries  []wireACL `json:"entries"`
		Aversion *int32    `json:"aversion,omitempty"`
	}{Entries: toWireACL(o.ACL)}
	if o.Version != anyVersion {
		body.Aversion = &o.Version
	}
	text, _ := json.Marshal(body) // of plain fields; it cannot fail
	return text
}

// wireOp is an operation of a multi as JSON.
type wireOp struct {
	Op         string     `json:"op"`
	Path       string     `json:"path"`
	Data       []byte     `json:"data,omitempty"`
	Version    *int32     `json:"version,omitempty"`
	Mode       mode       `json:"mode,omitempty"`
	TTLMs      int64      `json:"ttl_ms,omitempty"`
	Sequential bool       `json:"sequential,omitempty"`
	ACL        *[]wireACL `json:"acl,omitempty"`
}

func (s *perchSide) multiBody(ops []op) []byte {
	wire := []wireOp{}
	for _, o := range ops {
		one := wireOp{Op: string(o.Kind), Path: o.at(s.root), Data: []byte(o.Data), Mode: o.Mode, TTLMs: o.TTLMs, Sequential: o.Sequential}
		if o.Kind != opCreate && o.Version != anyVersion {
			one.Version = &o.Version
		}
		if o.ACL != nil {
			acl := toWireACL(o.ACL)
			one.ACL = &acl
		}
		wire = append(wire, one)
	}
	text, _ := json.Marshal(map[string]any{"ops": wire}) // of plain fields; it cannot fail
	return text
}

// wireNode is a node as JSON; also the result of an operation of a multi.
type wireNode struct {
	Path string
	Data []byte
	Stat struct {
		Czxid, Mzxid, Pzxid         int64
		Version, Cversion, Aversion int64
		NumChildren                 int64 `json:"num_children"`
		DataLength                  int64 `json:"data_length"`
		EphemeralOwner              int64 `json:"ephemeral_owner"`
		Mode                        mode
	}
}

func (s *perchSide) stat(n wireNode) stat {
	w := n.Stat
	return stat{Czxid: w.Czxid, Mzxid: w.Mzxid, Pzxid: w.Pzxid, Version: w.Version, Cversion: w.Cversion, Aversion: w.Aversion,
		NumChildren: w.NumChildren, DataLength: w.DataLength, Owner: s.owners[w.EphemeralOwner], Mode: w.Mode}
}

func (s *perchSide) answer(o op, r reply) (a answer, err error) {
	switch o.Kind {
	case opCreate:
		if o.ACL != nil {
			a, err = s.results([]op{o}, r)
			if err != nil {
				return a, err
			}
			return a.Results[0], nil
		}
		var n wireNode
		err = r.decode(&n)
		a.Path = strings.TrimPrefix(n.Path, s.root)
	case opSet, opExists, opGet, opSetACL:
		var n wireNode
		err = r.decode(&n)
		a.Stat, a.HasStat, a.Data = s.stat(n), true, string(n.Data)
	case opChildren:
		var page struct{ Nodes []wireNode }
		err = r.decode(&page)
		a.Children = []string{}
		for _, n := range page.Nodes {
			a.Children = append(a.Children, n.Path[strings.LastIndexByte(n.Path, '/')+1:])
		}
		slices.Sort(a.Children)
	case opGetACL:
		var acl struct{ Entries []aclEntry }
		err = r.decode(&acl)
		a.ACL = acl.Entries
	case opMulti:
		return s.results(o.Ops, r)
	}
	return a, err
}

func (s *perchSide) results(ops []op, r reply) (a answer, err error) {
	var all struct{ Results []wireNode }
	if err := r.decode(&all); err != nil {
		return a, err
	}
	if len(all.Results) != len(ops) {
		return a, r.unexpected()
	}
	for i, n := range all.Results {
		one := answer{}
		switch ops[i].Kind {
		case opCreate:
			one.Path = strings.TrimPrefix(n.Path, s.root)
		case opSet:
			one.Stat, one.HasStat = s.stat(n), true
		}
		a.Results = append(a.Results, one)
	}
	return a, nil
}

// refusal reads a problem. Where Perch has more codes than ZooKeeper numbers,
// plainCodes has the number.
func (r reply) refusal() (answer, error) {
	var p struct {
		Code, Detail string
		ZKCode       int `json:"zk_code"`
		FailedIndex  int `json:"failed_index"`
	}
	if err := r.decode(&p); err != nil {
		return answer{}, err
	}
	if p.ZKCode == 0 {
		p.ZKCode = plainCodes[p.Code].zk
	}
	if p.ZKCode == 0 || r.status >= 500 {
		return answer{}, r.unexpected()
	}
	return answer{Code: p.ZKCode, Said: strings.TrimSpace(p.Code + " " + p.Detail), Failed: p.FailedIndex}, nil
}

// watch reads, and remembers from where on events count.
func (s *perchSide) watch(o op) (answer, error) {
	method, target, _ := s.request(op{Kind: o.Watch, Path: o.Path, Absolute: o.Absolute})
	r, err := s.send(o.Session, method, target, nil)
	if err != nil {
		return answer{}, err
	}
	missing := o.Watch == opExists && r.status == http.StatusNotFound
	if r.status == http.StatusOK || missing {
		scope := "node"
		if o.Watch == opChildren {
			scope = "children"
		}
		s.watches[s.armed] = perchWatch{escape(o.at(s.root)), scope, r.header.Get("Perch-Zxid"), o.Session}
		s.armed++
		return answer{}, nil
	}
	return r.refusal()
}

// perchBatch is an EventBatch.
type perchBatch struct {
	Events []struct{ Type, Path string }
	Cursor string
	More   bool
}

func (s *perchSide) batch(session int, path, scope, since string) (b perchBatch, err error) {
	r, err := s.send(session, "GET", fmt.Sprintf("/v1/watch%s?scope=%s&since=%s&wait_ms=0", path, scope, since), nil)
	if err != nil {
		return b, err
	}
	if r.status != http.StatusOK {
		return b, r.unexpected()
	}
	return b, r.decode(&b)
}

func (s *perchSide) events() (seen []event, err error) {
	for {
		b, err := s.batch(observer, escape(s.root), "subtree", s.cursor)
		if err != nil {
			return nil, err
		}
		for _, e := range b.Events {
			seen = append(seen, event{e.Type, strings.TrimPrefix(e.Path, s.root)})
		}
		s.cursor = b.Cursor
		if !b.More {
			return seen, nil
		}
	}
}

// fired takes the first event of each watch; what it says in ZooKeeper's words
// follows from the scope.
func (s *perchSide) fired() (map[int]event, error) {
	out := map[int]event{}
	for i, w := range s.watches {
		b, err := s.batch(w.session, w.path, w.scope, w.since)
		if err != nil {
			return nil, err
		}
		if len(b.Events) == 0 {
			continue
		}
		delete(s.watches, i)
		e := event{b.Events[0].Type, strings.TrimPrefix(b.Events[0].Path, s.root)}
		if escape(s.root+e.Path) != w.path {
			e = event{"children", strings.TrimPrefix(e.Path[:max(0, strings.LastIndexByte(e.Path, '/'))], s.root)}
		}
		out[i] = e
	}
	return out, nil
}
