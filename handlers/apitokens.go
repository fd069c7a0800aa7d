package handlers

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/handlers/identity"
	"perch/lease"
)

const (
	labelBytesMax   = 128
	tokenIDBytesMax = 64
	secretBytes     = 32
)

// ListTokens implements GET /v1/tokens.
func (e *edge) ListTokens(ctx context.Context, q api.ListTokensRequestObject) (api.ListTokensResponseObject, error) {
	p := &q.Params
	answer, err := e.readPage(ctx, lease.ReadTokens,
		pageOptions{p.Limit, p.PageToken, p.Consistency, p.MinZxid, p.PerchSession})
	if err != nil {
		return nil, err
	}
	body := api.TokenPage{Tokens: make([]api.Token, len(answer.APITokens)), NextPageToken: some(answer.NextPage)}
	for i := range answer.APITokens {
		body.Tokens[i] = renderToken(&answer.APITokens[i])
	}
	return api.ListTokens200JSONResponse{Body: body,
		Headers: api.ListTokens200ResponseHeaders{PerchZxid: int64(answer.Zxid)}}, nil
}

// CreateToken implements POST /v1/tokens. Only the SHA-256 of the secret leaves
// the edge (RULES.md R19).
func (e *edge) CreateToken(ctx context.Context, q api.CreateTokenRequestObject) (api.CreateTokenResponseObject, error) {
	create, err := parseTokenSpec(q.Body)
	if err != nil {
		return nil, err
	}
	exchangeOf(ctx).concerns(create.Principal)
	secret := ""
	if create.SecretSha256 == nil {
		secret, create.SecretSha256 = drawSecret()
	}
	res, err := e.writeAs(ctx, q.Params.PerchSession,
		&commandpb.Command{Op: &commandpb.Command_CreateToken{CreateToken: create}})
	if err != nil {
		return nil, explain(err, noToken)
	}
	body := renderToken(&res.APIToken)
	if secret != "" {
		body.Secret = some(identity.TokenText(body.ID, secret))
	}
	return api.CreateToken201JSONResponse{Body: body,
		Headers: api.CreateToken201ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// noToken is why apply refuses a token that the edge has found well-formed.
const noToken = "two live tokens are the most that a principal has, and no other token may have the same secret"

// drawSecret draws the secret part of an API token, and gives the SHA-256 by
// which it is known.
func drawSecret() (string, []byte) {
	var random [secretBytes]byte
	_, _ = rand.Read(random[:]) // it never fails
	text := base64.RawURLEncoding.EncodeToString(random[:])
	hash := sha256.Sum256([]byte(text))
	return text, hash[:]
}

func parseTokenSpec(spec *api.TokenSpec) (*commandpb.CreateToken, error) {
	if err := checkName("/principal", spec.Principal); err != nil {
		return nil, err
	}
	create := &commandpb.CreateToken{Principal: spec.Principal}
	if spec.Label != nil {
		create.Label = *spec.Label
		if len(create.Label) > labelBytesMax {
			return nil, badArgument("/label", "it is too long").met(labelBytesMax)
		}
		if err := checkText("/label", create.Label); err != nil {
			return nil, err
		}
	}
	if spec.ExpiresAt != nil {
		if !spec.ExpiresAt.After(time.Now()) {
			return nil, badArgument("/expires_at", "it is over")
		}
		create.ExpiresMs = spec.ExpiresAt.UnixMilli()
	}
	if spec.SecretSha256 != nil {
		hash, err := hex.DecodeString(*spec.SecretSha256)
		if err != nil || len(hash) != sha256.Size || strings.ToLower(*spec.SecretSha256) != *spec.SecretSha256 {
			return nil, badArgument("/secret_sha256", "it is not a SHA-256 of 64 hexadecimal digits in lower case")
		}
		create.SecretSha256 = hash
	}
	return create, nil
}

// RevokeToken implements DELETE /v1/tokens/{id}.
func (e *edge) RevokeToken(ctx context.Context, q api.RevokeTokenRequestObject) (api.RevokeTokenResponseObject, error) {
	if len(q.ID) > tokenIDBytesMax {
		return nil, badArgument("id", "it is too long").met(tokenIDBytesMax)
	}
	if err := checkText("id", q.ID); err != nil {
		return nil, err
	}
	res, err := e.writeAs(ctx, q.Params.PerchSession,
		&commandpb.Command{Op: &commandpb.Command_RevokeToken{RevokeToken: &commandpb.RevokeToken{Id: q.ID}}})
	if err != nil {
		return nil, explain(err, lastAdministrator)
	}
	return api.RevokeToken204Response{Headers: api.RevokeToken204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

func renderToken(t *lease.APIToken) api.Token {
	out := api.Token{
		ID: t.ID, Principal: t.Principal, Label: some(t.Label), CreatedAt: renderTime(t.Created),
	}
	if t.Expires != 0 {
		out.ExpiresAt = some(renderTime(t.Expires))
	}
	return out
}
