package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

// path is a node as the contract has it: without a slash in front. It is the
// only place that makes one of an argument; the client escapes it.
func (o *Options) path(arg string) (string, error) {
	at, err := o.prefix(arg)
	return strings.TrimSuffix(at, "/"), err // completion, and habit, leave one there
}

// prefix is path for sequential names: a slash at the end is an empty prefix.
func (o *Options) prefix(arg string) (string, error) {
	full := arg
	switch {
	case arg == "":
		full = o.dir
	case !strings.HasPrefix(arg, "/"):
		full = o.dir + "/" + arg
	}
	if o.own != nil { // in the shell there is a place to go up from
		full = upwards(full)
	}
	for segment := range strings.SplitSeq(full, "/") {
		if segment == "." || segment == ".." {
			return "", exit.UsageError(fmt.Errorf("%q: a path has no . or .. in it", arg))
		}
	}
	return strings.TrimLeft(full, "/"), nil
}

// upwards takes . and .. out of a path, as a shell does; a slash at the end, an
// empty prefix of sequential names, stays.
func upwards(full string) string {
	var kept []string
	segments := strings.Split(full, "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		case ".":
		case "":
			if last && len(kept) > 0 {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// name refuses what would be another URL; the rest is for the server to judge.
func name(arg string) (string, error) {
	if arg == "" || arg == "." || arg == ".." {
		return "", exit.UsageError(fmt.Errorf("%q is no name: letters, digits and ._:- are, at most 255", arg))
	}
	return arg, nil
}

func checkNames(args []string) error {
	for _, arg := range args {
		if _, err := name(arg); err != nil {
			return err
		}
	}
	return nil
}

// source is where the value of a command comes from.
type source struct{ file string }

func (s *source) declare(_ *config, f *pflag.FlagSet) {
	f.StringVarP(&s.file, "file", "f", "", "take the value from this file (-: standard input)")
}

// read takes the value from the file, the argument, or standard input when the
// argument is -. given says whether there is one at all.
func (s *source) read(c *conn, args []string) (data []byte, given bool, err error) {
	switch {
	case s.file != "" && len(args) > 0:
		return nil, false, exit.UsageError(errors.New("give the value as an argument or with --file, not both"))
	case s.file == "-" || s.file == "" && len(args) > 0 && args[0] == "-":
		data, err = io.ReadAll(io.LimitReader(c.in.InOrStdin(), answerBytesMax))
		return data, true, err
	case s.file != "":
		if data, err = os.ReadFile(s.file); err != nil {
			err = fmt.Errorf("--file: %w", err)
		}
		return data, true, err
	case len(args) > 0:
		return []byte(args[0]), true, nil
	}
	return nil, false, nil
}

// must is read of a value that there has to be.
func (s *source) must(c *conn, args []string) ([]byte, error) {
	data, given, err := s.read(c, args)
	if err == nil && !given {
		err = exit.UsageError(errors.New("a value is missing: give it as an argument, with --file FILE, or - for standard input"))
	}
	return data, err
}

// span is a flag for a length of time: 30s, or a number of milliseconds, as
// ZooKeeper's commands have it.
type span struct{ d *time.Duration }

// String is the default that help shows: nothing for 0, which has no unit.
func (s *span) String() string {
	switch {
	case s.d == nil || *s.d == 0:
		return "0"
	case *s.d < 0:
		return "-1"
	}
	return s.d.String()
}

func (s *span) Type() string { return "duration" }

func (s *span) Set(text string) error {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms < int64(1<<63-1)/int64(time.Millisecond) {
		*s.d = time.Duration(ms) * time.Millisecond
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q: must be a time such as 30s or 1h30m, or a number of milliseconds", text)
	}
	*s.d = d
	return nil
}

// ms is d in the contract's unit; nil for 0.
func ms(d time.Duration) *int64 { return ptr(d.Milliseconds()) }

// checkTTL refuses what the contract does, before anything is sent.
func checkTTL(d time.Duration) error {
	if d < time.Second || d > 24*time.Hour {
		return exit.UsageError(errors.New("--ttl: must be 1s to 24h"))
	}
	return nil
}

// parseACL reads SCHEME:ID:PERMS,…: an id may have colons in it.
func parseACL(text string) ([]client.ACLEntry, error) {
	var entries []client.ACLEntry
	for item := range strings.SplitSeq(text, ",") {
		scheme, rest, ok := strings.Cut(item, ":")
		at := strings.LastIndexByte(rest, ':')
		if !ok || at < 0 {
			return nil, exit.UsageError(fmt.Errorf("%q: an entry is SCHEME:ID:PERMS, such as world:anyone:r or principal:ci:cdrw", item))
		}
		entries = append(entries, client.ACLEntry{Scheme: scheme, ID: rest[:at], Perms: rest[at+1:]})
	}
	return entries, nil
}
