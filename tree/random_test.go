package tree

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"perch/quorum"
)

// randomTxn draws one operation and runs it on the tree.
func randomTxn(rt *rapid.T, tree *Tree, x *Txn) Code {
	name := rapid.SampledFrom([]string{"a", "b", "a-"})
	path := ""
	for range rapid.IntRange(1, 3).Draw(rt, "levels") {
		path += "/" + name.Draw(rt, "name")
	}
	data := make([]byte, rapid.IntRange(0, 12).Draw(rt, "bytes"))
	mode := rapid.SampledFrom([]Mode{ModePersistent, ModePersistent, ModeEphemeral, ModeContainer, ModeTTL}).Draw(rt, "mode")
	var ttl int64
	if mode == ModeTTL {
		ttl = rapid.Int64Range(10, 30).Draw(rt, "ttl")
	}
	list := func() []ACLEntry {
		return rapid.SliceOfN(rapid.SampledFrom([]ACLEntry{
			principal("ann", PermAll), principal("bob", PermRead|PermWrite|PermCreate|PermDelete), anything(PermAll), {SchemeAuth, "", PermAll},
		}), 0, 2).Draw(rt, "acl")
	}
	most := func() *int64 {
		return rapid.Ptr(rapid.Int64Range(0, 20), true).Draw(rt, "bound")
	}
	yes := rapid.Bool()
	switch rapid.IntRange(0, 12).Draw(rt, "op") {
	case 0, 1, 2:
		_, code := tree.Create(x, CreateOp{Path: path, Data: data, Mode: mode, TTLMs: ttl, ACL: list(),
			Sequential: yes.Draw(rt, "sequential"), Parents: yes.Draw(rt, "parents")})
		return code
	case 3, 4, 5:
		_, _, code := tree.Put(x, PutOp{Path: path, Data: data, Mode: mode, TTLMs: ttl,
			Takeover: mode == ModeEphemeral && yes.Draw(rt, "takeover"), Parents: yes.Draw(rt, "parents")})
		return code
	case 6, 7:
		return tree.Delete(x, DeleteOp{Path: path, Recursive: yes.Draw(rt, "recursive")})
	case 8:
		_, code := tree.SetACL(x, SetACLOp{Path: path, ACL: list()})
		return code
	case 9:
		_, code := tree.SetDefaultACL(x, SetDefaultACLOp{Path: path, ACL: list()})
		return code
	case 10:
		_, code := tree.SetQuota(x, SetQuotaOp{Path: path, MaxNodes: most(), MaxBytes: most(), Remove: rapid.IntRange(0, 3).Draw(rt, "remove") == 0})
		return code
	case 11:
		tree.DropOwned(x, x.Owner)
		return OK
	}
	for _, p := range tree.Freeze().Due(x.Age, 3) {
		if !tree.Reap(x, p) {
			rt.Fatal("a node that is due was not reaped", p)
		}
	}
	return OK
}

// TestTreeAgainstItself: after every transaction, kept, refused, or broken by a
// panic in the middle, everything that is derived is what a walk over the nodes
// finds, and a tree that is restored is the same tree.
func TestTreeAgainstItself(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tree := New()
		age := uint64(100)
		for i := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			age += uint64(rapid.SampledFrom([]int{0, 5, 600}).Draw(rt, "time"))
			x := &Txn{
				Zxid: quorum.MakeZxid(1, uint32(i+1)), Age: age, Owner: quorum.Zxid(rapid.IntRange(1, 2).Draw(rt, "owner")),
				Creator: rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(rt, "creator"), Caller: Identities{Principal: "ann"},
				Limits: Limits{ValueBytes: 10, TxnNodes: 6, OwnerNodes: 3, TTLMinMs: 10, TTLMaxMs: 30, CreatorNodes: 8, CreatorBytes: 40},
			}
			if rapid.Bool().Draw(rt, "guarded") {
				x.Guard = as("bob")
			}
			before := tree.Freeze()
			was, sum := records(before), tree.Sum()
			if code := transact(rt, tree, x); code != OK {
				if now := records(tree.Freeze()); !reflect.DeepEqual(now, was) || tree.Sum() != sum {
					rt.Fatalf("%v, and the tree has changed from %v to %v", code, was, now)
				}
			}
			if !reflect.DeepEqual(records(before), was) {
				rt.Fatal("a reader has changed")
			}
			checkDerived(rt, tree)
			again := reload(rt, tree.Freeze())
			checkDerived(rt, again)
			if again.Sum() != tree.Sum() || fmt.Sprint(plainRecords(again)) != fmt.Sprint(plainRecords(tree)) {
				rt.Fatalf("restored as %v, was %v", plainRecords(again), plainRecords(tree))
			}
			if rapid.Bool().Draw(rt, "restart") {
				tree = again
			}
		}
	})
}

