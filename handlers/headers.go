package handlers

import "net/http"

// Values of headers that every answer carries. They are shared between
// answers: nobody may change the slices.
var (
	valueNoStore    = []string{"no-store, no-transform"}
	valueNoSniff    = []string{"nosniff"}
	valueSameOrigin = []string{"same-origin"}
)

// commonHeaders go on every answer, errors too (API.md rule 8). No CORS header
// is ever sent, and pages of other origins cannot embed an answer.
func (e *edge) commonHeaders(h http.Header) {
	h["Cache-Control"] = valueNoStore
	h["X-Content-Type-Options"] = valueNoSniff
	h["Cross-Origin-Resource-Policy"] = valueSameOrigin
	if cluster := e.clusterHeader(); cluster != nil {
		h["Perch-Cluster"] = cluster
	}
}
