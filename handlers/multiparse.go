package handlers

import (
	"slices"
	"strconv"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/tree"
)

// The bounds of a multi.
const (
	multiOpsMax   = 128
	multiBytesMax = 1 << 20 // of values and ACLs together
)

func (m *multi) parse() error {
	if len(m.asked) == 0 || len(m.asked) > multiOpsMax {
		return outOfRange("/ops", 1, multiOpsMax)
	}
	m.ops = make([]*commandpb.Op, len(m.asked))
	for i := range m.asked {
		op, err := m.parseOp(&m.asked[i])
		if err != nil {
			f := m.failed(err, i)
			f.field = "/ops/" + strconv.Itoa(i) + "/" + f.field
			return f
		}
		m.ops[i] = op
	}
	return nil
}

// takes are the fields of each operation besides op and path.
var takes = map[api.OpOp][]string{
	api.Create:      {"data", "text", "mode", "ttl_ms", "sequential", "parents", "acl"},
	api.Set:         {"data", "text", "version", "etag"},
	api.Put:         {"data", "text", "version", "etag", "mode", "ttl_ms", "parents"},
	api.Delete:      {"version", "etag", "recursive"},
	api.Check:       {"version", "etag"},
	api.CheckAbsent: {},
	api.Get:         {},

	// Of these the first stands for the path.
	api.CheckLock: {"lock", "fencing_token"},
	api.Add:       {"counter", "add"},
	api.Enqueue:   {"queue", "data", "text"},
	api.Ack:       {"queue", "receipt"},
}

// pathless says whether an operation is about something that has a name and no
// path.
func pathless(op api.OpOp) bool {
	return op == api.CheckLock || op == api.Add || op == api.Enqueue || op == api.Ack
}

// checkFields refuses what op does not take.
func checkFields(op *api.Op) error {
	known, ok := takes[op.Op]
	if !ok {
		return badArgument("op", "it is create, set, put, delete, check, check_absent, get, check_lock, add, enqueue or ack")
	}
	if pathless(op.Op) != (op.Path == nil) {
		return badArgument("path", "it is missing, or the operation does not take it")
	}
	for _, field := range [...]struct {
		name  string
		given bool
	}{
		{"data", op.Data != nil}, {"text", op.Text != nil}, {"version", op.Version != nil}, {"etag", op.Etag != nil},
		{"mode", op.Mode != nil}, {"ttl_ms", op.TTLMs != nil}, {"sequential", op.Sequential != nil},
		{"parents", op.Parents != nil}, {"recursive", op.Recursive != nil}, {"acl", op.ACL != nil},
		{"lock", op.Lock != nil}, {"fencing_token", op.FencingToken != nil}, {"counter", op.Counter != nil},
		{"add", op.Add != nil}, {"queue", op.Queue != nil}, {"receipt", op.Receipt != nil},
	} {
		if field.given && !slices.Contains(known, field.name) {
			return badArgument(field.name, string(op.Op)+" does not take it")
		}
	}
	return nil
}

// pathOf is the path of an operation; "" of one that has none.
func pathOf(op *api.Op) string {
	if op.Path == nil {
		return ""
	}
	return canonical(*op.Path)
}

// parseOp reads one operation. Faults name the field alone.
func (m *multi) parseOp(op *api.Op) (*commandpb.Op, error) {
	if err := checkFields(op); err != nil {
		return nil, err
	}
	switch {
	case pathless(op.Op):
		return m.parseThing(op)
	case op.Op == api.Create:
		return m.parseCreate(op)
	}
	path := pathOf(op)
	if err := m.edge.checkPath(path); err != nil {
		return nil, err
	}
	condition, err := opCondition(op)
	if err != nil {
		return nil, err
	}
	switch op.Op {
	case api.Set, api.Put:
		return m.parsePut(op, condition)
	case api.Delete:
		if path == tree.Root {
			return nil, badArgument("path", "the root is always there")
		}
		return &commandpb.Op{Op: &commandpb.Op_Delete{Delete: &commandpb.Delete{
			Path: path, Recursive: is(op.Recursive), Condition: condition}}}, nil
	case api.CheckAbsent:
		condition = &commandpb.Condition{When: &commandpb.Condition_IfAbsent{IfAbsent: true}}
		fallthrough
	case api.Check:
		return &commandpb.Op{Op: &commandpb.Op_Check{Check: &commandpb.Check{Path: path, Condition: condition}}}, nil
	}
	return &commandpb.Op{Op: &commandpb.Op_Get{Get: &commandpb.Get{Path: path}}}, nil
}

