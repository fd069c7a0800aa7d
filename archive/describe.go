package archive

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// request is what an entry tells of who asked for what; nil pointers are NULL.
type request struct {
	operation string
	principal *string
	address   *string
	target    *string
}

// requestOf describes an entry by the names in command.proto, so that a command
// that is added there is told of without a word about it here.
func requestOf(e *quorum.Entry) request {
	if e.Kind == quorum.EntryConfig {
		return request{operation: "config"}
	}
	out := request{operation: "unknown"}
	cmd := new(commandpb.Command)
	if proto.Unmarshal(e.Data, cmd) != nil {
		return out
	}
	out.principal, out.address = text(cmd.GetCaller().GetPrincipal()), text(cmd.GetCaller().GetAddress())
	m := cmd.ProtoReflect()
	if op := m.WhichOneof(m.Descriptor().Oneofs().ByName("op")); op != nil {
		out.operation = string(op.Name())
		out.target = text(targetOf(m.Get(op).Message()))
	}
	return out
}

// targetOf is the path or name that an operation is about; "" when it is about
// none, or about several.
func targetOf(m protoreflect.Message) string {
	fields := m.Descriptor().Fields()
	for _, name := range []protoreflect.Name{"path", "name", "principal", "names", "wants"} {
		f := fields.ByName(name)
		switch {
		case f == nil:
		case !f.IsList() && f.Kind() == protoreflect.StringKind:
			return m.Get(f).String()
		case f.IsList() && m.Get(f).List().Len() == 1:
			one := m.Get(f).List().Get(0)
			if f.Kind() == protoreflect.MessageKind {
				return targetOf(one.Message())
			}
			return one.String()
		}
	}
	return ""
}

// pathMost bounds what stands in an index, in bytes; PostgreSQL takes no more
// than 2 700.
const pathMost = 2000

// text is s as the database takes it, without the bytes that it refuses; nil for
// none.
func text(s string) *string {
	if s == "" {
		return nil
	}
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
	if len(s) > pathMost {
		s = strings.ToValidUTF8(s[:pathMost], "") + "…"
	}
	return &s
}

// Times that the database can hold; a stamp beyond is moved to its end.
var (
	firstTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
)

func timeOf(wall int64) time.Time {
	return time.UnixMilli(min(max(wall, firstTime.UnixMilli()), lastTime.UnixMilli()))
}

var (
	changeNames = map[tree.EventType]string{
		tree.EventCreated: "created", tree.EventChanged: "changed", tree.EventDeleted: "deleted", tree.EventACL: "acl",
	}
	causeNames = map[tree.Cause]string{
		tree.CauseRequest: "request", tree.CauseSessionExpired: "session_expired", tree.CauseSessionClosed: "session_closed",
		tree.CauseTTL: "ttl", tree.CauseContainer: "container",
	}
	modeNames = map[tree.Mode]string{
		tree.ModePersistent: "persistent", tree.ModeEphemeral: "ephemeral", tree.ModeContainer: "container", tree.ModeTTL: "ttl",
	}
)

// changeRow is a row of perch.changes, in the order of changeColumns.
func changeRow(cluster string, number int, at time.Time, e *tree.Event, who *request) []any {
	row := []any{cluster, int64(e.Zxid), number, at, text(e.Path), changeNames[e.Type], nil, nil, nil, causeNames[e.Cause],
		who.principal, who.address, who.operation}
	if e.Type != tree.EventDeleted {
		row[6], row[7], row[8] = e.Stat.Version, int64(e.Stat.DataLength), modeNames[e.Stat.Mode]
	}
	return row
}
