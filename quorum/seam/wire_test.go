package seam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// trips are all types that cross the seam, each sent as bytes and back.
var trips = []func(t *testing.T){
	trip(toRead, fromRead), trip(toEventQuery, fromEventQuery), trip(toInterest, fromInterest),
	trip(toMembersChange, fromMembersChange), trip(toResult, fromResult), trip(toReading, fromReading),
	trip(toEventBatch, fromEventBatch), trip(toHeld, fromHeld), trip(toIdentity, fromIdentity), trip(toStatus, fromStatus),
	trip(toSnapshotQuery, fromSnapshotQuery), trip(toSnapshotPiece, fromSnapshotPiece),
}

func trip[G any, P any, M interface {
	*P
	proto.Message
}](to func(*G) M, from func(M) G) func(*testing.T) {
	return func(t *testing.T) {
		var want G
		(&filler{}).fill(reflect.ValueOf(&want).Elem())
		body, err := proto.Marshal(to(&want))
		if err != nil {
			t.Fatal(err)
		}
		in := M(new(P))
		if err := proto.Unmarshal(body, in); err != nil {
			t.Fatal(err)
		}
		got := from(in)
		differ(t, reflect.TypeFor[G]().String(), reflect.ValueOf(&got).Elem(), reflect.ValueOf(&want).Elem())
		var zero G
		if again := from(to(&zero)); !reflect.DeepEqual(again, zero) {
			t.Errorf("%T: nothing became %+v", zero, again)
		}
	}
}

// No field of what crosses the seam is lost or taken for another: every one has a
// value of its own here. One that is new, and that the codec does not know, fails.
func TestNoFieldIsLost(t *testing.T) {
	for _, one := range trips {
		one(t)
	}
}

// filler gives every field that can be set a value that no other has.
type filler struct{ n uint64 }

