# What can be done here. `make help` lists it.

export GOTOOLCHAIN := local

# More flags for the Go tests, such as -race (which takes a C compiler) or -run NAME.
GO_TEST_FLAGS ?=

# Without it, each process with the race detector sleeps for a second when it ends.
export GORACE ?= atexit_sleep_ms=0

# The Go packages whose tests do less with the race detector.
SIZED_PACKAGES = $(shell git grep -l 'tiered-prometheus/backend/test/race"' -- '*_test.go' | xargs -n 1 dirname | sort -u | sed 's|^|./|')

# The Go packages with tests on real servers, among them redis-server in place of its stand-in.
E2E_PACKAGES := ./backend/internal/cache ./backend/test ./backend/test/oracle ./backend/test/coldalone ./backend/test/cluster ./backend/test/hostile ./backend/test/large ./backend/test/victoriametrics

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F '\t' '{printf "%-14s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## Start two tiers, tierproxy and Perses on this machine, and show a query to each tier. Ctrl-C ends it.
	@scripts/demo $(DEMO_FLAGS)

# The tier of the demo that breaks: eu-1, us-1 or cold.
TIER ?= eu-1

.PHONY: demo-break
demo-break: ## Let a hot tier of the running demo refuse connections; TIER=us-1 or TIER=cold for another tier.
	@scripts/demo-control break $(TIER)

.PHONY: demo-heal
demo-heal: ## Let all tiers of the running demo answer again.
	@scripts/demo-control heal

.PHONY: test
test: ## Run all tests that need no other program than Go, Node, make, git and curl.
	@scripts/run-all 'go test $(GO_TEST_FLAGS) ./...' \
		'cd sdk/go && go test $(GO_TEST_FLAGS) ./...' \
		'scripts/npm-install && npm run --silent test'

.PHONY: test-sizes
test-sizes: ## Run the tests that do less with the race detector without it, at their full size.
	go test $(SIZED_PACKAGES)

.PHONY: e2e
e2e: ## Run the tests on the real servers, and the demo. Builds the servers first if they are missing.
	@scripts/run-all 'go test $(GO_TEST_FLAGS) -p 2 -parallel 4 -tags e2e -count=1 -timeout 20m $(E2E_PACKAGES)' \
		'make demo DEMO_FLAGS=--once'

.PHONY: e2e-full
e2e-full: ## Run what is too long for CI: 10,000 questions, 2 million confined queries, older versions of Perses and of Helm, replicas, other stores, live queries, the demo in a browser, a soak, a siege, an installation with two million series, and fuzzing on top of e2e.
	E2E_STEPS=1000 E2E_ENTRIES=1000000 E2E_DATASOURCES=2000 E2E_SERVICES=5000 E2E_QUERIES=10000 E2E_LIVE_QUERIES=300 E2E_PERSES='perses-0.53 perses-0.52' E2E_HELM=helm-3 E2E_VALUES=1000 E2E_DEMO=1m E2E_LIVE=1m E2E_SCREENSHOTS=all $(MAKE) e2e
	CONFINED_QUERIES=2000000 go test -count=1 -run TestConfine_GeneratedQueries ./backend/internal/enforcement
	go test -tags e2e -count=1 -timeout 20m -p 1 ./backend/test/load ./backend/test/replicas ./backend/test/scale ./backend/test/fanout ./backend/test/liveload
	go test -tags e2e -count=1 -timeout 60m ./backend/test/stores
	scripts/release --snapshot
	$(MAKE) soak
	$(MAKE) siege
	$(MAKE) live-load LIVE_FLAGS=--strict
	$(MAKE) scale
	scripts/fuzz 60s
	scripts/fuzz 5m FuzzSplice

