package lease

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

func enqueue(name, data string, priority int32, delayMs uint64) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Enqueue{Enqueue: &commandpb.Enqueue{
		Queue: name, Data: []byte(data), Priority: priority, DelayMs: delayMs,
	}}})
}

func claim(name string, count uint32, ttlMs uint64, wait bool) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Claim{Claim: &commandpb.Claim{
		Queue: name, Count: count, TtlMs: ttlMs, Wait: wait, Home: &commandpb.Home{Node: 2, Instance: 7},
	}}})
}

func settle(name string, how commandpb.Settle_How, ms uint64, receipts ...string) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Settle{Settle: &commandpb.Settle{
		Queue: name, Receipts: receipts, How: how, Ms: ms,
	}}})
}

func ack(name string, receipts ...string) *commandpb.Command { return settle(name, 0, 0, receipts...) }

func configureQueue(name string, attempts uint64, dead string) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_ConfigureQueue{ConfigureQueue: &commandpb.ConfigureQueue{
		Queue: name, MaxAttempts: attempts, DeadLetter: dead,
	}}})
}

func deleteQueue(name string, force bool) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_DeleteQueue{DeleteQueue: &commandpb.DeleteQueue{Queue: name, Force: force}}})
}

func redrive(from, to string, limit uint64) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Redrive{Redrive: &commandpb.Redrive{Queue: from, To: to, Limit: limit}}})
}

func leaveFrom(place quorum.Zxid, attach uint32, gone bool) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Leave{Leave: &commandpb.Leave{Place: uint64(place), Attach: attach, Gone: gone}}})
}

// mqueue, mmessage and mwaiter are the slow, obvious model of queues.
type mqueue struct {
	last, attempts int64
	dead           string
	messages       []*mmessage // by id
}

type mmessage struct {
	Message
	due uint64
}

type mwaiter struct {
	place quorum.Zxid
	count int
	ttl   uint64
}

type mqueues struct {
	queues   map[string]*mqueue
	acked    map[[2]string]bool // queue and receipt
	waiting  map[string][]*mwaiter
	zxid     quorum.Zxid
	age      uint64
	wall     int64
	outcomes []Outcome
}

func (m *mqueues) queue(name string) *mqueue {
	if m.queues[name] == nil {
		m.queues[name] = &mqueue{}
	}
	return m.queues[name]
}

func (m *mqueues) add(name string, one mmessage) int64 {
	q := m.queue(name)
	q.last++
	one.ID = q.last
	q.messages = append(q.messages, &one)
	return one.ID
}

func (q *mqueue) remove(one *mmessage) {
	q.messages = slices.DeleteFunc(q.messages, func(m *mmessage) bool { return m == one })
}

// next is the ready message whose turn it is.
func (q *mqueue) next() (first *mmessage) {
	if q == nil {
		return nil
	}
	for _, one := range q.messages {
		if one.State == "ready" && (first == nil || one.Priority < first.Priority) {
			first = one
		}
	}
	return first
}

func (m *mqueues) take(name string, count int, ttl uint64) (list []Message) {
	for len(list) < count {
		one := m.queues[name].next()
		if one == nil {
			return list
		}
		one.State, one.due, one.Token, one.Receipt = "leased", m.age+ttl, m.zxid, fmt.Sprintf("%d-%d", one.ID, m.zxid)
		one.Attempts++
		list = append(list, one.shown(m.age, true))
	}
	return list
}

func (o *mmessage) shown(age uint64, own bool) Message {
	out := o.Message
	if out.State == "leased" {
		out.Remaining = millis(int64(o.due) - int64(min(o.due, age)))
	}
	if !own {
		out.Receipt, out.Token = "", 0
	}
	return out
}

// serve gives what is ready to those who wait.
func (m *mqueues) serve() {
	for _, name := range slices.Sorted(maps.Keys(m.waiting)) {
		for len(m.waiting[name]) > 0 && m.queues[name].next() != nil {
			w := m.waiting[name][0]
			m.waiting[name] = m.waiting[name][1:]
			m.outcomes = append(m.outcomes, Outcome{Place: w.place, Attach: 1, Node: 2, Home: 7, Claimed: m.take(name, w.count, w.ttl)})
		}
	}
}

