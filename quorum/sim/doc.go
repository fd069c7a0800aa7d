// Package sim runs whole clusters of quorum.Core in one goroutine from one
// seed: nodes, disks, network, clients and clocks are simulated, and every
// choice comes from the seed, so a failure is replayed by its number.
//
// What it guarantees: after every step a global observer, which sees all disks
// and all messages, has checked the assertions of ZAB.md section 6 that have a
// subject here (docs/simulation.md lists them), and after the faults have
// stopped every run has made progress again. Equal seeds give equal traces.
//
// What it does not: it says nothing about files, sockets or threads, which the
// driver adds (quorum/wal, quorum/snap and quorum/natsnet have their own
// tests); a clean run is evidence, not proof. A disk here loses what was not
// fsynced, in any part; what was fsynced it loses only by damage, and then the
// opening of the store finds it.
//
// Time is virtual, in microseconds. Nothing here ranges over a map.
package sim
