package lease

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// Lengths of a token that a client draws (API.md rule 10).
const (
	TokenLenMin = 22
	TokenLenMax = 128
)

// A server's token is drawnPrefix, the session id in 16 hexadecimal digits, an
// underscore and the MAC in unpadded URL base64. A client's token of exactly
// this shape is taken for a forged one; nobody draws it by chance.
const (
	drawnPrefix = "ps1_"
	macStart    = len(drawnPrefix) + 16 + 1
	drawnLen    = macStart + 43
)

// Tokens draws the server's session tokens and says which session a token
// names. A server's token is HMAC-SHA256(secret, cluster id ‖ session id), so
// that nobody has to store it (RULES.md R19). It is immutable and safe for
// concurrent use.
type Tokens struct {
	cluster quorum.ClusterID
	secrets [][]byte
}

// NewTokens serves one cluster. Tokens are drawn with the first secret and
// accepted under every one, so that two are valid during a rotation. There must
// be at least one.
func NewTokens(cluster quorum.ClusterID, secrets ...[]byte) *Tokens {
	t := &Tokens{cluster: cluster}
	for _, s := range secrets {
		t.secrets = append(t.secrets, append([]byte(nil), s...))
	}
	return t
}

func (t *Tokens) mac(secret []byte, id quorum.Zxid) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(t.cluster[:])
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(id))
	h.Write(b[:])
	return h.Sum(nil)
}

// Draw is the token of a session that was opened without one. The same session
// has the same token on every node with the same first secret.
func (t *Tokens) Draw(id quorum.Zxid) string { return t.text(t.secrets[0], id) }

func (t *Tokens) text(secret []byte, id quorum.Zxid) string {
	return fmt.Sprintf("%s%016x_%s", drawnPrefix, uint64(id), base64.RawURLEncoding.EncodeToString(t.mac(secret, id)))
}

// Resolve names the session of a token without its secret, for commands and for
// View.Lookup. A malformed or forged token is tree.ErrSessionExpired. No token,
// "", is no session: nil.
func (t *Tokens) Resolve(token string) (*commandpb.SessionRef, error) {
	if token == "" {
		return nil, nil
	}
	if !wellFormed(token) {
		return nil, tree.ErrSessionExpired
	}
	if id, ok := parseDrawn(token); ok {
		for _, secret := range t.secrets {
			// The whole text is compared, so that a token has one spelling.
			if hmac.Equal([]byte(token), []byte(t.text(secret, id))) {
				return &commandpb.SessionRef{Ref: &commandpb.SessionRef_Id{Id: uint64(id)}}, nil
			}
		}
		return nil, tree.ErrSessionExpired
	}
	hash := sha256.Sum256([]byte(token))
	return &commandpb.SessionRef{Ref: &commandpb.SessionRef_TokenHash{TokenHash: hash[:]}}, nil
}

// Identify has cmd name the session of token, which itself stays out of it: of
// one that a client drew it carries the hash, of one that the server drew the id,
// once it has proved genuine. Errors are those of Resolve.
func (t *Tokens) Identify(cmd *commandpb.Command, token string) error {
	ref, err := t.Resolve(token)
	if err != nil || ref == nil {
		return err
	}
	ref.OpenTtlMs = cmd.GetSession().GetOpenTtlMs()
	cmd.Session = ref
	return nil
}

func wellFormed(token string) bool {
	if len(token) < TokenLenMin || len(token) > TokenLenMax {
		return false
	}
	for i := range len(token) {
		switch c := token[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// parseDrawn is the session of a token of the shape of a server's.
func parseDrawn(token string) (quorum.Zxid, bool) {
	if len(token) != drawnLen || !strings.HasPrefix(token, drawnPrefix) || token[macStart-1] != '_' {
		return 0, false
	}
	id, err := strconv.ParseUint(token[len(drawnPrefix):macStart-1], 16, 64)
	return quorum.Zxid(id), err == nil
}
