package handlers

import (
	"strings"
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

func TestParseTag(t *testing.T) {
	for text, want := range map[string]*tagMatch{
		`"812"`: {given: true, tag: "812"}, `812`: {given: true, tag: "812"}, `W/"812"`: {given: true, tag: "812"},
		` "812" `: {given: true, tag: "812"}, `W/812`: {given: true, tag: "812"}, `*`: {given: true, any: true}, ` * `: {given: true, any: true},
		`""`: {given: true}, `W/""`: {given: true}, `"absent"`: {given: true, tag: "absent"}, `absent`: {given: true, tag: "absent"},
		`"1-2-0"`: {given: true, tag: "1-2-0"}, `"c9"`: {given: true, tag: "c9"}, `"a,b"`: {given: true, tag: "a,b"},
		`"*"`: {given: true, tag: "*"},
		``:    nil, `"`: nil, `W/`: nil, `"1", "2"`: nil, `1,2`: nil, `1 2`: nil, `"1" "2"`: nil, `*,*`: nil, `**`: nil, `"1`: nil,
		`1"`: nil, `"1""2"`: nil, `"a b"`: nil, "\"\x7f\"": nil, `w/"1"`: nil, `"1",`: nil, `, "1"`: nil,
	} {
		got, err := parseTag("If-Match", &text)
		switch {
		case want == nil && err == nil:
			t.Errorf("%q is %+v", text, got)
		case want != nil && (err != nil || got != *want):
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, *want)
		}
	}
	if got, err := parseTag("If-Match", nil); err != nil || got.given {
		t.Errorf("no header is %+v, %v", got, err)
	}
}

func TestTagFloor(t *testing.T) {
	for tag, want := range map[string]uint64{
		"812": 812, "812-813-0": 813, "900-813-5000": 900, "c77": 77, "absent": 0, "": 0, "x": 0, "1-x-2": 0, "c": 0,
		"99999999999999999999": 0, "-1": 0, "5-": 0,
	} {
		if got := (tagMatch{given: true, tag: tag}).floor(); uint64(got) != want {
			t.Errorf("floor of %q is %d, want %d", tag, got, want)
		}
	}
}

func TestWriteConditions(t *testing.T) {
	one, minus := int64(1), int64(-1)
	s := func(s string) *string { return &s }
	for _, c := range []struct {
		match, none *string
		version     *int64
		want        *commandpb.Condition
		fails       bool
	}{
		{},
		{match: s(`"812"`), want: &commandpb.Condition{When: &commandpb.Condition_Etag{Etag: 812}}},
		{match: s(`W/"812"`), want: &commandpb.Condition{When: &commandpb.Condition_Etag{Etag: 812}}},
		{match: s(`*`), want: &commandpb.Condition{When: &commandpb.Condition_IfPresent{IfPresent: true}}},
		{match: s(`""`), want: &commandpb.Condition{When: &commandpb.Condition_Etag{}}},
		{match: s(`"absent"`), want: &commandpb.Condition{When: &commandpb.Condition_Etag{}}},
		{match: s(`"0812"`), want: &commandpb.Condition{When: &commandpb.Condition_Etag{}}},
		{match: s(`"812-812-0"`), want: &commandpb.Condition{When: &commandpb.Condition_Etag{}}},
		{none: s(`*`), want: &commandpb.Condition{When: &commandpb.Condition_IfAbsent{IfAbsent: true}}},
		{version: &one, want: &commandpb.Condition{When: &commandpb.Condition_Version{Version: 1}}},
		{none: s(`"812"`), fails: true}, {none: s(`"absent"`), fails: true}, {none: s(`x,y`), fails: true},
		{match: s(`1,2`), fails: true}, {version: &minus, fails: true},
		{match: s(`1`), version: &one, fails: true}, {match: s(`1`), none: s(`*`), fails: true}, {none: s(`*`), version: &one, fails: true},
	} {
		got, err := writeCondition(c.match, c.none, c.version)
		if c.fails != (err != nil) || got.String() != c.want.String() {
			t.Errorf("%v %v %v: %v, %v; want %v", c.match, c.none, c.version, got, err, c.want)
		}
	}
}

func FuzzParseTag(f *testing.F) {
	for _, s := range []string{`"812"`, `W/"812"`, `812`, `*`, `""`, `"1","2"`, `absent`, `1-2-3`, `"a12-3"`, `a-1`, `"d12"`, `d0`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseTag("If-Match", &text)
		if err != nil {
			return
		}
		if m.any && m.tag != "" || strings.ContainsAny(m.tag, "\" \t\n") {
			t.Fatalf("%q is %+v", text, m)
		}
		again := quoted(m.tag)
		if m.any {
			again = "*"
		}
		if n, err := parseTag("If-Match", &again); err != nil || n != m {
			t.Fatalf("%q is %+v, its own form %q is %+v: %v", text, m, again, n, err)
		}
		if czxid, aversion, ok := m.acl(); ok && m.tag != aclTag(&tree.Stat{Czxid: quorum.Zxid(czxid), Aversion: aversion}) {
			t.Fatalf("%q is the tag of the ACL %d-%d", text, czxid, aversion)
		}
		if z, ok := m.defaultACL(); ok && m.tag != defaultTag(quorum.Zxid(z)) {
			t.Fatalf("%q is the tag of the default %d", text, z)
		}
		if z := m.zxid(); z != 0 && m.floor() != 0 && uint64(m.floor()) != z {
			t.Fatalf("%q: zxid %d, floor %d", text, z, m.floor())
		}
	})
}
