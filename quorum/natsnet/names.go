package natsnet

import (
	"strconv"
	"strings"

	"perch/quorum"
)

// account is one of the separate worlds of subjects. Each has its own TCP
// connection to every peer, so that none waits behind the bytes of another and
// the loss of one connection leaves the others.
type account uint8

const (
	control  account = iota // elections, the log, heartbeats
	bulk                    // synchronization, snapshot chunks, a second copy of heartbeats
	requests                // forwarded requests, reads, questions
	accounts
)

// accountNames must be equal on all nodes (NATS.md section 7): a change needs
// another cluster name or a stop of all nodes.
var accountNames = [accounts]string{control: "QCTL", bulk: "QBULK", requests: "QREQ"}

var accountSuffix = [accounts]string{control: ".ctl", bulk: ".sync", requests: ".req"}

// accountOf says where each type of message travels.
var accountOf = [quorum.MsgStepDown + 1]account{
	quorum.MsgSync:    bulk,
	quorum.MsgFetch:   bulk,
	quorum.MsgEntries: bulk,
	quorum.MsgRequest: requests,
	quorum.MsgRefuse:  requests,
	quorum.MsgRead:    requests,
	quorum.MsgReadPos: requests,
}

// heartbeat types travel on control and bulk: the loss of one TCP connection
// takes more than a second to mend, a leader is given up after 200 ms.
func heartbeat(t quorum.MsgType) bool { return t == quorum.MsgPing || t == quorum.MsgPong }

// Kind says what a question between nodes is about. From KindBulk on questions
// travel with the bulk traffic, below it with the requests.
type Kind uint8

// The kinds in use. Their meaning is the driver's.
const (
	KindTouch Kind = 1 // renewals of sessions, to the leader
	KindPage  Kind = 2 // continuation of a list, to the node that pins it
	KindSpace Kind = 3 // how a disk stands, to the leader
	KindGive  Kind = 4 // to give way to another leader, to the leader
	KindBeat  Kind = 5 // that a node still answers for its places, to the leader
	KindLeft  Kind = 6 // what sessions have left, to the leader
	KindTrace Kind = 7 // which positions are traced, to everybody

	KindBulk  Kind = 128 // the first that travels with the bulk traffic
	KindChunk Kind = 128 // a piece of a snapshot file; 32 to 60 KB are best
)

func (k Kind) account() account {
	if k >= KindBulk {
		return bulk
	}
	return requests
}

// names builds the subjects. They are fixed, so that no change of leader waits
// for interest to spread, and they are no fences: what counts is in the frame.
type names struct {
	node  string // zq.<cluster>.n.
	all   string // zq.<cluster>.log.
	own   string // of this node, without the account's suffix
	toAll string // where this node speaks to everybody
}

func newNames(cluster string, id quorum.NodeID) names {
	n := names{node: "zq." + cluster + ".n.", all: "zq." + cluster + ".log."}
	n.own = n.node + nodeName(id)
	n.toAll = n.all + nodeName(id)
	return n
}

func nodeName(id quorum.NodeID) string { return strconv.Itoa(int(id)) }

// to is the subject of a message on a to the node id, or to all.
func (n *names) to(a account, id quorum.NodeID) string {
	if id == 0 {
		return n.toAll
	}
	return n.node + nodeName(id) + accountSuffix[a]
}

func (n *names) ask(id quorum.NodeID, k Kind) string {
	return n.node + nodeName(id) + ".ask." + strconv.Itoa(int(k))
}

// sender is the node that a broadcast subject belongs to.
func (n *names) sender(subject string) (quorum.NodeID, bool) {
	s, ok := strings.CutPrefix(subject, n.all)
	if !ok {
		return 0, false
	}
	return parseNode(s)
}

// parseNode reads what nodeName writes.
func parseNode(s string) (quorum.NodeID, bool) {
	v, err := strconv.ParseUint(s, 10, 16)
	if err != nil || v == 0 {
		return 0, false
	}
	return quorum.NodeID(v), true
}
