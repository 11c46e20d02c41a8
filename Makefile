# Needs Python 3.11 or newer and make, nothing else. `make PYTHON=python3.13 demo` uses another Python.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
AUDIT := .audit

.DEFAULT_GOAL := help
.PHONY: help demo run test check audit bench format schema lock clean

help: ## Show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: $(READY) ## Set up, play four conversations with faults, exit 0 only if every reply came exactly once
	@$(BIN)/recado demo

run: $(READY) ## The same, then stay up: phone in the browser, API, two workers, metrics; Ctrl-C stops
	@$(BIN)/recado demo --stay --metrics-port 9464

test: $(READY) ## All tests (ARGS="-k words" for some)
	$(BIN)/pytest -n 4 --dist worksteal $(ARGS)

check: $(READY) ## Lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(READY) $(AUDIT)/.ready ## Advisories, licences, imports, secrets, parts lists, linters of deploy/ (ARGS=--strict)
	$(BIN)/python -m supply --tools $(AUDIT)/bin $(ARGS)

bench: $(READY) ## Measure acknowledgements, turns, latency, memory; ratios on the screen, JSON in bench/results
	$(BIN)/python -m bench $(ARGS)

format: $(READY) ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(READY) ## Renew src/recado/db/schema.sql from the migrations
	@$(BIN)/python -m tests.db.catalogue

# The one target that needs uv (https://docs.astral.sh/uv): versions and hashes for Linux and macOS, no addresses.
lock: ## Renew requirements.lock from pyproject.toml
	uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --output-file requirements.lock $(ARGS)
	deploy/locks/renew

clean: ## Remove the virtual environment and the caches; data under .recado stays
	rm -rf $(VENV) $(AUDIT) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Written last, so a set-up that was cut short is made again. The sources are installed in place: they may change.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "recado needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a minute or so the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

# The tools of the audit, in an environment of their own: what they need is none of the project's business.
$(AUDIT)/.ready: .ci/audit.lock
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/audit.lock
	@touch $(AUDIT)/.ready
