package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"perch/handlers"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/node"
)

// stopWithin is how long a stop may take: SIGTERM ends the process in a second
// whatever hangs.
const (
	stopWithin   = 950 * time.Millisecond
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
				return usageError{err}
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
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	nodeConfig.Log, nodeConfig.Metrics = log, registry

	edgeTLS, err := c.tls(log)
	if err != nil {
		return err
	}
	options := handlers.Options{Log: log, Registry: registry, Version: version()}
	if err := c.edgeConfig.apply(&options); err != nil {
		return err
	}
	if options.Audit != nil {
		defer options.Audit.Close()
	}

	listener, err := net.Listen("tcp", c.HTTP)
	if err != nil {
		return fmt.Errorf("--http %s: %w", c.HTTP, err)
	}
	defer listener.Close()
	n, err := node.Open(nodeConfig)
	if err != nil {
		return err
	}
	options.Service = n
	edge, err := handlers.New(options)
	if err != nil {
		return err
	}
	s := &server{node: n, edge: edge, http: handlers.NewServer(edge), listener: listener}
	s.http.TLSConfig = edgeTLS
	if c.Auth {
		s.enable = func(ctx context.Context) { enableAuth(ctx, n, nodeConfig.Secret, stderr, log) }
	}
	c.announce(log, registry, listener.Addr())
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
		Settings: c.Settings,
	}
	if c.PeerCert != "" {
		if out.PeerTLS, err = natsnet.PeerTLS(c.PeerCert, c.PeerKey, c.PeerCA, log); err != nil {
			return node.Config{}, err
		}
	}
	return out, nil
}

// announce is the one line of a start.
func (c *config) announce(log *slog.Logger, registry *prometheus.Registry, addr net.Addr) {
	insecure := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "perch_insecure", Help: "1 when --insecure lets others in without TLS or authentication.",
	})
	registry.MustRegister(insecure)
	if reach := *c; c.Insecure {
		if reach.Insecure = false; reach.validateReach() != nil {
			insecure.Set(1)
			log.Warn("--insecure: whoever reaches this address may read along, or read and write everything", "http", addr.String())
		}
	}
	scheme := "http://"
	if c.TLSCert != "" {
		scheme = "https://"
	}
	dir, _ := filepath.Abs(c.Data)
	log.Info("perch serves", "url", scheme+addr.String(), "data", dir, "node", c.ID, "cluster", c.ClusterName, "members", max(len(c.peers), 1))
}

// server is everything that runs.
type server struct {
	node     *node.Node
	edge     *handlers.Handler
	http     *http.Server
	listener net.Listener
	enable   func(context.Context) // turns authentication on; nil: nobody wants that
}

// run returns nil after a clean stop, and otherwise what made it stop.
func (s *server) run(ctx context.Context) error {
	nodeCtx, stopNode := context.WithCancel(context.Background())
	var enabling sync.WaitGroup
	defer enabling.Wait()
	defer stopNode()
	nodeEnded := make(chan error, 1)
	go func() { nodeEnded <- s.node.Run(nodeCtx) }()
	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	if s.enable != nil {
		enabling.Go(func() { s.enable(nodeCtx) })
	}
	select {
	case err := <-nodeEnded:
		_ = s.http.Close()
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

func (s *server) serve() error {
	if s.http.TLSConfig != nil {
		return s.http.ServeTLS(s.listener, "", "") // the configuration has the certificate
	}
	return s.http.Serve(s.listener)
}

// stop answers what is parked, lets the node hand over, and closes what is
// still open.
func (s *server) stop(stopNode func(), nodeEnded <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	s.edge.Drain()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if s.http.Shutdown(ctx) != nil {
			_ = s.http.Close()
		}
	}()
	stopNode()
	err := <-nodeEnded
	<-answered
	return err
}
