package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
)

// credentials are what the sessions of a world prove: user:password of scheme
// digest, or nothing.
var credentials = []string{"alice:secret a", "bob:secret b", ""}

// zkSide is ZooKeeper, by the client library that Go programs use.
type zkSide struct {
	addr, root string
	observer   *zk.Conn // of all worlds
	sessions   []*zk.Conn
	owners     map[int64]int
	changes    *recursiveWatch
	watches    map[int]zkWatch
	armed      int
}

// zkWatch is a one-shot watch.
type zkWatch struct {
	conn  *zk.Conn
	fired <-chan zk.Event
}

// newZKSide opens the sessions of a world whose root exists.
func newZKSide(addr, root string, shared *zk.Conn) (*zkSide, error) {
	s := &zkSide{addr: addr, root: root, observer: shared, sessions: make([]*zk.Conn, len(credentials)),
		owners: map[int64]int{}, watches: map[int]zkWatch{}}
	var err error
	if s.changes, err = dialRecursive(addr, root, 20*time.Second); err != nil {
		return nil, err
	}
	for i := range s.sessions {
		if err := s.open(i); err != nil {
			s.end()
			return nil, err
		}
	}
	return s, nil
}

// connectZK opens a session and waits for it.
func connectZK(addr string) (*zk.Conn, error) {
	const buffer = 64 << 10
	conn, _, err := zk.Connect([]string{addr}, 40*time.Second, zk.WithLogInfo(false), zk.WithLogger(mute{}),
		zk.WithMaxBufferSize(buffer), zk.WithMaxConnBufferSize(buffer))
	if err != nil {
		return nil, err
	}
	if _, _, err := conn.Exists("/"); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// mute drops what the client library logs: what matters is in its errors.
type mute struct{}

func (mute) Printf(string, ...any) {}

func (s *zkSide) open(i int) error {
	if s.sessions[i] != nil {
		return nil
	}
	conn, err := connectZK(s.addr)
	if err != nil {
		return err
	}
	if credentials[i] != "" {
		if err := conn.AddAuth("digest", []byte(credentials[i])); err != nil {
			conn.Close()
			return err
		}
	}
	s.owners[conn.SessionID()] = len(s.owners) + 1
	s.sessions[i] = conn
	return nil
}

// close ends a session; what its watches see of that may or may not arrive.
func (s *zkSide) close(i int) {
	conn := s.sessions[i]
	if conn == nil {
		return
	}
	maps.DeleteFunc(s.watches, func(_ int, w zkWatch) bool { return w.conn == conn })
	conn.Close()
	s.sessions[i] = nil
}

func (s *zkSide) end() {
	for i := range s.sessions {
		s.close(i)
	}
	if s.changes != nil {
		s.changes.close()
	}
}

func (s *zkSide) do(o op) (answer, error) {
	switch o.Kind {
	case opOpen:
		return answer{}, s.open(o.Session)
	case opClose:
		s.close(o.Session)
		return answer{}, nil
	}
	conn := s.observer
	if o.Session != observer {
		conn = s.sessions[o.Session]
	}
	if conn == nil {
		return answer{Code: codeExpired, Said: "the session is closed"}, nil
	}
	return s.call(conn, o)
}

func (s *zkSide) call(conn *zk.Conn, o op) (a answer, err error) {
	path, st, exists := o.at(s.root), (*zk.Stat)(nil), true
	switch o.Kind {
	case opCreate:
		var made string
		made, err = createZK(conn, path, o)
		a.Path = strings.TrimPrefix(made, s.root)
	case opSet:
		st, err = conn.Set(path, []byte(o.Data), o.Version)
	case opDelete:
		err = conn.Delete(path, o.Version)
	case opExists:
		if exists, st, err = conn.Exists(path); err == nil && !exists {
			err = zk.ErrNoNode
		}
	case opGet:
		var data []byte
		data, st, err = conn.Get(path)
		a.Data = string(data)
	case opChildren:
		a.Children, _, err = conn.Children(path)
		slices.Sort(a.Children)
	case opGetACL:
		var acl []zk.ACL
		acl, _, err = conn.GetACL(path)
		a.ACL = fromZKACL(acl)
	case opSetACL:
		st, err = conn.SetACL(path, toZKACL(o.ACL), o.Version)
	case opMulti:
		return s.multi(conn, o)
	case opWatch:
		err = s.watch(conn, path, o.Watch)
	default:
		return a, fmt.Errorf("zookeeper does not have %s", o.Kind)
	}
	if err != nil {
		return refusal(err)
	}
	if st != nil {
		a.Stat, a.HasStat = s.stat(st), true
	}
	return a, nil
}

func createZK(conn *zk.Conn, path string, o op) (string, error) {
	acl := toZKACL(o.ACL)
	switch o.Mode {
	case container:
		return conn.CreateContainer(path, []byte(o.Data), zk.FlagContainer, acl)
	case ttl:
		return conn.CreateTTL(path, []byte(o.Data), zkFlags(o), acl, time.Duration(o.TTLMs)*time.Millisecond)
	}
	return conn.Create(path, []byte(o.Data), zkFlags(o), acl)
}

func zkFlags(o op) int32 {
	switch {
	case o.Mode == ttl && o.Sequential:
		return zk.FlagPersistentSequentialWithTTL
	case o.Mode == ttl:
		return zk.FlagTTL
	}
	var flags int32
	if o.Mode == ephemeral {
		flags |= zk.FlagEphemeral
	}
	if o.Sequential {
		flags |= zk.FlagSequence
	}
	return flags
}

func (s *zkSide) multi(conn *zk.Conn, o op) (answer, error) {
	var ops []any
	for _, sub := range o.Ops {
		path := sub.at(s.root)
		switch sub.Kind {
		case opCreate:
			ops = append(ops, &zk.CreateRequest{Path: path, Data: []byte(sub.Data), Acl: toZKACL(sub.ACL), Flags: zkFlags(sub)})
		case opSet:
			ops = append(ops, &zk.SetDataRequest{Path: path, Data: []byte(sub.Data), Version: sub.Version})
		case opDelete:
			ops = append(ops, &zk.DeleteRequest{Path: path, Version: sub.Version})
		case opCheck:
			ops = append(ops, &zk.CheckVersionRequest{Path: path, Version: sub.Version})
		}
	}
	results, err := conn.Multi(ops...)
	for i, r := range results {
		if code, known := zkCodes[r.Error]; known && code != codeOK {
			return answer{Code: code, Said: r.Error.Error(), Failed: i}, nil
		}
	}
	if err != nil {
		return refusal(err)
	}
	a := answer{}
	for i, r := range results {
		one := answer{}
		if o.Ops[i].Kind == opCreate {
			one.Path = strings.TrimPrefix(r.String, s.root)
		}
		if o.Ops[i].Kind == opSet && r.Stat != nil {
			one.Stat, one.HasStat = s.stat(r.Stat), true
		}
		a.Results = append(a.Results, one)
	}
	return a, nil
}

// watch reads with a one-shot watch; it counts when the read is not refused.
func (s *zkSide) watch(conn *zk.Conn, path string, by kind) (err error) {
	var ch <-chan zk.Event
	switch by {
	case opGet:
		_, _, ch, err = conn.GetW(path)
	case opExists:
		_, _, ch, err = conn.ExistsW(path)
	case opChildren:
		_, _, ch, err = conn.ChildrenW(path)
	}
	if err == nil {
		s.watches[s.armed] = zkWatch{conn, ch}
		s.armed++
	}
	return err
}

func (s *zkSide) events() ([]event, error) {
	seen, err := s.changes.events()
	for i := range seen {
		seen[i].Path = strings.TrimPrefix(seen[i].Path, s.root)
	}
	return seen, err
}

func (s *zkSide) fired() (map[int]event, error) {
	if len(s.watches) == 0 {
		return nil, nil
	}
	// As in recursiveWatch.events: a further answer on a connection comes after
	// the events of all that has been answered anywhere.
	for _, conn := range s.sessions {
		if conn == nil {
			continue
		}
		if _, _, err := conn.Exists("/"); err != nil {
			return nil, err
		}
	}
	out := map[int]event{}
	for i, w := range s.watches {
		select {
		case e := <-w.fired:
			delete(s.watches, i)
			out[i] = event{zkEventNames[e.Type], strings.TrimPrefix(e.Path, s.root)}
		default:
		}
	}
	return out, nil
}

var zkEventNames = map[zk.EventType]string{zk.EventNodeCreated: "created", zk.EventNodeDeleted: "deleted",
	zk.EventNodeDataChanged: "changed", zk.EventNodeChildrenChanged: "children"}

func (s *zkSide) stat(z *zk.Stat) stat {
	return stat{Czxid: z.Czxid, Mzxid: z.Mzxid, Pzxid: z.Pzxid, Version: int64(z.Version), Cversion: int64(z.Cversion),
		Aversion: int64(z.Aversion), NumChildren: int64(z.NumChildren), DataLength: int64(z.DataLength), Owner: s.owners[z.EphemeralOwner]}
}

// zkCodes are the errors of the client library by their numbers. A path that it
// refuses by itself would be refused by the server as a bad argument.
var zkCodes = map[error]int{nil: codeOK, zk.ErrBadArguments: codeBadArguments, zk.ErrInvalidPath: codeBadArguments,
	zk.ErrNoNode: codeNoNode, zk.ErrNoAuth: codeNoAuth, zk.ErrBadVersion: -103, zk.ErrNoChildrenForEphemerals: -108,
	zk.ErrNodeExists: codeNodeExists, zk.ErrNotEmpty: -111, zk.ErrInvalidACL: codeInvalidACL}

func refusal(err error) (answer, error) {
	for known, code := range zkCodes {
		if known != nil && errors.Is(err, known) {
			return answer{Code: code, Said: err.Error()}, nil
		}
	}
	return answer{}, fmt.Errorf("zookeeper: %w", err)
}

// permLetters are the letters of ZooKeeper's bits, in the order in which Perch
// writes them.
var permLetters = []struct {
	letter string
	bit    int32
}{{"c", zk.PermCreate}, {"d", zk.PermDelete}, {"r", zk.PermRead}, {"w", zk.PermWrite}, {"a", zk.PermAdmin}}

func toZKACL(entries []aclEntry) []zk.ACL {
	if entries == nil {
		return zk.WorldACL(zk.PermAll)
	}
	acl := []zk.ACL{}
	for _, e := range entries {
		one := zk.ACL{Scheme: e.Scheme, ID: e.ID}
		for _, p := range permLetters {
			if strings.Contains(e.Perms, p.letter) {
				one.Perms |= p.bit
			}
		}
		acl = append(acl, one)
	}
	return acl
}

func fromZKACL(acl []zk.ACL) (entries []aclEntry) {
	for _, one := range acl {
		e := aclEntry{Scheme: one.Scheme, ID: one.ID}
		for _, p := range permLetters {
			if one.Perms&p.bit != 0 {
				e.Perms += p.letter
			}
		}
		entries = append(entries, e)
	}
	return entries
}
