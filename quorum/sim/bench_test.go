package sim

import "testing"

// BenchmarkSeed plays seeds of three nodes one after the other: one operation
// is one seed.
func BenchmarkSeed(b *testing.B) {
	events := 0
	for i := range b.N {
		events += Run(Options{Seed: uint64(i + 1), Nodes: 3}).Events
	}
	b.ReportMetric(float64(events)/float64(b.N), "events/op")
}
