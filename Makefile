# Set-up, the demonstration cluster, and the checks. `make cluster`, `make datacenters` and `make test` need nothing
# but Debian with Python 3.11; as a user other than root they call sudo for system packages.

# The system's own where there is one: built with profiles, it is a tenth quicker than most others.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.11) python3)
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
INSTALLED := $(VENV)/installed

.PHONY: cluster datacenters test quick simulations nightly lint types docs

cluster: $(INSTALLED) system-packages  ## Start three agents on 127.0.0.2-4 and show what to dig.
	$(BIN)/python examples/start.py local-cluster

datacenters: $(INSTALLED) system-packages  ## Start two data centers of three servers each, and show what to dig.
	$(BIN)/python examples/start.py multi-dc

test: $(INSTALLED) system-packages lint types  ## Every check, real counterparts included.
	$(BIN)/pytest -n 2 -m "not interop and not slow"
	$(BIN)/pytest -n 2 -m "slow and not interop"
	$(BIN)/pytest -m interop

quick: $(INSTALLED)  ## The tests that take seconds.
	$(BIN)/pytest -n 2

simulations: $(INSTALLED)  ## Pools of up to 5,000 members in virtual time; an hour, 8 GB.
	$(BIN)/python bench/simulations.py

nightly: $(INSTALLED)  ## 10,000 seeds of Raft's storms; hours. Broken off, it goes on where it was.
	$(BIN)/python -m bench.raft_seeds --seeds 10000 --done .nightly-seeds
	rm -f .nightly-seeds

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(INSTALLED)
	$(BIN)/mypy

docs: $(INSTALLED)  ## Write what is generated from the code.
	$(BIN)/python -m svcmesh.config.reference > docs/configuration.md

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m compileall -q cli dnsserver gossip svcmesh
	touch $@

# The real programs that the interop tests talk to; RUNLEVEL keeps their services from starting.
.PHONY: system-packages
system-packages:
	@for program in serf dig nslookup kdig host unbound dnsmasq; do \
		command -v $$program >/dev/null || missing=1; \
	done; \
	if [ -n "$$missing" ]; then \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq \
			serf bind9-dnsutils bind9-host knot-dnsutils unbound dnsmasq-base; \
	fi

# Debian starts these two as services, so they are not installed without being asked for; the tests
# that need them are skipped where they are missing.
.PHONY: interop
interop: $(INSTALLED) system-packages  ## Every test against real programs, HAProxy and Prometheus too.
	@for program in haproxy prometheus; do command -v $$program >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then \
		$(SUDO) apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq haproxy prometheus; \
	fi
	$(BIN)/pytest -m interop -rs
