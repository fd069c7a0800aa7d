package lease

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// hookKept has the changes of the tables of what is counted and remembered call
// hook.
func hookKept(s *State, hook func()) {
	s.records.Hook, s.recordsByAge.Hook, s.tallies.Hook, s.dues.Hook = hook, hook, hook, hook
	s.queues.Hook, s.messages.Hook, s.receipts.Hook, s.waiters.Hook = hook, hook, hook, hook
	s.turns.Hook, s.takens.Hook, s.receiptsOld.Hook, s.lines.Hook = hook, hook, hook, hook
	s.barriers.Hook, s.entries.Hook = hook, hook
}

// keyed gives c a key; its digest is that of what it says.
func withKey(key string, c *commandpb.Command) *commandpb.Command {
	c = proto.Clone(c).(*commandpb.Command)
	c.Format, c.Key = heldLevel, nil
	said := proto.Clone(c).(*commandpb.Command)
	said.Session = nil
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(said)
	if err != nil {
		panic(err)
	}
	hash, digest := sha256.Sum256([]byte(c.Caller.GetPrincipal()+key)), sha256.Sum256(text)
	c.Key = &commandpb.Key{Hash: hash[:], Digest: digest[:]}
	return c
}

func addCounter(name string, add int64, expect ...int64) *commandpb.Command {
	op := &commandpb.AddCounter{Name: name, Add: add}
	if len(expect) > 0 {
		op.Expect = &expect[0]
	}
	return held(&commandpb.Command{Op: &commandpb.Command_AddCounter{AddCounter: op}})
}

func setCounter(name string, value int64, expect ...int64) *commandpb.Command {
	op := &commandpb.SetCounter{Name: name, Value: value}
	if len(expect) > 0 {
		op.Expect = &expect[0]
	}
	return held(&commandpb.Command{Op: &commandpb.Command_SetCounter{SetCounter: op}})
}

func deleteCounter(name string) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_DeleteCounter{DeleteCounter: &commandpb.DeleteCounter{Name: name}}})
}

func opAdd(name string, add int64) *commandpb.Op {
	return &commandpb.Op{Op: &commandpb.Op_Add{Add: &commandpb.AddCounter{Name: name, Add: add}}}
}

// told is a result as far as it is told to a client.
func told(r Result) Result {
	r.Ended, r.Touched, r.Outcomes, r.Replayed = nil, nil, nil, false
	if r.ACL != nil {
		r.ACL = &tree.ACL{Entries: r.ACL.Entries}
	}
	return r
}

// mutation is a command that is sent again and again.
type mutation struct {
	before []*commandpb.Command
	cmd    *commandpb.Command
	code   tree.Code
}

