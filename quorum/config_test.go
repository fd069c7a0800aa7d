package quorum

import (
	"bytes"
	"reflect"
	"testing"
)

func FuzzDecodeConfiguration(f *testing.F) {
	cf := Configuration{Version: MakeZxid(3, 9), Members: []Member{
		{ID: 1, Role: RoleVoter, Incarnation: Incarnation{7}}, {ID: 4, Role: RoleObserver, Addr: "host:7504"},
	}}
	f.Add(cf.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		cf, err := DecodeConfiguration(b)
		if err == nil && !bytes.Equal(cf.Encode(), b) {
			t.Fatalf("%x is read as %v, which is written %x", b, cf, cf.Encode())
		}
	})
}

func FuzzDecodeChange(f *testing.F) {
	ch := Change{Expect: 7, Force: true, Remove: []NodeID{2}, Set: []MemberChange{
		{ID: 4, Role: RoleVoter, Addr: "host:7504"}, {ID: 5, Role: RoleObserver, Replace: true},
	}}
	f.Add(ch.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		ch, err := DecodeChange(b)
		if err != nil {
			return
		}
		again, err := DecodeChange(ch.Encode())
		if err != nil || !reflect.DeepEqual(again, ch) {
			t.Fatalf("%x is read as %v, and that again as %v, %v", b, ch, again, err)
		}
	})
}
