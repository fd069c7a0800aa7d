package node

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// pagedList is a list that comes in pages, and what makes its i-th entry.
type pagedList struct {
	q    lease.Read
	make func(i int) *commandpb.Command
}

func acquireOf(kind commandpb.Kind, permits int64) func(int) *commandpb.Command {
	return func(i int) *commandpb.Command {
		cmd := lockCommand(fmt.Sprint("x", i), "me", time.Minute, false)
		a := cmd.GetAcquire()
		a.Kind, a.Limit, a.Permits, a.LockDelayMs = kind, 3*permits, permits, 0
		return cmd
	}
}

var pagedLists = map[string]pagedList{
	"children": {lease.Read{Kind: lease.ReadChildren, Path: "/list", WithData: true},
		func(i int) *commandpb.Command { return putCommand(fmt.Sprint("/list/", i), "v") }},
	"tree": {lease.Read{Kind: lease.ReadTree, Path: "/deep", WithData: true, Depth: 3},
		func(i int) *commandpb.Command { return putCommand(fmt.Sprint("/deep/", i), "v") }},
	"sessions": {lease.Read{Kind: lease.ReadSessions}, func(int) *commandpb.Command { return openCommand(time.Minute) }},
	"principals": {lease.Read{Kind: lease.ReadPrincipals},
		func(i int) *commandpb.Command { return principalCommand(fmt.Sprint("p", i), "/p") }},
	"tokens": {lease.Read{Kind: lease.ReadTokens}, func(i int) *commandpb.Command {
		secret := sha256.Sum256([]byte{byte(i)})
		return &commandpb.Command{Op: &commandpb.Command_CreateToken{
			CreateToken: &commandpb.CreateToken{Principal: "aabb"[i : i+1], SecretSha256: secret[:], Label: "one"}}}
	}},
	"locks":      {lease.Read{Kind: lease.ReadHelds, Of: commandpb.Kind_KIND_LOCK, Name: "x"}, acquireOf(commandpb.Kind_KIND_LOCK, 0)},
	"semaphores": {lease.Read{Kind: lease.ReadHelds, Of: commandpb.Kind_KIND_SEMAPHORE}, acquireOf(commandpb.Kind_KIND_SEMAPHORE, 2)},
	"elections":  {lease.Read{Kind: lease.ReadNames, Of: commandpb.Kind_KIND_ELECTION, Name: "x"}, acquireOf(commandpb.Kind_KIND_ELECTION, 0)},
	"once": {lease.Read{Kind: lease.ReadNames, Of: commandpb.Kind_KIND_ONCE}, func(i int) *commandpb.Command {
		cmd := acquireOf(commandpb.Kind_KIND_ONCE, 0)(i)
		cmd.GetAcquire().Run = &commandpb.Run{Key: "k"}
		return cmd
	}},
	"queues": {lease.Read{Kind: lease.ReadNames, Of: commandpb.Kind_KIND_QUEUE, Name: "x"},
		func(i int) *commandpb.Command { return enqueueCommand(fmt.Sprint("x", i), "v") }},
	"messages": {lease.Read{Kind: lease.ReadMessages, Of: commandpb.Kind_KIND_QUEUE, Name: "q", WithData: true},
		func(i int) *commandpb.Command { return enqueueCommand("q", fmt.Sprint("v", i)) }},
	"counters": {lease.Read{Kind: lease.ReadNames, Of: commandpb.Kind_KIND_COUNTER}, func(i int) *commandpb.Command {
		return &commandpb.Command{Op: &commandpb.Command_AddCounter{AddCounter: &commandpb.AddCounter{Name: fmt.Sprint("x", i), Add: 1}}}
	}},
	"barriers": {lease.Read{Kind: lease.ReadNames, Of: commandpb.Kind_KIND_BARRIER}, func(i int) *commandpb.Command {
		return &commandpb.Command{Op: &commandpb.Command_CloseBarrier{CloseBarrier: &commandpb.CloseBarrier{Name: fmt.Sprint("x", i)}}}
	}},
}

// Every list goes on at any node as it does at the one that began it.
func TestEveryListGoesOnAtEveryNode(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	governed(t, c)
	first, other := c.leader().Node, c.follower().Node
	for name, list := range pagedLists {
		t.Run(name, func(t *testing.T) {
			for i := range 4 {
				cmd := list.make(i)
				cmd.Caller = admin
				must(t, first, cmd, "")
			}
			q := list.q
			q.Caller, q.Limit, q.At = admin, 2, lease.At{Linearizable: true}
			page, err := first.Read(t.Context(), q)
			if err != nil || page.NextPage == "" {
				t.Fatalf("the first page: %+v, %v", page, err)
			}
			q.PageToken = page.NextPage
			want, err := first.Read(t.Context(), q)
			if err != nil || lease.After(q.Kind, want) == lease.After(q.Kind, page) {
				t.Fatalf("the second page: %+v, %v", want, err)
			}
			if got, err := other.Read(t.Context(), q); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("at another node: %+v, %v\nwant %+v", got, err, want)
			}
			q.Name += "y"
			for _, n := range []*Node{first, other} {
				if _, err := n.Read(t.Context(), q); !errors.Is(err, lease.ErrPageExpired) {
					t.Fatalf("the token of another list: %v", err)
				}
			}
		})
	}
}

// full is an answer with an entry in each list, all of whose fields are set.
func full() (a lease.Answer) {
	setAll(reflect.ValueOf(&a).Elem())
	a.APITokens[0].ID = "1"
	return a
}

// setAll sets whatever can be set of a value.
func setAll(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				setAll(field)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		setAll(v.Index(0))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	default:
		switch {
		case v.Type() == reflect.TypeFor[time.Duration]():
			v.SetInt(int64(time.Second))
		case v.CanInt():
			v.SetInt(1)
		case v.CanUint():
			v.SetUint(1)
		}
	}
}

// A kind of question whose answers come in pages must stand in pagedLists.
func TestEveryListIsListed(t *testing.T) {
	listed := make(map[lease.ReadKind]bool)
	for _, list := range pagedLists {
		listed[list.q.Kind] = true
	}
	a := full()
	for kind := range lease.ReadKind(64) {
		if paged := lease.After(kind, a) != (lease.Cursor{}); paged != listed[kind] {
			t.Errorf("kind %d: in pages %v, listed %v", kind, paged, listed[kind])
		}
	}
}

// What holders have left is told of one thing, not in lists: a later page is of
// the past.
func TestListsDoNotTellWhatIsLeft(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	locks(t, n.Node, lockCommand("x", "me", time.Minute, false), "")
	for kind, told := range map[lease.ReadKind]bool{lease.ReadHeld: true, lease.ReadHelds: false} {
		a, err := n.Read(t.Context(), lease.Read{Kind: kind, Name: "x", At: lease.At{Linearizable: true}})
		if err != nil || len(a.Held) != 1 || (a.Held[0].Holders[0].Remaining > 0) != told {
			t.Errorf("kind %d: %+v, %v", kind, a.Held, err)
		}
	}
}

// A refusal that is told again to the same key says nothing that changes.
func TestStoredRefusalsDoNotTellWhatIsLeft(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	permits := acquireOf(commandpb.Kind_KIND_SEMAPHORE, 1)
	locks(t, n.Node, permits(0), "")
	other := permits(0)
	other.GetAcquire().Limit++
	res, err := n.Acquire(t.Context(), other, "", 0)
	if err != nil || res.Code != tree.ErrLimitMismatch || len(res.Held.Holders) != 1 || res.Held.Holders[0].Remaining != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
}
