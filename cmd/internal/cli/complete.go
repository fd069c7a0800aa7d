package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"perch/gen/client"
)

// Completion asks the cluster for the names that there are. It takes a second at
// most, and finds nothing rather than say what is wrong: somebody is typing.
const (
	completeWithin = time.Second
	completeMost   = 200
)

// completing is a conversation for a completion; nil when there can be none.
func (o *Options) completing(cmd *cobra.Command) *conn {
	c, err := o.conn(cmd, o.reach[cmd])
	if err != nil {
		return nil
	}
	c.Timeout, c.Session, c.watched = completeWithin, "", false
	return c
}

// completePath completes a node, one segment at a time.
func (o *Options) completePath(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	if len(args) > 0 && !strings.HasSuffix(cmd.Use, "...") {
		return nil, cobra.ShellCompDirectiveDefault // a value, perhaps of a file
	}
	c := o.completing(cmd)
	if c == nil {
		return nil, directive
	}
	above, begun := path.Split(typed)
	at, err := o.path(above)
	if err != nil {
		return nil, directive
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	var found []string
	// What was found when the time is over, or the list is long, is better than nothing.
	_ = pages(ctx, c, "nodes", func(ctx context.Context, page *string) (*http.Response, error) {
		return c.api.ListChildren(ctx, at, &client.ListChildrenParams{PageToken: page, Limit: ptr(pageOf), Include: &client.Include{client.DetailStat}})
	}, func(_ json.RawMessage, n client.Child) error {
		if name := path.Base(n.Path); strings.HasPrefix(name, begun) {
			found = append(found, above+name+slashIfParent(n.Stat))
		}
		if len(found) >= completeMost {
			return errEnough
		}
		return nil
	})
	if len(found) == 1 && !strings.HasSuffix(found[0], "/") {
		return found, cobra.ShellCompDirectiveNoFileComp // it is complete
	}
	return found, directive
}

func slashIfParent(s *client.Stat) string {
	if s != nil && s.NumChildren > 0 {
		return "/"
	}
	return ""
}

// completeName completes the name of a primitive.
func (o *Options) completeName(plural string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !strings.HasSuffix(cmd.Use, "...") {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c := o.completing(cmd)
		if c == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		return c.namesOf(ctx, plural, ptr(typed)), cobra.ShellCompDirectiveNoFileComp
	}
}

// namesOf are the first names of a kind that begin with prefix.
func (c *conn) namesOf(ctx context.Context, plural string, prefix *string) (found []string) {
	field := "names"
	if plural == locks.plural || plural == semaphores.plural {
		field = "locks"
	}
	get := func(ctx context.Context, page *string) (*http.Response, error) {
		limit := ptr(int32(completeMost))
		switch plural {
		case locks.plural:
			return c.api.ListLocks(ctx, &client.ListLocksParams{Prefix: prefix, PageToken: page, Limit: limit})
		case semaphores.plural:
			return c.api.ListSemaphores(ctx, &client.ListSemaphoresParams{Prefix: prefix, PageToken: page, Limit: limit})
		case elections.plural:
			return c.api.ListElections(ctx, &client.ListElectionsParams{Prefix: prefix, PageToken: page, Limit: limit})
		case runs.plural:
			return c.api.ListOnce(ctx, &client.ListOnceParams{Prefix: prefix, PageToken: page, Limit: limit})
		case "barriers":
			return c.api.ListBarriers(ctx, &client.ListBarriersParams{Prefix: prefix, PageToken: page, Limit: limit})
		case "counters":
			return c.api.ListCounters(ctx, &client.ListCountersParams{Prefix: prefix, PageToken: page, Limit: limit})
		}
		return c.api.ListQueues(ctx, &client.ListQueuesParams{Prefix: prefix, PageToken: page, Limit: limit})
	}
	_ = pages(ctx, c, field, get, func(raw json.RawMessage, _ any) error {
		var state client.LockState
		if json.Unmarshal(raw, &state) != nil {
			_ = json.Unmarshal(raw, &state.Name)
		}
		if found = append(found, state.Name); len(found) >= completeMost {
			return errEnough
		}
		return nil
	})
	return found
}
