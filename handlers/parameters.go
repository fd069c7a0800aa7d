package handlers

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// checkParameters refuses what the operation does not declare (API.md rules 14
// and 20), so that nobody believes in the effect of something that was ignored.
// Values are the business of the generated code and the handlers.
func checkParameters(op *operation, r *http.Request) *failure {
	if r.URL.RawQuery != "" {
		if f := checkQuery(op.query, r.URL.RawQuery); f != nil {
			return f
		}
	}
	if _, ok := r.Header[headerIdempotencyKey]; ok && !op.ops && !op.keyed {
		return badArgument(headerIdempotencyKey, "this operation does not take it")
	}
	return checkConditions(op, r.Header)
}

// checkQuery walks the query as url.ParseQuery does, without building a map.
func checkQuery(declared []string, query string) *failure {
	var seen uint64
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		name, value, given := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil || strings.Contains(pair, ";") {
			return badArgument("", "the query is not well-formed")
		}
		i := slices.Index(declared, name)
		if i < 0 {
			return fail(codeUnknownParameter, "").in(printable(name))
		}
		if seen&(1<<i) != 0 && name != queryFence {
			return badArgument(name, "it is given more than once")
		}
		seen |= 1 << i
		if _, err := url.QueryUnescape(value); err != nil || value == "" && !(given && name == queryPrefix) {
			return badArgument(name, "it has no well-formed value")
		}
		if slices.Contains(switches[:], name) && value != "true" && value != "false" {
			return badArgument(name, "it is true or false, written so")
		}
	}
	return nil
}

// queryPrefix is the one parameter that may be empty: every name begins so.
const queryPrefix = "prefix"

// switches are the parameters that are booleans. The generated code would take
// 1, T and TRUE too, which the contract does not know.
var switches = [...]string{"failed", "force", "parents", "recursive", "sequential", "takeover"}

// conditionals are the headers that make a request depend on what is there, and
// those that make a write one of a part (curl -C -T). One that an operation does
// not know must not be passed over in silence. Of reads only the first two can
// mean anything: there are no dates and no ranges.
var conditionals = [...]string{ifMatch, ifNoneMatch, "If-Unmodified-Since", "If-Range", "Content-Range"}

func checkConditions(op *operation, h http.Header) *failure {
	known := conditionals[:]
	switch {
	case op.ops:
		return nil // whoever scrapes them may send what he likes
	case !op.writes():
		known = conditionals[:2]
	}
	for _, name := range known {
		if _, ok := h[name]; ok && !slices.Contains(op.ifs, name) {
			return badArgument(name, "this operation does not take it")
		}
	}
	return nil
}

// printable cuts a name that a client sent to what an error may repeat.
func printable(name string) string {
	if len(name) > 64 {
		name = name[:64]
	}
	return strings.ToValidUTF8(name, "")
}
