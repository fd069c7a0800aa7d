package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/pflag"

	"perch/cmd/internal/exit"
	"perch/cmd/internal/progress"
	"perch/quorum"
	"perch/quorum/restore"
)

// restoreTarget is the directory that a restore prepares, and the node that will
// start on it: what all commands that restore have in common. The content of the
// directory is the same for all voters; who is named here is checked, so that a
// mistake shows before a cluster does not form.
type restoreTarget struct {
	Data  string
	ID    int
	Peers string // as perch serve takes them

	peers []quorum.Peer // parsed Peers; filled in by validate
}

func (c *restoreTarget) declare(f *pflag.FlagSet) {
	f.StringVar(&c.Data, "data", "perch-data", "data directory to prepare; it must be empty or missing")
	f.IntVar(&c.ID, "id", 1, "number of the node that will start on it, 1 to 65535")
	f.StringVar(&c.Peers, "peers", "", "every member of the new cluster, as for perch serve (none: a quorum of one)")
}

// validate reports all faults at once. It opens and changes nothing.
func (c *restoreTarget) validate() error {
	var faults []error
	if c.ID < 1 || c.ID > 65535 {
		faults = append(faults, fmt.Errorf("--id %d: must be 1 to 65535", c.ID))
	}
	if c.Data == "" {
		faults = append(faults, errors.New("--data: must name a directory"))
	}
	var err error
	c.peers, err = parsePeers(c.Peers)
	at := slices.IndexFunc(c.peers, func(p quorum.Peer) bool { return int(p.ID) == c.ID })
	switch {
	case err != nil:
		faults = append(faults, err)
	case len(c.peers) > 0 && at < 0:
		faults = append(faults, fmt.Errorf("--peers: does not name this node, --id %d", c.ID))
	case at >= 0 && c.peers[at].Role == quorum.RoleObserver:
		faults = append(faults, fmt.Errorf("--id %d is an observer: it is not restored, start it on an empty directory", c.ID))
	}
	return errors.Join(faults...)
}

// into restores s. Progress goes to errOut when that is a terminal.
func (c *restoreTarget) into(s restore.Source, errOut io.Writer) (restore.Summary, error) {
	meter := progress.New(errOut, "restore", 0, progress.Bytes)
	defer meter.Done()
	sum, err := restore.Into(c.Data, s, restore.Options{Progress: meter.Set})
	if errors.Is(err, restore.ErrNotEmpty) {
		return sum, &exit.Error{Code: exit.Precondition, Err: err}
	}
	return sum, err
}

// next is what is to be done with a restored directory, for people.
func (c *restoreTarget) next() string {
	serve := fmt.Sprintf("perch serve --id %d --data %s", c.ID, c.Data)
	if len(c.peers) < 2 {
		return "Start the node: " + serve
	}
	return fmt.Sprintf("Restore the same for each of the %d voters, then start them all: %s --peers %s", c.voters(), serve, c.Peers)
}

func (c *restoreTarget) voters() (n int) {
	for _, p := range c.peers {
		if p.Role == quorum.RoleVoter {
			n++
		}
	}
	return n
}