func (m *mqueues) comeBack(name string, one *mmessage, delay uint64) {
	q := m.queues[name]
	one.Receipt, one.Token, one.State, one.due = "", 0, "ready", 0
	switch {
	case q.attempts > 0 && one.Attempts >= q.attempts:
		q.remove(one)
		one.DeadFrom = name
		m.add(cmp.Or(q.dead, name+".dead"), *one)
	case delay > 0:
		one.State, one.due = "delayed", m.age+delay
	}
}

// lapse does what is due: delays before claims of one age, both by queue and id.
func (m *mqueues) lapse() {
	for {
		var first *mmessage
		var where string
		less := func(a, b *mmessage) bool {
			return a.due < b.due || a.due == b.due && a.State == "delayed" && b.State == "leased"
		}
		for _, name := range slices.Sorted(maps.Keys(m.queues)) {
			for _, one := range m.queues[name].messages {
				if one.State != "ready" && one.due <= m.age && (first == nil || less(one, first)) {
					first, where = one, name
				}
			}
		}
		if first == nil {
			return
		}
		if first.State == "delayed" {
			first.State, first.due = "ready", 0
		} else {
			m.comeBack(where, first, 0)
		}
	}
}

func (m *mqueues) settle(name string, op *commandpb.Settle) (r Receipts, code tree.Code) {
	q := m.queues[name]
	if q == nil {
		return r, tree.ErrNoQueue
	}
	for _, receipt := range op.Receipts {
		i := slices.IndexFunc(q.messages, func(one *mmessage) bool { return one.State == "leased" && one.Receipt == receipt })
		if i < 0 && !m.acked[[2]string{name, receipt}] {
			r.Lost, code = append(r.Lost, receipt), tree.ErrReceiptLost
			continue
		}
		r.OK = append(r.OK, receipt)
		if i < 0 {
			continue
		}
		one := q.messages[i]
		switch op.How {
		case commandpb.Settle_HOW_ACK:
			q.remove(one)
			m.acked[[2]string{name, receipt}] = true
		case commandpb.Settle_HOW_NACK:
			m.comeBack(name, one, op.Ms)
		default:
			one.due = m.age + op.Ms
		}
	}
	return r, code
}

// receiptsOf are some that were given, with one that was not.
func (m *mqueues) receiptsOf(t *rapid.T, name string) (list []string) {
	all := []string{"1-7", "x"}
	for r := range m.acked {
		all = append(all, r[1])
	}
	if q := m.queues[name]; q != nil {
		for _, one := range q.messages {
			if one.Receipt != "" {
				all = append(all, one.Receipt, one.Receipt)
			}
		}
	}
	slices.Sort(all)
	list = rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 3, rapid.ID[string]).Draw(t, "receipts")
	return list
}

// step draws a command and says what comes of it.
func (m *mqueues) step(t *rapid.T) (cmd *commandpb.Command, want Result) {
	names := []string{"a", "a.dead", "b"}
	name := rapid.SampledFrom(names).Draw(t, "queue")
	q := m.queues[name]
	switch op := rapid.IntRange(0, 17).Draw(t, "op"); op {
	case 0, 1, 2, 3, 4:
		priority, delay := int32(rapid.IntRange(-1, 1).Draw(t, "priority")), uint64(rapid.SampledFrom([]int{0, 0, 0, 50}).Draw(t, "delay"))
		one := mmessage{Message: Message{Data: []byte{byte(m.zxid)}, State: "ready", Priority: priority, Enqueued: m.wall}}
		if delay > 0 {
			one.State, one.due = "delayed", m.age+delay
		}
		want.Message = m.add(name, one)
		return enqueue(name, string(one.Data), priority, delay), want
	case 5, 6, 7, 8:
		w := &mwaiter{m.zxid, rapid.IntRange(1, 3).Draw(t, "count"), uint64(rapid.IntRange(1000, 1010).Draw(t, "ttl"))}
		wait := rapid.Bool().Draw(t, "wait")
		if want.Claimed = m.take(name, w.count, w.ttl); len(want.Claimed) == 0 && wait {
			m.waiting[name] = append(m.waiting[name], w)
			want.Place = Place{ID: w.place, Attach: 1, Position: len(m.waiting[name])}
		}
		return claim(name, uint32(w.count), w.ttl, wait), want
	case 9, 10, 11, 12:
		how := commandpb.Settle_How(rapid.IntRange(0, 2).Draw(t, "how"))
		cmd = settle(name, how, [...]uint64{0, uint64(rapid.SampledFrom([]int{0, 40}).Draw(t, "ms")), 1500}[how], m.receiptsOf(t, name)...)
		want.Receipts, want.Code = m.settle(name, cmd.GetSettle())
		return cmd, want
	case 13:
		return m.stepConfigure(t, name)
	case 14:
		force := rapid.Bool().Draw(t, "force")
		switch {
		case q == nil:
			want.Code = tree.ErrNoQueue
		case len(q.messages) > 0 && !force:
			want.Code = tree.ErrNotEmpty
		default:
			delete(m.queues, name)
		}
		return deleteQueue(name, force), want
	case 15:
		return m.stepRedrive(t, name)
	case 16:
		if list := m.waiting[name]; len(list) > 0 {
			i := rapid.IntRange(0, len(list)-1).Draw(t, "waiter")
			m.waiting[name] = slices.Delete(slices.Clone(list), i, i+1)
			return leaveFrom(list[i].place, 1, rapid.Bool().Draw(t, "gone")), want
		}
		want.Code = tree.ErrHoldLost
		return leaveFrom(12345, 1, false), want
	}
	m.lapse()
	return lapsing(), want
}

