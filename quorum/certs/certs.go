// Package certs serves certificates from PEM files and follows these as they
// change, so that nothing has to be restarted when one is renewed.
//
// It guarantees that what was good once stays in use until the files hold
// something good again: a certificate and a key that do not belong together yet,
// or a file that is missing for a moment, change nothing but a line in the log.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// checkEvery is how often files are looked at, and thus how long after a change
// of theirs a connection may still begin with what they held before.
const checkEvery = time.Second

// Pair is a certificate with its key. It may be used concurrently.
type Pair struct{ files *followed[*tls.Certificate] }

// LoadPair reads a certificate, with the intermediate ones after it, and its key.
// Faults of later changes go to log, which may be nil.
func LoadPair(certFile, keyFile string, log *slog.Logger) (*Pair, error) {
	files, err := follow(func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		return &pair, err
	}, log, certFile, keyFile)
	return &Pair{files}, err
}

// ForServer is for tls.Config.GetCertificate.
func (p *Pair) ForServer(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.files.get(), nil }

// ForClient is for tls.Config.GetClientCertificate.
func (p *Pair) ForClient(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return p.files.get(), nil
}

// Authorities are certificates that sign others. They may be used concurrently.
type Authorities struct{ file *followed[*x509.CertPool] }

// LoadAuthorities reads one or more certificates. Faults of later changes go to
// log, which may be nil.
func LoadAuthorities(file string, log *slog.Logger) (*Authorities, error) {
	f, err := follow(func() (*x509.CertPool, error) {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", file)
		}
		return pool, nil
	}, log, file)
	return &Authorities{f}, err
}

// Pool is what the file holds, or last held.
func (a *Authorities) Pool() *x509.CertPool { return a.file.get() }

// followed is what was last read from some files.
type followed[T any] struct {
	paths []string
	load  func() (T, error)
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex
	value   T
	seen    []stamp // of the files that value was read from, or that could not be read
	checked time.Time
}

// stamp tells one content of a file from another.
type stamp struct {
	modified time.Time
	size     int64
}

func follow[T any](load func() (T, error), log *slog.Logger, paths ...string) (*followed[T], error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &followed[T]{paths: paths, load: load, log: log, now: time.Now}
	f.checked, f.seen = f.now(), f.stamps()
	var err error
	f.value, err = load()
	return f, err
}

// get looks at the files if that is due, and returns what they hold.
func (f *followed[T]) get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.checked) >= checkEvery {
		f.checked = now
		f.look()
	}
	return f.value
}

// look reads files that have changed. Their stamps are taken first, so that a
// change during the reading is seen the next time. The caller holds mu.
func (f *followed[T]) look() {
	stamps := f.stamps()
	if equal(stamps, f.seen) {
		return
	}
	f.seen = stamps
	value, err := f.load()
	if err != nil {
		f.log.Error("changed certificate files cannot be used; the ones before stay in use", "files", f.paths, "error", err)
		return
	}
	f.value = value
	f.log.Info("changed certificate files are in use", "files", f.paths)
}

func (f *followed[T]) stamps() []stamp {
	list := make([]stamp, len(f.paths))
	for i, path := range f.paths {
		if info, err := os.Stat(path); err == nil {
			list[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return list
}

func equal(a, b []stamp) bool {
	for i := range a {
		if !a[i].modified.Equal(b[i].modified) || a[i].size != b[i].size {
			return false
		}
	}
	return true
}
