package lease

import (
	"bytes"
	"errors"
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

func raise(level uint32) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_RaiseLevel{RaiseLevel: &commandpb.RaiseLevel{Level: level}}}
}

// TestLevel: a format may be proposed only at its level, the level never goes
// back, and a program that does not know it stops instead of guessing
// (RULES.md R6).
func TestLevel(t *testing.T) {
	b := newBench(t, DefaultSettings())
	b.s.Know(Format + 1)
	newer := put(&commandpb.Put{Path: "/a"})
	newer.Format = Format + 1
	b.refused(tree.ErrInvalidArgument, newer)
	before := b.s.View().Digest()
	b.must(raise(Format + 1))
	if b.s.View().Level() != Format+1 || b.s.View().Digest() == before {
		t.Fatalf("level %d", b.s.View().Level())
	}
	b.must(newer)
	b.must(raise(1))
	if b.s.View().Level() != Format+1 {
		t.Fatalf("the level went back to %d", b.s.View().Level())
	}
	var snapshot bytes.Buffer
	if _, err := b.s.View().WriteTo(&snapshot); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(&snapshot); !errors.Is(err, ErrFormat) {
		t.Fatalf("an older program read a snapshot of a level that it does not know: %v", err)
	}
}

func TestLevelUnknownStops(t *testing.T) {
	newer := put(&commandpb.Put{Path: "/a"})
	newer.Format = Format + 1
	for name, c := range map[string]*commandpb.Command{"level": raise(Format + 1), "format": newer} {
		s := New(DefaultSettings())
		digest := s.View().Digest()
		_, _, err := s.Apply(&quorum.Entry{Zxid: quorum.MakeZxid(1, 1), Kind: quorum.EntryCommand, Data: marshal(t, c)})
		if !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		if s.View().Digest() != digest {
			t.Errorf("%s: the state has changed", name)
		}
	}
}
