package node

import "perch/quorum"

// Keys of log attributes.
const (
	keyNode   = "node"
	keyPeer   = "peer"
	keyEpoch  = "epoch"
	keyZxid   = "zxid"
	keyLeader = "leader"
	keyState  = "state"
	keyPhase  = "phase"
	keyError  = "error"
)

var stateNames = map[quorum.State]string{
	quorum.StateLooking: "looking", quorum.StateFollowing: "following",
	quorum.StateLeading: "leading", quorum.StateObserving: "observing",
}

var phaseNames = map[quorum.Phase]string{
	quorum.PhaseForming: "forming", quorum.PhaseLooking: "looking", quorum.PhaseDiscovery: "discovery",
	quorum.PhaseSync: "sync", quorum.PhaseBroadcast: "broadcast",
}

func stateName(s quorum.State) string { return stateNames[s] }
func phaseName(p quorum.Phase) string { return phaseNames[p] }
