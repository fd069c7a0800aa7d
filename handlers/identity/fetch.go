package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// The bounds of a question to an identity provider.
const (
	fetchWithin   = 5 * time.Second
	fetchBytesMax = 256 << 10
)

// newClient asks an identity provider and nobody else: it follows no redirect,
// uses no proxy, and looks at the address that it is about to connect to, since
// a name may come to mean another machine between two looks.
func newClient(loopback bool) *http.Client {
	dialer := &net.Dialer{
		Timeout: fetchWithin,
		Control: func(_, address string, _ syscall.RawConn) error { return checkAddress(address, loopback) },
	}
	return &http.Client{
		Timeout:       fetchWithin,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: fetchWithin, ForceAttemptHTTP2: true,
			MaxResponseHeaderBytes: 64 << 10, DisableKeepAlives: true, // an hour between two questions
		},
	}
}

// checkAddress refuses addresses where no identity provider is, and where a
// request from inside could do harm: metadata services are link-local. Private
// networks are allowed, because many providers live there.
func checkAddress(address string, loopback bool) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	ip := at.Addr().Unmap()
	switch {
	case ip.IsLoopback() && loopback:
		return nil
	case ip.IsLoopback(), ip.IsUnspecified(), ip.IsLinkLocalUnicast(), ip.IsMulticast():
		return fmt.Errorf("%s is no address of an identity provider", ip)
	}
	return nil
}

// isLoopback says whether host never leaves this machine.
func isLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// getJSON reads the JSON at url into v.
func getJSON(ctx context.Context, client *http.Client, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", url, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, fetchBytesMax+1))
	if err != nil {
		return err
	}
	if len(body) > fetchBytesMax {
		return errors.New(url + " answers with too much")
	}
	return json.Unmarshal(body, v)
}
