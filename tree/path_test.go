package tree

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

var pathLimits = PathLimits{Bytes: 40, Segments: 4}

func TestCheckPath(t *testing.T) {
	for _, c := range []struct {
		path string
		want string // part of the message; "" when the path is good
	}{
		{"/", ""}, {"/a", ""}, {"/a/b/c/d", ""}, {"/a b", ""}, {"/%41", ""}, {"/...", ""}, {"/.a/a./..b", ""},
		{"/é/日本/\u00a0", ""}, {"/a\u0300", ""}, {"/\ufffe", "U+FFFE"}, {"/\uf900\uffef", ""}, {"/\ud7ff", ""},
		{"", "empty"}, {"a", "begin"}, {"a/b", "begin"}, {"/a/", "ends"}, {"//", "ends"}, {"//a", "empty segment"},
		{"/a//b", "empty segment"}, {"/.", "segment ."}, {"/..", "segment .."}, {"/a/./b", "segment ."},
		{"/a/..", "segment .."}, {"/a\x00", "U+0000"}, {"/\x01", "U+0001"}, {"/a\x1f", "U+001F"}, {"/ ", ""},
		{"/~", ""}, {"/\x7f", "U+007F"}, {"/\u0080", "U+0080"}, {"/\u009f", "U+009F"}, {"/\ue000", "U+E000"},
		{"/\uf8ff", "U+F8FF"}, {"/\ufff0", "U+FFF0"}, {"/\ufffd", "U+FFFD"}, {"/\uffff", "U+FFFF"},
		{"/\U00010000", "U+10000"}, {"/\U0001F600", "U+1F600"}, {"/\U0010FFFF", "U+10FFFF"},
		{"/\xff", "not UTF-8"}, {"/a\xc0\xaf", "not UTF-8"}, {"/\xed\xa0\x80", "not UTF-8"}, {"/\xe2\x82", "not UTF-8"},
		{"/a/b/c/d/e", "5 segments"}, {"/" + strings.Repeat("x", 39), ""}, {"/" + strings.Repeat("x", 40), "41 bytes"},
	} {
		err := CheckPath(c.path, pathLimits)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%q: %v", c.path, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q: %v, want %q", c.path, err, c.want)
		case err != nil && !errors.Is(err, ErrInvalidPath):
			t.Errorf("%q: %v is not ErrInvalidPath", c.path, err)
		}
	}
}

func TestCheckSequential(t *testing.T) {
	for path, good := range map[string]bool{
		"/": true, "/p/": true, "/p/n-": true, "/p/.": true, "/p/..": true, "/p//": false, "/./": false, "p/": false,
		"/p/\x00": false, "/a/b/c/": true, "/a/b/c/d/": false, "/" + strings.Repeat("x", 29): true, "/" + strings.Repeat("x", 30): false,
	} {
		if err := CheckSequential(path, pathLimits); (err == nil) != good {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestParentAndName(t *testing.T) {
	for _, c := range [][3]string{{"/", "", ""}, {"/a", "/", "a"}, {"/a/b", "/a", "b"}, {"/a/b/c", "/a/b", "c"}} {
		if p, n := Parent(c[0]), Name(c[0]); p != c[1] || n != c[2] {
			t.Errorf("%q: parent %q, name %q", c[0], p, n)
		}
	}
	for _, c := range []struct {
		path, top string
		want      bool
	}{{"/", "/", true}, {"/a", "/", true}, {"/a", "/a", true}, {"/a/b", "/a", true}, {"/ab", "/a", false}, {"/a", "/a/b", false}, {"/", "/a", false}} {
		if Under(c.path, c.top) != c.want {
			t.Errorf("%q under %q: %v", c.path, c.top, !c.want)
		}
	}
	for path, want := range map[string]bool{"/perch": true, "/perch/x": true, "/perches": false, "/a/perch": false, "/": false} {
		if IsReserved(path) != want {
			t.Errorf("%q reserved: %v", path, !want)
		}
	}
}

// zkValid is ZooKeeper's rule in its own terms: over UTF-16 code units.
func zkValid(path string) bool {
	if !utf8.ValidString(path) {
		return false
	}
	u := utf16.Encode([]rune(path))
	if len(u) == 0 || u[0] != '/' {
		return false
	}
	if len(u) == 1 {
		return true
	}
	if u[len(u)-1] == '/' {
		return false
	}
	segment := []uint16{}
	for _, c := range append(u[1:len(u):len(u)], '/') {
		switch {
		case c == '/':
			n := len(segment)
			if n == 0 || n == 1 && segment[0] == '.' || n == 2 && segment[0] == '.' && segment[1] == '.' {
				return false
			}
			segment = segment[:0]
			continue
		case c <= 0x1f, c >= 0x7f && c <= 0x9f, c >= 0xd800 && c <= 0xf8ff, c >= 0xfff0:
			return false
		}
		segment = append(segment, c)
	}
	return true
}

func FuzzCheckPath(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/a/../b", "//", "/\u0080", "/\U0001F600", "/\xed\xa0\x80", "/.a", "/ab/.", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if got, want := CheckPath(path, PathLimits{}) == nil, zkValid(path); got != want {
			t.Fatalf("%q: %v, want %v", path, got, want)
		}
		if CheckPath(path, pathLimits) != nil {
			return
		}
		if len(path) > pathLimits.Bytes || strings.Count(path, "/") > pathLimits.Segments {
			t.Fatalf("%q is beyond the limits", path)
		}
		if path != Root && Parent(path)+"/"+Name(path) != path && Parent(path)+Name(path) != path {
			t.Fatalf("%q does not come apart", path)
		}
	})
}
