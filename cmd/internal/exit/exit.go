// Package exit says how a process of perch ends: which codes there are, and
// which error stands for which. A code never changes its meaning; scripts rely
// on it. Those from 64 on are of sysexits.h, where it has a word for the case.
package exit

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// The codes.
const (
	OK           = 0
	Failure      = 1   // anything that has no code of its own
	Usage        = 2   // what was asked for cannot be: nothing was done
	NotFound     = 3   // there is no such node, queue, session, …
	Precondition = 4   // the state is another than the request takes for granted
	Unavailable  = 69  // nobody could serve it; nothing was changed
	Unknown      = 74  // the answer was lost; it may have been done or not
	NotObtained  = 75  // others have it, or it is not there yet: try again later
	Gone         = 76  // the session, hold, receipt or cursor is over
	Refused      = 77  // not allowed, or it is not known who asks
	NotRun       = 127 // the command to be run could not be started
	Interrupted  = 130 // told to end before there was an answer, as a shell says it
)

// Codes are all codes and what each says.
var Codes = []struct {
	Code  int
	Means string
}{
	{OK, "done"},
	{Failure, "failed, for a reason that has no code of its own"},
	{Usage, "wrong arguments; nothing was done"},
	{NotFound, "it does not exist"},
	{Precondition, "the state is another than was taken for granted: another version or tag, it exists already, it has children, a quota"},
	{Unavailable, "nobody could serve it in time; nothing was changed"},
	{Unknown, "no answer came, or none that says so: it may have been done or not"},
	{NotObtained, "not obtained: others hold it, or it has not happened yet; try again later"},
	{Gone, "over: the session, the hold, the receipt, the page or the cursor; begin anew"},
	{Refused, "not allowed, or not known who asks (401, 403)"},
	{NotRun, "the command that was to be run could not be started"},
	{Interrupted, "told to end (Ctrl-C) before there was an answer; nothing was changed"},
}

// Table writes Codes for people.
func Table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range Codes {
		fmt.Fprintf(t, "%4d\t%s\n", c.Code, c.Means)
	}
	_ = t.Flush() // w is a buffer or the terminal
}

// Error ends a process with a code.
type Error struct {
	Code int
	Err  error  // nil: everything has been said
	Hint string // what to do about it; may be empty
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit %d", e.Code)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// UsageError marks err as a fault of whoever called, as opposed to a failure.
func UsageError(err error) error { return &Error{Code: Usage, Err: err} }

// Silent ends a process with code when everything has been said.
func Silent(code int) error { return &Error{Code: code} }

// CodeOf is the code that err stands for.
func CodeOf(err error) int {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	}
	return Failure
}

// Report tells err, when there is one, line by line, and returns the code.
func Report(w io.Writer, err error) int {
	code, hint := CodeOf(err), ""
	if e := (*Error)(nil); errors.As(err, &e) {
		if hint = e.Hint; e.Err == nil {
			return code
		}
	}
	if err == nil {
		return code
	}
	for _, text := range []string{err.Error(), hint} {
		for line := range strings.Lines(text) {
			fmt.Fprintln(w, "perch:", strings.TrimSuffix(line, "\n"))
		}
	}
	return code
}
