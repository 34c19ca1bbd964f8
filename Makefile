# One word for each thing that is done to this project. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# What is piped on fails as a whole: a test that fails is not hidden by the grep behind it.
.SHELLFLAGS := -o pipefail -c

# The tests run under the race detector, which needs cgo; the shipped binary is pure Go.
BIN   ?= bin/keystile
TOOLS := go tool -modfile=.ci/tools/go.mod
FUZZTIME ?= 20s
RECORDS ?= 2000000
SEALED ?= 200000
LOAD ?= 10s
SOAK ?= 30m

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## the binary, pure Go, at bin/keystile
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $(BIN) ./cmd/keystile

.PHONY: run
run: build ## gateway, two demo backends and an embedded store, as Caddyfile.example says
	$(BIN) run --config Caddyfile.example --adapter caddyfile

.PHONY: test
test: test-deps ## install what the tests need, then everything, under the race detector
	.ci/test

.PHONY: test-deps
test-deps: ## what the tests need beside Go: a C compiler for the race detector, Node and its stripe package
	.ci/deps

.PHONY: bench
bench: ## benchmarks beside the code, with allocations, after the guards on allocation counts
	CGO_ENABLED=0 go test -run 'Allocat' ./policy/... ./keystore/... ./requestlog/... ./caddymodule/
	CGO_ENABLED=0 go test -run '^$$' -bench . -benchmem ./policy/... ./keystore/... ./requestlog/... ./caddymodule/

.PHONY: bench-log
bench-log: ## the request log with RECORDS (default two million) over ten days, and twenty kills under load
	KEYSTILE_BENCH_LOG=$(RECORDS) CGO_ENABLED=0 go test -count=1 -timeout 30m -run '^(TestBenchmark|TestKilledProcessLosesNothingOld)$$' ./requestlog/archive

.PHONY: bench-fleet
bench-fleet: ## three gateways on a PostgreSQL: 500 revocations under load, then a million keys (some minutes)
	KEYSTILE_TEST_FLEET_ROUNDS=500 CGO_ENABLED=0 go test -count=1 -v -timeout 30m -run '^TestFleetRevocation$$' ./cmd/keystile
	KEYSTILE_TEST_FLEET_KEYS=1000000 KEYSTILE_TEST_FLEET_LAGS=500 CGO_ENABLED=0 go test -count=1 -v -timeout 30m -run '^TestFleetManyKeys$$' ./cmd/keystile

.PHONY: bench-rotation
bench-rotation: ## rotate the master key of a running gateway with SEALED (default 200,000) sealed tokens
	KEYSTILE_BENCH_SEALED=$(SEALED) CGO_ENABLED=0 go test -count=1 -timeout 30m -v -run '^TestMasterKeyRotateMany$$' ./cmd/keystile | grep -E 'accounts made|sealed anew|^(---|ok|FAIL)'

.PHONY: bench-pglog
bench-pglog: ## the request log in PostgreSQL with RECORDS over ten days
	KEYSTILE_BENCH_PGLOG=$(RECORDS) CGO_ENABLED=0 go test -count=1 -timeout 30m -v -run '^TestBenchmark$$' ./requestlog/pglog

.PHONY: bench-compare
bench-compare: ## what busy machines tell too, against the committed baseline: information, no verdict
	CGO_ENABLED=0 go test -run '^$$' -bench 'Undisturbed' -benchtime 1x -count 6 ./caddymodule/ | tee bench/latest.out
	$(TOOLS) benchstat -table .name bench/baseline.txt bench/latest.out

.PHONY: bench-system
bench-system: ## whole systems side by side (nginx, haproxy, wrk from Debian): hours; BENCH="-short" takes minutes
	go run ./bench/system $(BENCH)
	go run ./bench/chart bench/results.json README.md

.PHONY: load
load: ## seven attacks on the running binary and a flood, and what a good customer notices of each (LOAD=10s each)
	KEYSTILE_LOAD=$(LOAD) CGO_ENABLED=0 go test -count=1 -timeout 30m -v -run '^(TestGoodTrafficUnderAttack|TestFloodUnderMemoryLimit)$$' ./cmd/keystile | grep -E '^ .*\||^(---|ok|FAIL)'

.PHONY: soak
soak: ## SOAK (default 30m) of churn, reloads, revocations and kills, with a checker that knows what should have happened
	go run ./bench/soak -for $(SOAK)

.PHONY: lint
lint: ## format, vet and the linters of .golangci.yml
	.ci/lint

.PHONY: supply
supply: ## vulnerabilities, licences, bill of materials, and two builds that must be one file; to .artifacts
	.ci/supply

.PHONY: try-deploy
try-deploy: ## build the image and boot a Debian that starts the unit (root; buildah, mmdebstrap, systemd-container)
	.ci/deploy

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 20s) each, and a table of what they did
	.ci/fuzz $(FUZZTIME)

.PHONY: check
check: ## what CI runs: the tests, then the lint
	.ci/run

.PHONY: clean
clean: ## remove what building made
	rm -rf bin .cache
