package bench

import (
	"io"
	"net/http"
	"strings"
)

// Bare is the reference: what net/http does when a handler does nothing. It
// reads and forgets what is PUT and answers a GET with value bytes.
func Bare(value int) http.Handler {
	body := strings.Repeat("v", value)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			_, _ = io.Copy(io.Discard, r.Body)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.WriteString(w, body)
	})
}
