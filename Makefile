# Everything works without an activated environment; ./novapay makes .venv when it is missing.
.PHONY: generated-requests help run test test-fast test-vectors screenshots demo bench routes generate check-generated lint lock test-env

PYTHON := .venv/bin/python
SOURCES := $(wildcard core_service rest_edge admin sandbox bench tests)
# Released schema that buf compares with; until a release is tagged there is nothing to break.
PROTO_BASE ?= $(shell git describe --tags --abbrev=0 --match 'v*' 2>/dev/null)

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

run: ## Install what is missing and start everything; Ctrl-C stops it
	@exec ./novapay up

test: lint ## Install what is missing, lint, and run every test
	$(PYTHON) -m tests.browser.chromium
	$(PYTHON) -m pytest -n 2 --dist loadfile

test-fast: test-env ## Run the tests that take less than a minute together
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "not slow"

test-vectors: test-env ## Run the provider vectors; NOVAPAY_VECTORS=FILE takes others
	$(PYTHON) -m pytest tests/core_service/providers/test_vectors.py tests/sandbox/test_vectors.py

screenshots: test-env ## Take a picture of every page into docs/screens
	$(PYTHON) -m tests.browser.screenshots

generated-requests: test-env ## Send COUNT (20000) requests made from the API document; SEED chooses others
	NOVAPAY_GENERATED_REQUESTS=$(or $(COUNT),20000) NOVAPAY_GENERATED_SEED=$(or $(SEED),20260101) \
		$(PYTHON) -m pytest -q -rP tests/contract/test_generated_requests.py

demo: ## Take a payment on each channel through the sandbox and refund part of it
	@./novapay demo

bench: test-env ## Measure beside the floor, print a table, keep it in bench/RESULTS.md; BENCH="--only query" for less
	@$(PYTHON) -m bench --keep $(BENCH)

routes: ## List verb, path, RPC, principals, idempotency and status of every route
	@./novapay routes

generate: test-env ## Make generated/ and the API document from the protos
	$(PYTHON) protos/generate.py
	$(PYTHON) -m rest_edge.openapi

check-generated: test-env ## Fail when what is generated is not what the protos say
	$(PYTHON) protos/generate.py --check
	$(PYTHON) -m rest_edge.openapi --check

lint: test-env check-generated ## Style, types, import contracts, protos
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy $(SOURCES)
	.venv/bin/lint-imports
	PYTHON=$(PYTHON) PROTO_BASE=$(PROTO_BASE) protos/lint

lock: ## Bring the lock files up to pyproject.toml; needs uv
	uv pip compile pyproject.toml $(LOCK_OPTIONS) -o requirements/run.lock
	uv pip compile pyproject.toml $(LOCK_OPTIONS) --group test --extra tracing -c requirements/run.lock \
		-o requirements/test.lock

LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --annotation-style line \
	--custom-compile-command "make lock"

test-env:
	@./novapay --prepare requirements/test.lock

# What proves that it holds.
.PHONY: mutants fuzz prove

mutants: test-env ## Put known defects into a copy of the tree; every one must be noticed by its tests
	$(PYTHON) -m tests.mutants

fuzz: test-env ## Fuzz one TARGET of tests/fuzz/targets.py, guided by coverage, RUNS (1000000) executions
	PYTHONPATH=.:generated $(PYTHON) -m tests.fuzz $(TARGET) $(or $(RUNS),1000000)

prove: test-env ## Prove PARTS (all) for TIME (600) seconds, going on where the last run on this commit stopped; writes docs/PROOF.md
	PYTHONPATH=.:generated $(PYTHON) -m tests.prove $(or $(TIME),600) $(PARTS)
