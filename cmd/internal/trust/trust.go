// Package trust tells what the processes of perch may rely on at the border of
// this machine: files that nobody else can read, and addresses that nobody else
// can reach. It decides by what is there now, and promises nothing for later.
package trust

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
)

// privateBytesMax is the most that a secret in a file may have.
const privateBytesMax = 1 << 16

// PrivateFile reads a secret, and refuses what others could read. White space at
// the end, such as an editor's line end, is no part of it; kind says in errors
// what it is.
func PrivateFile(kind, file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, not of what may lie there next
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s %s: not a regular file", kind, file)
	}
	if perm := info.Mode().Perm(); !private(perm, ownedBy(info, 0) && !OwnedByUs(info)) {
		return nil, fmt.Errorf("%s %s: mode %04o lets others read or write it: chmod 600 %s", kind, file, perm, file)
	}
	if info.Size() > privateBytesMax {
		return nil, fmt.Errorf("%s %s: %d bytes are too many", kind, file, info.Size())
	}
	text := make([]byte, info.Size())
	n, err := f.Read(text)
	if err != nil && info.Size() > 0 {
		return nil, fmt.Errorf("%s %s: %w", kind, file, err)
	}
	return bytes.TrimRight(text[:n], " \t\r\n"), nil
}

// private says whether nobody but us reads a file of these permissions. One that
// root has handed to our group counts: this is how Kubernetes mounts a secret for
// a user that is not root, and how systemd passes a credential on.
func private(perm fs.FileMode, handedByRoot bool) bool {
	if handedByRoot {
		return perm&^0o640 == 0
	}
	return perm&0o077 == 0
}

// Loopback says whether only this machine reaches addr, host:port. A name counts
// only if it is localhost: what others resolve to is not ours to promise.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
