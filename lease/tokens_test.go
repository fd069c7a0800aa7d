package lease

import (
	"crypto/sha256"
	"strings"
	"testing"

	"perch/quorum"
	"perch/tree"
)

func TestDrawnTokens(t *testing.T) {
	cluster := quorum.ClusterID{1, 2, 3}
	old, fresh := []byte(strings.Repeat("o", 32)), []byte(strings.Repeat("n", 32))
	tokens := NewTokens(cluster, fresh, old)
	id := quorum.MakeZxid(7, 42)
	token := tokens.Draw(id)
	if !wellFormed(token) || len(token) != drawnLen {
		t.Fatalf("a drawn token of %d characters", len(token))
	}
	for name, from := range map[string]*Tokens{
		"same": tokens, "another node": NewTokens(cluster, fresh), "before the rotation": NewTokens(cluster, old),
	} {
		ref, err := tokens.Resolve(from.Draw(id))
		if err != nil || ref.GetId() != uint64(id) || ref.GetTokenHash() != nil {
			t.Errorf("%s: %v %v", name, ref, err)
		}
	}
	for name, forged := range map[string]string{
		"foreign secret":  NewTokens(cluster, []byte("other")).Draw(id),
		"another cluster": NewTokens(quorum.ClusterID{9}, fresh).Draw(id),
		"another session": tokens.Draw(id + 1)[:macStart] + token[macStart:],
		"changed end":     token[:drawnLen-1] + "_",
		"too short":       strings.Repeat("x", TokenLenMin-1),
		"too long":        strings.Repeat("x", TokenLenMax+1),
		"forbidden":       strings.Repeat("x", 30) + "=",
		"space":           " " + strings.Repeat("x", 30),
		"not ASCII":       strings.Repeat("é", 20),
	} {
		if ref, err := tokens.Resolve(forged); err != tree.ErrSessionExpired || ref != nil {
			t.Errorf("%s: %v %v", name, ref, err)
		}
	}
}

func TestClientTokens(t *testing.T) {
	tokens := NewTokens(quorum.ClusterID{1}, []byte("secret"))
	if ref, err := tokens.Resolve(""); ref != nil || err != nil {
		t.Error(ref, err)
	}
	drawn := tokens.Draw(5)
	for _, token := range []string{
		strings.Repeat("x", TokenLenMin), strings.Repeat("Z", TokenLenMax), "0123456789abcdefABCDEF-_-_", drawn[:drawnLen-1], drawn + "A",
		strings.Replace(drawn, "ps1", "ps2", 1),
	} {
		ref, err := tokens.Resolve(token)
		want := sha256.Sum256([]byte(token))
		if err != nil || string(ref.GetTokenHash()) != string(want[:]) {
			t.Errorf("%s: %v %v", token, ref, err)
		}
	}
}

func FuzzResolve(f *testing.F) {
	tokens := NewTokens(quorum.ClusterID{1}, []byte("secret"))
	f.Add(tokens.Draw(5))
	f.Add(strings.Repeat("a", 32))
	f.Fuzz(func(t *testing.T, token string) {
		ref, err := tokens.Resolve(token)
		if (err != nil) != (ref == nil && token != "") {
			t.Fatal(ref, err)
		}
		if err == nil && ref.GetId() != 0 && tokens.Draw(quorum.Zxid(ref.GetId())) != token {
			t.Fatalf("%q is taken for the token of %d", token, ref.GetId())
		}
	})
}
