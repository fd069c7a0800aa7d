package tree

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
)

const someDigest = "ann:" + "ZGlnZXN0IG9mIGEgcGFzc3cu" + "b3Q=" // 20 bytes

func TestACLEntries(t *testing.T) {
	for _, c := range []struct {
		scheme, id string
		ok         bool
	}{
		{"world", "anyone", true}, {"world", "", false}, {"world", "everybody", false},
		{"principal", "ann", true}, {"principal", "ann@example.org", true}, {"principal", "", false},
		{"principal", "a\x00b", false}, {"principal", "\xff", false},
		{"digest", someDigest, true}, {"digest", "ann:x", false}, {"digest", "ann", false}, {"digest", someDigest[3:], false},
		{"digest", someDigest + "=", false}, {"digest", someDigest + ":x", false},
		{"ip", "10.0.0.1", true}, {"ip", "10.0.0.0/8", true}, {"ip", "10.9.8.7/8", true}, {"ip", "fe80::/10", true}, {"ip", "::1", true},
		{"ip", "10.0.0.0/33", false}, {"ip", "10.0.0", false}, {"ip", "", false}, {"ip", "fe80::1%eth0", false},
		{"ip", "::ffff:10.0.0.1", false}, {"ip", "::ffff:10.0.0.0/104", false},
		{"x509", "spiffe://example.org/ann", true}, {"x509", "urn:ann", true}, {"x509", "ann", false}, {"x509", "", false},
		{"", "anyone", false}, {"sasl", "ann", false}, {"WORLD", "anyone", false},
	} {
		entry := ACLEntry{c.scheme, c.id, PermRead}
		var why *ACLError
		if err := CheckACLEntry(entry, Identities{}); (err == nil) != c.ok || err != nil && (!errors.As(err, &why) || why.Reason == "" || !errors.Is(err, ErrInvalidACL)) {
			t.Errorf("%s:%q: %v", c.scheme, c.id, err)
		}
		_, code := newACL([]ACLEntry{entry}, Identities{})
		if (code == OK) != c.ok || code != OK && code != ErrInvalidACL {
			t.Errorf("%s:%q: %v", c.scheme, c.id, code)
		}
	}
}

func TestACLList(t *testing.T) {
	ann := Identities{Principal: "ann", Digests: []string{someDigest}, Certificate: "urn:ann", IP: netip.MustParseAddr("10.0.0.1")}
	address := Identities{IP: netip.MustParseAddr("10.0.0.1")}
	read, all := principal("ann", PermRead), principal("ann", PermAll)
	many := make([]ACLEntry, 0, aclEntriesMost+1)
	for i := range aclEntriesMost + 1 {
		many = append(many, principal(string(rune('α'+i)), PermRead))
	}
	for name, c := range map[string]struct {
		asked  []ACLEntry
		caller Identities
		want   []ACLEntry // nil: the open one
		code   Code
	}{
		"empty":           {code: ErrInvalidACL},
		"no permission":   {asked: []ACLEntry{principal("ann", 0)}, code: ErrInvalidACL},
		"unknown":         {asked: []ACLEntry{principal("ann", 32)}, code: ErrInvalidACL},
		"unknown of auth": {asked: []ACLEntry{{SchemeAuth, "", 64}}, caller: ann, code: ErrInvalidACL},
		"open":            {asked: []ACLEntry{anything(PermAll)}},
		"twice":           {asked: []ACLEntry{read, all, read}, want: []ACLEntry{read, all}},
		"auth": {asked: []ACLEntry{{SchemeAuth, "", PermRead}}, caller: ann,
			want: []ACLEntry{read, {SchemeDigest, someDigest, PermRead}, {SchemeX509, "urn:ann", PermRead}}},
		"auth beside":     {asked: []ACLEntry{read, {SchemeAuth, "whatever", PermRead}}, caller: Identities{Principal: "ann"}, want: []ACLEntry{read}},
		"auth of nobody":  {asked: []ACLEntry{{SchemeAuth, "", PermRead}}, code: ErrInvalidACL},
		"auth of address": {asked: []ACLEntry{{SchemeAuth, "", PermRead}}, caller: address, code: ErrInvalidACL},
		"long":            {asked: many, code: ErrTooLarge},
	} {
		acl, code := newACL(c.asked, c.caller)
		switch {
		case code != c.code:
			t.Errorf("%s: %v, want %v", name, code, c.code)
		case code == OK && (acl == nil) != (c.want == nil):
			t.Errorf("%s: %v", name, acl)
		case acl != nil && !slices.Equal(acl.Entries, c.want):
			t.Errorf("%s: %v", name, acl.Entries)
		}
	}
}

