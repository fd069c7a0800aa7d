package handlers

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// checkHost refuses names that do not mean this machine on connections that
// came over loopback: a page that rebinds its own name to 127.0.0.1 would
// otherwise be of the same origin as Perch (RELIABILITY.md C11).
func (e *edge) checkHost(_ *exchange, r *http.Request) *failure {
	if e.anyHost || !overLoopback(r) || isLocalName(r.Host) {
		return nil
	}
	return fail(codeMisdirected, "over loopback only localhost and loopback addresses are served").in("Host")
}

func overLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

// isLocalName says whether host, with or without a port, is localhost, below
// it, or a loopback address.
func isLocalName(host string) bool {
	name := host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name = host[:i]
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.Unmap().IsLoopback()
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