func mutations() map[string]mutation {
	const mode = commandpb.Mode_MODE_TTL
	nine := proto.Int64(9)
	a := put(&commandpb.Put{Path: "/a", Data: []byte("v")})
	below := put(&commandpb.Put{Path: "/a/b"})
	session := with(byToken("s"), openSession(ttl))
	mine := with(opening(byToken("s"), ttl), create(&commandpb.Create{Path: "/e", Mode: ephemeral}))
	list := func(c ...*commandpb.Command) []*commandpb.Command { return c }
	acl := []*commandpb.AclEntry{{Scheme: "world", Id: "anyone", Perms: 31}, {Scheme: "principal", Id: "p", Perms: 1}}
	p := putPrincipal(&commandpb.PutPrincipal{Name: "p", Root: "/t", Grants: granting("/x", PermRead|PermUse)})
	token := createToken(&commandpb.CreateToken{Principal: "p", SecretSha256: secretOf("x"), Label: "l"})
	return map[string]mutation{
		"create":            {nil, create(&commandpb.Create{Path: "/a", Data: []byte("v")}), tree.OK},
		"create sequence":   {nil, create(&commandpb.Create{Path: "/a/s-", Sequential: true, Parents: true}), tree.OK},
		"create ttl, acl":   {nil, create(&commandpb.Create{Path: "/a", Mode: mode, TtlMs: ttl, Acl: acl}), tree.OK},
		"create ephemeral":  {list(session), with(byToken("s"), create(&commandpb.Create{Path: "/e", Mode: ephemeral})), tree.OK},
		"create and open":   {nil, mine, tree.OK},
		"node exists":       {list(a), create(&commandpb.Create{Path: "/a"}), tree.ErrNodeExists},
		"no parent":         {nil, create(&commandpb.Create{Path: "/a/b"}), tree.ErrNoParent},
		"below ephemeral":   {list(mine), create(&commandpb.Create{Path: "/e/x"}), tree.ErrNoChildrenForEphemeral},
		"put":               {nil, a, tree.OK},
		"put again":         {list(a), put(&commandpb.Put{Path: "/a", Data: []byte("w"), Condition: ifVersion(0)}), tree.OK},
		"put another's":     {list(mine), with(opening(byToken("o"), ttl), put(&commandpb.Put{Path: "/e", Mode: ephemeral})), tree.ErrNodeExists},
		"put, take over":    {list(mine), with(opening(byToken("o"), ttl), put(&commandpb.Put{Path: "/e", Mode: ephemeral, Takeover: true})), tree.OK},
		"put version":       {list(a), put(&commandpb.Put{Path: "/a", Condition: ifVersion(3)}), tree.ErrVersionMismatch},
		"put etag":          {list(a), put(&commandpb.Put{Path: "/a", Condition: ifETag(3)}), tree.ErrETagMismatch},
		"put missing":       {nil, put(&commandpb.Put{Path: "/a", Condition: ifVersion(3)}), tree.ErrNoNode},
		"delete":            {list(a), del(&commandpb.Delete{Path: "/a"}), tree.OK},
		"delete all":        {list(a, below), del(&commandpb.Delete{Path: "/a", Recursive: true}), tree.OK},
		"delete full":       {list(a, below), del(&commandpb.Delete{Path: "/a"}), tree.ErrNotEmpty},
		"delete missing":    {nil, del(&commandpb.Delete{Path: "/a"}), tree.ErrNoNode},
		"multi":             {list(mine), multi(opPut(&commandpb.Put{Path: "/m"}), opCreate(&commandpb.Create{Path: "/m/", Sequential: true}), opPut(&commandpb.Put{Path: "/m"}), opAdd("c", 5), opDelete(&commandpb.Delete{Path: "/e"})), tree.OK},
		"multi refused":     {nil, multi(opPut(&commandpb.Put{Path: "/m"}), opDelete(&commandpb.Delete{Path: "/x"})), tree.ErrNoNode},
		"acl":               {list(a), setACL(&commandpb.SetAcl{Path: "/a", Acl: acl}), tree.OK},
		"default acl":       {list(a), setDefaultACL(&commandpb.SetDefaultAcl{Path: "/a", Acl: acl}), tree.OK},
		"quota":             {list(a), setQuota(&commandpb.SetQuota{Path: "/a", MaxNodes: nine}), tree.OK},
		"open":              {nil, openSession(ttl), tree.OK},
		"open with a token": {nil, session, tree.OK},
		"close":             {list(mine), with(byToken("s"), closeSession(0)), tree.OK},
		"close missing":     {nil, closeSession(7), tree.ErrNoSession},
		"principal":         {nil, p, tree.OK},
		"delete principal":  {list(p), deletePrincipal(&commandpb.DeletePrincipal{Name: "p"}), tree.OK},
		"no principal":      {nil, deletePrincipal(&commandpb.DeletePrincipal{Name: "p"}), tree.ErrNoPrincipal},
		"token":             {list(p), token, tree.OK},
		"no token":          {nil, revokeToken("t5"), tree.ErrNoToken},
		"add":               {list(addCounter("c", 3)), addCounter("c", 4, 3), tree.OK},
		"add refused":       {list(addCounter("c", 3)), addCounter("c", 4, 4), tree.ErrVersionMismatch},
		"set":               {nil, setCounter("c", -4), tree.OK},
		"delete counter":    {list(addCounter("c", 3)), deleteCounter("c"), tree.OK},
		"no counter":        {nil, deleteCounter("c"), tree.ErrNoNode},
	}
}

