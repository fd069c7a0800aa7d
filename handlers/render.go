package handlers

import (
	"encoding/hex"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"perch/gen/api"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// This file turns the types of tree and lease into those of the contract.

func renderStat(s *tree.Stat) api.Stat {
	mode := nodeMode(s)
	return api.Stat{
		Czxid: int64(s.Czxid), Mzxid: int64(s.Mzxid), Pzxid: int64(s.Pzxid),
		Version: s.Version, Cversion: s.Cversion, Aversion: s.Aversion,
		NumChildren: clampInt32(s.NumChildren), DataLength: clampInt32(s.DataLength),
		Ctime: renderTime(s.Ctime), Mtime: renderTime(s.Mtime),
		EphemeralOwner: int64(s.EphemeralOwner), Mode: &mode, TTLMs: some(s.TTLMs),
	}
}

func nodeMode(s *tree.Stat) api.NodeMode {
	switch s.Mode {
	case tree.ModeEphemeral:
		return api.NodeModeEphemeral
	case tree.ModeContainer:
		return api.NodeModeContainer
	case tree.ModeTTL:
		return api.NodeModeTTL
	}
	return api.NodeModePersistent
}

// renderTime makes RFC 3339 in UTC of Unix milliseconds.
func renderTime(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func renderNode(n *tree.Node) api.Node {
	return api.Node{Path: n.Path, Etag: nodeTag(&n.Stat), Stat: renderStat(&n.Stat)}
}

// detail is what include asks for.
type detail struct{ data, text, stat bool }

func parseInclude(include *api.Include) (d detail, err error) {
	if include == nil {
		return d, nil
	}
	for _, word := range *include {
		switch word {
		case api.DetailData:
			d.data = true
		case api.DetailText:
			d.text = true
		case api.DetailStat:
			d.stat = true
		default:
			return d, badArgument("include", "it knows data, text and stat")
		}
	}
	return d, nil
}

// value splits the bytes of a node into the fields that were asked for: text
// where they are UTF-8, else data.
func (d detail) value(b []byte) (data *[]byte, text *string) {
	if b == nil {
		b = []byte{}
	}
	readable := d.text && utf8.Valid(b)
	if readable {
		s := string(b)
		text = &s
	}
	if d.data || d.text && !readable {
		data = &b
	}
	return data, text
}

func renderEvents(events []tree.Event) []api.Event {
	out := make([]api.Event, len(events))
	for i := range events {
		out[i] = renderEvent(&events[i])
	}
	return out
}

func renderEvent(ev *tree.Event) api.Event {
	out := api.Event{Zxid: int64(ev.Zxid), Path: ev.Path, Type: eventType(ev.Type), Cause: eventCause(ev.Cause)}
	if ev.Type != tree.EventDeleted {
		stat := renderStat(&ev.Stat)
		out.Stat = &stat
	}
	return out
}

func eventType(t tree.EventType) string {
	switch t {
	case tree.EventCreated:
		return "created"
	case tree.EventChanged:
		return "changed"
	case tree.EventDeleted:
		return "deleted"
	}
	return "unknown"
}

func eventCause(c tree.Cause) string {
	switch c {
	case tree.CauseRequest:
		return "request"
	case tree.CauseSessionExpired:
		return "session_expired"
	case tree.CauseSessionClosed:
		return "session_closed"
	case tree.CauseTTL:
		return "ttl"
	case tree.CauseContainer:
		return "container"
	}
	return "unknown"
}

// renderSession tells of a session. remaining is 0 where no leader has
// confirmed a renewal.
func renderSession(i lease.Info, remaining time.Duration) api.Session {
	count := clampInt32(i.Ephemerals)
	return api.Session{
		ID: int64(i.ID), TTLMs: milliseconds(i.TTL), EphemeralCount: &count,
		RemainingMs: some(milliseconds(remaining)), Principal: some(i.Principal),
	}
}

// nodeLocation is the percent-encoded path of a node, without host.
func nodeLocation(path string) string {
	u := url.URL{Path: "/v1/nodes" + path}
	return u.EscapedPath()
}

func memberID(id quorum.NodeID) string { return strconv.FormatUint(uint64(id), 10) }

// clusterID is the id of the cluster, "" while it forms.
func clusterID(s *lease.Status) string {
	if s.Cluster == (quorum.ClusterID{}) {
		return ""
	}
	return hex.EncodeToString(s.Cluster[:])
}
