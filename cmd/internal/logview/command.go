package logview

import (
	"encoding/hex"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"perch/gen/commandpb"
)

// hashShown is how many bytes of a token's hash are shown: enough to tell
// sessions apart, too few to try tokens against.
const hashShown = 4

// commandOf describes a command by the names in command.proto, so that one that
// is added there is shown without a word about it here.
func commandOf(cmd *commandpb.Command) *Command {
	out := &Command{Op: "unknown", Format: cmd.GetFormat(), Session: sessionOf(cmd.GetSession())}
	m := cmd.ProtoReflect()
	op := m.WhichOneof(m.Descriptor().Oneofs().ByName("op"))
	if op == nil {
		return out
	}
	out.Op = string(op.Name())
	out.describe("", m.Get(op).Message())
	if ttl := cmd.GetSession().GetOpenTtlMs(); ttl > 0 {
		out.add("open_ttl_ms", ttl)
	}
	return out
}

func sessionOf(ref *commandpb.SessionRef) string {
	switch ref := ref.GetRef().(type) {
	case *commandpb.SessionRef_Id:
		return fmt.Sprint(ref.Id)
	case *commandpb.SessionRef_TokenHash:
		return "token:" + hex.EncodeToString(ref.TokenHash[:min(hashShown, len(ref.TokenHash))])
	}
	return ""
}

func (c *Command) add(name string, value any) {
	if c.Args == nil {
		c.Args = map[string]any{}
	}
	c.Args[name] = value
	c.order = append(c.order, name)
}

// describe adds the fields of m that are set, in the order of command.proto.
func (c *Command) describe(prefix string, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		name, value := prefix+string(f.Name()), m.Get(f)
		switch {
		case f.IsList():
			c.list(name, f, value.List())
		case f.Message() != nil:
			c.describe(name+".", value.Message())
		default:
			c.scalar(name, f, value)
		}
	}
}

// list tells the numbers in a list, and of other lists the length.
func (c *Command) list(name string, f protoreflect.FieldDescriptor, list protoreflect.List) {
	switch f.Kind() {
	case protoreflect.Uint64Kind, protoreflect.Uint32Kind:
		all := make([]uint64, list.Len())
		for i := range all {
			all[i] = list.Get(i).Uint()
		}
		c.add(name, all)
	case protoreflect.MessageKind:
		for i := range list.Len() {
			c.describe(fmt.Sprintf("%s.%d.", name, i), list.Get(i).Message())
		}
	default:
		c.add(name+"_count", list.Len())
	}
}

func (c *Command) scalar(name string, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch f.Kind() {
	case protoreflect.BytesKind:
		c.add(name+"_bytes", len(v.Bytes()))
	case protoreflect.EnumKind:
		c.add(name, enumName(f.Enum(), v.Enum()))
	default:
		c.add(name, v.Interface())
	}
}

// enumName is the name of a value without that of its type: MODE_EPHEMERAL is
// ephemeral.
func enumName(e protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	v := e.Values().ByNumber(n)
	if v == nil {
		return fmt.Sprint(n)
	}
	_, name, _ := strings.Cut(strings.ToLower(string(v.Name())), "_")
	return name
}
