package sim

import (
	"fmt"
	"reflect"
	"strings"
	"unsafe"
)

// Two states of the explorer are one when their digests are equal. Like copies,
// digests are made from the types, so that a new field counts until somebody says
// here that it does not matter.

// leftOut are the fields that do not count, by type and name.
var leftOut = words(`
	configuration: Core.cfg Core.tun Core.founding
	time, which the explorer lets pass whenever it likes:
	Core.tick Core.wall Core.standAt Core.patience Core.failures role.since role.deadline peer.heard peer.down peer.rival
	following.heard following.hinted following.resend following.pongs request.tick reads.tick walMark.tick
	leading.pullFetch leading.committed leading.pingAt leading.pingSeq leading.pings leading.leaseMs leading.ageBase
	learner.pongSeq learner.alive learner.timeout learner.stall learner.resend
	elections, which anybody may win at any time: Core.round Core.notifySeq peer.note role.look
	sessions, which are named by their age: Core.rng following.joinSeq learner.joinSeq Message.Seq
	groups of records, which are counted from the stable ones: Core.seq Core.stable Gate.stable disk.seqs
	disks: disk.exists disk.busy disk.stuck disk.group disk.marked disk.quiet`)

// sessionFields hold a nonce, which is named by its age.
var sessionFields = words(`following.session learner.session Message.Session`)

// groupFields count groups of records since the process started; what matters is
// how many of them are not stable yet.
var groupFields = words(`following.ldSeq leading.epochSeq leading.ldSeq peer.keptAt learner.keptAt renewal.seq walMark.seq
	Outbound.AfterSeq`)

// words are those with a dot in them.
func words(text string) map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(text) {
		if strings.Contains(w, ".") {
			all[w] = true
		}
	}
	return all
}

// digester folds values into a number.
type digester struct {
	sum    uint64
	stable uint64              // groups of the node at hand that are stable
	name   func(uint64) uint64 // of a session
	known  map[reflect.Type]*folder
}

// folder folds the value of a type at an address. nil: there is nothing to fold.
type folder func(d *digester, at unsafe.Pointer)

func (d *digester) fold(v uint64) { d.sum = mix(d.sum, v) }

// digest folds what p leads to.
func digest[T any](d *digester, p *T) {
	if f := *d.folder(reflect.TypeFor[T]()); f != nil {
		f(d, unsafe.Pointer(p))
	}
}

func (d *digester) folder(t reflect.Type) *folder {
	if d.known == nil {
		d.known = map[reflect.Type]*folder{}
	}
	if f, ok := d.known[t]; ok {
		return f
	}
	f := new(folder)
	d.known[t] = f
	switch t.Kind() {
	case reflect.Pointer:
		inner := d.folder(t.Elem())
		*f = func(d *digester, at unsafe.Pointer) {
			p := *(*unsafe.Pointer)(at)
			if d.fold(uint64(flagOf(p != nil))); p != nil {
				(*inner)(d, p)
			}
		}
	case reflect.Struct:
		*f = d.fields(t)
	case reflect.Slice:
		*f = d.slice(t)
	case reflect.Map:
		*f = d.mapping(t)
	case reflect.Array:
		inner, size := d.folder(t.Elem()), t.Elem().Size()
		*f = func(d *digester, at unsafe.Pointer) {
			for i := range t.Len() {
				(*inner)(d, unsafe.Add(at, uintptr(i)*size))
			}
		}
	default:
		*f = basic(t)
	}
	return f
}

func flagOf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// basic folds numbers and strings; of an error only whether there is one.
func basic(t reflect.Type) folder {
	switch {
	case t.Kind() == reflect.String:
		return func(d *digester, at unsafe.Pointer) {
			s := *(*string)(at)
			d.fold(uint64(len(s)))
			for i := range len(s) {
				d.fold(uint64(s[i]))
			}
		}
	case t.Kind() == reflect.Interface:
		return func(d *digester, at unsafe.Pointer) {
			d.fold(uint64(flagOf(!reflect.NewAt(t, at).Elem().IsNil())))
		}
	}
	switch t.Size() {
	case 1:
		return func(d *digester, at unsafe.Pointer) { d.fold(uint64(*(*uint8)(at))) }
	case 2:
		return func(d *digester, at unsafe.Pointer) { d.fold(uint64(*(*uint16)(at))) }
	case 4:
		return func(d *digester, at unsafe.Pointer) { d.fold(uint64(*(*uint32)(at))) }
	case 8:
		return func(d *digester, at unsafe.Pointer) { d.fold(*(*uint64)(at)) }
	}
	panic(fmt.Sprintf("no digest for %v", t))
}

func (d *digester) fields(t reflect.Type) folder {
	type field struct {
		offset uintptr
		inner  *folder
	}
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		name := t.Name() + "." + f.Name
		if leftOut[name] {
			continue
		}
		inner := new(folder)
		switch {
		case sessionFields[name]:
			*inner = func(d *digester, at unsafe.Pointer) { d.fold(d.name(*(*uint64)(at))) }
		case groupFields[name]:
			*inner = func(d *digester, at unsafe.Pointer) { d.group(*(*uint64)(at)) }
		default:
			inner = d.folder(f.Type)
		}
		all = append(all, field{f.Offset, inner})
	}
	// Groups of records are counted from what this field says.
	stable, counts := t.FieldByName("stable")
	counts = counts && stable.Type.Kind() == reflect.Uint64
	return func(d *digester, at unsafe.Pointer) {
		if counts {
			d.stable = *(*uint64)(unsafe.Add(at, stable.Offset))
		}
		for _, f := range all {
			(*f.inner)(d, unsafe.Add(at, f.offset))
		}
	}
}

// group folds how far a group of records is from being stable; 0 stands for no
// group at all.
func (d *digester) group(seq uint64) {
	switch {
	case seq == 0:
		d.fold(0)
	default:
		d.fold(1 + max(seq, d.stable) - d.stable)
	}
}

func (d *digester) slice(t reflect.Type) folder {
	inner, size := d.folder(t.Elem()), t.Elem().Size()
	return func(d *digester, at unsafe.Pointer) {
		s := reflect.NewAt(t, at).Elem()
		n := s.Len()
		d.fold(uint64(n))
		for i := range n {
			(*inner)(d, unsafe.Add(s.UnsafePointer(), uintptr(i)*size))
		}
	}
}

// mapping folds the pairs in no order.
func (d *digester) mapping(t reflect.Type) folder {
	key, value := d.folder(t.Key()), d.folder(t.Elem())
	return func(d *digester, at unsafe.Pointer) {
		sum, all := d.sum, uint64(0)
		s := reflect.NewAt(t, at).Elem()
		for it := s.MapRange(); it.Next(); {
			d.sum = 0
			k, v := reflect.New(t.Key()), reflect.New(t.Elem())
			k.Elem().Set(it.Key())
			v.Elem().Set(it.Value())
			(*key)(d, k.UnsafePointer())
			(*value)(d, v.UnsafePointer())
			all += d.sum
		}
		d.sum = sum
		d.fold(all)
	}
}
