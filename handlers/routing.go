package handlers

import (
	"net/http"
	"strings"
)

// routeMethod routes HEAD as GET wherever the document has no HEAD of its own
// (API.md rule 8); net/http leaves the body out.
func routeMethod(r *http.Request) string {
	if r.Method == http.MethodHead && !strings.HasPrefix(sentPath(r), "/v1/nodes/") {
		return http.MethodGet
	}
	return r.Method
}

// sentPath is the path that chi routes.
func sentPath(r *http.Request) string {
	if r.URL.RawPath != "" {
		return r.URL.RawPath
	}
	return r.URL.Path
}

// matchesPattern says whether path is one of pattern's, where {name} stands for
// one segment that is not empty.
func matchesPattern(pattern, path string) bool {
	for pattern != "" && path != "" {
		var want, got string
		want, pattern, _ = strings.Cut(pattern[1:], "/")
		got, path, _ = strings.Cut(path[1:], "/")
		if strings.HasPrefix(want, "{") {
			if got == "" {
				return false
			}
		} else if want != got {
			return false
		}
		if pattern != "" {
			pattern = "/" + pattern
		}
		if path != "" {
			path = "/" + path
		}
	}
	return pattern == "" && path == ""
}