// heldMutations are those of heldLevel.
func heldMutations() map[string]mutation {
	list := func(c ...*commandpb.Command) []*commandpb.Command { return c }
	one := enqueue("q", "v", 0, 0)
	inside := with(opening(byToken("s"), ttl), enter("b", 2))
	locked := with(opening(byToken("s"), ttl), acquireLock("l", false))
	sem := with(opening(byToken("s"), ttl), limited("m", 2))
	ran := with(opening(byToken("s"), ttl), held(&commandpb.Command{Op: &commandpb.Command_Acquire{Acquire: &commandpb.Acquire{
		Kind: commandpb.Kind_KIND_ONCE, Wants: []*commandpb.Want{{Name: "o"}}, Run: &commandpb.Run{Key: "k"},
	}}}))
	leads := with(opening(byToken("s"), ttl), held(&commandpb.Command{Op: &commandpb.Command_Acquire{Acquire: &commandpb.Acquire{
		Kind: commandpb.Kind_KIND_ELECTION, Wants: []*commandpb.Want{{Name: "e"}}, Value: "v",
	}}}))
	fenced := put(&commandpb.Put{Path: "/f"})
	fenced.Fences = []*commandpb.Fence{{Name: "l", Token: 12345}}
	return map[string]mutation{
		"enqueue":         {nil, one, tree.OK},
		"nack lost queue": {nil, ack("q", "1-1"), tree.ErrNoQueue},
		"configure":       {list(one), configureQueue("q", 3, "d"), tree.OK},
		"delete queue":    {list(one), deleteQueue("q", true), tree.OK},
		"queue not empty": {list(one), deleteQueue("q", false), tree.ErrNotEmpty},
		"redrive":         {list(one), redrive("q", "p", 0), tree.OK},
		"depart":          {list(inside), with(byToken("s"), depart("b", false)), tree.OK},
		"close barrier":   {nil, closeBarrier("b"), tree.OK},
		"open barrier":    {list(inside), openBarrier("b"), tree.OK},
		"another count":   {list(inside), with(opening(byToken("t"), ttl), enter("b", 3)), tree.ErrLimitMismatch},
		"another limit":   {list(sem), with(opening(byToken("t"), ttl), limited("m", 3)), tree.ErrLimitMismatch},
		"release":         {list(locked), with(byToken("s"), releaseLock("l")), tree.OK},
		"break":           {list(locked), held(&commandpb.Command{Op: &commandpb.Command_Break{Break: &commandpb.Break{Name: "l"}}}), tree.OK},
		"revoke":          {list(locked), held(&commandpb.Command{Op: &commandpb.Command_Revoke{Revoke: &commandpb.Revoke{Name: "l", Reason: "r"}}}), tree.OK},
		"proclaim":        {list(leads), with(byToken("s"), held(&commandpb.Command{Op: &commandpb.Command_Proclaim{Proclaim: &commandpb.Proclaim{Name: "e", Value: "w"}}})), tree.OK},
		"complete":        {list(ran), with(byToken("s"), held(&commandpb.Command{Op: &commandpb.Command_Complete{Complete: &commandpb.Complete{Name: "o", Data: []byte("done")}}})), tree.OK},
		"fence":           {nil, fenced, tree.ErrFenceStale},
	}
}

func limited(name string, limit int64) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Acquire{Acquire: &commandpb.Acquire{
		Kind: commandpb.Kind_KIND_SEMAPHORE, Wants: []*commandpb.Want{{Name: name}}, Limit: limit,
	}}})
}

// Sent three times, also to a state that came from a snapshot, a mutation is done
// once and answered the same (API.md rule 11).
func TestKeysHappenOnce(t *testing.T) {
	all := mutations()
	maps.Copy(all, heldMutations())
	for name, m := range all {
		b := newHeldBench(t)
		for _, c := range m.before {
			c.Format = heldLevel
			b.must(c)
		}
		sent := withKey("k", m.cmd)
		first, _ := b.apply(sent)
		if first.Code != m.code || first.Replayed {
			t.Errorf("%s: %v, want %v %s", name, first.Code, m.code, first.Fault)
			continue
		}
		b.must(put(&commandpb.Put{Path: "/elsewhere"}))
		before := contents(t, b.s.View())
		for i := range 3 {
			again, events := b.apply(sent)
			if !again.Replayed || len(events) > 0 || !reflect.DeepEqual(told(again), told(first)) {
				t.Errorf("%s, replay %d:\n got %+v\nwant %+v", name, i, again, first)
			}
			if contents(t, b.s.View()) != before {
				t.Errorf("%s, replay %d: changed the state", name, i)
			}
			b.s = restoredState(t, b.s)
		}
	}
}

