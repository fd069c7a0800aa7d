//go:build !race

package lease

const thinned = 1
