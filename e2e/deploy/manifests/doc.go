// Package manifests checks the files of deploy/ that others interpret, with the
// code of those who interpret them: Kubernetes's types and its restricted
// profile, the loader of docker compose, and systemd-analyze.
package manifests
