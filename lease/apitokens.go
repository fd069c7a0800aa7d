package lease

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// Bounds of API tokens. They are part of what accessLevel means.
const (
	tokensLive      = 2 // of one principal: the old and the new one of a rotation
	tokenLabelBytes = 255
)

// apiToken is one API token. It is immutable once it is in a table.
type apiToken struct {
	principal string
	id        quorum.Zxid // the transaction that made it; 0: FirstToken
	secret    TokenHash
	label     string
	created   int64 // Unix milliseconds
	expires   int64 // 0: never
}

// apiTokenLess puts the tokens of a principal together.
func apiTokenLess(a, b *apiToken) bool {
	if a.principal != b.principal {
		return a.principal < b.principal
	}
	return a.id < b.id
}

// apiSecretLess is the order in which they are found by their secrets.
func apiSecretLess(a, b *apiToken) bool { return lessHash(&a.secret, &b.secret) }

// live says whether t proves anything at wall.
func (t *apiToken) live(wall int64) bool { return t.expires == 0 || wall < t.expires }

func (t *apiToken) info() APIToken {
	return APIToken{
		ID: tokenID(t.id), Principal: t.principal, Label: t.label, Created: t.created, Expires: t.expires,
	}
}

func tokenID(id quorum.Zxid) string { return "t" + strconv.FormatUint(uint64(id), 10) }

// parseTokenID is the reverse; an id has one spelling.
func parseTokenID(id string) (quorum.Zxid, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(id, "t"), 10, 64)
	return quorum.Zxid(n), err == nil && id == tokenID(quorum.Zxid(n))
}

// digest is the token's part of the sum over the state.
func (t *apiToken) digest() uint64 {
	b := []byte{'T'}
	b = binary.AppendUvarint(b, uint64(len(t.principal)))
	b = append(b, t.principal...)
	b = append(b, t.secret[:]...)
	for _, v := range [...]uint64{uint64(t.id), uint64(t.created), uint64(t.expires)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return xxhash.Sum64(append(b, t.label...))
}

func (s *State) addToken(t *apiToken) {
	s.apiTokens.Set(t)
	s.apiSecrets.Set(t)
	s.sum += t.digest()
}

func (s *State) dropToken(t *apiToken) {
	s.apiTokens.Delete(t)
	s.apiSecrets.Delete(t)
	s.sum -= t.digest()
}

// tokensOf are the API tokens of a principal, by rising id.
func (s *State) tokensOf(name string) (list []*apiToken) {
	s.apiTokens.Ascend(&apiToken{principal: name}, func(t *apiToken) bool {
		if t.principal == name {
			list = append(list, t)
		}
		return t.principal == name
	})
	return list
}

// createToken adds an API token to a principal. Those of it that have expired
// make room.
func (s *State) createToken(x *txn, op *commandpb.CreateToken, id quorum.Zxid, res *Result) tree.Code {
	t := &apiToken{principal: op.Principal, id: id, label: op.Label, created: x.Wall, expires: op.ExpiresMs}
	switch {
	case copy(t.secret[:], op.SecretSha256) != len(op.SecretSha256) || len(op.SecretSha256) != len(t.secret),
		len(t.label) > tokenLabelBytes || !utf8.ValidString(t.label),
		!t.live(x.Wall):
		return tree.ErrInvalidArgument
	case s.principal(op.Principal) == nil:
		return tree.ErrNoPrincipal
	}
	if same, ok := s.apiSecrets.Get(t); ok {
		if same.principal != t.principal || same.label != t.label || same.expires != t.expires {
			return tree.ErrInvalidArgument
		}
		res.APIToken = same.info() // the request came twice
		return tree.OK
	}
	live := 0
	for _, old := range s.tokensOf(op.Principal) {
		if old.live(x.Wall) {
			live++
		} else {
			s.dropToken(old)
		}
	}
	if live >= tokensLive {
		return tree.ErrInvalidArgument
	}
	s.addToken(t)
	res.APIToken = t.info()
	return tree.OK
}

func (s *State) revokeToken(op *commandpb.RevokeToken) tree.Code {
	id, ok := parseTokenID(op.Id)
	var found *apiToken
	s.apiTokens.Ascend(&apiToken{}, func(t *apiToken) bool {
		if ok && t.id == id {
			found = t
		}
		return found == nil
	})
	if found == nil {
		return tree.ErrNoToken
	}
	s.dropToken(found)
	return tree.OK
}

// enableAuth turns authentication on, unless it is on, with somebody who can
// administer the cluster and prove that he is the one.
func (s *State) enableAuth(x *txn, op *commandpb.EnableAuth, res *Result) tree.Code {
	if s.auth {
		return tree.OK
	}
	if code := s.putPrincipal(x, op.GetAdmin(), res); code != tree.OK {
		return code
	}
	if op.GetToken().GetPrincipal() != res.Principal.Name || !s.principal(res.Principal.Name).governs() {
		return tree.ErrInvalidArgument
	}
	if code := s.createToken(x, op.Token, 0, res); code != tree.OK {
		return code
	}
	s.auth = true
	return tree.OK
}
