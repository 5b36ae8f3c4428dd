# Every command of this project. `make help` lists them; all but help and clean first make .venv when it is missing.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
ARGS ?=
# Processes that share the tests, file by file.
JOBS ?= 2
# Seconds that the long runs may take before they are stopped and counted as failed. Half of that goes into networks
# of thirty nodes, each in one process: a day of coming and going, everyone's files for everyone, and so on.
SOAK_LIMIT ?= 1200
# The same for the published clients, with what they are installed from.
CLIENTS_LIMIT ?= 600
# The same for py-libp2p, which is compiled in part.
INTEROP_LIMIT ?= 900
# What the container image is called.
IMAGE ?= codex-node

.DEFAULT_GOAL := help
.PHONY: help setup run test check bench soak clients interop image demo devnet clean

help:  ## list these commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## make .venv and install the node with everything it needs

run: setup  ## start a node; options go in ARGS, as in: make run ARGS="--data-dir=/tmp/alice"
	@$(PY) -m codex $(ARGS)

test: setup  ## run the tests, but for the long ones; ARGS go to pytest
	@$(PY) -m pytest -m "not soak" --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

check: setup  ## lint, format and types, and the Dockerfile
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/hadolint Dockerfile

bench: setup  ## measure, each figure beside its floor or peer
	@$(PY) tests/bench/run.py $(ARGS)

soak: setup  ## run the long tests, within SOAK_LIMIT seconds
	@timeout --kill-after=10 $(SOAK_LIMIT) $(PY) -m pytest -m soak $(ARGS)

clients: setup  ## run the published clients against a node, each in an environment of its own in build/
	@timeout --kill-after=10 $(CLIENTS_LIMIT) $(PY) tests/clients/run.py

interop: setup  ## run the node against py-libp2p, which gets an environment of its own in build/
	@timeout --kill-after=10 $(INTEROP_LIMIT) $(PY) tests/interop/run.py

# podman leaves health checks out of images of its own format.
image:  ## build the container image, with docker or podman; IMAGE names it
	@if docker info >/dev/null 2>&1; then docker build --tag $(IMAGE) .; \
	elif podman info >/dev/null 2>&1; then podman build --format docker --tag $(IMAGE) .; \
	else \
	  echo "Neither docker nor podman answers here. Install one, or start its engine: docker info says what is missing." >&2; \
	  exit 1; \
	fi

demo: setup  ## play the life of a storage contract among seven nodes; options go in ARGS, as for run
	@$(PY) -m codex demo $(ARGS)

devnet: setup  ## run a development chain with the marketplace on it; options go in ARGS, as for run
	@$(PY) -m codex devnet $(ARGS)

clean:  ## remove .venv, caches and build leftovers; data of nodes is never touched
	rm -rf $(VENV) build dist bench-results *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One recipe makes the whole environment, so that a half-made one (an interrupt, a Python that is gone) is replaced.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Codex needs Python 3.11 or newer, and $(PYTHON) is not. Name another: make setup PYTHON=python3.12" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; \
	  exit 1; }
	@$(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Making $(VENV); this takes a minute." >&2; \
	  $(PYTHON) -m venv --clear $(VENV); }
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[market,devnet,dev]'
	@touch $@
