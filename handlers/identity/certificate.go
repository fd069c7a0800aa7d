package identity

import (
	"crypto/tls"
	"regexp"
	"strings"

	"perch/gen/commandpb"
	"perch/lease"
)

// certificateURI is the form of the URI in a client certificate, such as
// spiffe://example.org/team/service. What could be written in two ways, or be
// taken for a separator of names, is no part of it: escapes, ports, empty
// segments, queries.
var certificateURI = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://([A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._@-]*)*)$`)

// certificate takes the principal from the one URI among the alternative names
// of a verified client certificate. Common names and DNS names name hosts, and
// whoever may have a certificate for a host is not therefore somebody here.
func (r *Resolver) certificate(state *tls.ConnectionState, c *commandpb.Caller) error {
	if state == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	if len(state.VerifiedChains) == 0 {
		return refuse(KindCertificate, "not verified")
	}
	leaf := state.VerifiedChains[0][0]
	// A connection may outlive the certificate that it began with.
	if now := r.now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return refuse(KindCertificate, "expired")
	}
	if len(leaf.URIs) != 1 {
		return refuse(KindCertificate, "there is not exactly one URI among its names")
	}
	uri := leaf.URIs[0].String()
	parts := certificateURI.FindStringSubmatch(uri)
	if parts == nil {
		return refuse(KindCertificate, "its URI is not of the form scheme://name/name")
	}
	principal := strings.ReplaceAll(parts[1], "/", ":")
	if !lease.ValidPrincipal(principal) {
		return refuse(KindCertificate, "its URI is too long")
	}
	c.Principal, c.Certificate = principal, uri
	return nil
}