func TestACLAllows(t *testing.T) {
	ann := Identities{Principal: "ann", Digests: []string{"x", someDigest}, Certificate: "urn:ann", IP: netip.MustParseAddr("::ffff:10.1.2.3")}
	for _, c := range []struct {
		scheme, id string
		ids        Identities
		ok         bool
	}{
		{"world", "anyone", Identities{}, true},
		{"principal", "ann", ann, true}, {"principal", "anna", ann, false}, {"principal", "ann", Identities{}, false},
		{"digest", someDigest, ann, true}, {"digest", "bob" + someDigest[3:], ann, false},
		{"ip", "10.1.2.3", ann, true}, {"ip", "10.0.0.0/8", ann, true}, {"ip", "11.0.0.0/8", ann, false},
		{"ip", "0.0.0.0/0", Identities{}, false}, {"ip", "::/0", ann, false},
		{"x509", "urn:ann", ann, true}, {"x509", "urn:bob", ann, false}, {"x509", "urn:ann", Identities{}, false},
	} {
		acl := &ACL{Entries: []ACLEntry{{c.scheme, c.id, PermRead | PermWrite}}}
		if acl.Allows(c.ids, PermRead) != c.ok {
			t.Errorf("%s:%s to %v", c.scheme, c.id, c.ids)
		}
		if acl.Allows(c.ids, PermDelete) || acl.Allows(c.ids, PermWrite|PermAdmin) != c.ok {
			t.Errorf("%s:%s to %v: permissions", c.scheme, c.id, c.ids)
		}
	}
	var open *ACL
	if !open.Allows(Identities{}, PermAdmin) || open.Allows(ann, 0) || !slices.Equal(open.List(), []ACLEntry{anything(PermAll)}) {
		t.Error("the open list")
	}
}

func TestACLMasked(t *testing.T) {
	acl := &ACL{Entries: []ACLEntry{principal("ann", PermRead), {SchemeDigest, someDigest, PermAll}}}
	want := []ACLEntry{principal("ann", PermRead), {SchemeDigest, "ann:x", PermAll}}
	if got := acl.Masked().Entries; !slices.Equal(got, want) {
		t.Fatal(got)
	}
	if acl.Entries[1].ID != someDigest || (*ACL)(nil).Masked() != nil {
		t.Fatal("the list itself was changed")
	}
	if _, code := newACL(want, Identities{}); code != ErrInvalidACL {
		t.Fatalf("a masked list can be set: %v", code)
	}
}

// FuzzACL: whatever is asked for, a list that is made is one that a snapshot
// may hold, and means the same again.
func FuzzACL(f *testing.F) {
	f.Add("world", "anyone", byte(31), "digest", someDigest, byte(1))
	f.Add("ip", "10.0.0.0/8", byte(3), "x509", "spiffe://a/b", byte(16))
	f.Add("auth", "", byte(31), "principal", "ann", byte(8))
	f.Fuzz(func(t *testing.T, s1, id1 string, p1 byte, s2, id2 string, p2 byte) {
		caller := Identities{Principal: "ann", IP: netip.MustParseAddr("10.1.2.3")}
		acl, code := newACL([]ACLEntry{{s1, id1, Perms(p1)}, {s2, id2, Perms(p2)}}, caller)
		if code != OK {
			if acl != nil {
				t.Fatal("a refused list")
			}
			return
		}
		if !acl.stored() {
			t.Fatalf("%v is no list of a tree", acl)
		}
		again, code := newACL(acl.List(), Identities{})
		if code != OK || !slices.Equal(again.List(), acl.List()) || again.digest() != acl.digest() {
			t.Fatalf("%v and %v: %v", acl, again, code)
		}
		for p := PermRead; p <= PermAdmin; p <<= 1 {
			if acl.Allows(caller, p) != again.Allows(caller, p) || acl.Allows(Identities{}, p) && !acl.Masked().Allows(caller, p) {
				t.Fatalf("%v: permission %d", acl, p)
			}
		}
	})
}
