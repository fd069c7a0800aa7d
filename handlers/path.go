package handlers

import (
	"net/http"
	"strings"

	"perch/tree"
)

// nodePrefixes are the routes whose last part is the path of a node.
var nodePrefixes = [...]string{
	"/v1/nodes/", "/v1/children/", "/v1/stat/", "/v1/watch/", "/v1/stream/", "/v1/tree/", "/v1/acl/", "/v1/acl-default/",
	"/v1/quota/",
}

// foldPath makes `a/b`, `a%2Fb`, `%2Fa%2Fb` and `//a/b` the same node (API.md
// rule 3). chi's {path} matches one segment and takes RawPath where there is
// one, so the canonical path is put there, escaped as a whole: the generated
// code hands it to the handlers as "/a/b", and the root as "/".
func foldPath(_ *exchange, r *http.Request) *failure {
	sent := r.URL.RawPath
	if sent == "" {
		sent = r.URL.Path
	}
	for _, prefix := range nodePrefixes {
		// A prefix that was sent escaped is another URL: no route knows it.
		if strings.HasPrefix(sent, prefix) {
			r.URL.RawPath = foldTail(prefix, r.URL.Path[len(prefix):])
			return nil
		}
	}
	return nil
}

// foldTail is prefix and the canonical path of tail, in which only what chi and
// the generated code would take apart is escaped.
func foldTail(prefix, tail string) string {
	tail = strings.TrimLeft(tail, "/")
	var b strings.Builder
	b.Grow(len(prefix) + len(tail) + 3 + 2*strings.Count(tail, "/") + 2*strings.Count(tail, "%"))
	b.WriteString(prefix)
	b.WriteString("%2F")
	for i := range len(tail) {
		switch c := tail[i]; c {
		case '/':
			b.WriteString("%2F")
		case '%':
			b.WriteString("%25")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// canonical is the path of a node that a JSON text names: as in a URL, leading
// slashes do not matter, and none of it is the root.
func canonical(path string) string { return "/" + strings.TrimLeft(path, "/") }

// checkPath is the one check of node paths at the edge; apply repeats it with
// the committed limits.
func (e *edge) checkPath(path string) error {
	return tree.CheckPath(path, e.pathLimits())
}

func (e *edge) pathLimits() tree.PathLimits {
	s := &e.recent().Settings
	return tree.PathLimits{Bytes: s.PathBytes, Segments: s.PathSegments}
}