// What may succeed later is not stored, and the same key runs again.
func TestKeysThatRunAgain(t *testing.T) {
	set := small()
	set.Sessions = 1
	for name, m := range map[string]struct {
		cmd  *commandpb.Command
		code tree.Code
		then *commandpb.Command // what makes it possible
	}{
		"too large":         {create(&commandpb.Create{Path: "/a", Data: make([]byte, 9)}), tree.ErrTooLarge, configure(&commandpb.Configure{ValueBytes: proto.Int64(9)})},
		"too many sessions": {openSession(ttl), tree.ErrTooManySessions, configure(&commandpb.Configure{Sessions: proto.Int64(9)})},
		"quota":             {put(&commandpb.Put{Path: "/q/a"}), tree.ErrQuotaExceeded, setQuota(&commandpb.SetQuota{Path: "/q", Remove: true})},
		"session":           {with(byToken("s"), put(&commandpb.Put{Path: "/a"})), tree.ErrSessionExpired, with(byToken("s"), openSession(ttl))},
		"overflow":          {addCounter("c", 1<<62), tree.ErrCounterOverflow, setCounter("c", 0)},
	} {
		b := newHeldBenchWith(t, set)
		b.must(put(&commandpb.Put{Path: "/q"}))
		b.must(by(nil, setQuota(&commandpb.SetQuota{Path: "/q", MaxNodes: proto.Int64(1)})))
		b.must(setCounter("c", 1<<62))
		if name != "session" {
			b.must(openSession(ttl))
		}
		sent := withKey("k", m.cmd)
		b.refused(m.code, sent)
		b.refused(m.code, sent)
		m.then.Format = heldLevel
		b.must(m.then)
		first := b.must(sent)
		if again := b.must(sent); first.Replayed || !again.Replayed || again.Zxid != first.Zxid {
			t.Errorf("%s: %+v, then %+v", name, first, again)
		}
	}
}

func TestKeyRules(t *testing.T) {
	b := newHeldBench(t)
	b.must(withKey("k", put(&commandpb.Put{Path: "/a"})))
	b.refused(tree.ErrKeyReused, withKey("k", put(&commandpb.Put{Path: "/b"})))
	b.refused(tree.ErrInvalidArgument, withKey("g", multi(opGet("/a"))))
	short := withKey("s", put(&commandpb.Put{Path: "/a"}))
	short.Key.Hash = short.Key.Hash[:31]
	b.refused(tree.ErrInvalidArgument, short)
	// The replay comes before the session and before everything that may be asked.
	mine := withKey("m", with(opening(byToken("s"), ttl), create(&commandpb.Create{Path: "/e", Mode: ephemeral})))
	opened := b.must(mine)
	if !opened.Opened || opened.Session.ID != opened.Zxid {
		t.Fatalf("%+v", opened)
	}
	b.must(with(byToken("s"), closeSession(0)))
	if r := b.must(mine); !r.Replayed || b.has("/e") {
		t.Errorf("%+v", r)
	}
	// A session that a key has opened is answered while it lives.
	open := withKey("o", openSession(ttl))
	first := b.must(open)
	b.must(with(byID(first.Session.ID), setTTL(3000)))
	if r := b.must(open); r.Session.ID != first.Session.ID || r.Session.TTL != millis(3000) || !r.Opened {
		t.Errorf("%+v", r)
	}
	b.must(expire(first.Session.ID))
	b.refused(tree.ErrSessionExpired, open)
	// With another token the same key opens another session.
	one, two := b.must(withKey("two", with(byToken("1"), openSession(ttl)))), b.must(withKey("two", with(byToken("2"), openSession(ttl))))
	if one.Session.ID == two.Session.ID || two.Replayed {
		t.Errorf("%+v %+v", one, two)
	}
	old := withKey("old", put(&commandpb.Put{Path: "/old"}))
	old.Format = accessLevel
	if b.must(old); b.must(old).Replayed {
		t.Error("an older format has keys")
	}
}

// recordBench is a bench with room for a few records, and two callers.
func recordBench(t testing.TB) (b *bench, send func(caller string, i int) (Result, []tree.Event)) {
	set := DefaultSettings()
	set.RecordBytes, set.RecordAgeMs, set.RecordLeastMs = 2000, 100_000, 60_000
	b = newHeldBenchWith(t, set)
	return b, func(caller string, i int) (Result, []tree.Event) {
		c := put(&commandpb.Put{Path: "/a"})
		c.Caller = named(caller)
		return b.apply(withKey(fmt.Sprint(i), c))
	}
}

// Records go when they are old, and before that only when there is no room and
// they are not too young; wall time, which may jump, moves none (RULES.md R20 and
// R21).
func TestRecordsAreForgotten(t *testing.T) {
	b, send := recordBench(t)
	send("a", 1)
	b.wall += 24 * 3600 * 1000
	b.must(put(&commandpb.Put{Path: "/b"}))
	if r, _ := send("a", 1); !r.Replayed {
		t.Error("a jump of the wall clock has dropped a record")
	}
	b.age = 99_999
	if r, _ := send("a", 1); !r.Replayed || b.s.View().OldestRecord() != 99_999 {
		t.Error("dropped before its time", b.s.View().OldestRecord())
	}
	b.age = 100_000
	b.must(put(&commandpb.Put{Path: "/b"}))
	if r, _ := send("a", 1); r.Replayed {
		t.Error("kept for too long")
	}
	for i := range 100 { // each is old enough to go when there is no room
		b.age += 60_000 / 4
		if r, _ := send("b", 10+i); r.Code != tree.OK {
			t.Fatal(i, r.Code)
		}
	}
	if n := b.s.tally(tallyAllRecords, "", 0); n > 2000 || n < 800 {
		t.Errorf("%d bytes", n)
	}
	if r, _ := send("b", 109); !r.Replayed {
		t.Error("the youngest is gone")
	}
	if r, _ := send("b", 10); r.Replayed {
		t.Error("the oldest is there")
	}
}

