package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	servers   = 20
	startWait = 60 * time.Second // for processes to come up on a busy machine
	failover  = 15 * time.Second // for Perch to answer again, far above what it needs
)

// play of the whole: see the package comment.
type show struct {
	*stage
	perch *client
	ttl   time.Duration
	begin time.Time
	self  string
	nodes []string
}

// goneWithin is how long a dead part may stay listed: its TTL, what Perch may
// be late by, and what this machine may need to notice and tell.
func (s *show) goneWithin() time.Duration {
	return s.ttl + min(s.ttl/10, time.Second) + 250*time.Millisecond + 2*time.Second
}

func orchestrate(ctx context.Context, perch string, ttl time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "search-engine-")
	if err != nil {
		return err
	}
	s := &show{stage: newStage(), ttl: ttl, begin: time.Now(), self: self}
	defer s.killAll()
	if s.nodes, err = s.startPerch(perch, dir); err != nil {
		return err
	}
	s.perch = newClient(s.nodes)
	for _, step := range []func(context.Context) error{
		s.perchIsReady, s.partsFindEachOther, s.aServerDies, s.theMasterDies, s.thePerchLeaderDies,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("%w\n(what the nodes wrote is in %s)", err, dir)
		}
	}
	s.line("every step was observed")
	s.killAll()
	return os.RemoveAll(dir)
}

