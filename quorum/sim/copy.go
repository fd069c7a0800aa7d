package sim

import (
	"reflect"
	"unsafe"

	"perch/lease"
	"perch/quorum"
)

// The explorer copies whole worlds, cores included, a million times. Copies made
// by hand would forget the next field that somebody adds, so they are made from
// the types: everything is copied, but for what is never changed after it was
// made.

// unchanging are types behind pointers that copies share.
var unchanging = map[reflect.Type]bool{
	reflect.TypeFor[quorum.Message](): true,
	reflect.TypeFor[snapFile]():       true,
	reflect.TypeFor[Cut]():            true,
	reflect.TypeFor[Violation]():      true,
	reflect.TypeFor[held]():           true, // no explorer has any
	reflect.TypeFor[lease.State]():    true,
	reflect.TypeFor[lease.Result]():   true,
	reflect.TypeFor[lease.Tracker]():  true,
}

// memo holds the copies of what pointers lead to, by address.
type memo map[unsafe.Pointer]unsafe.Pointer

// fixer makes a value that was copied flat, at that address, its own: whatever
// it refers to is copied too. nil: it refers to nothing.
type fixer func(memo, unsafe.Pointer)

// copier keeps the fixers, which are made once for each type. Goroutines do not
// share one.
type copier struct{ known map[reflect.Type]*fixer }

// deepCopy copies what p leads to, with all that it refers to.
func deepCopy[T any](c *copier, p *T) *T {
	t := reflect.TypeFor[T]()
	q := new(T)
	*q = *p
	m := memo{unsafe.Pointer(p): unsafe.Pointer(q)}
	if f := *c.fixer(t); f != nil {
		f(m, unsafe.Pointer(q))
	}
	return q
}

// fixer finds or makes that of a type; its value is there once all types that
// it leads to are known.
func (c *copier) fixer(t reflect.Type) *fixer {
	if c.known == nil {
		c.known = map[reflect.Type]*fixer{}
	}
	if f, ok := c.known[t]; ok {
		return f
	}
	f := new(fixer)
	c.known[t] = f
	if !refers(t) {
		return f
	}
	switch t.Kind() {
	case reflect.Pointer:
		*f = c.pointer(t)
	case reflect.Slice:
		*f = c.slice(t)
	case reflect.Map:
		*f = c.mapping(t)
	case reflect.Struct:
		*f = c.fields(t)
	case reflect.Array:
		*f = c.elements(t)
	}
	return f
}

func (c *copier) pointer(t reflect.Type) fixer {
	elem := t.Elem()
	inner := c.fixer(elem)
	return func(m memo, at unsafe.Pointer) {
		p := (*unsafe.Pointer)(at)
		if *p == nil {
			return
		}
		if q, ok := m[*p]; ok {
			*p = q
			return
		}
		q := reflect.New(elem)
		q.Elem().Set(reflect.NewAt(elem, *p).Elem())
		m[*p] = q.UnsafePointer()
		*p = q.UnsafePointer()
		if *inner != nil {
			(*inner)(m, *p)
		}
	}
}

// slice copies the elements and leaves no room behind them, so that nothing is
// appended in place. Bytes are never changed.
func (c *copier) slice(t reflect.Type) fixer {
	elem := t.Elem()
	inner := c.fixer(elem)
	size := elem.Size()
	return func(m memo, at unsafe.Pointer) {
		s := reflect.NewAt(t, at).Elem()
		n := s.Len()
		if s.Cap() == 0 {
			return
		}
		fresh := reflect.MakeSlice(t, n, n)
		reflect.Copy(fresh, s)
		s.Set(fresh)
		if *inner == nil {
			return
		}
		for i := range n {
			(*inner)(m, unsafe.Add(fresh.UnsafePointer(), uintptr(i)*size))
		}
	}
}

func (c *copier) mapping(t reflect.Type) fixer {
	inner := c.fixer(t.Elem())
	return func(m memo, at unsafe.Pointer) {
		s := reflect.NewAt(t, at).Elem()
		if s.IsNil() {
			return
		}
		fresh := reflect.MakeMapWithSize(t, s.Len())
		for it := s.MapRange(); it.Next(); {
			v := reflect.New(t.Elem())
			v.Elem().Set(it.Value())
			if *inner != nil {
				(*inner)(m, v.UnsafePointer())
			}
			fresh.SetMapIndex(it.Key(), v.Elem())
		}
		s.Set(fresh)
	}
}

func (c *copier) fields(t reflect.Type) fixer {
	type field struct {
		offset uintptr
		inner  *fixer
	}
	var all []field
	for i := range t.NumField() {
		if f := t.Field(i); refers(f.Type) {
			all = append(all, field{f.Offset, c.fixer(f.Type)})
		}
	}
	return func(m memo, at unsafe.Pointer) {
		for _, f := range all {
			(*f.inner)(m, unsafe.Add(at, f.offset))
		}
	}
}

func (c *copier) elements(t reflect.Type) fixer {
	inner, size := c.fixer(t.Elem()), t.Elem().Size()
	return func(m memo, at unsafe.Pointer) {
		for i := range t.Len() {
			(*inner)(m, unsafe.Add(at, uintptr(i)*size))
		}
	}
}

// refers says whether values of a type refer to something that copies must not
// share. Functions and interfaces are shared.
func refers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer:
		return !unchanging[t.Elem()]
	case reflect.Slice:
		return t.Elem().Kind() != reflect.Uint8
	case reflect.Map:
		return true
	case reflect.Array:
		return refers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if refers(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}
