package lease

import (
	"math"
	"strconv"

	"perch/gen/commandpb"
	"perch/tree"
)

// Counters. One is the node that shows it: its data, in decimal, is the value,
// and its mzxid the tag.

// counter is the one with a name of the caller's, where it stands, and whether
// it exists.
func (s *State) counter(x *txn, name string) (c Counter, path string, there bool, code tree.Code) {
	path, code = x.who.named(commandpb.Kind_KIND_COUNTER, name, PermUse)
	if code != tree.OK {
		return c, path, false, code
	}
	n, missing := s.tree.Get(new(tree.Txn), path)
	c = counterOf(name, n)
	return c, path, missing == tree.OK, tree.OK
}

// counterOf reads a counter from its node; one that is missing stands at 0, as
// does one where something else stood before there was a tenant.
func counterOf(name string, n tree.Node) Counter {
	v, err := strconv.ParseInt(string(n.Data), 10, 64)
	if err != nil {
		v = 0
	}
	return Counter{Name: name, Value: v, Previous: v, Tag: n.Stat.Mzxid}
}

func (s *State) addCounter(x *txn, op *commandpb.AddCounter, res *Result) tree.Code {
	c, path, _, code := s.counter(x, op.Name)
	if code != tree.OK {
		return code
	}
	res.Counter = c
	switch {
	case op.Expect != nil && *op.Expect != c.Value:
		return tree.ErrVersionMismatch
	case op.Add > 0 && c.Value > math.MaxInt64-op.Add, op.Add < 0 && c.Value < math.MinInt64-op.Add:
		return tree.ErrCounterOverflow
	}
	return s.writeCounter(x, path, c.Value+op.Add, res)
}

func (s *State) setCounter(x *txn, op *commandpb.SetCounter, res *Result) tree.Code {
	c, path, _, code := s.counter(x, op.Name)
	if code != tree.OK {
		return code
	}
	res.Counter = c
	if op.Expect != nil && *op.Expect != c.Value {
		return tree.ErrVersionMismatch
	}
	return s.writeCounter(x, path, op.Value, res)
}

// writeCounter gives the counter in res another value.
func (s *State) writeCounter(x *txn, path string, value int64, res *Result) tree.Code {
	if code := s.housed(path); code != tree.OK {
		return code
	}
	n, _ := s.tree.PutOwn(&x.Txn, path, strconv.AppendInt(nil, value, 10))
	res.Counter.Value, res.Counter.Tag = value, n.Stat.Mzxid
	return tree.OK
}

func (s *State) deleteCounter(x *txn, op *commandpb.DeleteCounter) tree.Code {
	_, path, there, code := s.counter(x, op.Name)
	switch {
	case code != tree.OK:
		return code
	case !there:
		return tree.ErrNoNode
	}
	s.tree.DropOwn(&x.Txn, path)
	if _, code := s.tree.Get(new(tree.Txn), path); code == tree.OK {
		return tree.ErrNotEmpty // nodes stood below it before there was a tenant
	}
	return tree.OK
}

// counterRead answers about a counter; one that is missing is a zero with tag 0.
func (s *sight) counterRead(a *Answer) tree.Code {
	path, code := s.who.named(commandpb.Kind_KIND_COUNTER, s.q.Name, PermUse|PermRead)
	if code != tree.OK {
		return code
	}
	n, _ := s.tree.Get(path)
	a.Counter = counterOf(s.q.Name, n)
	return tree.OK
}
