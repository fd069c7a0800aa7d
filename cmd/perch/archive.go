package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"perch/archive"
	"perch/cmd/internal/trust"
)

// readWithin is how long a command waits for one answer of an archive; a large
// one takes its time.
const readWithin = 2 * time.Minute

// archiveAccess is how a command reaches an archive.
type archiveAccess struct {
	URL          string
	PasswordFile string
}

func (c *archiveAccess) declare(f *pflag.FlagSet) {
	f.StringVar(&c.URL, "archive", "", "archive in PostgreSQL: postgres://user@host:port/database, without a password")
	f.StringVar(&c.PasswordFile, "archive-password-file", "", "file that holds its password, mode 0600 (none: PGPASSWORD or PGPASSFILE)")
}

// validate is for those who have an archive.
func (c *archiveAccess) validate(insecure bool) error {
	if err := c.access().Check(insecure); err != nil {
		return fmt.Errorf("--archive: %w", err)
	}
	return nil
}

func (c *archiveAccess) access() archive.Access {
	a := archive.Access{URL: c.URL, Name: "perch", Within: readWithin}
	if c.PasswordFile != "" {
		a.Password = c.password
	}
	return a
}

// password is read at every connection, so that it may be changed.
func (c *archiveAccess) password() (string, error) {
	text, err := trust.PrivateFile("archive password", c.PasswordFile)
	return string(text), err
}

// archiveConfig is what `perch serve` archives, and how.
type archiveConfig struct {
	archiveAccess
	every     time.Duration
	everyTxns int
	keepText  string

	keep archive.Keep // parsed keepText; filled in by validate
}

func (c *archiveConfig) declare(f *pflag.FlagSet) {
	c.archiveAccess.declare(f)
	f.DurationVar(&c.every, "archive-every", 15*time.Minute, "archive a snapshot so often, while something changes")
	f.IntVar(&c.everyTxns, "archive-every-transactions", 1_000_000, "and after so many transactions")
	f.StringVar(&c.keepText, "archive-keep", archive.DefaultKeep.String(),
		"keep what it takes to restore any position of so long (days d, hours h), and all of the newest so many snapshots")
}

// validate fills in what follows from the flags.
func (c *archiveConfig) validate(insecure bool) (faults []error) {
	if c.URL == "" {
		if c.PasswordFile != "" {
			faults = append(faults, errors.New("--archive-password-file: give --archive too"))
		}
		return faults
	}
	if err := c.archiveAccess.validate(insecure); err != nil {
		faults = append(faults, err)
	}
	if c.every < time.Second {
		faults = append(faults, fmt.Errorf("--archive-every %s: must be at least 1s", c.every))
	}
	if c.everyTxns < 1000 {
		faults = append(faults, fmt.Errorf("--archive-every-transactions %d: must be at least 1000", c.everyTxns))
	}
	var err error
	if c.keep, err = archive.ParseKeep(c.keepText); err != nil {
		faults = append(faults, fmt.Errorf("--archive-keep %w", err))
	}
	return faults
}

// shipper is what the node's Shipper needs to know; what cannot be read is found
// out now, and not in the middle of the night.
func (c *archiveConfig) shipper() (archive.Config, error) {
	if c.PasswordFile != "" {
		if _, err := c.password(); err != nil {
			return archive.Config{}, fmt.Errorf("--archive-password-file: %w", err)
		}
	}
	access := c.access()
	access.Name, access.Within = "", 0 // the node's
	return archive.Config{Access: access, Every: c.every, EveryTxns: c.everyTxns, Keep: c.keep}, nil
}
