package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perch/archive"
)

func TestArchiveFlags(t *testing.T) {
	c, faults := parse(t, map[string]string{"PERCH_ARCHIVE": "postgres://perch@127.0.0.1/archive"}, "--archive-every=5m", "--archive-keep=7d,3")
	if len(faults) > 0 || c.archive.every != 5*time.Minute || c.archive.keep != (archive.Keep{Age: 7 * 24 * time.Hour, Snapshots: 3}) {
		t.Errorf("%+v: %s", c.archive, text(faults))
	}
	for want, args := range map[string][]string{
		"holds a password":             {"--archive", "postgres://perch:s3cret-s3cret@127.0.0.1/archive"},
		"sslmode=verify-full":          {"--archive", "postgres://perch@db.example/archive"},
		"give --archive too":           {"--archive-password-file", "file"},
		"--archive-every 1ms":          {"--archive", "postgres://perch@127.0.0.1/archive", "--archive-every=1ms"},
		"--archive-keep \"forever\"":   {"--archive", "postgres://perch@127.0.0.1/archive", "--archive-keep=forever"},
		"--archive-every-transactions": {"--archive", "postgres://perch@127.0.0.1/archive", "--archive-every-transactions=1"},
	} {
		_, faults := parse(t, nil, args...)
		if got := text(faults); !strings.Contains(got, want) || strings.Contains(got, "s3cret") {
			t.Errorf("%v: %s", args, got)
		}
	}
}

// The password file must be there, and nobody else may read it, at the start.
func TestArchivePasswordFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	c := archiveConfig{archiveAccess: archiveAccess{URL: "postgres://perch@127.0.0.1/archive", PasswordFile: file}}
	if _, err := c.shipper(); err == nil {
		t.Error("a file that is missing is taken")
	}
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.shipper(); err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a file that others read: %v", err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := c.shipper()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := config.Password(); got != "s3cret" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