// Below the least age nothing is dropped: whoever has more than a quarter waits,
// others do not, and all together have an end too.
func TestRecordsCrowded(t *testing.T) {
	b, send := recordBench(t)
	i := 0
	for ; ; i++ {
		if r, _ := send("a", i); r.Code != tree.OK {
			if r.Code != tree.ErrOverloaded || b.s.tally(tallyAllRecords, "", 0) < 2000 {
				t.Fatal(r.Code)
			}
			break
		}
	}
	if r, _ := send("b", 0); r.Code != tree.OK {
		t.Error("another one is refused:", r.Code)
	}
	if r, _ := send("a", 0); !r.Replayed {
		t.Error("a record below the least age is gone")
	}
	b.must(put(&commandpb.Put{Path: "/plain"})) // without a key
	n := 0
	for ; n < 100; n++ {
		if r, _ := send(fmt.Sprint("p", n), 0); r.Code != tree.OK {
			break
		}
	}
	if all := b.s.tally(tallyAllRecords, "", 0); n == 100 || all > 4400 {
		t.Errorf("%d others, %d bytes", n, all)
	}
	b.s = restoredState(t, b.s)
	if r, _ := send("a", i); r.Code != tree.ErrOverloaded {
		t.Error("a restored state has room:", r.Code)
	}
	b.age = 60_000
	if r, _ := send("a", i); r.Code != tree.OK {
		t.Error(r.Code)
	}
	if r, _ := send("a", 0); r.Replayed {
		t.Error("nothing was dropped to make room")
	}
}

// What a record takes (RULES.md R21): 256 MiB hold a million of ordinary ones.
func TestRecordSize(t *testing.T) {
	b := newHeldBench(t)
	for z := range quorum.Zxid(1000) {
		b.zxid = quorum.MakeZxid(8000, 1_000_000) + z
		b.wall = 1_790_000_000_000 + int64(z)
		b.must(withKey(fmt.Sprint(z), put(&commandpb.Put{Path: fmt.Sprintf("/config-%d", z), Data: []byte("value")})))
	}
	each := b.s.tally(tallyAllRecords, "", 0) / 1000
	t.Logf("%d bytes each, %d records in %d MiB", each, b.s.settings.RecordBytes/each, b.s.settings.RecordBytes>>20)
	if each < 150 || b.s.settings.RecordBytes/each < 1_200_000 {
		t.Errorf("%d bytes each", each)
	}
}

// A record holds no data and no secret.
func TestRecordsHoldNoSecrets(t *testing.T) {
	b := newHeldBench(t)
	b.must(withKey("1", put(&commandpb.Put{Path: "/a", Data: []byte("HIDDEN")})))
	b.must(withKey("2", multi(opPut(&commandpb.Put{Path: "/b", Data: []byte("HIDDEN")}))))
	b.must(withKey("3", del(&commandpb.Delete{Path: "/a"})))
	b.must(withKey("4", del(&commandpb.Delete{Path: "/b"})))
	p := putPrincipal(&commandpb.PutPrincipal{Name: "p"})
	p.Format = heldLevel
	b.must(p)
	b.must(withKey("5", createToken(&commandpb.CreateToken{Principal: "p", SecretSha256: secretOf("HIDDEN")})))
	b.must(withKey("6", deletePrincipal(&commandpb.DeletePrincipal{Name: "p"})))
	data := snapshotBytes(t, b.s.View())
	if bytes.Contains(data, []byte("HIDDEN")) || bytes.Contains(data, secretOf("HIDDEN")) {
		t.Error("a snapshot holds what no record may")
	}
}

func BenchmarkRecord(b *testing.B) {
	bench := newHeldBench(b)
	for i := 0; b.Loop(); i++ {
		bench.must(withKey(fmt.Sprint(i), put(&commandpb.Put{Path: "/a"})))
	}
}
