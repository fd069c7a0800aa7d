package sim

import "perch/quorum"

// faults says which faults a seed has and how often: every seed draws its own
// mixture, since some bugs only show when most faults are off.
type faults struct {
	until int64 // faults strike before that time

	// Network: permille of messages, and durations.
	loss, dup, reorder, late int
	delay, lateMax           int64

	// Disk.
	fsync      int64 // mean
	stall      int   // permille of fsyncs
	stallMax   int64
	diskErrors int           // permille of fsyncs
	readErrors int           // permille of reads of old entries
	slow       quorum.NodeID // its fsync is that slow; 0: nobody's
	slowMean   int64
	snapTakes  int64
	chunk      int64
	snapEvery  int // entries; 0: never
	snapsKept  int
	purge      int // permille of snapshots

	wire     bool  // messages pass through the codec
	applyLag int64 // mean time before the state machine takes its turn; 0: at once

	lazy int // permille of inputs after which the loop takes more before it acts

	levels   bool  // programs of two ages
	drift    int64 // most by which a clock runs fast or slow, in permille
	pauseMax int64 // 0: pauses stay below a second

	every [faultKinds]int64 // mean time between two faults of a kind; 0: never

	open, touch  int64 // likewise, of sessions
	held         int64 // mean time between two steps of a worker; 0: no workers
	submit, read int64 // mean time between two client calls; 0: none
	writes       int   // most before the faults end
	forget       int   // permille of writes whose client gives up
	bodyMax      int   // bytes
	tuning       quorum.Tuning
	minEpoch     quorum.Epoch
	past         quorum.Past // what the cluster is restored from; zero: it begins with nothing
	observers    int
	spares       int    // nodes that nobody knows until an operator adds them
	digestEvery  uint32 // entries between two checkpoints
}

// faultKind names a fault that strikes at a time.
type faultKind uint8

const (
	faultCrash faultKind = iota
	faultCrashAll
	faultCut
	faultOneWay
	faultIsolate
	faultBridge
	faultRing
	faultFlap
	faultClog
	faultGap
	faultReset
	faultReplay
	faultPause
	faultHint
	faultStepDown
	faultWall
	faultFreeze
	faultStorm
	faultFull
	faultRot
	faultWipe
	faultWipeEarly
	faultBend
	faultImage
	faultRestore
	faultMembers
	faultTransfer
	faultKinds
)

var faultNames = [faultKinds]string{
	faultCrash: "crash", faultCrashAll: "all crash", faultCut: "cut in two", faultOneWay: "one way", faultIsolate: "alone",
	faultBridge: "bridge", faultRing: "ring", faultFlap: "flapping", faultClog: "clog", faultGap: "gap",
	faultReset: "reset", faultReplay: "replay", faultPause: "pause", faultHint: "hint", faultStepDown: "step down",
	faultWall: "wall clock", faultFreeze: "frozen clock", faultStorm: "restarts", faultFull: "full disk",
	faultRot: "damage", faultWipe: "wipe", faultWipeEarly: "early wipe",
	faultBend: "wrong state", faultImage: "image", faultRestore: "old image", faultMembers: "change of members",
	faultTransfer: "transfer",
}

// draw makes the mixture of a seed.
func draw(r *rng, nodes int) faults {
	f := faults{
		writes:   1 << 30,
		until:    r.between(1, 4) * second,
		delay:    pick[int64](r, 150, 500, 2000, 8000),
		fsync:    pick[int64](r, 100, 500, 2000, 10_000),
		minEpoch: pick(r, quorum.Epoch(0), 1, 7600),
	}
	switch r.below(300) {
	case 0:
		f.until = 70 * second // so long that adaptive time-outs turn over
	case 1, 2, 3, 4, 5:
		f.until = r.between(8, 20) * second
	}
	drawNetwork(r, &f)
	drawDisk(r, &f, nodes)
	drawStrikes(r, &f, nodes)
	drawForming(r, &f)
	drawClients(r, &f)
	drawTuning(r, &f)
	if r.below(6) == 0 {
		f.observers = 1 + r.below(2)
	}
	drawDigests(r, &f, nodes)
	if nodes >= 3 && r.below(8) == 0 {
		f.every[faultImage] = pick(r, 300*millisecond, 1*second)
		f.every[faultRestore] = pick(r, 300*millisecond, 1*second)
	}
	if r.below(4) == 0 {
		f.every[faultTransfer] = pick(r, 100*millisecond, 500*millisecond, 2*second)
	}
	return f
}

// sometimes draws from values in about half of the seeds, else gives zero.
func sometimes[T int | int64](r *rng, values ...T) T {
	if r.below(2) == 0 {
		return 0
	}
	return pick(r, values...)
}

func drawNetwork(r *rng, f *faults) {
	f.loss = sometimes(r, 2, 20, 100, 300)
	f.dup = sometimes(r, 5, 50, 400)
	f.reorder = sometimes(r, 10, 200, 1000)
	f.late = sometimes(r, 2, 20)
	f.lateMax = pick(r, 50*millisecond, 500*millisecond, 2*second)
	f.lazy = sometimes(r, 50, 500)
	f.wire = r.below(8) == 0
}

