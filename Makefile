# roller. `make demo` shows the main job; `make test` runs every test that needs no root.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := $(CURDIR)/.bin
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
TEMPORAL := $(BIN)/temporal
LDFLAGS := -ldflags "-X main.version=$(VERSION)"
export GOFLAGS := -mod=readonly

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The tools are pinned in tools/go.mod and built into .bin; nothing is taken from PATH.
$(TEMPORAL): tools/go.mod tools/go.sum
	@echo "==> building Temporal's CLI (pinned in tools/go.mod): some minutes the first time, seconds after"
	@mkdir -p $(BIN)
	cd tools && go build -o $@ github.com/temporalio/cli/cmd/temporal

$(BIN)/golangci-lint: tools/go.mod tools/go.sum
	@echo "==> building golangci-lint: a few minutes the first time"
	@mkdir -p $(BIN)
	cd tools && go build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(BIN)/workflowcheck: tools/go.mod tools/go.sum
	@echo "==> building workflowcheck"
	@mkdir -p $(BIN)
	cd tools && go build -o $@ go.temporal.io/sdk/contrib/tools/workflowcheck

$(BIN)/tctl: tools/tctl/go.mod tools/tctl/go.sum
	@echo "==> building tctl (pinned in tools/tctl/go.mod)"
	@mkdir -p $(BIN)
	cd tools/tctl && go build -o $@ github.com/temporalio/tctl/cmd/tctl

$(BIN)/temporal-server: tools/go.mod tools/go.sum
	@echo "==> building Temporal's server (pinned in tools/go.mod)"
	@mkdir -p $(BIN)
	cd tools && CGO_ENABLED=0 go build -o $@ go.temporal.io/server/cmd/server

$(BIN)/temporal-sql-tool: tools/go.mod tools/go.sum
	@echo "==> building Temporal's schema tool"
	@mkdir -p $(BIN)
	cd tools && CGO_ENABLED=0 go build -o $@ go.temporal.io/server/cmd/tools/sql

$(BIN)/temporal-ui-server: tools/go.mod tools/go.sum
	@echo "==> building Temporal's Web UI (pinned in tools/go.mod)"
	@mkdir -p $(BIN)
	cd tools && CGO_ENABLED=0 go build -o $@ github.com/temporalio/ui-server/v2/cmd/server

SERVER := $(BIN)/temporal-server $(BIN)/temporal-sql-tool $(BIN)/temporal-ui-server
POSTGRES ?= $(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin)))

.PHONY: build
build: ## build roller, the lab, the demo, the chaos and the benchmark into .bin
	@echo "==> building roller"
	@mkdir -p $(BIN)
	go build $(LDFLAGS) -o $(BIN)/roller ./cmd/roller
	go build -o $(BIN)/lab ./lab/cmd
	go build -o $(BIN)/demo ./lab/demo
	go build -o $(BIN)/chaos ./lab/chaos
	go build -o $(BIN)/bench ./bench

.PHONY: tools
tools: $(TEMPORAL) $(BIN)/golangci-lint $(BIN)/workflowcheck $(BIN)/tctl ## build the pinned developer tools

.PHONY: run
run: build $(TEMPORAL) ## roller dev: Temporal with its Web UI, the API and a worker on this machine
	ROLLER_CONFIGURATION=Dev $(BIN)/roller dev --temporal $(TEMPORAL)

.PHONY: demo
demo: build $(TEMPORAL) ## four machines, four ladders, live; ONCE=1 exits with the result
	$(BIN)/demo --bin $(BIN) $(if $(ONCE),--once)

.PHONY: screenshots
screenshots: build $(TEMPORAL) ## the README's pictures of the Web UI, from the demo, by headless Chromium
	docs/screenshots/draw

.PHONY: chaos
chaos: build $(TEMPORAL) ## a fleet on which everything fails; MACHINES=300 DURATION=8m SEED=1
	$(BIN)/chaos --bin $(BIN) $(if $(MACHINES),--machines $(MACHINES)) $(if $(DURATION),--duration $(DURATION)) $(if $(SEED),--seed $(SEED))

