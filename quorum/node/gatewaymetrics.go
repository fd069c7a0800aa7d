package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"perch/quorum/natsnet"
	"perch/quorum/seam"
)

// gatewayMetrics tell of the gateways of a node that lets any in.
type gatewayMetrics struct {
	server *seam.Server
	net    interface{ Stats() natsnet.Stats }
}

func gatewayDesc(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }

var (
	gatewaysDesc     = gatewayDesc("perch_gateways", "Gateways that this node has heard of lately.")
	gateAsksDesc     = gatewayDesc("perch_gateway_questions", "Questions of gateways under way, parked ones too.")
	gateFollowsDesc  = gatewayDesc("perch_gateway_interests", "Interests that this node follows for gateways.")
	gateConnsDesc    = gatewayDesc("perch_gateway_connections", "Connections of gateways that have logged in.")
	gateRefusedDesc  = gatewayDesc("perch_gateway_logins_refused_total", "Logins with another secret or cluster name.")
	gateEvictedDesc  = gatewayDesc("perch_gateway_logins_evicted_total", "Connections cut because too many had not logged in.")
	gateBusyDesc     = gatewayDesc("perch_gateway_busy_total", "Questions of gateways refused because too many were under way.")
	gatePushLostDesc = gatewayDesc("perch_gateway_pushes_lost_total", "Messages to gateways dropped here for want of room.")
)

// Describe implements prometheus.Collector.
func (m *gatewayMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{gatewaysDesc, gateAsksDesc, gateFollowsDesc, gateConnsDesc,
		gateRefusedDesc, gateEvictedDesc, gateBusyDesc, gatePushLostDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *gatewayMetrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	counter := func(d *prometheus.Desc, v uint64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	gateways, questions, interests := m.server.Count()
	gauge(gatewaysDesc, gateways)
	gauge(gateAsksDesc, questions)
	gauge(gateFollowsDesc, interests)
	s := m.net.Stats()
	gauge(gateConnsDesc, s.Gateways)
	counter(gateRefusedDesc, s.GatewaysRefused)
	counter(gateEvictedDesc, s.GatewaysEvicted)
	counter(gateBusyDesc, s.GateBusy)
	counter(gatePushLostDesc, s.PushesLost)
}

// showGateways registers the metrics of gateways where there is a port for them.
func (n *Node) showGateways() {
	if net, ok := n.net.(interface{ Stats() natsnet.Stats }); ok && n.cfg.Metrics != nil && n.cfg.Gateways != nil {
		n.cfg.Metrics.MustRegister(&gatewayMetrics{n.gateways, net})
	}
}
