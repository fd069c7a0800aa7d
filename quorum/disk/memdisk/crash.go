package memdisk

import (
	"math/rand/v2"
	"path"
	"sort"
)

// Survival says what a crash does to what was not synced.
type Survival uint8

const (
	Lost Survival = 1 // nothing of it survives
	Kept Survival = 2 // all of it survives
	Torn Survival = 3 // some operations, sectors and bytes survive
)

const sector = 512

// Crash returns the disk that the next life of the machine finds. d stays as it
// is, so that one moment can be left in many ways.
func (d *Disk) Crash(how Survival, rnd *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := map[string]*inode{}
	for name, n := range d.durable {
		names[name] = n
	}
	for _, c := range d.pending {
		if how == Kept || (how == Torn && rnd.IntN(2) == 0) {
			apply(names, c)
		}
	}
	return settled(names, func(n *inode) []byte { return n.crash(how, rnd) })
}

// Restart returns the disk that the next process finds when only the process
// ended: what was read before is still read, durable or not.
func (d *Disk) Restart() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := New()
	nodes := map[*inode]*inode{}
	move := func(n *inode) *inode {
		if n == nil {
			return nil
		}
		if nodes[n] == nil {
			nodes[n] = &inode{
				data:    append([]byte(nil), n.data...),
				synced:  append([]byte(nil), n.synced...),
				pending: append([]write(nil), n.pending...),
			}
		}
		return nodes[n]
	}
	for name, n := range d.names {
		next.names[name] = move(n)
	}
	for name, n := range d.durable {
		next.durable[name] = move(n)
	}
	for _, c := range d.pending {
		set := map[string]*inode{}
		for name, n := range c.set {
			set[name] = move(n)
		}
		next.pending = append(next.pending, change{dir: c.dir, set: set})
	}
	return next
}

// settled is a disk on which names with the given contents are durable.
func settled(names map[string]*inode, content func(*inode) []byte) *Disk {
	next := New()
	order := make([]string, 0, len(names))
	for name := range names {
		order = append(order, name)
	}
	sort.Strings(order) // so that one seed gives one disk
	moved := map[*inode]*inode{}
	for _, name := range order {
		n := names[name]
		if moved[n] == nil {
			b := content(n)
			moved[n] = &inode{data: b, synced: append([]byte(nil), b...)}
		}
		next.names[name], next.durable[name] = moved[n], moved[n]
	}
	return next
}

// crash is what is left of the content.
func (n *inode) crash(how Survival, rnd *rand.Rand) []byte {
	b := append([]byte(nil), n.synced...)
	if how == Lost {
		return b
	}
	prefix := len(n.pending)
	if how == Torn {
		prefix = rnd.IntN(len(n.pending) + 1)
	}
	for i, w := range n.pending {
		switch {
		case i < prefix:
			b = w.apply(b)
		case how == Torn && w.data != nil:
			b = w.tear(b, rnd)
		}
	}
	return b
}

// tear applies part of a write: its first bytes, or some of its sectors.
func (w *write) tear(b []byte, rnd *rand.Rand) []byte {
	if rnd.IntN(2) == 0 {
		part := write{off: w.off, data: w.data[:rnd.IntN(len(w.data)+1):len(w.data)]}
		return part.apply(b)
	}
	for at := int64(0); at < int64(len(w.data)); {
		n := min(sector-(w.off+at)%sector, int64(len(w.data))-at)
		if rnd.IntN(2) == 0 {
			part := write{off: w.off + at, data: w.data[at : at+n]}
			b = part.apply(b)
		}
		at += n
	}
	return b
}

// Files lists the names in dir, sorted.
func (d *Disk) Files(dir string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for name := range d.names {
		if path.Dir(name) == path.Clean(dir) {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}

// Read returns a copy of a file; nil when there is none.
func (d *Disk) Read(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[path.Clean(name)]
	if n == nil {
		return nil
	}
	return append([]byte{}, n.data...)
}

// Put makes a file with the given content, durably and outside of all counting:
// this is how tests damage one. Content nil removes it.
func (d *Disk) Put(name string, content []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = path.Clean(name)
	if content == nil {
		delete(d.names, name)
		delete(d.durable, name)
		return
	}
	n := &inode{data: append([]byte{}, content...), synced: append([]byte{}, content...)}
	d.names[name], d.durable[name] = n, n
}
