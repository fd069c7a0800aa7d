package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"time"

	"perch/handlers/identity"
	"perch/lease"
	"perch/quorum"
)

// firstAdmin is the principal that turning authentication on creates.
const firstAdmin = "admin"

// adminSecret is that of the first administrator's token. It is derived, not
// drawn, so that nodes which start at once mean one token, whichever of them
// gets to turn authentication on.
func adminSecret(secret []byte, cluster quorum.ClusterID) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("admin token"))
	h.Write(cluster[:])
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// cluster is what enableAuth needs of a node.
type cluster interface {
	Status() lease.Status
	Auth() bool
	EnableAuth(ctx context.Context, admin string, secret [32]byte) (bool, error)
}

// Between two looks whether a node is ready, and after one that failed.
const (
	readyPoll   = 50 * time.Millisecond
	enableRetry = time.Second
)

// enableAuth turns authentication on as soon as the node can, and shows the
// administrator's token on out if it was this node that did. It returns when it
// is on, or ctx has ended.
func enableAuth(ctx context.Context, n cluster, secret []byte, out io.Writer, log *slog.Logger) {
	for wait := readyPoll; ctx.Err() == nil; wait = readyPoll {
		if status := n.Status(); status.Ready { // a gateway without a node does not know
			if n.Auth() {
				return
			}
			admin := adminSecret(secret, status.Cluster)
			turned, err := n.EnableAuth(ctx, firstAdmin, identity.SecretHash(admin))
			if turned {
				showToken(out, identity.TokenText(lease.FirstToken, admin))
			}
			if err == nil {
				return
			}
			log.Warn("authentication could not be turned on yet", "error", err)
			wait = enableRetry
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func showToken(out io.Writer, token string) {
	fmt.Fprintf(out, "perch: authentication is on. The administrator's token, shown this once:\n\n    %s\n\n", token)
}
