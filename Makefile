# Everything that is done with Perch from a checkout. `make` lists it.

GO       ?= go
SEEDS    ?= 20000
SEED     ?=
NODES    ?=
# Seeds of the long run, with three nodes and with five.
SOAK3    ?= 250000
SOAK5    ?= 50000
STATES   ?= 1000000
# A count and not a time: at the end of a time go test now and then reports its
# own deadline as a failure.
FUZZTIME ?= 50000x
FUZZJOBS ?= 1
# Calls that are compared with ZooKeeper.
OPS      ?= 5000
E2E_ARGS ?=
BENCH_ARGS ?=
MUTANTS_ARGS ?=

export CGO_ENABLED ?= 0
# One toolchain, the installed one: nothing is downloaded behind one's back.
export GOTOOLCHAIN ?= local

PROTOS   := $(sort $(shell find lease quorum tree -name '*.proto'))
SOURCES  := $(shell find archive cmd gen handlers lease quorum tree -name '*.go' -not -name '*_test.go') $(wildcard *.go) openapi.yaml go.mod $(wildcard archive/migrations/*.sql)
GEN_CONFIGS := $(wildcard handlers/oapi-*.yaml)
NPM_DONE := e2e/lint/node_modules/.package-lock.json
CLIENTS_DONE := e2e/clients/node_modules/.package-lock.json

.DEFAULT_GOAL := help

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: bin/perch ## build the static binary bin/perch

bin/perch: $(SOURCES)
	@$(GO) build -trimpath -o $@ ./cmd/perch

man: ## write the manual pages of all commands into bin/man
	@rm -rf bin/man && $(GO) run -tags man ./cmd/perch man bin/man

run: bin/perch ## run one node at http://127.0.0.1:7070, data in ./perch-data (PERCH_HTTP and PERCH_DATA move them)
	@exec bin/perch serve

cluster: bin/perch ## run three nodes on loopback, logs in perch-data/cluster; Ctrl-C stops them
	@$(GO) build -o bin/cluster ./cmd/internal/cluster && exec bin/cluster -perch bin/perch

generate: ## regenerate gen/ from openapi.yaml and the .proto files
	@$(GO) run ./cmd/internal/protogen $(PROTOS)
	@for config in $(GEN_CONFIGS); do $(GO) tool oapi-codegen -config $$config openapi.yaml || exit 1; done

# What works the processors and what mostly waits for others go side by side.
test: tools bin/perch ## everything that CI checks; installs what it needs on a bare machine
	@$(MAKE) --no-print-directory -j2 test-units test-stacks

# Without MAKEFLAGS each goes one step at a time.
test-units:
	@MAKEFLAGS= $(MAKE) --no-print-directory race fuzz sim FUZZTIME=2000x SEEDS=4000

test-stacks:
	@MAKEFLAGS= $(MAKE) --no-print-directory lint e2e client zk-diff alerts deploy-test compose-test

unit: ## the tests of all packages, without the race detector
	@$(GO) test ./...

# The simulator and the replicated state are one goroutine each, which
# layout_test.go sees to, and the log is written by one at a time: they gain
# nothing from the race detector, and are many times slower under it. What runs
# beside them is in quorum/node. Many packages wait for the disk, hence -p.
SINGLE := ./lease ./quorum/sim/... ./quorum/wal

race: ## the tests of all packages, under the race detector where there is more than one goroutine
	@CGO_ENABLED=1 $(GO) test -p 4 -race $$($(GO) list ./... | grep -v -x -F "$$($(GO) list $(SINGLE))")
	@$(GO) test -p 4 $(SINGLE)

sim: ## the simulator: SEEDS=20000 runs, or SEED=n to replay one
	@$(GO) build -o bin/simrun ./quorum/sim/simrun
	@bin/simrun $(if $(SEED),-seed $(SEED),-seeds $(SEEDS)) $(if $(NODES),-nodes $(NODES))

sweep: ## a crash at every effect boundary of 200 short stories, about two minutes
	@$(GO) build -o bin/simrun ./quorum/sim/simrun
	@bin/simrun -sweep

explore: ## interleavings of a tiny world, STATES=1000000 distinct states, a few minutes
	@$(GO) build -o bin/simrun ./quorum/sim/simrun
	@bin/simrun -explore -states $(STATES)

# Each part ends with a line of its own; docs/simulation.md keeps the ledger.
soak-sim: ## the simulator for hours: SOAK3=250000 seeds of 3 nodes, SOAK5=50000 of 5, crash points, interleavings, traces, mutants
	@$(GO) build -o bin/simrun ./quorum/sim/simrun
	bin/simrun -nodes 3 -seeds $(SOAK3)
	bin/simrun -nodes 5 -seeds $(SOAK5)
	bin/simrun -sweep
	bin/simrun -explore -states $(STATES)
	bin/simrun -same -seeds 1000
	@$(MAKE) --no-print-directory mutants

mutants: ## put one known bug after another into a copy of the sources; each must be found
	@$(GO) build -tags mutants -o bin/mutants ./quorum/sim/mutants
	@bin/mutants $(MUTANTS_ARGS)

fuzz: ## every fuzz test, FUZZTIME=50000x inputs each, FUZZJOBS=1 at a time
	@grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' cmd handlers lease quorum tree | sort | \
	sed 's|\(.*\)/[^/]*:func \(.*\)|\1 \2|' | \
	xargs -P $(FUZZJOBS) -L 1 sh -c 'echo "fuzz $$0 $$1"; \
		$(GO) test ./$$0 -run "^$$" -fuzz "^$$1\$$" -fuzztime $(FUZZTIME) -parallel 2 || exit 255'

e2e: bin/perch ## tests with real processes
	@cd e2e && PERCH_BIN=$(CURDIR)/bin/perch $(GO) test -count=1 -timeout 10m -v ./... $(E2E_ARGS)

client: bin/perch ## the generated Go client against three nodes
	@cd e2e/clients && PERCH_BIN=$(CURDIR)/bin/perch $(GO) test -count=1 -timeout 5m -run TestGoClient .

# Too long for `make test`: two hundred megabytes of npm, a JDK, two minutes.
clients: bin/perch client-tools $(CLIENTS_DONE) ## clients that others generate from openapi.yaml, and what holds a node against it
	@cd e2e/clients && PERCH_BIN=$(CURDIR)/bin/perch $(GO) test -count=1 -timeout 30m -v . $(E2E_ARGS)

# What is about the command line does not go by Prism, and whoever leaves goes
# unnoticed behind it.
contract: bin/perch client-tools $(CLIENTS_DONE) ## the tests with real processes once more, through Prism, which validates every request and answer
	@cd e2e && PERCH_BIN=$(CURDIR)/bin/perch PERCH_PRISM=clients/node_modules/@stoplight/prism-cli/dist/index.js \
		$(GO) test -count=1 -timeout 30m -v -skip '^Test(Examples|Functions|QuickStart|MakeCluster|ExampleSearch|Bench|RefusedConfigurations|LockCommand|NobodyWaitsBehindTheDead)' . $(E2E_ARGS)

zk-diff: bin/perch zookeeper ## the same random calls to Perch and to a real ZooKeeper: OPS=5000, SEED=n to repeat a run
	@cd e2e/zkdiff && $(GO) test ./... >/dev/null || $(GO) test ./...
	@cd e2e/zkdiff && $(GO) build -o ../../bin/zkdiff .
	@PERCH_BIN=$(CURDIR)/bin/perch bin/zkdiff -ops $(OPS) $(if $(SEED),-seed $(SEED))

soak: bin/perch ## the same tests in their long versions, about an hour and a half
	@PERCH_SOAK=1 $(GO) test -count=1 -run TestEveryPosition ./quorum/wal
	@cd e2e && PERCH_SOAK=1 PERCH_BIN=$(CURDIR)/bin/perch $(GO) test -count=1 -timeout 60m -v ./... $(E2E_ARGS)
	@PERCH_SOAK=1 $(MAKE) --no-print-directory clients
	@$(MAKE) --no-print-directory contract
	@$(MAKE) --no-print-directory zk-diff OPS=200000
	@$(MAKE) --no-print-directory soak-fuzz

soak-fuzz: ## every fuzz test for ten minutes, eight at a time: about forty minutes
	@$(MAKE) --no-print-directory fuzz FUZZTIME=10m FUZZJOBS=8

bench: bin/perch ## measure three loopback nodes beside a bare net/http handler
	@bin/perch bench --start 3 --bare $(BENCH_ARGS)

example-search: bin/perch ## the search engine of examples/search-engine, with everything that fails in it
	@$(GO) build -o bin/search-engine ./examples/search-engine
	@bin/search-engine -perch bin/perch

# The last stage of deploy/Dockerfile over a root directory made here, so that no
# base image has to be pulled, and one file says what is in the image.
image: bin/image/perch ## pack the binary built here into the image perch:local, for docker-compose.yml
	@mkdir -p bin/image/data bin/image/etc/ssl/certs
	@cp /etc/ssl/certs/ca-certificates.crt bin/image/etc/ssl/certs/
	@sed -n '/^FROM scratch$$/,$$ { s|--from=build ||; s|/image/|/|; p }' deploy/Dockerfile | \
	docker build --quiet --tag perch:local --file - bin/image

bin/image/perch: $(SOURCES)
	@$(GO) build -trimpath -ldflags="-s -w" -o $@ ./cmd/perch

compose-secret: ## make the secrets of docker-compose.yml, unless they are there, and give them to its containers
	@deploy/compose/secret.sh

compose-certs: ## make certificates for its profile `secure` as well, with openssl
	@deploy/certs.sh $${PERCH_COMPOSE_DIR:-perch-data/compose} node1=node1,localhost node2=node2,localhost node3=node3,localhost \
		gateway=gateway,localhost,127.0.0.1 postgres=postgres
	@deploy/compose/secret.sh

compose-test: compose-tools bin/image/perch ## bring docker-compose.yml up in an engine of its own, break it, and clean up
	@cd e2e/deploy && $(GO) test -count=1 -timeout 10m -v ./compose $(E2E_ARGS)

deploy-test: deploy-tools bin/perch ## units and manifests by those who interpret them, a node behind nginx, HAProxy and Caddy
	@cd e2e/deploy && PERCH_BIN=$(CURDIR)/bin/perch $(GO) test -count=1 -timeout 5m ./manifests ./proxies $(E2E_ARGS)

lint: lint-go lint-generated lint-openapi ## gofmt, go vet, staticcheck, generated files, the contract

lint-go:
	@unformatted=$$(gofmt -l archive cmd examples handlers lease quorum tree e2e *.go 2>/dev/null); \
	if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi
	@$(GO) vet ./...
	@cd e2e && $(GO) vet ./...
	@cd e2e/zkdiff && $(GO) vet ./...
	@cd e2e/clients && $(GO) vet ./...
	@cd e2e/deploy && $(GO) vet ./...
	@$(GO) build -o bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	@bin/staticcheck ./...
	@$(GO) vet -tags man ./cmd/perch && bin/staticcheck -tags man ./cmd/perch
	@$(GO) vet -tags mutants ./quorum/sim/mutants && bin/staticcheck -tags mutants ./quorum/sim/mutants
	@$(GO) test -tags mutants ./quorum/sim/mutants >/dev/null || $(GO) test -tags mutants ./quorum/sim/mutants
	@cd e2e && ../bin/staticcheck ./...
	@cd e2e/zkdiff && ../../bin/staticcheck ./...
	@cd e2e/clients && ../../bin/staticcheck ./...
	@cd e2e/deploy && ../../bin/staticcheck ./...
	@$(GO) test -run TestRoomsImportOnlyWhatTheyMay . >/dev/null || $(GO) test -run TestRoomsImportOnlyWhatTheyMay .
	@echo "lint: Go code is clean"

# Compares with what is checked out, so that it also holds with work in progress.
lint-generated:
	@before=$$(find gen -type f | sort | xargs cat | cksum); $(MAKE) --no-print-directory generate; \
	after=$$(find gen -type f | sort | xargs cat | cksum); \
	if [ "$$before" != "$$after" ]; then echo "gen/ was out of date; it has been regenerated: commit it"; exit 1; fi
	@echo "lint: gen/ is up to date"

lint-openapi: $(NPM_DONE)
	@cd e2e/lint && REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true npx --no-install redocly lint --config redocly.yaml ../../openapi.yaml
	@cd e2e/lint && npx --no-install spectral lint --fail-severity warn --ruleset spectral.yaml ../../openapi.yaml

$(NPM_DONE) $(CLIENTS_DONE): e2e/%/node_modules/.package-lock.json: e2e/%/package-lock.json
	@cd $(<D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

# promtool knows no dashboards, so their queries are given to it as rules. That
# the metrics in them exist is a test of Go (operations_test.go).
alerts: promtool ## alert rules and the dashboard's queries, by promtool
	@promtool check rules docs/operations/alerts.yml >/dev/null || promtool check rules docs/operations/alerts.yml
	@promtool test rules docs/operations/alerts_test.yml
	@mkdir -p bin && python3 -c 'import json; \
		exprs = [t["expr"] for p in json.load(open("deploy/grafana/perch.json"))["panels"] for t in p.get("targets", [])]; \
		rules = [{"record": "panel:query%d" % i, "expr": e.replace("$$__rate_interval", "1m")} for i, e in enumerate(exprs)]; \
		print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))' >bin/dashboard-rules.json
	@promtool check rules bin/dashboard-rules.json

# Debian's package has promtool; nothing of it is started here.
promtool:
	@if ! command -v promtool >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing prometheus, for promtool"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null; \
		else \
			echo "please install: promtool (Debian: prometheus)"; exit 1; \
		fi; \
	fi

# What the tests call besides Go. Installed only as root on a Debian machine;
# anybody else is told what is missing.
tools:
	@missing=; \
	for pair in curl:curl openssl:openssl cc:gcc git:git npm:npm python3:python3 strace:strace; do \
		command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 && command -v psql >/dev/null || missing="$$missing postgresql"; \
	if command -v cc >/dev/null && ! echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1; then missing="$$missing libc6-dev"; fi; \
	case " $$missing " in *" gcc "*) missing="$$missing libc6-dev";; esac; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing$$missing"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
		else \
			echo "please install:$$missing"; exit 1; \
		fi; \
	fi

# Debian's package, and the Java that it needs, unless they are there.
zookeeper:
	@if ! { command -v java && test -e /usr/share/java/zookeeper.jar; } >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing zookeeper"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends zookeeper default-jre-headless >/dev/null; \
		else \
			echo "please install: zookeeper"; exit 1; \
		fi; \
	fi

# What compiles and runs the generated clients, from Debian's packages as well.
client-tools:
	@missing=; \
	for pair in java:default-jre-headless javac:default-jdk-headless npm:npm; do \
		command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	test -e /usr/share/java/jackson-databind.jar || missing="$$missing libjackson2-databind-java"; \
	imports='import certifi, dateutil, six, urllib3'; \
	/usr/bin/python3 -c "$$imports" 2>/dev/null || python3 -c "$$imports" 2>/dev/null || \
		missing="$$missing python3-certifi python3-dateutil python3-six python3-urllib3"; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing$$missing"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
		else \
			echo "please install:$$missing"; exit 1; \
		fi; \
	fi

# Debian's engine, and what the stand-ins for the images of others are made of.
compose-tools: tools
	@missing=; \
	for pair in dockerd:docker.io docker-compose:docker-compose haproxy:haproxy ip:iproute2 iptables:iptables setpriv:util-linux; do \
		command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	$(call install,$$missing)

# Those who interpret what is in deploy/.
deploy-tools: tools
	@missing=; \
	for pair in nginx:nginx haproxy:haproxy caddy:caddy systemd-analyze:systemd; do \
		command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	$(call install,$$missing)

# Installed only as root on a Debian machine; anybody else is told what is missing.
define install
if [ -n "$(1)" ]; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing$(1)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; \
	else \
		echo "please install:$(1)"; exit 1; \
	fi; \
fi
endef

clean: ## remove what was built; data directories stay
	@rm -rf bin e2e/lint/node_modules e2e/clients/node_modules e2e/clients/out

.PHONY: test-units test-stacks client help build man run cluster generate test unit race sim sweep explore soak-sim fuzz e2e soak bench example-search clients zk-diff \
	image compose-secret compose-certs compose-test compose-tools deploy-test deploy-tools \
	alerts promtool lint lint-go lint-generated lint-openapi tools client-tools zookeeper soak-fuzz clean
