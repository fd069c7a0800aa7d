package tree

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Root is the path of the node that always exists.
const Root = "/"

// Reserved is the subtree that only the primitives write (API.md rule 20).
const Reserved = "/perch"

// SequenceDigits is the least width of the number that ends the name of a
// sequential node; larger numbers grow beyond it.
const SequenceDigits = 10

// PathLimits bound a path. A limit of 0 or less is no limit.
type PathLimits struct {
	Bytes    int // of the whole path in UTF-8
	Segments int // names between slashes
}

// PathError says why a path was refused. It is ErrInvalidPath to errors.Is.
type PathError struct {
	Reason string // for people; never holds the path
}

func (e *PathError) Error() string { return "invalid path: " + e.Reason }

// Unwrap makes every PathError an ErrInvalidPath.
func (e *PathError) Unwrap() error { return ErrInvalidPath }

// CheckPath says whether path is canonical and allowed: "/" or "/a/b", UTF-8,
// within the limits, with none of the characters that ZooKeeper refuses. The
// error is a *PathError. ZooKeeper looks at UTF-16 code units, so everything
// beyond U+FFFF, which needs surrogates there, is refused too.
func CheckPath(path string, l PathLimits) error {
	if reason := pathFault(path, l); reason != "" {
		return &PathError{Reason: reason}
	}
	return nil
}

// CheckSequential says whether path can be completed by a sequence number. In
// contrast to CheckPath it may end in "/", which is an empty name prefix.
func CheckSequential(path string, l PathLimits) error {
	return CheckPath(path+strings.Repeat("0", SequenceDigits), l)
}

func pathFault(path string, l PathLimits) string {
	switch {
	case path == "":
		return "it is empty"
	case path[0] != '/':
		return "it does not begin with a slash"
	case l.Bytes > 0 && len(path) > l.Bytes:
		return fmt.Sprintf("it has %d bytes, more than %d", len(path), l.Bytes)
	case path == Root:
		return ""
	case path[len(path)-1] == '/':
		return "it ends with a slash"
	}
	segments := 0
	for name := range strings.SplitSeq(path[1:], "/") {
		if reason := nameFault(name); reason != "" {
			return reason
		}
		segments++
	}
	if l.Segments > 0 && segments > l.Segments {
		return fmt.Sprintf("it has %d segments, more than %d", segments, l.Segments)
	}
	return ""
}

func nameFault(name string) string {
	switch name {
	case "":
		return "it has an empty segment"
	case ".", "..":
		return "it has a segment " + name
	}
	for i, r := range name {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(name[i:]); size == 1 {
				return "it is not UTF-8"
			}
		}
		if forbidden(r) {
			return fmt.Sprintf("it has the character U+%04X", r)
		}
	}
	return ""
}

// forbidden are ZooKeeper's ranges (Programmer's Guide, "ZooKeeper Data
// Model"), ends included.
func forbidden(r rune) bool {
	switch {
	case r <= 0x1F, r >= 0x7F && r <= 0x9F:
		return true
	case r >= 0xD800 && r <= 0xF8FF, r >= 0xFFF0:
		return true
	}
	return false
}

// IsReserved says whether path is in the reserved subtree.
func IsReserved(path string) bool {
	return path == Reserved || strings.HasPrefix(path, Reserved+"/")
}

// Parent is the path of the parent; that of the root is "".
func Parent(path string) string {
	i := strings.LastIndexByte(path, '/')
	switch {
	case path == Root || i < 0:
		return ""
	case i == 0:
		return Root
	}
	return path[:i]
}

// Name is the last segment; that of the root is "".
func Name(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
