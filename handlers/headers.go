package handlers

import "net/http"

// Values of headers that every answer carries. They are shared between
// answers: nobody may change the slices.
var (
	valueNoStore = []string{"no-store, no-transform"}
	valueNoSniff = []string{"nosniff"}
	valueTrue    = []string{"true"}
)

// commonHeaders go on every answer, errors too (API.md rule 8). No CORS header
// is ever sent, and with nosniff no page can use an answer as script or style.
// There are no more of them than needed: with eight headers a Go map stays small.
func (e *edge) commonHeaders(h http.Header) {
	h["Cache-Control"] = valueNoStore
	h["X-Content-Type-Options"] = valueNoSniff
	if cluster := e.clusterHeader(); cluster != nil {
		h["Perch-Cluster"] = cluster
	}
}
