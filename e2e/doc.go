// Package e2e tests Perch as its users meet it: real processes, real sockets,
// real files, and kill -9. It imports nothing of Perch.
//
// The tests run bin/perch of this checkout, or the executable that PERCH_BIN
// names. They use free loopback ports and temporary directories, and end only
// the processes that they started. PERCH_SOAK=1 runs their long versions.
//
// What they wait for they ask for again and again until a deadline; no test
// takes a pause of a fixed length for a proof that something has happened.
package e2e
