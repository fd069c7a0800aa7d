package natsnet

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/nats-io/nkeys"

	"perch/quorum"
)

// GatewayID names one gateway process, from its start to its end: 128 random
// bits. Two starts have two.
type GatewayID [16]byte

func newGatewayID() (id GatewayID) {
	_, _ = rand.Read(id[:]) // never fails, says its documentation
	return id
}

func (id GatewayID) String() string { return hex.EncodeToString(id[:]) }

// parseGatewayID reads what String writes, and nothing else: a name becomes a
// part of subjects and permissions.
func parseGatewayID(s string) (id GatewayID, ok bool) {
	if len(s) != 2*len(id) || strings.ToLower(s) != s {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil
}

// The subjects of the account of gateways. A gateway may publish on its own
// subject of the node that it is connected to and read below its own inbox. So
// the subject says who asks, and none can ask as another.
const gateAccount = "GATE"

// gateAsk is the subject on which a gateway speaks to a node.
func gateAsk(node quorum.NodeID, gateway string) string {
	return "req." + nodeName(node) + "." + gateway
}

func gateInbox(gateway string) string { return "_INBOX_" + gateway }
func gatePush(gateway string) string  { return gateInbox(gateway) + ".push" }

// gateKey is the key pair that every gateway of a cluster logs in with.
func gateKey(secret []byte, cluster string) (nkeys.KeyPair, error) {
	seed, err := derive(secret, LabelGateway, cluster)
	if err != nil {
		return nil, err
	}
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, seed)
	if err != nil {
		return nil, fmt.Errorf("natsnet: key of gateways: %w", err)
	}
	return pair, nil
}

func gateSeals(secret []byte, cluster string) (*seals, error) {
	key, err := derive(secret, LabelGatewayFrame, cluster)
	if err != nil {
		return nil, err
	}
	return newSeals(string(key)), nil
}

// What a gateway and a node say to each other is framed as between nodes, see
// askFrame, under another key. A gateway speaks as node 0, with codeAsk or
// codeTell, and its body begins with a number that it uses once, so that no
// answer fits two questions; codePush is a node's.
const (
	codeAsk  = 1
	codeTell = 2
	codePush = 3

	gateHead     = 8
	gateBytesMax = maxPayload - 4<<10
)

// gateQuestion is a question without its seal.
func gateQuestion(code byte, number uint64, body []byte) []byte {
	head := make([]byte, gateHead, gateHead+len(body))
	binary.LittleEndian.PutUint64(head, number)
	return askFrame(code, 0, append(head, body...))
}

// openGateQuestion takes an unsealed question apart.
func openGateQuestion(frame []byte) (code byte, body []byte, err error) {
	code, from, body, err := openAsk(frame)
	if err == nil && (from != 0 || len(body) < gateHead || code != codeAsk && code != codeTell) {
		err = errAskFrame
	}
	if err != nil {
		return 0, nil, err
	}
	return code, body[gateHead:], nil
}
