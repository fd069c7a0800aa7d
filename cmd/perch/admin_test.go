package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perch/handlers/identity"
	"perch/lease"
	"perch/quorum"
)

// starting is a cluster that becomes ready after a while.
type starting struct {
	mu     sync.Mutex
	ready  time.Time
	on     bool
	fails  int
	secret [32]byte
}

func (s *starting) Status() lease.Status {
	return lease.Status{Ready: time.Now().After(s.ready), Cluster: quorum.ClusterID{0xc1}}
}

func (s *starting) Auth() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on
}

func (s *starting) EnableAuth(_ context.Context, admin string, secret [32]byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return false, lease.ErrNoLeader
	}
	if admin != "admin" {
		return false, errors.New("another administrator")
	}
	turned := !s.on
	if turned {
		s.secret, s.on = secret, true
	}
	return turned, nil
}

// Of three nodes that start at once one shows the token, and it counts.
func TestOneNodeShowsTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starting{ready: time.Now().Add(3 * time.Second), fails: 2}
		secret := []byte("a secret of at least 32 bytes ...")
		var outs [3]bytes.Buffer
		var wg sync.WaitGroup
		for i := range outs {
			wg.Go(func() { enableAuth(t.Context(), s, secret, &outs[i], slog.New(slog.DiscardHandler)) })
		}
		wg.Wait()
		shown := outs[0].String() + outs[1].String() + outs[2].String()
		token := identity.TokenText("t0", adminSecret(secret, quorum.ClusterID{0xc1}))
		if strings.Count(shown, token) != 1 || strings.Count(shown, "perch_") != 1 {
			t.Errorf("shown: %q", shown)
		}
		if s.secret != identity.SecretHash(adminSecret(secret, quorum.ClusterID{0xc1})) {
			t.Error("another token was made")
		}
		var later bytes.Buffer
		enableAuth(t.Context(), s, secret, &later, slog.New(slog.DiscardHandler))
		if later.Len() > 0 {
			t.Errorf("a later start shows %q", &later)
		}
	})
}

func TestAdminSecret(t *testing.T) {
	one := adminSecret([]byte("secret"), quorum.ClusterID{1})
	if len(one) != 43 || one == adminSecret([]byte("secret"), quorum.ClusterID{2}) || one == adminSecret([]byte("another"), quorum.ClusterID{1}) {
		t.Errorf("%q", one)
	}
}

func TestEnablingEndsWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		enableAuth(ctx, &starting{ready: time.Now().Add(time.Hour)}, nil, new(bytes.Buffer), slog.New(slog.DiscardHandler))
	})
}
