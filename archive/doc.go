// Package archive keeps the committed history of clusters in PostgreSQL, and
// gives any state of it back (docs/archive.md).
//
// Writing, it guarantees:
//   - What stands in the tables was committed, without a gap between a snapshot
//     and the last transaction behind it: rows and the position up to which a
//     cluster is archived move in one database transaction, by compare-and-set. So
//     two shippers can do each other no harm, and a transaction is there once.
//   - The node is never held up. A Shipper has its own goroutines and connections;
//     it asks for what is next when it is ready for it, keeps one batch in memory,
//     and every statement has a time-out. What was not archived stays in the log of
//     the nodes; when that was purged, a snapshot bridges the hole, which shows.
//   - No password gets into a log line, an error or a metric.
//
// Reading, it guarantees that a state is the one that the cluster had at that
// position: chunks have hashes, transactions the chain hash of the log, and the
// digest of the state is compared at the snapshot and wherever it is known behind
// it. Anything else is a *DamageError. It finds damage, not malice.
//
// It does not promise how soon something is archived: in ordinary operation
// about a second after its commit, but what is younger is lost with the cluster.
package archive
