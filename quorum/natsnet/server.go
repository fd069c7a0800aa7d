package natsnet

import (
	"crypto/rand"
	"crypto/tls"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"perch/quorum"
)

const (
	maxPayload = 2 << 20
	routeUser  = "perch"
	inProcess  = "IN_PROCESS" // a connection type, jwt.ConnectionTypeInProcess
	// writeWithin bounds a write to a peer, and how long Send's goroutine can
	// wait for the node's own server.
	writeWithin = 2 * time.Second
)

// serverOptions are the settings of NATS.md section 7 and the passwords of the
// three in-process users. Everything in it is fresh: the server writes into it.
func serverOptions(o *Options) (*server.Options, [accounts]string, error) {
	var keys [accounts]string
	password, err := Derive(o.Secret, LabelRoute, o.ClusterName)
	if err != nil {
		return nil, keys, err
	}
	so := &server.Options{
		ServerName: nodeName(o.ID),
		// Never DontListen: routes wait for the client listener for ever. It
		// listens where nobody can log in instead.
		Host: "127.0.0.1", Port: -1,
		NoSigs: true, NoSystemAccount: true,
		MaxPayload: maxPayload, NoFastProducerStall: true,
		WriteDeadline: writeWithin,
		MaxConn:       256, MaxClosedClients: 100, MaxControlLine: 1024,
		PingInterval: 5 * time.Second, MaxPingsOut: 2,
		ConnectErrorReports: 30, ReconnectErrorReports: 30,
	}
	if !o.alone() {
		so.Cluster, so.Routes = clusterOptions(o, password), routes(o.Peers, o.ID, password)
	}
	if !o.alone() && o.TLS != nil {
		so.Cluster.TLSConfig = o.TLS.Clone()
		if so.Cluster.TLSConfig.MinVersion == 0 {
			so.Cluster.TLSConfig.MinVersion = tls.VersionTLS13
		}
		so.Cluster.TLSTimeout = 2
	}
	for a, name := range accountNames {
		keys[a] = rand.Text()
		acc := server.NewAccount(name)
		so.Accounts = append(so.Accounts, acc)
		so.Users = append(so.Users, &server.User{
			Username: name, Password: keys[a], Account: acc,
			AllowedConnectionTypes: map[string]struct{}{inProcess: {}},
		})
	}
	return so, keys, nil
}

func clusterOptions(o *Options, password string) server.ClusterOpts {
	host, port, _ := splitAddr(o.ownAddr())
	return server.ClusterOpts{
		Name: o.ClusterName, Host: host, Port: port,
		Username: routeUser, Password: password,
		PoolSize: 1, PinnedAccounts: append([]string(nil), accountNames[:]...),
		Compression: server.CompressionOpts{Mode: server.CompressionOff},
		NoAdvertise: true,
		// A peer that is frozen or cut off must be dropped before its bytes
		// pile up here; the protocol's own pings are the failure detector.
		PingInterval: o.RoutePing, MaxPingsOut: 2,
		WriteDeadline: writeWithin, WriteTimeout: server.WriteTimeoutPolicyClose,
	}
}

// routes are the URLs of everybody but self. They hold the password: never log
// them.
func routes(peers []quorum.Peer, self quorum.NodeID, password string) []*url.URL {
	var urls []*url.URL
	for _, p := range peers {
		host, port, err := splitAddr(p.Addr)
		if p.ID == self || err != nil {
			continue
		}
		urls = append(urls, &url.URL{
			Scheme: "nats-route", User: url.UserPassword(routeUser, password),
			Host: net.JoinHostPort(host, strconv.Itoa(port)),
		})
	}
	return urls
}

func sameRoutes(a, b []*url.URL) bool {
	hosts := func(urls []*url.URL) (hs []string) {
		for _, u := range urls {
			hs = append(hs, u.Host)
		}
		slices.Sort(hs)
		return hs
	}
	return slices.Equal(hosts(a), hosts(b))
}