func (m *mqueues) stepConfigure(t *rapid.T, name string) (cmd *commandpb.Command, want Result) {
	attempts, dead := rapid.IntRange(0, 2).Draw(t, "attempts"), rapid.SampledFrom([]string{"", "b"}).Draw(t, "dead")
	if dead == name {
		want.Code = tree.ErrInvalidArgument
		return configureQueue(name, uint64(attempts), dead), want
	}
	q := m.queue(name)
	q.attempts, q.dead = int64(attempts), dead
	want.Queue = m.state(name)
	return configureQueue(name, uint64(attempts), dead), want
}

func (m *mqueues) stepRedrive(t *rapid.T, name string) (cmd *commandpb.Command, want Result) {
	to, limit := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "to"), rapid.IntRange(0, 2).Draw(t, "limit")
	cmd = redrive(name, to, uint64(limit))
	switch {
	case name == to:
		want.Code = tree.ErrInvalidArgument
		return cmd, want
	case m.queues[name] == nil:
		want.Code = tree.ErrNoQueue
		return cmd, want
	}
	for limit == 0 || want.Moved < limit {
		one := m.queues[name].next()
		if one == nil {
			break
		}
		m.queues[name].remove(one)
		one.Attempts, one.DeadFrom = 0, ""
		m.add(to, *one)
		want.Moved++
	}
	return cmd, want
}

func (m *mqueues) state(name string) QueueState {
	q := m.queues[name]
	out := QueueState{Name: name, MaxAttempts: q.attempts, DeadLetter: q.dead}
	if q.attempts > 0 && q.dead == "" {
		out.DeadLetter = name + ".dead"
	}
	for _, one := range q.messages {
		switch one.State {
		case "ready":
			out.Ready++
		case "leased":
			out.Leased++
		default:
			out.Delayed++
		}
	}
	return out
}

// Queues do what the obvious model does: order, delay, visibility, attempts, dead
// letters, receipts; those who wait are served in their order, and a message wakes
// one.
func TestQueuesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newHeldBench(rapidTB{t: t})
		m := &mqueues{queues: map[string]*mqueue{}, acked: map[[2]string]bool{}, waiting: map[string][]*mwaiter{}}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			b.age += uint64(rapid.SampledFrom([]int{0, 1, 30, 990}).Draw(t, "time"))
			m.zxid, m.age, m.wall, m.outcomes = b.zxid+1, b.age, b.wall+1, nil
			cmd, want := m.step(t)
			m.serve()
			want.Outcomes = m.outcomes
			got, _ := b.apply(cmd)
			got.Zxid, got.Held, got.Session, got.Queue.Tag, got.Queue.Oldest = 0, HeldState{}, Info{}, 0, 0
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%v\n got %+v\nwant %+v", cmd, got, want)
			}
			m.compare(t, b)
			if rapid.IntRange(0, 9).Draw(t, "restore") == 0 {
				b.s = restored(t, b.s)
			}
		}
	})
}

