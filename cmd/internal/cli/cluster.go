package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
	"perch/cmd/internal/progress"
	"perch/gen/client"
)

func (o *Options) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cluster", Short: "Show the cluster: who leads, who follows, and how far each is",
		Long: `Show the cluster as the node that answers sees it: who leads, who follows, and how far each member is. It answers without
a quorum, too.`,
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, _ []string) error {
		return c.cluster(ctx, 0, func(ctx context.Context) (*http.Response, error) { return c.api.GetCluster(ctx, nil) })
	})
}

// cluster shows the cluster of an answer, which may take so long.
func (c *conn) cluster(ctx context.Context, wait time.Duration, do call) error {
	var s client.Cluster
	a, err := c.askFor(ctx, wait, &s, do)
	if err != nil {
		return err
	}
	return c.show(a, func() error {
		leader := deref(s.Leader)
		if leader == "" {
			leader = "(none: a majority of the voters must run and reach each other)"
		}
		id := s.ClusterID
		if id == "" {
			id = "(it forms: all voters must be there once)"
		}
		if s.LeaderForMs != nil {
			leader += ", for " + milliseconds(s.LeaderForMs)
		}
		full := ""
		if s.StorageFull != nil && *s.StorageFull {
			full = "FULL: writes are refused until a disk that every majority needs has room"
		}
		if err := c.fields("cluster", deref(s.Name), "id", id, "leader", leader, "majority", yesNo(s.Quorum), "storage", full,
			"epoch", strconv.FormatInt(s.Epoch, 10), "zxid", strconv.FormatInt(s.Zxid, 10),
			"answered by", deref(s.Node), "not ready", deref(s.NotReady), "archive", archiving(s.Archive), "version", deref(s.Version), "features", joined(s.Features)); err != nil {
			return err
		}
		fmt.Fprintln(c.out)
		return c.members(s.Members)
	})
}

// yesNo is a fact for people, with what is wrong in capitals; nothing where nobody told it.
func yesNo(b *bool) string {
	if b == nil {
		return ""
	}
	return map[bool]string{true: "yes", false: "NO"}[*b]
}

// archiving is how the archive stands, where there is one.
func archiving(a *client.ArchiveStatus) string {
	switch {
	case a == nil:
		return ""
	case a.Error != nil:
		return fmt.Sprintf("%s, %s behind: %s", a.State, milliseconds(&a.LagMs), *a.Error)
	}
	return fmt.Sprintf("%s, %s behind", a.State, milliseconds(&a.LagMs))
}

// room is what is free of a member's disk.
func room(m *client.Member) string {
	if m.DiskFreeBytes == nil {
		return ""
	}
	text := fmt.Sprintf("%d MiB", *m.DiskFreeBytes>>20)
	if m.DiskLow != nil && *m.DiskLow {
		text += " LOW"
	}
	return text
}

func (c *conn) members(list []client.Member) error {
	var rows [][]string
	for i := range list {
		m := &list[i]
		health := "?"
		if m.Healthy != nil {
			health = yesNo(m.Healthy)
		}
		rows = append(rows, []string{m.ID, m.Role, health, yesNo(m.Connected), number(m.Lag), number(m.AppliedZxid), number(m.DurableZxid), room(m),
			deref(m.Address), deref(m.Version)})
	}
	if err := c.table([]string{"MEMBER", "ROLE", "HEALTHY", "CONNECTED", "LAG", "APPLIED", "DURABLE", "DISK FREE", "ADDRESS", "VERSION"}, rows); err != nil {
		return err
	}
	for i := range list {
		if why := deref(list[i].NotReady); why != "" {
			if err := c.line("%s is not ready: %s", list[i].ID, clean(why)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *Options) memberCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "member", Short: "List, add, change and remove members",
		Example: `  perch member add 4=10.0.0.4:7501 5=10.0.0.5:7501
  perch member add 4=10.0.0.4:7501:observer           # takes its vote
  perch member remove 5                               # then stop it`,
	}
	return parent(cmd, o.listMembersCommand(), o.addMembersCommand(), o.removeMemberCommand())
}

func (o *Options) listMembersCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the members"}
	return o.asks(cmd, func(ctx context.Context, c *conn, _ []string) error {
		var s struct{ Members rawMembers }
		_, err := c.ask(ctx, &s, func(ctx context.Context) (*http.Response, error) { return c.api.GetCluster(ctx, nil) })
		if err != nil {
			return err
		}
		if c.asJSON {
			return c.jsonList(s.Members.raw)
		}
		return c.members(s.Members.list)
	})
}

