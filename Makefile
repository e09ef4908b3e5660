# Everything one does with a checkout. Each target first sets up what it needs; that is quick when nothing is left to do.

PYTHON := .venv/bin/python
N ?=
SEED ?= 1
INPUTS ?= 100000
WORKERS ?= 2
# `make test`: one more than there are cores, as many tests wait for servers, clients and clocks.
TESTERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup check quick lint test demo chaos tamper fuzz bench lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: ## environment, package, servers and clients for demo and tests
	@scripts/setup

lint: setup ## style and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

# Not even looked at by `make check`: there all need a server, or long.
LONG := app control end_to_end server stores

check: setup ## style, types and the tests that need no server and not long (60 s)
	@$(MAKE) --no-print-directory -j2 lint quick

quick: setup
	HYPOTHESIS_PROFILE=quick $(PYTHON) -m pytest -q -n $(WORKERS) --dist worksteal -m "not server and not slow" --forbid-skips $(LONG:%=--ignore=tests/%)

test: lint ## everything, with real servers and clients (17 min); a skip is a failure
	$(PYTHON) -m pytest -q -n $(TESTERS) --dist worksteal --forbid-skips || $(PYTHON) -m tests.again $$?

demo: ## the main job on a real database; ONCE=1 ends after the walk
	@scripts/setup demo
	@$(PYTHON) -m demo $(if $(ONCE),--once)

chaos: setup ## kill -9 under load: N rounds from SEED, PROCESSES data processes; prints executed, recorded, unrecorded
	@$(PYTHON) -m tests.chaos $(or $(N),200) --seed $(SEED) --workers $(or $(PROCESSES),1)

tamper: setup ## flip N stored bytes; prints how many were found
	@$(PYTHON) -m tests.tamper $(or $(N),1000)

fuzz: setup ## property tests with N examples each; N attempts from SEED to see what is masked; INPUTS broken ones to all that reads bytes
	HYPOTHESIS_PROFILE=fuzz FUZZ_EXAMPLES=$(or $(N),5000) PROPERTY_TIMEOUT=7200 $(PYTHON) -m pytest -q -n $(WORKERS) -m property --forbid-skips
	$(PYTHON) -m tests.fuzz.masked --cases $(or $(N),10000) --seed $(SEED)
	$(PYTHON) -m tests.fuzz.inputs --count $(INPUTS) --seed $(SEED) --processes $(WORKERS)

bench: ## figures beside the direct way and PgBouncer, in one run (25 min); writes their page
	@scripts/setup bench
	@$(PYTHON) -m benchmarks --json benchmarks.json; status=$$?; $(PYTHON) -m benchmarks.page benchmarks.json docs/reference && exit $$status

lock: setup ## write the lock files anew
	scripts/lock --upgrade

clean: ## remove what set-up and runs left in the checkout
	rm -rf .venv .tools .pytest_cache .hypothesis .mypy_cache .ruff_cache dist build fuzz-found
	rm -f src/vestibule/protocols/postgres/rows.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
