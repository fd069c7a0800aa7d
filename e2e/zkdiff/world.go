package main

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// world is a subtree of its own on both sides, with its own sessions. What
// happens in other worlds is not seen in it: zxids are compared by their order.
type world struct {
	zk, perch side
	ranks     ranks
	nodes     map[string]stat // that exist, as Perch tells them
	steps     int
	unordered bool           // ZooKeeper has no order for what a session takes with it, and for what goes by itself
	codes     map[int]int    // that ZooKeeper has answered
	explained map[string]int // intended differences that were met
}

// divergence is an answer in which the sides disagree for no reason.
type divergence struct {
	what      string // what was compared
	zk, perch string
}

func (d *divergence) Error() string {
	return fmt.Sprintf("%s\n  zookeeper: %s\n  perch:     %s", d.what, d.zk, d.perch)
}

// wholeEvery is after how many ops the whole tree is compared, and not only
// what the op can have changed.
const wholeEvery = 10

// step does one op on both sides and compares all that can be seen of it. The
// error is a *divergence, or a failure of the machinery.
func (w *world) step(o op) error {
	w.unordered = o.Kind == opClose || o.Kind == opVanish
	z, err := w.call(o)
	if err != nil {
		return err
	}
	touched, err := w.compareEvents()
	if err != nil {
		return err
	}
	if err := w.compareFired(); err != nil {
		return err
	}
	if w.steps++; w.steps%wholeEvery == 0 {
		return w.compareWhole()
	}
	reader := o.Session
	if o.Kind == opClose || z.Code == codeExpired {
		reader = observer
	}
	return w.compareNodes(append(touched, paths(o, z)...), reader)
}

// call does an op, waits for what goes by itself because of it, and compares the
// answers.
func (w *world) call(o op) (answer, error) {
	if o.Kind == opVanish {
		for _, sub := range o.Ops {
			if _, err := w.call(sub); err != nil {
				return answer{}, err
			}
		}
		return answer{}, w.waitGone(o.Path)
	}
	z, p, err := w.both(o)
	if err != nil {
		return z, err
	}
	w.codes[z.Code]++
	if err := w.settle(); err != nil {
		return z, err
	}
	return z, w.same("the answer", o, z, p)
}

// both does an op on both sides.
func (w *world) both(o op) (z, p answer, err error) {
	if z, err = w.zk.do(o); err != nil {
		return z, p, err
	}
	p, err = w.perch.do(o)
	return z, p, err
}

// paths are the nodes that an op names or has made.
func paths(o op, z answer) (out []string) {
	for i, sub := range o.Ops {
		if i < len(z.Results) {
			out = append(out, paths(sub, z.Results[i])...)
		}
	}
	if o.Kind == opMulti || o.Absolute {
		return out
	}
	return append(out, o.Path, z.Path)
}

// same compares two answers.
func (w *world) same(what string, o op, z, p answer) error {
	for _, d := range differences {
		if d.explains != nil && d.explains(o, z, p) {
			w.explained[d.name]++
			return nil
		}
	}
	if z.Code != p.Code || z.Failed != p.Failed {
		return &divergence{what, z.String(), p.String()}
	}
	if z.Code != codeOK {
		return nil
	}
	return w.sameResult(what, z, p)
}

func (w *world) sameResult(what string, z, p answer) error {
	agree := z.Path == p.Path && z.Data == p.Data && z.HasStat == p.HasStat && z.Stat.plain() == p.Stat.plain() &&
		slices.Equal(z.Children, p.Children) && slices.Equal(z.ACL, p.ACL) && len(z.Results) == len(p.Results)
	if !agree {
		return &divergence{what, z.String(), p.String()}
	}
	if z.HasStat {
		if err := w.ranks.addStat(z.Stat, p.Stat); err != nil {
			return &divergence{what + ": " + err.Error(), z.String(), p.String()}
		}
	}
	for i := range z.Results {
		if err := w.sameResult(fmt.Sprintf("%s, op %d", what, i), z.Results[i], p.Results[i]); err != nil {
			return err
		}
	}
	return nil
}