// line adds a line to the timeline.
func (s *show) line(format string, args ...any) {
	fmt.Printf("%7.2f s  %s\n", time.Since(s.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (s *show) perchIsReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for _, node := range s.nodes {
		if a, err := newClient([]string{node}).call(ctx, http.MethodGet, "/readyz", nil, ""); err != nil || a.status != http.StatusOK {
			return fmt.Errorf("%s is not ready within %v: status %d %v", node, startWait, a.status, err)
		}
	}
	leader, err := s.leader(ctx)
	s.line("three Perch nodes are ready, node %s leads", leader)
	return err
}

// leader is the id of the Perch node that leads.
func (s *show) leader(ctx context.Context) (string, error) {
	a, err := s.perch.call(ctx, http.MethodGet, "/v1/cluster", nil, "")
	if err != nil {
		return "", err
	}
	var cluster struct{ Leader string }
	if err := json.Unmarshal(a.body, &cluster); err != nil {
		return "", err
	}
	if cluster.Leader == "" {
		return "", errors.New("no Perch node leads")
	}
	return cluster.Leader, nil
}

// run starts one part of the search engine.
func (s *show) run(as, name string) error {
	return s.start(name, s.self, "-as", as, "-name", name, "-nodes", strings.Join(s.nodes, ","), "-ttl", s.ttl.String())
}

// told matches an event by who told it ("" anybody) and by how it begins.
func told(from, prefix string) func(event) bool {
	return func(e event) bool {
		return (from == "" || e.from == from) && (e.text == prefix || strings.HasPrefix(e.text, prefix+" "))
	}
}

func (s *show) partsFindEachOther(ctx context.Context) error {
	if err := s.run("master", "master-A"); err != nil {
		return err
	}
	if _, err := s.await(ctx, 0, startWait, "master-A is elected", told("master-A", "elected")); err != nil {
		return err
	}
	s.line("master-A is elected")
	if err := s.run("master", "master-B"); err != nil {
		return err
	}
	if _, err := s.await(ctx, 0, startWait, "master-B is the spare", told("master-B", "spare")); err != nil {
		return err
	}
	s.line("master-B is the spare")
	for i := range servers {
		if err := s.run("server", serverName(i+1)); err != nil {
			return err
		}
	}
	what := fmt.Sprintf("master-A lists %d servers", servers)
	if _, err := s.await(ctx, 0, startWait, what, told("master-A", fmt.Sprint("list ", servers))); err != nil {
		return err
	}
	s.line("%s", what)
	if err := s.run("front", "front"); err != nil {
		return err
	}
	return s.frontFinds(ctx, 0, "master-A", servers)
}

func serverName(i int) string { return fmt.Sprintf("server-%02d", i) }

// frontFinds waits for the front end to have the list of a master.
func (s *show) frontFinds(ctx context.Context, mark int, master string, n int) error {
	what := fmt.Sprintf("the front end finds %s and its %d servers", master, n)
	elected, err := s.await(ctx, 0, startWait, master+" is elected", told(master, "elected"))
	if err != nil {
		return err
	}
	addr := strings.TrimPrefix(elected.text, "elected ")
	if _, err := s.await(ctx, mark, startWait, what, told("front", fmt.Sprint("found-master ", addr, " ", n))); err != nil {
		return err
	}
	s.line("%s", what)
	return nil
}

func (s *show) aServerDies(ctx context.Context) error {
	const victim = "server-07"
	mark, killed := s.mark(), time.Now()
	if err := s.kill(victim); err != nil {
		return err
	}
	s.line("%s is killed", victim)
	what := fmt.Sprintf("master-A lists %d servers, without %s", servers-1, victim)
	e, err := s.await(ctx, mark, s.goneWithin(), what, func(e event) bool {
		return told("master-A", fmt.Sprint("list ", servers-1))(e) && !strings.Contains(e.text, victim)
	})
	if err != nil {
		return err
	}
	a, err := s.perch.call(ctx, http.MethodGet, "/v1/nodes"+nodesPath+"/"+victim, nil, "")
	if err != nil || a.status != http.StatusNotFound {
		return fmt.Errorf("its node should be gone: status %d %v", a.status, err)
	}
	s.line("%s, %.2f s later (TTL %v)", what, e.at.Sub(killed).Seconds(), s.ttl)
	return nil
}

func (s *show) theMasterDies(ctx context.Context) error {
	mark, killed := s.mark(), time.Now()
	if err := s.kill("master-A"); err != nil {
		return err
	}
	s.line("master-A is killed")
	e, err := s.await(ctx, mark, s.goneWithin(), "master-B takes over", told("master-B", "elected"))
	if err != nil {
		return err
	}
	s.line("master-B takes over, %.2f s later (TTL %v)", e.at.Sub(killed).Seconds(), s.ttl)
	if _, err := s.await(ctx, mark, startWait, "master-B has the list", told("master-B", fmt.Sprint("list ", servers-1))); err != nil {
		return err
	}
	return s.frontFinds(ctx, mark, "master-B", servers-1)
}

// thePerchLeaderDies is about what does not happen: no session is lost, no
// master changes, no server goes from the list. Only answers pause.
func (s *show) thePerchLeaderDies(ctx context.Context) error {
	leader, err := s.leader(ctx)
	if err != nil {
		return err
	}
	mark := s.mark()
	beats, stop := s.heartbeat(ctx)
	defer stop()
	if err := s.kill("perch-" + leader); err != nil {
		return err
	}
	s.line("Perch node %s, the leader, is killed with kill -9", leader)
	if err := s.newLeader(ctx, leader); err != nil {
		return err
	}
	// Whatever the change could have cost is lost by one more TTL from now:
	// a new server takes its place in the list only after that.
	quiet := s.goneWithin()
	lost := func(e event) bool { return told("", "expired")(e) || told("", "deposed")(e) || told("", "orphaned")(e) }
	if e, err := s.await(ctx, mark, quiet, "", lost); err == nil {
		return fmt.Errorf("%s noticed: %s", e.from, e.text)
	} else if ctx.Err() != nil {
		return ctx.Err()
	}
	if n := s.count(mark, told("master-B", "list")); n > 0 {
		return errors.New("the list of servers changed")
	}
	stop()
	s.line("no session was lost and no list changed within %v; the longest pause between two writes was %.2f s", quiet, (<-beats).Seconds())
	if err := s.run("server", serverName(servers+1)); err != nil {
		return err
	}
	what := fmt.Sprintf("a new server registers with the two nodes left, and master-B lists %d", servers)
	if _, err := s.await(ctx, mark, startWait, what, told("master-B", fmt.Sprint("list ", servers))); err != nil {
		return err
	}
	s.line("%s", what)
	return nil
}

func (s *show) newLeader(ctx context.Context, old string) error {
	ctx, cancel := context.WithTimeout(ctx, failover)
	defer cancel()
	for {
		if leader, err := s.leader(ctx); err == nil && leader != old {
			s.line("Perch node %s leads", leader)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not seen within %v: another Perch node leads", failover)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// heartbeat writes without a break until stop is called, and then delivers the
// longest time between two writes that succeeded.
func (s *show) heartbeat(ctx context.Context) (longest <-chan time.Duration, stop func()) {
	out := make(chan time.Duration, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		var worst time.Duration
		writer := newClient(s.nodes)
		for last := time.Now(); ctx.Err() == nil; {
			a, err := writer.call(ctx, http.MethodPut, "/v1/nodes/search/heartbeat?parents=true", nil, "beat")
			if err == nil && a.status/100 == 2 {
				worst = max(worst, time.Since(last))
				last = time.Now()
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond): // often enough to measure with, and no load
			}
		}
		out <- worst
	}()
	return out, cancel
}