func (f *filler) fill(v reflect.Value) {
	f.n++
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				f.fill(field)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.fill(v.Index(0))
		f.fill(v.Index(1))
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.String:
		v.SetString(fmt.Sprint("s", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Interface: // the operation of a commandpb.Op
	default:
		if v.CanInt() {
			v.SetInt(int64(f.n))
		} else {
			v.SetUint(f.n % 256)
		}
		if v.IsZero() {
			f.fill(v)
		}
	}
}

// differ tells of every place where two values are not the same.
func differ(t *testing.T, at string, got, want reflect.Value) {
	t.Helper()
	if m, ok := want.Interface().(proto.Message); ok {
		if !proto.Equal(m, got.Interface().(proto.Message)) {
			t.Errorf("%s: got %v, want %v", at, got, want)
		}
		return
	}
	switch want.Kind() {
	case reflect.Struct:
		for i := range want.NumField() {
			if field := want.Type().Field(i); field.IsExported() {
				differ(t, at+"."+field.Name, got.Field(i), want.Field(i))
			}
		}
	case reflect.Pointer:
		if got.IsNil() {
			t.Errorf("%s is lost", at)
			return
		}
		differ(t, at, got.Elem(), want.Elem())
	case reflect.Slice:
		if got.Len() != want.Len() {
			t.Errorf("%s: got %d, want %d", at, got.Len(), want.Len())
			return
		}
		for i := range want.Len() {
			differ(t, fmt.Sprintf("%s[%d]", at, i), got.Index(i), want.Index(i))
		}
	default:
		if got.Interface() != want.Interface() {
			t.Errorf("%s: got %v, want %v", at, got, want)
		}
	}
}

func TestErrorsStayThemselves(t *testing.T) {
	path := tree.CheckPath("no slash", tree.PathLimits{})
	if !errors.Is(path, tree.ErrInvalidPath) {
		t.Fatal(path)
	}
	for _, want := range []error{
		nil, tree.ErrNoNode, tree.ErrHistoryLost, lease.ErrNoLeader, lease.ErrCommitTimeout, context.Canceled,
		context.DeadlineExceeded, path, &lease.Refused{Why: lease.ErrNoQuorum, Text: "why"},
		&lease.Refused{Why: tree.ErrInvalidArgument, Text: ""},
	} {
		for _, err := range []error{want, wrapped(want)} {
			body, merr := proto.Marshal(&seampb.Answer{Error: toError(err)})
			in := new(seampb.Answer)
			if merr != nil || proto.Unmarshal(body, in) != nil {
				t.Fatal(merr)
			}
			if got := fromError(in.GetError()); !reflect.DeepEqual(got, want) {
				t.Errorf("%v became %v", err, got)
			}
		}
	}
	if got := fromError(toError(errors.New("of no kind"))); !errors.Is(got, tree.ErrInternal) {
		t.Errorf("of no kind: %v", got)
	}
}

func wrapped(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("in some way: %w", err)
}

// A page of one node reads as an answer of another.
func TestReadsAndAnswersAsBytes(t *testing.T) {
	q := lease.Read{Kind: lease.ReadChildren, Path: "/a", PageToken: "\xff", Caller: &commandpb.Caller{Principal: "p"}}
	body, err := MarshalRead(&q)
	if err != nil {
		t.Fatal(err)
	}
	got, err := UnmarshalRead(body)
	if err != nil || got.PageToken != q.PageToken || got.Caller.GetPrincipal() != "p" {
		t.Errorf("%+v, %v", got, err)
	}
	body, err = MarshalAnswer(&lease.Answer{Zxid: 7}, lease.ErrPageExpired)
	if err != nil {
		t.Fatal(err)
	}
	if a, err, ok := UnmarshalAnswer(body); !ok || a.Zxid != 7 || !errors.Is(err, lease.ErrPageExpired) {
		t.Errorf("%+v, %v, %v", a, err, ok)
	}
	if _, _, ok := UnmarshalAnswer(nil); ok {
		t.Error("nothing is an answer")
	}
}

// Whatever comes in, it is an error or something, and nothing panics.
func FuzzDecode(f *testing.F) {
	for _, m := range []proto.Message{
		&seampb.Answer{Error: toError(&lease.Refused{Why: lease.ErrNoQuorum, Text: "x"})},
		&seampb.Answer{Answer: &seampb.Answer_Result{Result: toResult(&lease.Result{Zxid: 1, Claimed: make([]lease.Message, 2)})}},
		&seampb.ToGateway{Link: 1, Life: 2, Seq: 1, Batches: []*seampb.Batch{{Id: 1, Through: 5}}, Beat: &seampb.Beat{Status: toStatus(&lease.Status{})}},
		&seampb.ToNode{Id: 1, Say: &seampb.ToNode_Question{Question: &seampb.Question{Ask: &seampb.Question_Read{}}}},
	} {
		body, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = UnmarshalRead(body)
		_, _, _ = UnmarshalAnswer(body)
		answer := new(seampb.Answer)
		if proto.Unmarshal(body, answer) == nil {
			_ = fromError(answer.GetError())
			_, _, _ = fromResult(answer.GetResult()), fromReading(answer.GetReading()), fromEventBatch(answer.GetEvents())
			_, _, _ = fromHeld(answer.GetHeld()), fromIdentity(answer.GetIdentity()), fromSnapshotPiece(answer.GetSnapshot())
		}
		asked := new(seampb.ToNode)
		if proto.Unmarshal(body, asked) == nil {
			q := asked.GetQuestion()
			_, _, _ = fromRead(q.GetRead()), fromEventQuery(q.GetEvents()), fromMembersChange(q.GetMembers())
			_, _ = fromInterest(q.GetFollow().GetInterest()), fromSnapshotQuery(q.GetSnapshot())
		}
		c := New(silent{}, discard)
		c.pushed(1, body)
		c.mu.Lock()
		c.remote(1).link = 1
		c.mu.Unlock()
		c.pushed(1, body)
		c.Close()
	})
}

// silent is a link to nobody.
type silent struct{}

func (silent) Nodes() []quorum.NodeID { return nil }
func (silent) Ask(context.Context, quorum.NodeID, []byte) ([]byte, error) {
	return nil, errUnknown
}
func (silent) Tell(quorum.NodeID, []byte) error   { return nil }
func (silent) OnPush(func(quorum.NodeID, []byte)) {}
func (silent) OnChange(func())                    {}

func TestWindow(t *testing.T) {
	var w window
	for _, step := range []struct {
		id    uint64
		first bool
	}{
		{0, false}, {1, true}, {1, false}, {3, true}, {2, true}, {3, false}, {2, false},
		{windowIDs, true}, {1, false}, {windowIDs + 3, true}, {3, false}, {4, true},
		{9 * windowIDs, true}, {9*windowIDs - 1, true}, {9*windowIDs - 1, false}, {8 * windowIDs, false}, {8*windowIDs + 1, true},
	} {
		if got := w.first(step.id); got != step.first {
			t.Errorf("%d: first %v", step.id, got)
		}
	}
}

var discard = slog.New(slog.DiscardHandler)