.PHONY: bench
bench: build $(TEMPORAL) ## roller beside baselines: the table of docs/performance.md; ROWS=accept,devices BENCH_TEMPORAL=host:port
	$(BIN)/bench --bin $(BIN) $(if $(ROWS),--rows $(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(BENCH_TEMPORAL),--temporal $(BENCH_TEMPORAL))

.PHONY: test
test: $(TEMPORAL) $(BIN)/tctl ## every test that needs no root
	@echo "==> testing (race detector on, shuffled)"
	ROLLER_TEST_TEMPORAL=$(TEMPORAL) go test -race -shuffle=on -parallel 8 -timeout 30m $$(go list ./... | grep -v /lab/e2e)
	@echo "==> testing roller's processes end to end, with the machine to themselves"
	ROLLER_TEST_TEMPORAL=$(TEMPORAL) go test -race -shuffle=on -parallel 8 -timeout 30m ./lab/e2e

HISTORIES := $(CURDIR)/workflows/testdata/histories/$(RELEASE)
.PHONY: history
history: $(TEMPORAL) $(BIN)/tctl ## store the histories of a release, once, for the replay tests: RELEASE=0.1.0
	@test -n "$(RELEASE)" || { echo "say which release: make history RELEASE=0.1.0"; exit 2; }
	@test ! -e "$(HISTORIES)" || { echo "release $(RELEASE) has its histories: they are never made anew"; exit 2; }
	@grep -qF '## [$(RELEASE)]' CHANGELOG.md || { echo "CHANGELOG.md has no heading for $(RELEASE): it is part of the release"; exit 2; }
	@echo "==> running every outcome on roller's real processes, and keeping the histories"
	rm -rf $(BIN)/history
	ROLLER_RECORD_HISTORIES=$(BIN)/history ROLLER_TEST_TEMPORAL=$(TEMPORAL) go test -count=1 -parallel 8 -timeout 40m ./lab/e2e
	cd $(BIN)/history && export LC_ALL=C && sha256sum *.json.gz > SHA256SUMS
	mkdir -p $(dir $(HISTORIES)) && mv $(BIN)/history $(HISTORIES)
	go test -count=1 ./workflows -run 'Histor'

.PHONY: upgrade
upgrade: $(TEMPORAL) $(BIN)/tctl ## a rolling upgrade and a rollback, a job in every phase: FROM=0.1.0, a tag or a commit
	@test -n "$(FROM)" || { echo "say from which release: make upgrade FROM=0.1.0"; exit 2; }
	rm -rf $(BIN)/from && git worktree prune && git worktree add --detach $(BIN)/from $(FROM)
	cd $(BIN)/from && go build -race -o $(BIN)/roller-from ./cmd/roller
	git worktree remove --force $(BIN)/from
	ROLLER_TEST_OLD=$(BIN)/roller-from ROLLER_TEST_TEMPORAL=$(TEMPORAL) go test -count=1 -v -timeout 15m ./lab/e2e -run '^TestWorkerStopsInEveryPhase$$'

.PHONY: test-lab
test-lab: $(TEMPORAL) ## root: OpenSSH, ipmi_sim, snmpd and ICMP in network namespaces; every strike
	@echo "==> testing against real peers in network namespaces"
	ROLLER_TEST_TEMPORAL=$(TEMPORAL) go test -tags lab -count=1 -timeout 20m -v ./lab/netns/...
	@echo "==> striking every step of off, wait and on in every way: some minutes"
	ROLLER_TEST_EVERY_STRIKE=1 ROLLER_TEST_TEMPORAL=$(TEMPORAL) go test -count=1 -timeout 20m -parallel 5 -v -run TestNeverLeftOffAtAnyStep ./lab/e2e

.PHONY: test-postgres
test-postgres: build $(TEMPORAL) $(BIN)/tctl $(SERVER) ## root: the documented set-up, end to end and chaos on Temporal's server and PostgreSQL
	@test -n "$(POSTGRES)" || { echo "no PostgreSQL: apt-get install postgresql"; exit 2; }
	@echo "==> setting up by docs/operate.md, in namespaces of its own"
	go test -tags production -count=1 -timeout 10m ./lab/production
	@echo "==> end to end on Temporal's server and PostgreSQL"
	ROLLER_TEST_POSTGRES=$(POSTGRES) ROLLER_TEST_TEMPORAL_SERVER=$(BIN)/temporal-server ROLLER_TEST_TEMPORAL_SQL_TOOL=$(BIN)/temporal-sql-tool \
		ROLLER_TEST_TEMPORAL=$(TEMPORAL) go test -count=1 -parallel 4 -timeout 40m ./lab/e2e
	@echo "==> chaos on Temporal's server and PostgreSQL"
	ROLLER_TEST_POSTGRES=$(POSTGRES) ROLLER_TEST_TEMPORAL_SERVER=$(BIN)/temporal-server ROLLER_TEST_TEMPORAL_SQL_TOOL=$(BIN)/temporal-sql-tool \
		$(BIN)/chaos --bin $(BIN) --machines 40 --duration 60s --seed 1

.PHONY: install
install: build $(TEMPORAL) $(SERVER) ## root: roller, Temporal's server and Web UI, and their systemd units
	deploy/install

.PHONY: mutate
mutate: $(TEMPORAL) ## break each promise in a scratch copy: its test must go red; NAME="once-fence ..."
	.ci/mutate $(NAME)

FUZZTIME ?= 20s
.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (20s), one after the other; what is found becomes a seed
	@set -e; for package in $$(grep -rl '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z]*' $$package/*_test.go | cut -d' ' -f2); do \
			echo "==> $$package $$target"; \
			go test $$package -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME); \
		done; \
	done

.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/workflowcheck ## golangci-lint, workflowcheck, formatting, tidy modules
	$(BIN)/golangci-lint run
	$(BIN)/golangci-lint run --build-tags lab ./lab/netns/...
	$(BIN)/golangci-lint run --build-tags production ./lab/production/...
	$(BIN)/workflowcheck ./workflows/...
	go mod tidy -diff

.PHONY: fmt
fmt: $(BIN)/golangci-lint ## format the code
	$(BIN)/golangci-lint fmt