func (m *multi) parseCreate(op *api.Op) (*commandpb.Op, error) {
	path := pathOf(op)
	if err := m.edge.checkNewPath(path, is(op.Sequential)); err != nil {
		return nil, err
	}
	mode, ttl, err := m.kind(op, createModes)
	if err != nil {
		return nil, err
	}
	data, err := m.value(op)
	if err != nil {
		return nil, err
	}
	acl, err := m.acl(op)
	if err != nil {
		return nil, err
	}
	return &commandpb.Op{Op: &commandpb.Op_Create{Create: &commandpb.Create{
		Path: path, Data: data, Mode: mode, TtlMs: ttl, Acl: acl,
		Sequential: is(op.Sequential), Parents: is(op.Parents)}}}, nil
}

func (m *multi) parsePut(op *api.Op, condition *commandpb.Condition) (*commandpb.Op, error) {
	mode, ttl, err := m.kind(op, putModes)
	if err != nil {
		return nil, err
	}
	data, err := m.value(op)
	if err != nil {
		return nil, err
	}
	return &commandpb.Op{Op: &commandpb.Op_Put{Put: &commandpb.Put{
		Path: pathOf(op), Data: data, Mode: mode, TtlMs: ttl, Condition: condition,
		Parents: is(op.Parents), Existing: op.Op == api.Set}}}, nil
}

// kind reads mode and ttl_ms. A multi opens no session: its ttl_ms is never that
// of one.
func (m *multi) kind(op *api.Op, known map[string]commandpb.Mode) (mode commandpb.Mode, ttl uint64, err error) {
	if mode, err = parseMode(op.Mode, known); err != nil {
		return mode, 0, err
	}
	ttl, err = checkTTL("ttl_ms", op.TTLMs)
	switch {
	case err != nil:
	case mode == commandpb.Mode_MODE_TTL && ttl == 0:
		err = badArgument("ttl_ms", "a TTL node needs one")
	case mode != commandpb.Mode_MODE_TTL && ttl != 0:
		err = badArgument("ttl_ms", "only a TTL node takes it")
	case mode == commandpb.Mode_MODE_EPHEMERAL && !m.owned:
		err = badArgument("mode", "an ephemeral needs a session, in Perch-Session")
	}
	return mode, ttl, err
}

// value is the data of the operation, which counts.
func (m *multi) value(op *api.Op) ([]byte, error) {
	var data []byte
	field := "data"
	switch {
	case op.Data != nil && op.Text != nil:
		return nil, badArgument("text", "data is given too")
	case op.Data != nil:
		data = *op.Data
	case op.Text != nil:
		data, field = []byte(*op.Text), "text"
	}
	return data, m.count(field, len(data))
}

func (m *multi) acl(op *api.Op) ([]*commandpb.AclEntry, error) {
	if op.ACL == nil {
		return nil, nil
	}
	entries, err := parseACL("acl", *op.ACL, m.caller)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, entry := range entries {
		size += len(entry.Scheme) + len(entry.Id)
	}
	return entries, m.count("acl", size)
}

func (m *multi) count(field string, n int) error {
	if m.bytes += n; m.bytes > multiBytesMax {
		return fail(codeTooLarge, "the operations are too large together").in(field).met(multiBytesMax)
	}
	return nil
}

// opCondition makes one condition of version and etag, which may both be there.
func opCondition(op *api.Op) (*commandpb.Condition, error) {
	if op.Version != nil && *op.Version < 0 {
		return nil, badArgument("version", "it is negative")
	}
	tag, err := parseTag("etag", op.Etag)
	if err != nil {
		return nil, err
	}
	z := tag.zxid()
	switch {
	case tag.any:
		return nil, badArgument("etag", "it is one tag")
	case op.Version != nil && tag.given:
		return &commandpb.Condition{When: &commandpb.Condition_Version{Version: *op.Version}, AlsoEtag: &z}, nil
	case op.Version != nil:
		return &commandpb.Condition{When: &commandpb.Condition_Version{Version: *op.Version}}, nil
	case tag.given:
		return &commandpb.Condition{When: &commandpb.Condition_Etag{Etag: z}}, nil
	}
	return nil, nil
}
