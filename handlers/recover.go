package handlers

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
)

// recovered makes a panic a 500 and a log line with its stack. When the answer
// has begun nothing can be said any more, so the connection is cut.
func (e *edge) recovered(x *exchange, v any) {
	if v == http.ErrAbortHandler {
		panic(v)
	}
	e.log.LogAttrs(x, slog.LevelError, "panic", slog.String("request_id", x.requestID()),
		slog.String("panic", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
	if x.status != 0 {
		panic(http.ErrAbortHandler)
	}
	e.refuse(x, fail(codeInternal, ""))
}
