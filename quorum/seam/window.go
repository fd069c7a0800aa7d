package seam

// windowIDs is how many ids a window remembers.
const windowIDs = 1 << 16

// window says whether an id, of those that rise, comes for the first time. One
// that is older than all that it remembers counts as a repetition.
type window struct {
	top  uint64 // highest that has come
	bits [windowIDs / 64]uint64
}

// first notes id.
func (w *window) first(id uint64) bool {
	switch {
	case id == 0 || id+windowIDs <= w.top:
		return false
	case id >= w.top+windowIDs:
		w.bits, w.top = [windowIDs / 64]uint64{}, id
	case id > w.top:
		for w.top < id {
			w.top++
			w.bits[w.top%windowIDs/64] &^= 1 << (w.top % 64)
		}
	}
	bit := uint64(1) << (id % 64)
	seen := w.bits[id%windowIDs/64]&bit != 0
	w.bits[id%windowIDs/64] |= bit
	return !seen
}
