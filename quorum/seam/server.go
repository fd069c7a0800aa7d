package seam

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/seampb"
	"perch/quorum/natsnet"
	"perch/tree"
)

// Server answers gateways from a node.
type Server struct {
	node Node
	port Port
	log  *slog.Logger

	ctx    context.Context // ends with Close; for its goroutines only
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	gates  map[natsnet.GatewayID]*gate
}

// Serve answers what comes in at port, until Close.
func Serve(node Node, port Port, log *slog.Logger) *Server {
	s := &Server{node: node, port: port, log: log, gates: make(map[natsnet.GatewayID]*gate)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.work.Go(s.run)
	port.HandleGateways(s.receive)
	return s
}

// Close ends whatever is under way and waits for it.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
}

// Beat has every gateway told at once how the node is, as when it drains.
func (s *Server) Beat() {
	for _, g := range s.all() {
		g.signal(true)
	}
}

// Heard lists the gateways that are there for the places of their clients.
func (s *Server) Heard() (list []natsnet.GatewayID) {
	for _, g := range s.all() {
		if g.silence() < homeWithin {
			list = append(list, g.id)
		}
	}
	return list
}

// Count is the number of gateways that were heard lately, of their questions
// under way and of their interests.
func (s *Server) Count() (gateways, questions, interests int) {
	for _, g := range s.all() {
		q, i := g.count()
		gateways, questions, interests = gateways+1, questions+q, interests+i
	}
	return gateways, questions, interests
}

// spawn runs fn in a goroutine that Close waits for; after Close it is not run.
func (s *Server) spawn(fn func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Go(fn)
	return true
}

// run beats, and ends what silent gateways have left.
func (s *Server) run() {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.look()
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *Server) look() {
	for _, g := range s.all() {
		silence := g.silence()
		if silence >= silentAfter {
			g.drop()
		}
		if silence >= forgetAfter {
			s.forget(g)
		}
		g.signal(true)
	}
}

func (s *Server) all() (list []*gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.gates {
		list = append(list, g)
	}
	return list
}

func (s *Server) forget(g *gate) {
	s.mu.Lock()
	delete(s.gates, g.id)
	s.mu.Unlock()
	g.end()
}

// gate is what is known of a gateway; nil when there are too many.
func (s *Server) gate(id natsnet.GatewayID) *gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gates[id]
	if g == nil && !s.closed && len(s.gates) < gatewaysMax {
		g = newGate(s, id)
		s.gates[id] = g
		s.work.Go(g.run)
	}
	return g
}

// receive takes one message of a gateway.
func (s *Server) receive(from natsnet.GatewayID, body []byte, reply func([]byte) error) {
	in := new(seampb.ToNode)
	if proto.Unmarshal(body, in) != nil {
		s.untaken(reply, seampb.Untaken_UNTAKEN_UNKNOWN)
		return
	}
	if own := s.node.Cluster(); in.GetHello() == nil && string(in.GetCluster()) != string(own[:]) {
		s.untaken(reply, seampb.Untaken_UNTAKEN_CLUSTER)
		return
	}
	g := s.gate(from)
	if g == nil {
		s.untaken(reply, seampb.Untaken_UNTAKEN_FULL)
		return
	}
	g.heard()
	switch say := in.GetSay().(type) {
	case *seampb.ToNode_Question:
		g.question(in.GetId(), say.Question, len(body), reply)
	case *seampb.ToNode_Hello:
		g.hello(say.Hello.GetLink())
	case *seampb.ToNode_Cancel:
		g.abandon(say.Cancel.GetId())
	case *seampb.ToNode_Unfollow:
		g.unfollow(say.Unfollow)
	case *seampb.ToNode_TouchLater:
		s.node.TouchLater(say.TouchLater.GetCaller(), string(say.TouchLater.GetToken()))
	default:
		s.untaken(reply, seampb.Untaken_UNTAKEN_UNKNOWN)
	}
}

func (s *Server) untaken(reply func([]byte) error, why seampb.Untaken) {
	s.answer(reply, &seampb.Answer{Untaken: why})
}

// answer sends an answer. Of one that cannot be sent the gateway learns that,
// and so that the outcome is not known.
func (s *Server) answer(reply func([]byte) error, a *seampb.Answer) {
	body, err := proto.Marshal(a)
	if err == nil {
		err = reply(body)
	}
	if err == nil {
		return
	}
	s.log.Debug("an answer could not be sent to a gateway", "error", err)
	if body, err = proto.Marshal(&seampb.Answer{Error: toError(tree.ErrInternal)}); err == nil {
		_ = reply(body)
	}
}
