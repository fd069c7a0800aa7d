package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perch/cmd/internal/exit"
	"perch/quorum/natsnet"
	"perch/quorum/seam"
)

// gatewayConfig is what `perch gateway` was asked for.
type gatewayConfig struct {
	edgeConfig
	clusterConfig

	Nodes string // as given: host:port,host:port,…

	nodes []string // taken apart by validate
}

func (c *gatewayConfig) declare(f *pflag.FlagSet) {
	f.StringVar(&c.Nodes, "nodes", "", "addresses of nodes, as they have them in --nats: host:port,host:port")
	c.clusterConfig.declare(f)
	c.edgeConfig.declare(f)
}

// validate fills in what follows from the flags and reports all faults at once.
// It opens and changes nothing.
func (c *gatewayConfig) validate() error {
	nodes, faults := parseNodes(c.Nodes)
	c.nodes = nodes
	faults = append(faults, c.edgeConfig.validate()...)
	faults = append(faults, c.clusterConfig.validate()...)
	faults = append(faults, c.validateReach("--nodes", c.nodes, c.Insecure)...)
	return errors.Join(faults...)
}

// parseNodes reads host:port,host:port,….
func parseNodes(text string) (nodes []string, faults []error) {
	if text == "" {
		return nil, []error{errors.New("--nodes: give the address of a node, or of several, as they have it in --nats: host:port,host:port")}
	}
	for _, item := range strings.Split(text, ",") {
		addr := strings.TrimSpace(item)
		switch err := checkAddr(addr, false); {
		case strings.Contains(addr, "="):
			faults = append(faults, fmt.Errorf("--nodes %q: must be host:port, without an id", addr))
		case err != nil:
			faults = append(faults, fmt.Errorf("--nodes %q: %w", addr, err))
		case slices.Contains(nodes, addr):
			faults = append(faults, fmt.Errorf("--nodes: %s is named twice", addr))
		default:
			nodes = append(nodes, addr)
		}
	}
	return nodes, faults
}

func gatewayCommand(env map[string]string) *cobra.Command {
	var c gatewayConfig
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Answer HTTP for the nodes at --nodes, and keep nothing; run as many as you like",
		Long: `Answer HTTP for the nodes at --nodes, which have opened --nats. A gateway keeps
nothing: clients may come to any of them, and go on at another when one ends.
Every flag is also an environment variable: --nodes is PERCH_NODES.`,
		Example: `  perch serve --nats 127.0.0.1:7601
  perch gateway --nodes 127.0.0.1:7601 --http 127.0.0.1:7080`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			faults := applyEnv(cmd.Flags(), env)
			if err := errors.Join(append(faults, c.validate())...); err != nil {
				return exit.UsageError(err)
			}
			return serveGateway(cmd.Context(), c, env, cmd.ErrOrStderr())
		},
	}
	c.declare(cmd.Flags())
	return cmd
}

// nodeWithin is how long a gateway that starts looks for a node before it answers
// that there is none.
const nodeWithin = 2 * time.Second

// serveGateway runs a gateway until ctx ends.
func serveGateway(ctx context.Context, c gatewayConfig, env map[string]string, stderr io.Writer) error {
	log := newLogger(stderr)
	secret, err := loadSecret(c.SecretFile, env)
	if err != nil {
		return err
	}
	options := natsnet.GatewayOptions{Addrs: c.nodes, ClusterName: c.ClusterName, Secret: secret, Insecure: c.Insecure, Logger: log}
	if options.TLS, err = c.peerTLS(log); err != nil {
		return err
	}
	edge, err := c.edgeConfig.open(log)
	if err != nil {
		return err
	}
	defer edge.close()
	link, err := natsnet.DialNodes(options)
	if err != nil {
		return err
	}
	defer link.Close()
	if err := edge.trace(c.Trace, c.ClusterName, "gateway-"+link.ID().String(), env); err != nil {
		return err
	}
	client := seam.New(link, log)
	defer client.Close()
	if err := edge.serveFrom(client); err != nil {
		return err
	}
	edge.registry.MustRegister(&linkMetrics{link})
	edge.announceInsecure(c.edgeConfig)
	log.Info("perch gateway serves", "url", edge.url(), "nodes", c.nodes, "cluster", c.ClusterName, "instance", link.ID().String())

	enableCtx, stopEnabling := context.WithCancel(ctx)
	var enabling sync.WaitGroup
	defer enabling.Wait()
	defer stopEnabling()
	if c.Auth {
		enabling.Go(func() { enableAuth(enableCtx, client, secret, stderr, log) })
	}
	awaitNode(ctx, client)
	defer context.AfterFunc(ctx, client.Drain)()
	return edge.run(ctx)
}

// awaitNode waits for a node that is ready, so that those who come at once, as
// after a restart, are answered by it; their connections wait meanwhile. It does
// not wait long: without nodes a gateway has to say so.
func awaitNode(ctx context.Context, client *seam.Client) {
	ctx, cancel := context.WithTimeout(ctx, nodeWithin)
	defer cancel()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !client.Status().Ready {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// run answers until ctx ends, then stops within a second.
func (e *httpEdge) run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- e.serve() }()
	select {
	case err := <-served:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	e.shut(within)
	return nil
}

// linkMetrics are those of the connections to the nodes.
type linkMetrics struct{ link *natsnet.Gateway }

var (
	roundTripDesc = prometheus.NewDesc("perch_gateway_node_round_trip_seconds",
		"Smoothed time of a message to a node and back; a node that is not connected is missing.", []string{"node"}, nil)
	nodesDesc = prometheus.NewDesc("perch_gateway_nodes_connected", "Nodes that this gateway is connected to.", nil, nil)
)

func (m *linkMetrics) Describe(out chan<- *prometheus.Desc) { out <- roundTripDesc; out <- nodesDesc }

func (m *linkMetrics) Collect(out chan<- prometheus.Metric) {
	trips := m.link.RoundTrips()
	out <- prometheus.MustNewConstMetric(nodesDesc, prometheus.GaugeValue, float64(len(trips)))
	for id, d := range trips {
		out <- prometheus.MustNewConstMetric(roundTripDesc, prometheus.GaugeValue, d.Seconds(), fmt.Sprint(id))
	}
}
