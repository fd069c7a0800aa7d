package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"

	"perch/gen/commandpb"
	"perch/tree"
)

// The text of an API token is tokenPrefix, its id, an underscore and its secret:
// 32 bytes in unpadded URL base64. The prefix lets scanners find tokens that
// leaked.
const (
	tokenPrefix  = "perch_"
	tokenIDMax   = 32
	tokenSecrets = 43 // characters
)

// TokenText is the API token with that id and secret, as Authorization takes it.
func TokenText(id, secret string) string { return tokenPrefix + id + "_" + secret }

// SecretHash is what the cluster keeps of the secret of an API token.
func SecretHash(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

// splitToken takes the text of an API token apart; !ok when it is none.
func splitToken(text string) (id, secret string, ok bool) {
	id, secret, ok = strings.Cut(strings.TrimPrefix(text, tokenPrefix), "_")
	ok = ok && id != "" && len(id) <= tokenIDMax && len(secret) == tokenSecrets
	return id, secret, ok
}

// apiToken looks the secret up by its hash, so that how long that takes tells
// nothing of how much of it is right.
func (r *Resolver) apiToken(ctx context.Context, text string, c *commandpb.Caller) error {
	id, secret, ok := splitToken(text)
	if !ok {
		return refuse(KindToken, "malformed")
	}
	found, err := r.tokens.Authenticate(ctx, SecretHash(secret))
	if err != nil {
		if errors.Is(err, tree.ErrUnauthenticated) {
			return refuse(KindToken, "unknown, revoked or of a disabled principal")
		}
		return err
	}
	if subtle.ConstantTimeCompare([]byte(found.Token), []byte(id)) != 1 {
		return refuse(KindToken, "the secret is another token's")
	}
	if found.Expires != 0 && found.Expires <= r.now().UnixMilli() {
		return refuse(KindToken, "expired")
	}
	c.Principal, c.Token = found.Principal, found.Token
	return nil
}
