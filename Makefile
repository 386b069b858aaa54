# Each target runs one command, which `make help` shows. All need `make setup`, which needs Python 3.11 or newer and does
# nothing while the lock file is unchanged.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
# Compiled at set-up: a process that may not write its bytecode (PYTHONDONTWRITEBYTECODE, a read-only folder) starts twice as fast.
FOLDERS := activities api cli journeys store tests/storm tests/support worker workflows
LOCKED := $(shell cat uv.lock pyproject.toml | cksum | tr ' ' '-')
STAMP := $(VENV)/.synced-$(LOCKED)
# What runs only, for `demo` and `up`: the clients of vendors and the tools of tests are a hundred packages more.
RUNS := $(VENV)/.runs-$(LOCKED)
TEST_WORKERS ?= auto
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-long lint types bench chaos image sbom audit

help: ## Show this list
	@echo 'Customer-retention journeys that survive anything.'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { split($$2, part, " — "); printf "  make %-7s %-62s %s\n", $$1, part[1], part[2] }' $(MAKEFILE_LIST)
	@echo
	@echo 'The plain commands need `make setup` once (`demo` and `up` install what they need); python is $(RUN). ARGS="…" is passed on: make up ARGS="--api-port 0".'

setup: $(STAMP) ## Create .venv and install what uv.lock names — uv sync --frozen
	@:

demo: $(RUNS) ## 69,659 real orders through journeys, end to end, with a kill — python -m cli demo
	@$(RUN) -m cli demo $(ARGS)

up: $(RUNS) ## Start everything; Ctrl-C stops it — python -m cli up
	@$(RUN) -m cli up $(ARGS)

# Tests that kill processes at set times run alone, after the others. With ARGS="tests/core/gate" one of the two runs may be empty.
test: setup ## Run the tests, without the long ones, on real servers — python -m pytest
	@$(RUN) -m worker.stack.temporal.binary >/dev/null # here its progress is visible
	@few=$(if $(strip $(ARGS)),yes,no); none=0; \
	run() { \
		$(RUN) -m pytest -q "$$@" $(ARGS) && return 0 || code=$$?; \
		[ $$code = 5 ] && [ $$few = yes ] && none=$$((none + 1)) || exit $$code; \
	}; \
	run -n $(TEST_WORKERS) --dist worksteal -m 'not alone'; \
	run -m 'alone and not long'; \
	[ $$none -lt 2 ] || { echo 'make test: no test is selected by $(ARGS)' >&2; exit 5; }

test-long: setup ## Run the tests that `make test` leaves out, for minutes each — python -m pytest -m long
	@$(RUN) -m pytest -q -m 'alone and long' $(ARGS)

lint: setup ## Check style and import contracts — ruff check && ruff format --check && lint-imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-logo

types: setup ## Check types, strictly — mypy
	@$(BIN)/mypy

bench: setup ## Measure against plain Temporal; writes benchmarks/results — python -m benchmarks
	@$(RUN) -m worker.stack.temporal.binary >/dev/null
	@$(RUN) -m benchmarks $(ARGS)

chaos: setup ## Kill everything at random for minutes, and count in the sink — python -m benchmarks.chaos
	@$(RUN) -m worker.stack.temporal.binary >/dev/null
	@$(RUN) -m benchmarks.chaos $(ARGS)

sbom: setup ## Write sbom.cdx.json (CycloneDX) from uv.lock — uv export
	@env -u VIRTUAL_ENV $$(command -v uv || echo $(BIN)/uv) export --quiet --frozen --no-dev --format cyclonedx1.5 -o sbom.cdx.json

# Exit code 3 (no current advisories) does not fail `make audit`.
audit: setup ## Compare uv.lock with the stored advisories, offline — python .ci/audit.py
	@$(RUN) .ci/audit.py $(ARGS) || [ $$? -eq 3 ]

image: ## Build the container image — docker build -t tenure .
	@docker build -t tenure .

# Uses the installed uv, or installs one into .venv; `--inexact` keeps it there.
define sync
	@set -e; \
	if command -v uv >/dev/null 2>&1; then uv=uv; else uv=$(BIN)/uv; fi; \
	if [ "$$uv" != uv ] && [ ! -x $(BIN)/uv ]; then \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
			echo "Python 3.11 or newer is needed: $(PYTHON) is not. Name another: make PYTHON=python3.12 setup" >&2; exit 1; }; \
		echo "setup: creating $(VENV)"; \
		$(PYTHON) -m venv $(VENV) || { \
			echo "python3 -m venv failed: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }; \
		echo "setup: installing uv into $(VENV)"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/uv.txt; \
	fi; \
	echo "setup: installing $(2)"; \
	env -u VIRTUAL_ENV $$uv sync --quiet --frozen --inexact --compile-bytecode $(1); \
	$(BIN)/python -m compileall -q $(FOLDERS); \
	rm -f $(VENV)/.runs-*; touch $(RUNS)
endef

# With everything installed nothing is left to do for what runs.
$(RUNS): uv.lock pyproject.toml
	$(call sync,--no-dev,the packages that run)

$(STAMP): uv.lock pyproject.toml
	$(call sync,,all packages of uv.lock)
	@rm -f $(VENV)/.synced-*; touch $@