func (m *mqueues) compare(t *rapid.T, b *bench) {
	for _, name := range []string{"a", "a.dead", "b"} {
		a, err := b.read(nil, Read{Kind: ReadQueue, Name: name})
		if m.queues[name] == nil {
			if err != tree.ErrNoQueue || b.has("/perch/queues/"+name) {
				t.Fatal(name, err)
			}
			continue
		}
		a.Queue.Tag, a.Queue.Oldest = 0, 0
		if a.Queue != m.state(name) || !b.has("/perch/queues/"+name) {
			t.Fatalf("%+v, want %+v", a.Queue, m.state(name))
		}
		var got, want []Message
		for from, more := (Cursor{}), true; more; {
			if a, more, err = b.s.View().Read(Read{Kind: ReadMessages, Name: name, Limit: 2}, from, 0); err != nil {
				t.Fatal(err)
			}
			if got = append(got, a.Messages...); more {
				from = After(ReadMessages, a)
			}
		}
		for _, one := range m.queues[name].messages {
			want = append(want, one.shown(m.age, false))
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s:\n got %+v\nwant %+v", name, got, want)
		}
	}
}

func TestQueueBounds(t *testing.T) {
	set := DefaultSettings()
	set.QueueMessages, set.QueueBytes, set.Waiting, set.TxnNodes = 3, 10, 1, 2
	b := newHeldBenchWith(t, set)
	b.must(enqueue("q", "12345", 0, 0))
	if r := b.refused(tree.ErrQuotaExceeded, enqueue("q", "123456", 0, 0)); !r.Overrun.Bytes || r.Overrun.Path != "/perch/queues/q" {
		t.Error(r.Overrun)
	}
	b.must(enqueue("q", "", 0, 0))
	b.must(enqueue("q", "", 0, 0))
	if r := b.refused(tree.ErrQuotaExceeded, enqueue("q", "", 0, 0)); r.Overrun.Bytes || r.Overrun.Limit != 3 {
		t.Error(r.Overrun)
	}
	b.refused(tree.ErrTooLarge, deleteQueue("q", true))
	b.must(claim("other", 1, 1000, true))
	b.refused(tree.ErrTooManyWaiters, claim("other", 1, 1000, true))
	b.must(claim("other", 1, 1000, false))
	for _, c := range []*commandpb.Command{
		claim("q", 0, 1000, false), claim("q", 101, 1000, false), claim("q", 1, 999, false), claim("q", 1, 43_200_001, false),
		ack("q"), settle("q", 0, 1, "1-1"), settle("q", 2, 10, "1-1"), settle("q", 9, 0, "1-1"), enqueue("a/b", "", 0, 0),
		enqueue("q", "", 0, 1<<50), configureQueue("q", 1<<40, ""), configureQueue(string(bytes.Repeat([]byte{'a'}, 253)), 1, ""),
		held(multi(&commandpb.Op{Op: &commandpb.Op_Ack{Ack: &commandpb.Settle{Queue: "q", Receipts: []string{"1-1", "2-1"}}}})),
	} {
		b.refused(tree.ErrInvalidArgument, c)
	}
	// A claim ends at a megabyte.
	b = newHeldBench(t)
	for range 3 {
		b.must(enqueue("q", string(make([]byte, 600<<10)), 0, 0))
	}
	if r := b.must(claim("q", 3, 1000, false)); len(r.Claimed) != 1 {
		t.Error(len(r.Claimed))
	}
}