func (o *Options) addMembersCommand() *cobra.Command {
	var force, replace bool
	cmd := &cobra.Command{
		Use: "add ID=HOST:PORT[:observer]...", Short: "Add members, or change their address or role", Args: cobra.MinimumNArgs(1),
		Long: `Add members, or change their address or role, and show the cluster when that is committed. A new voter catches up
first, so it may take a while: --timeout says how long to wait; the same command goes on where it was.
Name several at once to go from one voter to three, or from three to five.`,
	}
	cmd.Flags().BoolVar(&force, "force", false, "accept that two voters are left")
	cmd.Flags().BoolVar(&replace, "replace", false, "they come back under their ids on other disks than before")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		spec := client.MembersSpec{Force: ptr(force)}
		for _, arg := range args {
			m, err := parseMember(arg)
			if err != nil {
				return exit.UsageError(err)
			}
			m.Replace = ptr(replace)
			spec.Members = append(spec.Members, *m)
		}
		defer c.showCatchUp(ctx, spec.Members)()
		return c.cluster(ctx, c.Timeout, func(ctx context.Context) (*http.Response, error) { return c.api.AddMember(ctx, nil, spec) })
	}, withKey)
}

// lookEvery is the time between two looks at members that catch up.
const lookEvery = 500 * time.Millisecond

// showCatchUp shows on a terminal how far members have caught up, until it is
// stopped.
func (c *conn) showCatchUp(ctx context.Context, of []client.MemberSpec) (stop func()) {
	if !c.watched {
		return func() {}
	}
	api, err := c.client(c.printer) // of its own: an asker is for one at a time
	if err != nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(repeatedBy(ctx, single))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		meter, most := progress.New(c.err, "catch up", 0, progress.Items), int64(0)
		defer meter.Done()
		ticker := time.NewTicker(lookEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			if lag, known := lag(ctx, api, of); known {
				if lag > most {
					meter.Done()
					meter, most = progress.New(c.err, "catch up", lag, progress.Items), lag
				}
				meter.Set(most - lag)
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// lag is by how many transactions the last of some members is behind.
func lag(ctx context.Context, api *client.Client, of []client.MemberSpec) (most int64, known bool) {
	resp, err := api.GetCluster(ctx, nil)
	if err != nil {
		return 0, false // whoever waits for the change is told
	}
	defer resp.Body.Close()
	var s client.Cluster
	if json.NewDecoder(resp.Body).Decode(&s) != nil {
		return 0, false
	}
	for _, m := range s.Members {
		if m.Lag != nil && slices.ContainsFunc(of, func(spec client.MemberSpec) bool { return spec.ID == m.ID }) {
			most, known = max(most, *m.Lag), true
		}
	}
	return most, known
}

// parseMember reads ID=HOST:PORT[:observer], as in --peers.
func parseMember(text string) (*client.MemberSpec, error) {
	id, address, ok := strings.Cut(text, "=")
	if !ok || id == "" || address == "" {
		return nil, fmt.Errorf("%q: must be ID=HOST:PORT or ID=HOST:PORT:observer", text)
	}
	m := &client.MemberSpec{ID: id}
	if host, observer := strings.CutSuffix(address, ":observer"); observer {
		address, m.Role = host, ptr(client.Observer)
	}
	m.Address = address
	return m, nil
}

func (o *Options) removeMemberCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "remove ID", Short: "Remove a member; a leader hands over first", Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&force, "force", false, "accept that two voters are left")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		id, err := name(args[0])
		if err != nil {
			return err
		}
		return c.cluster(ctx, c.Timeout, func(ctx context.Context) (*http.Response, error) {
			return c.api.RemoveMember(ctx, id, &client.RemoveMemberParams{Force: ptr(force)})
		})
	}, withKey)
}

func (o *Options) transferCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "transfer [ID]", Short: "Let another voter lead", Args: cobra.MaximumNArgs(1),
		Long: "Let another voter lead: the one with this id, or the one that has most on disk. It shows the cluster when it does.",
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		return c.cluster(ctx, 0, func(ctx context.Context) (*http.Response, error) {
			return c.api.TransferLeadership(ctx, nil, client.TransferSpec{To: ptr(first(args))})
		})
	}, withKey)
}

// rawMembers are members decoded, and as they came.
type rawMembers struct {
	list []client.Member
	raw  []json.RawMessage
}

// UnmarshalJSON takes both.
func (r *rawMembers) UnmarshalJSON(text []byte) error {
	return errors.Join(json.Unmarshal(text, &r.raw), json.Unmarshal(text, &r.list))
}
