// Package clients tests the HTTP contract with the tools of others: clients
// that generators make of openapi.yaml, and proxies and testers that hold a
// running node against it. `make clients` runs it.
//
// The generated clients all live through the same scenario: create, read,
// change with a right and a wrong precondition, list, watch, and hold a lock,
// on nodes whose paths have spaces, percent signs, slashes and letters beyond
// ASCII, each step against another member of a cluster of three.
//
// What is generated lies in out/ until the next run. npm's packages are those
// of package-lock.json beside this file.
package clients
