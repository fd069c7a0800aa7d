package handlers

import "net/http"

// checkOrigin refuses writes that a browser sends for a page of another origin
// (net/http's CrossOriginProtection: Sec-Fetch-Site, else Origin). There are no
// cookies here, but on loopback there is nothing else between a page and Perch.
func (e *edge) checkOrigin(_ *exchange, r *http.Request) *failure {
	if err := e.crossOrigin.Check(r); err != nil {
		return fail(codeForbidden, "a page of another origin may not write here").in("Origin")
	}
	return nil
}
