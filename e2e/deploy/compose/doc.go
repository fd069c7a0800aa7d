// Package compose brings docker-compose.yml up for real: Debian's engine, the
// image of this checkout, three nodes, gateways behind HAProxy, and Postgres.
//
// The engine is one of the test's own, in namespaces of the test's own: its
// bridges, packet filter rules, mounts and processes are seen by nobody else, and
// are gone when the test is. It needs root. Where it does not start the test says
// so in one line, and passes: see TestMain.
//
// No image is pulled. Those of HAProxy and Postgres are made of this machine's
// Debian packages, under the names in the file, and behave as the real ones as
// far as the file relies on it: see standins_test.go.
package compose
