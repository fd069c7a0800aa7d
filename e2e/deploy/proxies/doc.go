// Package proxies runs the settings of deploy/proxy: nginx, HAProxy and Caddy,
// each with TLS, before a node and a gateway that is not there; and before one
// that ends every connection without an answer.
//
// Only addresses, ports and the places of files differ from what is printed.
package proxies
