package handlers

import (
	"log/slog"
	"net/http"
	"time"
)

// logAccess writes one line a request, at debug level but for outcomes that are
// unknown: an outage answers 503 by the thousand, and metrics count those.
// Paths, queries and tokens stand in no line (API.md rule 18).
func (e *edge) logAccess(x *exchange, took time.Duration) {
	level := slog.LevelDebug
	if x.status == http.StatusInternalServerError || x.status == http.StatusGatewayTimeout {
		level = slog.LevelInfo
	}
	if !e.log.Enabled(x, level) {
		return
	}
	e.log.LogAttrs(x, level, "request",
		slog.String("method", logMethod(x.method)),
		slog.String("route", x.routeName()),
		slog.Int("status", x.status),
		slog.String("code", x.code),
		slog.String("principal", x.caller.GetPrincipal()),
		slog.String("request_id", x.requestID()),
		slog.String("zxid", x.header("Perch-Zxid")),
		slog.Duration("duration", took),
		slog.Bool("waited", x.parked),
		slog.String("trace_id", x.traceID()))
}

// header is what the answer says under name, which is in canonical form.
func (x *exchange) header(name string) string {
	if values := x.Header()[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// routeName is the pattern of the operation, never the path that was sent.
func (x *exchange) routeName() string {
	if x.op == nil {
		return ""
	}
	return x.op.path
}

// logMethod keeps methods that a client made up out of the logs.
func logMethod(method string) string {
	switch method {
	case "GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS":
		return method
	}
	return "OTHER"
}
