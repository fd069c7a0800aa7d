package main

import (
	"io"
	"log/slog"

	"perch/cmd/internal/progress"
)

// newLogger logs JSON, one object a line, or text for people when w is a
// terminal.
func newLogger(w io.Writer) *slog.Logger {
	if progress.IsTerminal(w) {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: shorten}))
	}
	return slog.New(slog.NewJSONHandler(w, nil))
}

// shorten leaves of a line's time the part that a person looks at.
func shorten(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
	}
	return a
}