func drawDisk(r *rng, f *faults, nodes int) {
	f.stall = sometimes(r, 2, 20)
	f.stallMax = pick(r, 50*millisecond, 1*second, 4*second)
	if r.below(6) == 0 {
		f.diskErrors = pick(r, 1, 5)
	}
	if r.below(6) == 0 {
		f.readErrors = pick(r, 10, 100)
	}
	if r.below(6) == 0 {
		f.slow = quorum.NodeID(1 + r.below(nodes))
		f.slowMean = pick(r, 50*millisecond, 300*millisecond, 1*second)
	}
	if r.below(4) == 0 {
		f.applyLag = pick(r, 1*millisecond, 10*millisecond, 60*millisecond)
	}
	f.snapTakes = pick(r, 1*millisecond, 20*millisecond, 200*millisecond)
	f.chunk = pick(r, 1*millisecond, 20*millisecond)
	f.snapEvery = sometimes(r, 3, 10, 40)
	f.snapsKept = pick(r, 1, 2, 3)
	f.purge = pick(r, 200, 1000)
}

func drawStrikes(r *rng, f *faults, nodes int) {
	f.every[faultCrash] = sometimes(r, 200*millisecond, 500*millisecond, 1500*millisecond)
	if r.below(4) == 0 {
		f.every[faultCrashAll] = pick(r, 700*millisecond, 2*second)
	}
	for k := faultCut; k <= faultFlap; k++ {
		if r.below(3) == 0 {
			f.every[k] = pick(r, 200*millisecond, 600*millisecond, 2*second)
		}
	}
	for k := faultClog; k <= faultWall; k++ {
		if r.below(3) == 0 {
			f.every[k] = pick(r, 30*millisecond, 200*millisecond, 1*second)
		}
	}
	if f.every[faultStepDown] > 0 {
		f.every[faultStepDown] += 500 * millisecond
	}
	if nodes >= 3 && r.below(5) == 0 {
		f.every[faultWipe] = pick(r, 1*second, 2*second)
	}
	drawRare(r, f, nodes)
}

// drawRare draws what would hide everything else if every seed had it.
func drawRare(r *rng, f *faults, nodes int) {
	if r.below(5) == 0 {
		f.every[faultStorm] = pick(r, 700*millisecond, 2*second)
	}
	if r.below(6) == 0 {
		f.every[faultFreeze] = pick(r, 300*millisecond, 1*second)
	}
	if r.below(8) == 0 {
		f.every[faultFull] = pick(r, 500*millisecond, 2*second)
	}
	if nodes >= 3 && r.below(5) == 0 {
		f.every[faultRot] = pick(r, 300*millisecond, 1*second)
	}
	f.levels = r.below(3) == 0
	if r.below(4) == 0 {
		f.drift = pick[int64](r, 20, 100)
	}
}

// early wipes strike while a cluster forms.
func drawForming(r *rng, f *faults) {
	if r.below(16) == 0 {
		f.every[faultWipeEarly] = pick(r, 30*millisecond, 120*millisecond)
	}
}

func drawClients(r *rng, f *faults) {
	f.submit = pick(r, 2*millisecond, 8*millisecond, 30*millisecond)
	f.read = sometimes(r, 5*millisecond, 30*millisecond)
	if r.below(3) == 0 {
		f.open, f.touch = pick(r, 50*millisecond, 300*millisecond), pick(r, 5*millisecond, 40*millisecond)
	}
	if f.open > 0 { // what endangers sessions: leaders that freeze or are cut off
		f.every[faultPause] = pick(r, 0, 300*millisecond, 1*second)
		f.every[faultIsolate] = pick(r, 0, 400*millisecond, 1*second)
		f.pauseMax = 2 * second
	}
	f.forget = sometimes(r, 10, 200)
	f.bodyMax = pick(r, 0, 40, 200)
}

// drawTuning makes bounds so small that their edges are met all the time.
func drawTuning(r *rng, f *faults) {
	t := &f.tuning
	if r.below(2) == 0 {
		t.MessageBytes = pick(r, 1, 150, 400, 2000)
	}
	if r.below(2) == 0 {
		t.WindowBytes = pick(r, 150, 300, 1000, 5000)
	}
	if r.below(2) == 0 {
		t.CacheBytes = pick(r, 1, 300, 2000)
	}
	if r.below(3) == 0 {
		t.MaxPending = pick(r, 1, 4, 32)
	}
	if r.below(4) == 0 {
		t.CounterLimit = pick[uint32](r, 4, 16, 16, 16, 100)
	}
}

// drawDigests has some seeds bend a state.
func drawDigests(r *rng, f *faults, nodes int) {
	f.digestEvery = pick[uint32](r, 1, 3, 16, quorum.DigestEvery)
	if nodes >= 3 && r.below(6) == 0 {
		f.every[faultBend] = pick(r, 300*millisecond, 1*second)
	}
}

// calm is what remains when faults stop: a small, honest network and disk.
func (f *faults) calm() {
	f.loss, f.dup, f.reorder, f.late, f.stall, f.diskErrors, f.readErrors, f.slow = 0, 0, 0, 0, 0, 0, 0, 0
	f.applyLag = min(f.applyLag, 1*millisecond)
	f.delay, f.fsync, f.snapTakes, f.chunk = 300, 500, 2*millisecond, 1*millisecond
	f.submit, f.read, f.open, f.touch, f.forget, f.lazy = 0, 0, 0, 0, 0, 0
	f.every = [faultKinds]int64{}
}