// compareEvents compares what watches of the whole world have seen of an op,
// and returns the paths.
func (w *world) compareEvents() (touched []string, err error) {
	z, err := w.zk.events()
	if err != nil {
		return nil, err
	}
	p, err := w.perch.events()
	if err != nil {
		return nil, err
	}
	if w.unordered {
		sortEvents(z)
		sortEvents(p)
	}
	if !slices.Equal(z, p) {
		return nil, &divergence{"the events", fmt.Sprint(z), fmt.Sprint(p)}
	}
	for _, e := range z {
		touched = append(touched, e.Path)
	}
	return touched, nil
}

func sortEvents(events []event) {
	sort.Slice(events, func(i, j int) bool {
		return events[i].Path < events[j].Path || events[i].Path == events[j].Path && events[i].Type < events[j].Type
	})
}

// compareFired compares what one-shot watches have seen.
func (w *world) compareFired() error {
	z, err := w.zk.fired()
	if err != nil {
		return err
	}
	p, err := w.perch.fired()
	if err != nil {
		return err
	}
	if !maps.Equal(z, p) {
		return &divergence{"the one-shot watches that fired", fmt.Sprint(z), fmt.Sprint(p)}
	}
	return nil
}

// compareWhole compares all nodes of the world.
func (w *world) compareWhole() error {
	return w.compareNodes(slices.Collect(maps.Keys(w.nodes)), observer)
}

// compareNodes compares nodes and their parents, as a session may read them, and
// keeps which exist.
func (w *world) compareNodes(touched []string, reader int) error {
	all := map[string]bool{}
	for _, path := range touched {
		all[path] = true
		all[path[:max(0, strings.LastIndexByte(path, '/'))]] = true
	}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if err := w.compareNode(path, reader); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) compareNode(path string, reader int) error {
	for _, k := range []kind{opExists, opGet, opChildren, opGetACL} {
		o := op{Kind: k, Session: reader, Path: path}
		z, p, err := w.both(o)
		if err != nil {
			return err
		}
		if err := w.same(fmt.Sprintf("%s %q afterwards", k, path), o, z, p); err != nil {
			return err
		}
		if k == opExists {
			delete(w.nodes, path)
			if z.Code != codeOK {
				return nil
			}
			w.nodes[path] = p.Stat
		}
	}
	return nil
}

// settleLimit is how long a side may take to delete what it deletes by itself.
const settleLimit = 10 * time.Second

// settle waits until both sides have deleted the containers that the last op
// left empty. Neither says when it will, only that it does.
func (w *world) settle() error {
	for {
		gone, err := w.emptied()
		if err != nil || gone == "" {
			return err
		}
		if err := w.waitGone(gone); err != nil {
			return err
		}
		delete(w.nodes, gone)
		w.unordered = true
	}
}

// emptied is a container that has lost its last child, "" when there is none.
func (w *world) emptied() (string, error) {
	for _, path := range slices.Sorted(maps.Keys(w.nodes)) {
		if w.nodes[path].Mode != container {
			continue
		}
		a, err := w.zk.do(op{Kind: opExists, Session: observer, Path: path})
		if err != nil {
			return "", err
		}
		if a.Code == codeNoNode || a.Stat.NumChildren == 0 && a.Stat.Cversion > 0 {
			return path, nil
		}
	}
	return "", nil
}

// waitGone waits until a node is missing on both sides.
func (w *world) waitGone(path string) error {
	o := op{Kind: opExists, Session: observer, Path: path}
	for end := time.Now().Add(settleLimit); ; time.Sleep(10 * time.Millisecond) {
		z, p, err := w.both(o)
		if err != nil {
			return err
		}
		if z.Code == codeNoNode && p.Code == codeNoNode {
			return nil
		}
		if time.Now().After(end) {
			return &divergence{fmt.Sprintf("%q, which goes by itself, after %v", path, settleLimit), z.String(), p.String()}
		}
	}
}

func (w *world) end() {
	w.zk.end()
	w.perch.end()
}
