package lease

import (
	"errors"

	"perch/gen/commandpb"
	"perch/gen/snapshotpb"
	"perch/quorum"
)

// Principals and API tokens in snapshots.

func (v *View) writePolicy(f *frameWriter) {
	v.principals.Scan(func(p *principal) bool {
		m := &snapshotpb.Principal{Name: p.Name, Root: p.Root, Disabled: p.Disabled, Etag: uint64(p.ETag)}
		for _, g := range p.Grants {
			m.Grants = append(m.Grants, &commandpb.Grant{Prefix: g.Prefix, Perms: uint32(g.Perms)})
		}
		return f.frame(framePrincipal, m)
	})
	v.apiTokens.Scan(func(t *apiToken) bool {
		return f.frame(frameToken, &snapshotpb.Token{
			Id: uint64(t.id), Principal: t.principal, SecretSha256: t.secret[:], Label: t.label,
			CreatedMs: t.created, ExpiresMs: t.expires,
		})
	})
}

func readPrincipals(s *State, f *frameReader, head *snapshotpb.Header) error {
	var last *principal
	for range head.Principals {
		var m snapshotpb.Principal
		if err := f.next(framePrincipal, &m); err != nil {
			return err
		}
		p := Principal{Name: m.Name, Root: m.Root, Disabled: m.Disabled, ETag: quorum.Zxid(m.Etag)}
		for _, g := range m.Grants {
			p.Grants = append(p.Grants, Grant{Prefix: g.Prefix, Perms: Perm(g.Perms)})
		}
		n := newPrincipal(p)
		if p.ETag > s.zxid || last != nil && !principalLess(last, n) {
			return errors.New("principals out of order")
		}
		last = n
		s.setPrincipal(nil, n)
	}
	return nil
}

func readTokens(s *State, f *frameReader, head *snapshotpb.Header) error {
	var last *apiToken
	for range head.Tokens {
		var m snapshotpb.Token
		if err := f.next(frameToken, &m); err != nil {
			return err
		}
		t := &apiToken{
			principal: m.Principal, id: quorum.Zxid(m.Id), label: m.Label, created: m.CreatedMs, expires: m.ExpiresMs,
		}
		if copy(t.secret[:], m.SecretSha256) != len(m.SecretSha256) || len(m.SecretSha256) != len(t.secret) {
			return errors.New("a secret's hash of another size")
		}
		_, twice := s.apiSecrets.Get(t)
		if twice || t.id > s.zxid || last != nil && !apiTokenLess(last, t) || s.principal(t.principal) == nil {
			return errors.New("an impossible API token")
		}
		last = t
		s.addToken(t)
	}
	return nil
}