// The key of a claim: the same messages while they are claimed, the same place
// while it waits, else the claim is lost; an empty claim is not kept.
func TestKeyedClaims(t *testing.T) {
	b := newHeldBench(t)
	one := withKey("1", claim("q", 2, 1000, false))
	b.must(one)
	for _, data := range []string{"HIDDEN1", "HIDDEN2", "HIDDEN3"} {
		b.must(enqueue("q", data, 0, 0))
	}
	first := b.must(one)
	if len(first.Claimed) != 2 || first.Replayed {
		t.Fatal(first)
	}
	b.age += 100
	b.s = restoredState(t, b.s)
	again := b.must(one)
	if !again.Replayed || len(again.Claimed) != 2 || again.Claimed[0].Receipt != first.Claimed[0].Receipt || again.Claimed[0].Remaining != millis(900) {
		t.Fatal(again)
	}
	b.must(withKey("ack", ack("q", first.Claimed[0].Receipt)))
	if r := b.must(withKey("ack", ack("q", first.Claimed[0].Receipt))); !r.Replayed || len(r.Receipts.OK) != 1 {
		t.Error(r)
	}
	if again = b.must(one); len(again.Claimed) != 1 || string(again.Claimed[0].Data) != "HIDDEN2" {
		t.Fatal(again)
	}
	b.age += 900
	b.must(lapsing())
	b.refused(tree.ErrHoldLost, one)
	for _, m := range b.must(claim("q", 9, 1000, false)).Claimed {
		b.must(ack("q", m.Receipt))
	}
	if bytes.Contains(snapshotBytes(t, b.s.View()), []byte("HIDDEN")) {
		t.Error("a record holds what was claimed")
	}
	// Waiting: the same place, then what it was given.
	two := withKey("2", claim("q", 1, 1000, true))
	place := b.must(two).Place
	elsewhere := proto.Clone(two).(*commandpb.Command)
	elsewhere.GetClaim().Home.Node = 3
	r := b.must(elsewhere)
	if !r.Replayed || r.Place.ID != place.ID || r.Place.Attach != 2 || len(r.Outcomes) != 1 || r.Outcomes[0].Code != tree.ErrSuperseded {
		t.Fatalf("%+v", r)
	}
	b.refused(tree.ErrSuperseded, leaveFrom(place.ID, 1, true))
	sent := b.must(enqueue("q", "x", 0, 0))
	if len(sent.Outcomes) != 1 || sent.Outcomes[0].Attach != 2 || sent.Outcomes[0].Node != 3 {
		t.Fatalf("%+v", sent)
	}
	if r := b.must(two); !r.Replayed || len(r.Claimed) != 1 || r.Claimed[0].Token != sent.Zxid {
		t.Fatalf("%+v", r)
	}
	// What nobody has received goes back, as if it had never been claimed.
	b.refused(tree.ErrSuperseded, leaveFrom(place.ID, 1, true))
	if r := b.must(leaveFrom(place.ID, 2, false)); len(r.Claimed) != 1 {
		t.Error(r)
	}
	b.must(leaveFrom(place.ID, 2, true))
	if r := b.must(two); r.Replayed || len(r.Claimed) != 1 || r.Claimed[0].Attempts != 1 {
		t.Fatalf("%+v", r)
	}
	// A wait that ends with nothing leaves the key as new.
	three := withKey("3", claim("q", 1, 1000, true))
	place = b.must(three).Place
	b.must(leaveFrom(place.ID, 1, false))
	if r := b.must(three); r.Replayed || r.Place.ID != r.Zxid {
		t.Fatalf("%+v", r)
	}
	withdraw := &commandpb.Withdraw{Epoch: 1, Homes: []*commandpb.Home{{Node: 2, Instance: 7}}}
	if r := b.must(held(&commandpb.Command{Op: &commandpb.Command_Withdraw{Withdraw: withdraw}})); len(r.Outcomes) != 1 || b.s.waiters.Len() != 0 {
		t.Fatalf("%+v", r)
	}
	if r := b.must(three); r.Replayed {
		t.Error(r)
	}
}

// A multi takes counters and queues along, all or nothing.
func TestQueuesInMulti(t *testing.T) {
	b := newHeldBench(t)
	b.must(enqueue("q", "1", 0, 0))
	got := b.must(claim("q", 1, 1000, false)).Claimed[0]
	opAck := func(r string) *commandpb.Op {
		return &commandpb.Op{Op: &commandpb.Op_Ack{Ack: &commandpb.Settle{Queue: "q", Receipts: []string{r}}}}
	}
	opEnqueue := &commandpb.Op{Op: &commandpb.Op_Enqueue{Enqueue: &commandpb.Enqueue{Queue: "next", Data: []byte("2")}}}
	if r := b.refused(tree.ErrReceiptLost, held(multi(opEnqueue, opAdd("c", 1), opAck("1-1")))); r.Failed != 2 {
		t.Error(r.Failed)
	}
	both := withKey("m", multi(opEnqueue, opAdd("c", 1), opAck(got.Receipt)))
	first, again := b.must(both), b.must(both)
	if first.Ops[0].ID != 1 || first.Ops[1].Value != 1 || !reflect.DeepEqual(told(first), told(again)) || !again.Replayed {
		t.Errorf("%+v\n%+v", first, again)
	}
	if a, _ := b.read(nil, Read{Kind: ReadQueue, Name: "q"}); a.Queue.Leased != 0 {
		t.Error(a.Queue)
	}
}

