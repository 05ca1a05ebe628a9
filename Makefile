# What a contributor types. .ci/run runs exactly these targets.

GO          ?= go
FUZZTIME    ?= 60s
BENCH       ?= all
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
VULNDB      ?= v0.0.0-20261105234957-e22db6528018
ALL_PG      := 14 15 16 17 18
empty       :=
comma       := ,

.PHONY: build test test-race test-all lint supply fuzz bench campaign proof demo postgres servers verify clean

build: ## bin/entrain, static
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/entrain ./cmd/entrain

test: postgres ## everything that CI checks, on PostgreSQL 15 and 18
	$(GO) test -timeout 40m ./internal/campaign ./... # the longest first: two packages run at a time

test-race: postgres ## the same under the race detector
	$(GO) test -race -timeout 40m ./...

test-all: servers ## the wide run: large cases, every supported PostgreSQL, pipelines with the least rights
	$(GO) run ./internal/pgserver/fetch $(ALL_PG)
	ENTRAIN_TEST_LEAST=1 ENTRAIN_TEST_WIDE=1 ENTRAIN_TEST_PG=$(subst $(empty) $(empty),$(comma),$(ALL_PG)) $(GO) test -timeout 120m ./...

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt -w these:" $$unformatted >&2; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags failpoint ./cmd/entrain
	$(GO) run $(STATICCHECK) ./...

supply: export VULNDB := $(VULNDB)
supply: export GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
supply: export GOSEC := github.com/securego/gosec/v2/cmd/gosec@v2.30.0
supply: export GITLEAKS := github.com/zricethezav/gitleaks/v8@v8.30.1
supply: export CYCLONEDX := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
supply: ## known holes, unsafe code, secrets in the history, the list of parts, the same bytes twice
	.ci/supply

fuzz: postgres ## every fuzz target for FUZZTIME each, five at a time
	.ci/fuzz $(FUZZTIME)

bench: build ## against the real peers; needs pg_recvlogical (postgresql-15, postgresql-client-15) and Java 21
	$(GO) run ./bench $(BENCH)

campaign: servers ## the whole campaigns as far as 100 minutes reach; again goes on with the rest at the same commit
	$(GO) run ./campaign all --budget 100; code=$$?; $(GO) run ./campaign proof; exit $$code

proof: SHELL := /bin/bash
proof: servers ## what the tests come to, into docs/proof, and docs/proof.md anew: long. ENTRAIN_TEST_WIDE=1 for all of it
	set -o pipefail; $(GO) test -json -timeout 120m ./internal/campaign ./... | $(GO) run ./campaign record; code=$$?; $(GO) run ./campaign proof; exit $$code

demo: build ## two private servers, a shop, changes flowing; DEMO="--for 20s" ends it
	$(GO) run ./internal/pgserver/fetch any
	bin/entrain demo $(DEMO)

postgres: ## server programs of PostgreSQL 15 and 18: the system's, else fetched into the cache
	$(GO) run ./internal/pgserver/fetch 15 18

servers: postgres ## all server programs of the tests: PostgreSQL, Kafka and a schema registry (need Java 17), Redis
	$(GO) run ./internal/kafkaserver/fetch
	$(GO) run ./internal/redisserver/fetch
	$(GO) run ./internal/registryserver/fetch

verify: lint test ## what must pass before a change goes in

clean: ## what make made; the cache of servers stays
	rm -rf bin
