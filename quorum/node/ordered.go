package node

// ordered is a heap (container/heap) by rising order, whose elements know where
// they stand, so that each can be moved and removed.
type ordered[T element] []T

type element interface {
	order() uint64
	stand() *int // index in the heap; -1 outside
}

func (h ordered[T]) Len() int           { return len(h) }
func (h ordered[T]) Less(i, j int) bool { return h[i].order() < h[j].order() }
func (h ordered[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	*h[i].stand(), *h[j].stand() = i, j
}

// Push implements heap.Interface.
func (h *ordered[T]) Push(x any) {
	e := x.(T)
	*e.stand() = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *ordered[T]) Pop() any {
	old := *h
	last := len(old) - 1
	e := old[last]
	var none T
	old[last] = none
	*h = old[:last]
	*e.stand() = -1
	return e
}
