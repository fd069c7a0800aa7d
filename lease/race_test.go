//go:build race

package lease

// thinned divides the number of random cases: the race detector makes them many
// times slower, and has nothing to find in one goroutine. `make race` runs them
// all without it.
const thinned = 20