.PHONY: check
check: ## Check format, lint, import rule, tidiness, types, CUE format and generated files.
	@scripts/run-all '$$(scripts/tool golangci-lint) run --allow-parallel-runners ./...' \
		'cd sdk/go && $$(../../scripts/tool golangci-lint) run --allow-parallel-runners --config ../../.golangci.yml ./...' \
		'go mod tidy -diff' \
		'cd sdk/go && go mod tidy -diff' \
		'tools/cue/run 0.54 format schemas cue deploy cue.mod' \
		'go test -count=1 -run "TestConfigurationReference_|TestMetricsReference_" ./backend/config ./backend/internal/gateway' \
		'go test -count=1 ./cue ./deploy/monitoring ./deploy/helm' \
		'scripts/npm-install && npm run --silent check' \
		scripts/check-repository

.PHONY: format
format: ## Rewrite Go, TypeScript and CUE files into their format.
	$$(scripts/tool golangci-lint) fmt ./...
	cd sdk/go && $$(../../scripts/tool golangci-lint) fmt --config ../../.golangci.yml ./...
	tools/cue/run 0.54 format -w schemas cue deploy cue.mod
	@scripts/npm-install
	npm run --silent format

.PHONY: generate
generate: ## Write the generated documentation anew.
	go test -count=1 -run 'TestConfigurationReference_|TestMetricsReference_' ./backend/config ./backend/internal/gateway -update
	go test -count=1 -run TestPlan_EqualsTheTableOfTheDocumentation ./backend/internal/tier -update
	go test -count=1 -run TestBuilders_BuildTheExpectedResources ./cue -update
	go test -count=1 -run 'TestDashboard_IsBuilt|TestPrometheusRule_' ./deploy/monitoring -update
	go test -count=1 -run TestChart ./deploy/helm -update

.PHONY: build
build: ## Build tierproxy into bin/.
	CGO_ENABLED=0 go build -trimpath -ldflags "$$(scripts/version-flags)" -o bin/tierproxy ./backend/cmd/tierproxy

.PHONY: plugin
plugin: ## Build the plugin module and pack it as an archive for Perses, below build/plugin/.
	@scripts/plugin

.PHONY: release
release: ## Build the archives of a release, their SBOMs (CycloneDX) and checksums, below build/release/.
	@scripts/release $(RELEASE_FLAGS)

.PHONY: bench
bench: ## Run the Go benchmarks; compare two runs with benchstat.
	go test -run '^$$' -bench . -benchmem -count 6 ./backend/...

.PHONY: load
load: ## Measure tierproxy beside Perses, Prometheus, Thanos and a bare reverse proxy; LOAD_FLAGS=--short for a glance.
	@go run ./backend/test/load $(LOAD_FLAGS)

.PHONY: soak
soak: ## Ask tierproxy 200 times a second for 20 minutes while its tiers restart at random.
	@go run ./backend/test/load --soak 20m

.PHONY: siege
siege: ## Attack a tierproxy with 256 MiB for 10 minutes while 20 users look at dashboards; SIEGE_FLAGS='--siege 20s' for a glance.
	@go run ./backend/test/load --siege 10m $(SIEGE_FLAGS)

.PHONY: live-load
live-load: ## Follow 20 live queries with 1,000 subscribers for 10 minutes while tiers and a gateway restart; LIVE_FLAGS='--for 1m' for a glance.
	@go run ./backend/test/liveload $(LIVE_FLAGS)

# Series of the clusters that hot does not watch, and of the one that it does.
SERIES ?= 2000000
HOT_SERIES ?= 200000

.PHONY: scale
scale: ## Measure what two idle tierproxies cost tiers with SERIES=2000000 series of other clusters; SERIES=100000 SCALE_FLAGS='--for 30s' for a glance.
	@go run ./backend/test/scale --series $(SERIES) --series.hot $(HOT_SERIES) $(SCALE_FLAGS)

.PHONY: tools
tools: ## Build the real servers of the tests, once, into the cache outside of the checkout.
	@scripts/tool perses percli prometheus thanos victoria-metrics kube-apiserver kubectl kustomize helm prom-label-proxy kube-rbac-proxy golangci-lint cue

.PHONY: clean
clean: ## Remove what was built in the checkout.
	rm -rf bin build dist node_modules
