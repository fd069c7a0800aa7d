package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"perch/archive"
	"perch/cmd/internal/exit"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/node"
)

// stopWithin is how long a stop may take: SIGTERM ends the process in a second
// whatever hangs.
const (
	stopWithin   = 900 * time.Millisecond
	answerWithin = 800 * time.Millisecond // of which so much is for requests in flight
)

func serveCommand(env map[string]string) *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node; with no flag a quorum of one at http://127.0.0.1:7070, data in ./perch-data",
		Long: `Run a node of a cluster; with no flag a quorum of one at http://127.0.0.1:7070, data in ./perch-data.
Every flag is also an environment variable: --secret-file is PERCH_SECRET_FILE.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			faults := applyEnv(cmd.Flags(), env)
			if err := errors.Join(append(faults, c.validate())...); err != nil {
				return exit.UsageError(err)
			}
			return serve(cmd.Context(), c, env, cmd.ErrOrStderr())
		},
	}
	c.declare(cmd.Flags())
	return cmd
}

// serve runs a node and its gateway until ctx ends or the node must stop. A node
// that found its store spoiled begins again, on an empty one.
func serve(ctx context.Context, c config, env map[string]string, stderr io.Writer) error {
	log := newLogger(stderr)
	for {
		err := serveStore(ctx, c, env, log, stderr)
		if !errors.Is(err, node.ErrRebuild) || ctx.Err() != nil {
			return err
		}
		log.Error("the node begins again, to be rebuilt from the others", "reason", err)
	}
}

func serveStore(ctx context.Context, c config, env map[string]string, log *slog.Logger, stderr io.Writer) error {
	nodeConfig, err := c.node(env, log)
	if err != nil {
		return err
	}
	edge, err := c.edgeConfig.open(log)
	if err != nil {
		return err
	}
	defer edge.close()
	nodeConfig.Log, nodeConfig.Metrics = log, edge.registry
	if err := edge.trace(c.Trace, c.ClusterName, strconv.Itoa(c.ID), env); err != nil {
		return err
	}
	nodeConfig.Tracer = edge.options.Tracer
	n, err := node.Open(nodeConfig)
	if err != nil {
		return err
	}
	if err := edge.serveFrom(n); err != nil {
		return err
	}
	s := &server{node: n, edge: edge}
	if c.archive.URL != "" {
		if s.shipper, err = c.ship(n, nodeConfig); err != nil {
			return errors.Join(err, n.Close())
		}
	}
	if c.Auth {
		s.enable = func(ctx context.Context) { enableAuth(ctx, n, nodeConfig.Secret, stderr, log) }
	}
	c.announce(edge)
	return s.run(ctx)
}

// node is what the node needs to know of c.
func (c *config) node(env map[string]string, log *slog.Logger) (node.Config, error) {
	secret, err := loadSecret(c.SecretFile, env)
	if err != nil {
		return node.Config{}, err
	}
	dir, err := filepath.Abs(c.Data)
	if err != nil {
		return node.Config{}, fmt.Errorf("--data %s: %w", c.Data, err)
	}
	peers := c.peers
	if len(peers) == 0 {
		peers = []quorum.Peer{{ID: quorum.NodeID(c.ID), Role: quorum.RoleVoter}}
	}
	out := node.Config{
		ID: quorum.NodeID(c.ID), Peers: peers, Name: c.ClusterName, Dir: dir, Secret: secret, PeerInsecure: c.Insecure,
		Settings: c.Settings, Version: version(),
	}
	if out.PeerTLS, err = c.peerTLS(log); err != nil {
		return node.Config{}, err
	}
	if c.NATS != "" {
		out.Gateways = &natsnet.GatewayPort{Addr: c.NATS, TLS: out.PeerTLS}
	}
	return out, nil
}

// ship makes what archives the history of n.
func (c *config) ship(n *node.Node, of node.Config) (*archive.Shipper, error) {
	config, err := c.archive.shipper()
	if err != nil {
		return nil, err
	}
	config.Node, config.Name, config.Log, config.Metrics = of.ID, of.Name, of.Log, of.Metrics
	shipper := archive.NewShipper(config, n.Feed())
	n.ShowArchive(shipper.Status)
	return shipper, nil
}

// announce is the one line of a start.
func (c *config) announce(edge *httpEdge) {
	edge.announceInsecure(c.edgeConfig)
	dir, _ := filepath.Abs(c.Data)
	edge.log.Info("perch serves", "url", edge.url(), "data", dir, "node", c.ID, "cluster", c.ClusterName, "members", max(len(c.peers), 1))
}

// server is everything that runs.
type server struct {
	node    *node.Node
	edge    *httpEdge
	enable  func(context.Context) // turns authentication on; nil: nobody wants that
	shipper *archive.Shipper      // nil without an archive
}

// run returns nil after a clean stop, and otherwise what made it stop.
func (s *server) run(ctx context.Context) error {
	nodeCtx, stopNode := context.WithCancel(context.Background())
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stopNode()
	nodeEnded := make(chan error, 1)
	go func() { nodeEnded <- s.node.Run(nodeCtx) }()
	served := make(chan error, 1)
	go func() { served <- s.edge.serve() }()
	if s.enable != nil {
		beside.Go(func() { s.enable(nodeCtx) })
	}
	if s.shipper != nil {
		beside.Go(func() { s.shipper.Run(nodeCtx) })
	}
	select {
	case err := <-nodeEnded:
		_ = s.edge.http.Close()
		return err
	case err := <-served:
		stopNode()
		return errors.Join(fmt.Errorf("serve HTTP: %w", err), <-nodeEnded)
	case <-ctx.Done():
	}
	late := time.After(stopWithin)
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop(stopNode, nodeEnded) }()
	select {
	case err := <-stopped:
		return err
	case <-late:
		return nil // what is acknowledged is durable; the rest may be cut off
	}
}

// stop answers what is parked, lets the node hand over, and closes what is
// still open.
func (s *server) stop(stopNode func(), nodeEnded <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	s.edge.handler.Drain()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		s.edge.shut(ctx)
	}()
	stopNode()
	err := <-nodeEnded
	<-answered
	return err
}
