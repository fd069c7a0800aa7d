#!/bin/sh
# Builds the harness and the Go function, and runs them; arguments go to the
# harness: -n 300, -seed, -unfenced.
set -eu
cd "$(dirname "$0")"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
CGO_ENABLED=0 go build -trimpath -o "$bin/harness" ./harness
CGO_ENABLED=0 go build -trimpath -o "$bin/function" ./go
"$bin/harness" -dir . -function "$bin/function" "$@"
