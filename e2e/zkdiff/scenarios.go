package main

// briefMs is the TTL of nodes that go: long enough for the calls before that on
// a starved machine.
const briefMs = 3000

// scenarios are sequences that chance does not bring, most because they take time.
var scenarios = [][]op{
	{ // the root is never deleted
		{Kind: opDelete, Absolute: true, Path: "/", Version: anyVersion},
	},
	{ // a TTL node goes, whatever its data
		{Kind: opCreate, Path: "/t", Mode: ttl, TTLMs: briefMs, Data: "x"},
		{Kind: opSet, Path: "/t", Data: "y", Version: anyVersion},
		{Kind: opVanish, Path: "/t"},
		{Kind: opCreate, Path: "/t", Mode: persistent},
	},
	{ // one with a child stays; it goes once the child has gone
		{Kind: opCreate, Path: "/t", Mode: ttl, TTLMs: briefMs},
		{Kind: opCreate, Path: "/t/child", Mode: ephemeral},
		{Kind: opCreate, Path: "/u", Mode: ttl, TTLMs: briefMs},
		{Kind: opVanish, Path: "/u"},
		{Kind: opExists, Path: "/t"},
		{Kind: opVanish, Path: "/t", Ops: []op{{Kind: opClose}}},
	},
	{ // a sequential one counts its parent's children like any other
		{Kind: opCreate, Path: "/p", Mode: container},
		{Kind: opCreate, Path: "/p/s", Mode: ttl, TTLMs: briefMs, Sequential: true},
		{Kind: opCreate, Path: "/p/s", Mode: ttl, TTLMs: briefMs, Sequential: true},
		{Kind: opVanish, Path: "/p"},
	},
	{ // a container that never had a child stays, and so does one in a multi that leaves it a child
		{Kind: opCreate, Path: "/c", Mode: container},
		{Kind: opCreate, Path: "/d", Mode: container},
		{Kind: opCreate, Path: "/d/x", Mode: persistent},
		{Kind: opMulti, Ops: []op{{Kind: opDelete, Path: "/d/x", Version: anyVersion}, {Kind: opCreate, Path: "/d/y", Mode: persistent}}},
		{Kind: opCreate, Path: "/t", Mode: ttl, TTLMs: briefMs},
		{Kind: opVanish, Path: "/t"},
		{Kind: opExists, Path: "/c"},
		{Kind: opExists, Path: "/d"},
		{Kind: opVanish, Path: "/d", Ops: []op{{Kind: opDelete, Path: "/d/y", Version: anyVersion}}},
	},
}
