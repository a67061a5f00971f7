# Everything a developer runs. `make help` lists the targets. Tools are pinned here and cached outside the checkout.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE ?= $(or $(TRUSTGLASS_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/trustglass)
BIN   := bin

CONTROLLER_GEN_VERSION := v0.23.0
STATICCHECK_VERSION    := v0.8.2
CONTROLLER_GEN := $(CACHE)/tools/controller-gen-$(CONTROLLER_GEN_VERSION)/controller-gen
STATICCHECK    := $(CACHE)/tools/staticcheck-$(STATICCHECK_VERSION)/staticcheck

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

# One package at a time: each starts a control plane of its own, and two cores carry one.
TEST_FLAGS ?= -race -p 1 -timeout 20m
# How long make test fuzzes each target.
FUZZ_TIME ?= 20s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the daemon into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/trustglass ./cmd/trustglass

.PHONY: controlplane
controlplane: ## build etcd, kube-apiserver and kube-controller-manager, once (about 5 minutes on 2 cores)
	@e2e/controlplane/build.sh >/dev/null

.PHONY: lab
lab: build controlplane
	@go build -o $(BIN)/lab ./e2e/lab

.PHONY: demo
demo: lab ## the main job on a real API server, told step by step
	@exec $(BIN)/lab demo

.PHONY: up
up: lab ## start a control plane and the daemon and leave them running; prints the KUBECONFIG line
	@$(BIN)/lab up

.PHONY: down
down: ## stop what `make up` started
	@if [ -x $(BIN)/lab ]; then $(BIN)/lab down; else echo "nothing to stop: bin/lab was never built"; fi

.PHONY: run
run: lab ## run the daemon here against the cluster of KUBECONFIG=path, as its own ServiceAccount
	@test -n "$(KUBECONFIG)" || { echo "usage: make run KUBECONFIG=path/to/admin.kubeconfig" >&2; exit 2; }
	@exec $(BIN)/lab run --kubeconfig "$(KUBECONFIG)"

.PHONY: test
test: controlplane build ## unit, API and end-to-end tests with the race detector, then every fuzz target for 20 s
	go test $(TEST_FLAGS) ./...
	e2e/fuzz.sh $(FUZZ_TIME)

.PHONY: fuzz
fuzz: ## only the fuzz targets, FUZZ_TIME (20s) each
	e2e/fuzz.sh $(FUZZ_TIME)

.PHONY: bench
bench: lab ## measure speed, memory and writes, three runs each, about 50 minutes on 2 cores; prints a table and writes bench.json
	@exec $(BIN)/lab bench --out bench.json

.PHONY: lint
lint: $(STATICCHECK) ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt wants to change: $$unformatted" >&2; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...

.PHONY: generate
generate: $(CONTROLLER_GEN) ## CRDs from the API types, roles from the markers in the code
	$(CONTROLLER_GEN) crd \
		paths=github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1 \
		paths=github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1 \
		output:crd:dir=deploy/crds
	$(CONTROLLER_GEN) rbac:roleName=trustglass \
		paths=./cmd/... paths=./reflector/... paths=./trust/... paths=./issuance/... paths=./webhook/... \
		output:rbac:dir=deploy/rbac

.PHONY: verify
verify: generate ## fail when generated files are not what is committed
	@git diff --exit-code -- deploy && test -z "$$(git status --porcelain -- deploy)" || { echo "run make generate and commit the result" >&2; exit 1; }

.PHONY: clean
clean: ## remove what the build left in the checkout; the cache stays
	rm -rf $(BIN) bench.json

$(CONTROLLER_GEN):
	GOBIN=$(dir $@) GOFLAGS= go install sigs.k8s.io/controller-tools/cmd/controller-gen@$(CONTROLLER_GEN_VERSION)

$(STATICCHECK):
	GOBIN=$(dir $@) GOFLAGS= go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
