package handlers

import (
	"net/http"
	"strconv"
	"time"

	"perch/quorum/tracing"
)

// endTrace ends the span of a request. It is named by its route, never by its
// path, which is a secret of whoever may see it.
func (x *exchange) endTrace(took time.Duration) {
	if x.trace == nil {
		return
	}
	attributes := []tracing.Attribute{
		tracing.Text("http.request.method", logMethod(x.method)), tracing.Text("http.route", x.routeName()),
		tracing.Number("http.response.status_code", int64(x.status)),
	}
	if x.code != "" {
		attributes = append(attributes, tracing.Text("perch.code", x.code))
	}
	if z, err := strconv.ParseInt(x.header("Perch-Zxid"), 10, 64); err == nil {
		attributes = append(attributes, tracing.Number("perch.zxid", z))
	}
	if x.parked {
		attributes = append(attributes, tracing.Text("perch.waited", "true"))
	}
	name, fault := logMethod(x.method), ""
	if x.op != nil {
		name += " " + x.op.path
	}
	if x.status >= http.StatusInternalServerError {
		fault = x.code
	}
	x.trace.End(name, fault, x.begun.Add(took), attributes...)
}

// traceID finds the request in the traces; "" when it is not there.
func (x *exchange) traceID() string {
	if x.trace == nil {
		return ""
	}
	return x.trace.Parent.Trace()
}
