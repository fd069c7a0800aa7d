package logview

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// printer writes what was found.
type printer interface {
	record(l *Line) error
	file(f *File) error
	damage(d *Damage) error
	verdict(v *Verdict) error
}

// jsonPrinter writes one object a line.
type jsonPrinter struct{ enc *json.Encoder }

func newPrinter(w io.Writer, asJSON bool) printer {
	if !asJSON {
		return &textPrinter{w: w}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return jsonPrinter{enc}
}

func (p jsonPrinter) record(l *Line) error     { return p.enc.Encode(l) }
func (p jsonPrinter) file(f *File) error       { return p.enc.Encode(f) }
func (p jsonPrinter) damage(d *Damage) error   { return p.enc.Encode(d) }
func (p jsonPrinter) verdict(v *Verdict) error { return p.enc.Encode(v) }

// textPrinter writes for people.
type textPrinter struct {
	w    io.Writer
	name string // of the file whose records are shown
}

func (p *textPrinter) record(l *Line) error {
	if l.File != p.name {
		p.name = l.File
		if _, err := fmt.Fprintf(p.w, "%s\n%10s %8s  what\n", l.File, "offset", "bytes"); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(p.w, "%10d %8d  %s\n", l.Offset, l.Bytes, l.text())
	return err
}

func (l *Line) text() string {
	what := map[string]string{
		"header":   "begins after",
		"mark":     "durable up to",
		"seal":     "the next segment follows",
		"truncate": "back to",
		"install":  "a snapshot in the place of everything before, at",
		"commit":   "committed up to",
	}
	parts := []string{fmt.Sprintf("%-8s", l.Kind)}
	if text := what[l.Kind]; text != "" {
		parts = append(parts, text)
	}
	if l.Zxid != nil {
		parts = append(parts, position(*l.Zxid))
	}
	if l.Chain != "" {
		parts = append(parts, "chain "+l.Chain)
	}
	if l.Kind == "header" {
		parts = append(parts, fmt.Sprintf("node %d, incarnation %s,", l.Control.Node, l.Control.Incarnation))
	}
	if l.Control != nil {
		parts = append(parts, l.Control.text())
	}
	if l.Entry != nil {
		parts = append(parts, l.Entry.text())
	}
	if l.Reason != "" {
		parts = append(parts, l.Reason)
	}
	return strings.Join(parts, " ")
}

// position writes a zxid as people meet it: the number that the HTTP API knows,
// and what it is made of.
func position(z uint64) string { return fmt.Sprintf("%d (%d,%d)", z, z>>32, uint32(z)) }

func (c *Control) text() string {
	parts := []string{fmt.Sprintf("boot %d", c.Boot)}
	if c.Formed {
		parts = append(parts, "formed")
	}
	if c.Cluster != "" {
		parts = append(parts, "cluster "+c.Cluster)
	}
	if p := c.Past; p != nil {
		parts = append(parts, fmt.Sprintf("restored from %s with digest %s, epochs up to %d", position(p.Zxid), p.Digest, p.Epoch))
	}
	if len(c.Founding) > 0 {
		parts = append(parts, "founded by "+memberList(c.Founding))
	}
	if c.AcceptedEpoch > 0 {
		parts = append(parts, fmt.Sprintf("accepted epoch %d of node %d", c.AcceptedEpoch, c.AcceptedFrom))
	}
	if c.CurrentEpoch > 0 {
		parts = append(parts, fmt.Sprintf("current epoch %d", c.CurrentEpoch))
	}
	if len(c.Seen) > 0 {
		var seen []string
		for _, l := range c.Seen {
			seen = append(seen, fmt.Sprintf("%d:%d", l.Node, l.Boot))
		}
		parts = append(parts, "boots seen "+strings.Join(seen, " "))
	}
	if c.NeedsRebuild {
		parts = append(parts, "needs to be rebuilt: "+c.Reason)
	}
	if c.Spoiled {
		parts = append(parts, "what it holds is not to be trusted")
	}
	return strings.Join(parts, ", ")
}

func memberList(members []Member) string {
	var ids []string
	for _, m := range members {
		id := fmt.Sprint(m.ID)
		if m.Role != "voter" {
			id += ":" + m.Role
		}
		ids = append(ids, id)
	}
	return strings.Join(ids, " ")
}

func (e *Entry) text() string {
	var parts []string
	switch {
	case e.Command != nil:
		parts = append(parts, e.Command.text())
	case e.Kind == "config":
		parts = append(parts, "members "+memberList(e.Members))
	default:
		parts = append(parts, e.Kind)
	}
	parts = append(parts, fmt.Sprintf("%d B", e.DataBytes))
	if e.Node != 0 {
		parts = append(parts, fmt.Sprintf("request %d of node %d", e.Request, e.Node))
	}
	parts = append(parts, time.UnixMilli(e.WallMs).UTC().Format("2006-01-02T15:04:05.000Z"), fmt.Sprintf("age %.3fs", float64(e.AgeMs)/1000))
	return strings.Join(parts, ", ")
}

func (c *Command) text() string {
	parts := []string{c.Op}
	for _, name := range c.order {
		value := c.Args[name]
		switch v := value.(type) {
		case bool:
			parts = append(parts, name)
			continue
		case string:
			value = plain(v)
		}
		parts = append(parts, fmt.Sprintf("%s=%v", name, value))
	}
	if c.Session != "" {
		parts = append(parts, "session="+c.Session)
	}
	return strings.Join(parts, " ")
}

// plain is s, quoted when it holds something that is no part of a word.
func plain(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` || strings.ContainsAny(s, " ,") {
		return q
	}
	return s
}
