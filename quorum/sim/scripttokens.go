package sim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// Lines of schedules about the tokens of sessions, which the nodes draw and
// resolve by the real lease.Tokens (RULES.md R19). A client without such a line
// has a hash of its own instead of a token.
//
//	secrets 2 new old          2 is started with these secrets of the cluster from
//	                           now on; it draws with the first
//	token W 0123456789abcdef012345   W drew this one itself
//	token W none               it has none, and is given the one of the server's answer
//	lend W V                   V has W's token from now on
//	session 1 W 10s [k]        opens its session, perhaps under a key
//	close 1 W                  ends it
//	expect names W 1 2         its token names its session at these nodes
//	expect unnamed W 1 2       … none that is alive
//	expect told W V same       V was given the same text as W; or another
//	expect hidden W            no node keeps the text anywhere

// clientSecret is what a client has instead of a hash.
type clientSecret struct {
	used   bool
	text   string // "": the server is to draw it
	own    bool   // the client drew it
	opened quorum.Zxid
}

// tokens is what the node draws and resolves tokens with.
func (n *node) tokens() *lease.Tokens {
	return lease.NewTokens(n.disk.img.control.Cluster, n.held.secrets...)
}

// identify fills in the session of a client's command.
func (c *client) identify(n *node, cmd *commandpb.Command) error {
	if c.secret.used {
		return n.tokens().Identify(cmd, c.secret.text)
	}
	cmd.Session = &commandpb.SessionRef{
		Ref:       &commandpb.SessionRef_TokenHash{TokenHash: named32("s" + c.session)},
		OpenTtlMs: cmd.GetSession().GetOpenTtlMs(),
	}
	return nil
}

// given notes which session an answer is about. A node adds the token where the
// request had none.
func (c *client) given(n *node, session quorum.Zxid) {
	k := &c.secret
	switch {
	case !k.used:
		return
	case k.opened != 0 && k.opened != session:
		c.answer = "another session"
		return
	case k.text == "":
		k.text = n.tokens().Draw(session)
	}
	k.opened = session
}

// secretVerb does what a line says that no request comes of.
func (s *Schedule) secretVerb(words []string) error {
	if words[0] == "secrets" {
		n, err := s.node(words[1])
		if err != nil {
			return err
		}
		n.secrets = nil
		for _, secret := range words[2:] {
			n.secrets = append(n.secrets, []byte(secret))
		}
		return nil
	}
	c := s.clientOf(words[1])
	switch {
	case words[0] == "lend":
		s.clientOf(words[2]).secret = c.secret
	case words[2] == "none":
		c.secret = clientSecret{used: true}
	default:
		c.secret = clientSecret{used: true, text: words[2], own: true}
	}
	return nil
}

func (s *Schedule) openSession(n *node, c *client, args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	cmd := &commandpb.Command{Op: &commandpb.Command_OpenSession{
		OpenSession: &commandpb.OpenSession{TtlMs: uint64(d.Milliseconds())}}}
	if len(args) > 1 {
		cmd.Key = &commandpb.Key{Hash: named32("o" + args[1]), Digest: named32("d")}
	}
	return s.ask(n, c, cmd, func(res *lease.Result) {
		if c.told(res); res != nil && res.Code == tree.OK {
			if res.Replayed {
				c.answer = "replayed"
			}
			c.given(n, res.Session.ID)
		}
	})
}

// expectSecret checks what nodes make of a token, and what they keep.
func (s *Schedule) expectSecret(args []string) error {
	c := s.clientOf(args[1])
	if !c.secret.used || c.secret.text == "" {
		return fmt.Errorf("%s has no token", c.name)
	}
	switch args[0] {
	case "told":
		if same := c.secret.text == s.clientOf(args[2]).secret.text; same != (args[3] == "same") {
			return fmt.Errorf("%s and %s: %s and %s", c.name, args[2], c.secret.text, s.clientOf(args[2]).secret.text)
		}
		return nil
	case "hidden":
		return s.hidden(&c.secret)
	}
	for _, a := range args[2:] {
		n, err := s.node(a)
		if err != nil {
			return err
		}
		if n.core == nil {
			return fmt.Errorf("node %s is down", a)
		}
		want := c.secret.opened
		if args[0] == "unnamed" {
			want = 0
		}
		if got := n.names(&c.secret); got != want || c.secret.opened == 0 {
			return fmt.Errorf("at node %s it names %v; its session is %v", a, got, c.secret.opened)
		}
	}
	return nil
}

// names is the live session that a token names at the node; 0 for none.
func (n *node) names(k *clientSecret) quorum.Zxid {
	ref, err := n.tokens().Resolve(k.text)
	if err != nil {
		return 0 // it cannot be one
	}
	info, _ := n.held.state.View().Lookup(ref, "")
	return info.ID
}

// hidden looks for a token in what every node keeps. Where a client drew it, what
// stands for it must be there, or the search would prove nothing.
func (s *Schedule) hidden(k *clientSecret) error {
	hash := sha256.Sum256([]byte(k.text))
	for _, n := range s.w.nodes[1:] {
		kept := n.kept()
		if where := slices.IndexFunc(kept, func(b []byte) bool { return bytes.Contains(b, []byte(k.text)) }); where >= 0 {
			return fmt.Errorf("node %d keeps the token %s: %.200q", n.id, k.text, kept[where])
		}
		if k.own && !slices.ContainsFunc(kept, func(b []byte) bool { return bytes.Contains(b, hash[:]) }) {
			return fmt.Errorf("node %d keeps no hash of the token %s", n.id, k.text)
		}
	}
	return nil
}

// kept is all that a node keeps: its log, also what is not stable yet, its control
// state, its snapshots, and while it lives the state of which the next one is
// made.
func (n *node) kept() (all [][]byte) {
	d := &n.disk
	for i := range d.img.entries {
		all = append(all, d.img.entries[i].Data)
	}
	for i := range d.pending {
		all = append(all, d.pending[i].Entry.Data)
	}
	for _, snap := range d.snaps {
		all = append(all, snap.held)
	}
	if n.core != nil {
		all = append(all, n.heldSnapshot())
	}
	return append(all, fmt.Appendf(nil, "%+v", d.img.control))
}