// A receipt that was acked counts as done for as long as it is remembered, in
// every way.
func TestAckedReceipts(t *testing.T) {
	b := newHeldBench(t)
	b.must(enqueue("q", "1", 0, 0))
	r := b.must(claim("q", 1, 1000, false)).Claimed[0].Receipt
	b.must(ack("q", r))
	b.age += 599_999
	b.s = restoredState(t, b.s)
	for _, c := range []*commandpb.Command{ack("q", r, r), settle("q", 1, 0, r), settle("q", 2, 1000, r)} {
		b.must(c)
	}
	b.age++
	b.must(put(&commandpb.Put{Path: "/a"}))
	for range 2 { // what is lost stays so, and nothing else is in the way
		b.must(enqueue("q", "2", 0, 0))
		next := b.must(claim("q", 1, 1000, false)).Claimed[0].Receipt
		got, _ := b.apply(ack("q", r, next))
		if got.Code != tree.ErrReceiptLost || !slices.Equal(got.Receipts.OK, []string{next}) || !slices.Equal(got.Receipts.Lost, []string{r}) {
			t.Errorf("%+v", got)
		}
	}
	if a, _ := b.read(nil, Read{Kind: ReadQueue, Name: "q"}); a.Queue.Leased != 0 {
		t.Error(a.Queue)
	}
}

// The nth change of a table by a command panics, for every n: then nothing has
// happened, and the same command does what it does in a state without a past.
func TestFaultsAreTakenBack(t *testing.T) {
	b := newHeldBench(t)
	b.must(held(configureQueue("q", 1, "")))
	for i := range 3 {
		b.must(enqueue("q", fmt.Sprint(i), 0, 0))
	}
	got := b.must(claim("q", 2, 1000, false)).Claimed
	b.must(withKey("w", claim("q.dead", 1, 1000, true)))
	b.must(with(opening(byToken("s"), ttl), enter("b", 2)))
	b.age += 5
	for _, c := range []*commandpb.Command{
		withKey("1", enqueue("q", "x", -1, 0)), withKey("2", claim("q", 1, 1000, false)), withKey("3", settle("q", 1, 0, got[0].Receipt)),
		withKey("4", ack("q", got[1].Receipt)), withKey("5", with(anybody(), enter("b", 2))), withKey("6", closeBarrier("b")),
		with(byToken("s"), closeSession(0)), withKey("7", redrive("q.dead", "q", 0)), withKey("8", deleteQueue("q", true)),
		withKey("9", addCounter("c", 1)), withKey("a", deleteCounter("d")), lapsing(),
	} {
		twin := &bench{t: t, s: restoredState(t, b.s), zxid: b.zxid, wall: b.wall, age: b.age}
		for n := 1; ; n++ {
			before := contents(t, b.s.View())
			fired := armAll(b.s, b.zxid+1, n)
			r, _ := b.apply(c)
			armAll(b.s, 0, 0)
			if !*fired {
				break
			}
			if r.Code != tree.ErrInternal || contents(t, b.s.View()) != before {
				t.Fatalf("%v, change %d: %v", c, n, r.Code)
			}
			twin.refused(tree.ErrInvalidArgument, held(put(&commandpb.Put{Path: "/a", Mode: persistent})))
		}
		twin.apply(c)
		if twin.s.View().Digest() != b.s.View().Digest() || restoredState(t, b.s).View().Digest() != b.s.View().Digest() {
			t.Fatalf("%v: states differ", c)
		}
	}
}

// armAll is armFault without a bound.
func armAll(s *State, z quorum.Zxid, n int) *bool {
	fired := new(bool)
	hook := func() {
		if n--; n == 0 && s.zxid < z {
			*fired = true
			panic("injected")
		}
	}
	if n == 0 {
		hook = nil
	}
	s.tree.SetHook(hook)
	s.sessions.Hook, s.tokens.Hook, s.ended.Hook = hook, hook, hook
	hookHolding(&s.holding, hook)
	hookKept(s, hook)
	return fired
}