// transact runs a random operation as a transaction; now and then a table
// breaks under it.
func transact(rt *rapid.T, tree *Tree, x *Txn) (code Code) {
	fault := rapid.IntRange(0, 30).Draw(rt, "fault at")
	tree.SetHook(func() {
		if fault--; fault == 0 {
			panic(ErrInternal)
		}
	})
	tree.Begin()
	defer func() {
		tree.SetHook(nil)
		if broken := recover(); broken != nil {
			if broken != ErrInternal {
				panic(broken)
			}
			code = ErrInternal
		}
		if code != OK {
			tree.Rollback()
		}
	}()
	return randomTxn(rt, tree, x)
}

// plainRecords are the records with what pointers lead to.
func plainRecords(t *Tree) (list []string) {
	for _, r := range records(t.Freeze()) {
		s := fmt.Sprint(r.Node, r.Creates, r.ACL.List(), r.Creator, r.Due)
		if r.Quota != nil {
			s += fmt.Sprintf(" quota %s %s %d %d", text(r.Quota.MaxNodes), text(r.Quota.MaxBytes), r.Quota.Nodes, r.Quota.Bytes)
		}
		if r.Default != nil {
			s += fmt.Sprint(" default ", r.Default.Zxid, r.Default.ACL.List())
		}
		list = append(list, s)
	}
	return list
}

func text(n *int64) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}

// checkDerived compares what the tree keeps beside its nodes with the nodes.
func checkDerived(t failer, tree *Tree) {
	t.Helper()
	r := tree.Freeze()
	usages, timers := map[string]usage{}, []timer{}
	quotas, defaults := 0, 0
	var sum uint64
	tree.nodes.Ascend(&znode{path: Root}, func(z *znode) bool {
		sum += z.digest()
		if c := z.creator(); c != "" {
			u := usages[c]
			usages[c] = usage{c, u.nodes + 1, u.bytes + int64(len(z.data))}
		}
		if z.ext != nil && z.ext.due != 0 && z.children == 0 {
			timers = append(timers, timer{z.ext.due, z.path})
		}
		if q, ok := tree.quotas.Get(quota{path: z.path}); ok {
			quotas++
			sum += q.digest()
			if nodes, bytes, _ := r.Count(z.path); nodes != q.Nodes || bytes != q.Bytes {
				t.Fatal("a quota that is not exact", q, nodes, bytes)
			}
		}
		if d, ok := tree.defaults.Get(defaultACL{path: z.path}); ok {
			defaults++
			sum += d.digest()
		}
		return true
	})
	tree.usages.Ascend(usage{}, func(u usage) bool {
		if usages[u.creator] != u {
			t.Fatal("a usage that is not exact", u, usages[u.creator])
		}
		return true
	})
	slices.SortFunc(timers, func(a, b timer) int {
		if timerLess(a, b) {
			return -1
		}
		return 1
	})
	kept := []timer{}
	tree.timers.Ascend(timer{}, func(n timer) bool { kept = append(kept, n); return true })
	switch {
	case tree.usages.Len() != len(usages):
		t.Fatal("usages of nobody")
	case quotas != tree.quotas.Len() || defaults != tree.defaults.Len():
		t.Fatal("a quota or a default without node")
	case !slices.Equal(kept, timers):
		t.Fatal("timers", kept, timers)
	case sum != tree.Sum():
		t.Fatal("the sum is not that of the records")
	}
}
