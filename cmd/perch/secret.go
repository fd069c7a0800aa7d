package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"perch/cmd/internal/trust"
)

// secretBytesMin is the least a cluster secret must have: what HKDF-SHA256
// needs for its full strength.
const secretBytesMin = 32

// secretName is the file of the shared secret, in the directory of secretDir.
const secretName = "secret"

// loadSecret reads the secret of --secret-file, or, without one, that which
// all loopback processes of this user share. Whether the latter is allowed is
// for config.validate to decide.
func loadSecret(file string, env map[string]string) ([]byte, error) {
	if file != "" {
		return readSecret(file)
	}
	dir, err := secretDir(env)
	if err != nil {
		return nil, fmt.Errorf("no place for the secret that nodes on this machine share: %w; give --secret-file", err)
	}
	file = filepath.Join(dir, secretName)
	secret, err := readSecret(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := makeSecret(file); err != nil {
		return nil, err
	}
	return readSecret(file)
}

// readSecret refuses what is too short to be a secret.
func readSecret(file string) ([]byte, error) {
	secret, err := trust.PrivateFile("secret", file)
	if err != nil {
		return nil, err
	}
	if len(secret) < secretBytesMin {
		return nil, fmt.Errorf("secret %s: %d bytes, at least %d are needed: openssl rand -hex 32 > %s", file, len(secret), secretBytesMin, file)
	}
	return secret, nil
}

// makeSecret creates file with a fresh secret, unless another process was
// first. The content is complete before the name appears, so whoever finds the
// name finds all of it, however many processes start at once.
func makeSecret(file string) error {
	raw := make([]byte, secretBytesMin)
	_, _ = rand.Read(raw) // never fails, says its documentation
	temp := fmt.Sprintf("%s.%s", file, rand.Text())
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	defer os.Remove(temp)
	_, err = f.WriteString(hex.EncodeToString(raw) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	if err := os.Link(temp, file); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("secret: %w", err)
	}
	return nil
}

// secretDir returns the directory of the shared secret, made if need be: where
// a user's state belongs, else a private one among the temporary files.
func secretDir(env map[string]string) (string, error) {
	var tried error
	for _, dir := range stateDirs(env) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			tried = errors.Join(tried, err)
			continue
		}
		return dir, nil
	}
	temp := env["TMPDIR"]
	if temp == "" {
		temp = "/tmp"
	}
	dir := filepath.Join(temp, fmt.Sprintf("perch-%d", os.Getuid()))
	if err := privateDir(dir); err != nil {
		return "", errors.Join(tried, err)
	}
	return dir, nil
}

// stateDirs follows the XDG base directories, which ignore relative paths.
func stateDirs(env map[string]string) (dirs []string) {
	if dir := env["XDG_STATE_HOME"]; filepath.IsAbs(dir) {
		dirs = append(dirs, filepath.Join(dir, "perch"))
	}
	if home := env["HOME"]; filepath.IsAbs(home) {
		dirs = append(dirs, filepath.Join(home, ".local", "state", "perch"))
	}
	return dirs
}

// privateDir makes dir, or accepts one that is ours alone: anybody may have
// put something of that name among the temporary files.
func privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || info.Mode().Perm() != 0o700 || !trust.OwnedByUs(info) {
		return fmt.Errorf("%s: not a directory of this user with mode 0700", dir)
	}
	return nil
}
