# The entry points of Plumbline. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help install demo cluster test check test-cluster bench screenshots snapshots clean

help: ## List the entry points
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with everything, once

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Plumbline needs Python 3.11 or newer; name it: make PYTHON=python3.11 …" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,rag,dev]'
	@touch $@

demo: install ## Fine-tuning, reward model, PPO, index and evaluations over SSH, and their report (SEED=n: another world)
	$(BIN)/engine demo --seed $(or $(SEED),0)

cluster: install ## Hold eight OpenSSH nodes of eight slots on this machine, to try things on (ARGS='--isolated --nodes 4')
	$(BIN)/engine testbed up $(ARGS)

check: install ## Style, types and architecture, in a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/lint-imports

test: check ## The checks and all tests, on a CPU without network
	@tests/system-packages
	$(BIN)/pytest -m 'not cluster' -n 2 --dist loadfile --no-loadscope-reorder

test-cluster: install ## The heavier suites: many nodes, faults, minutes
	@tests/system-packages cluster
	$(BIN)/pytest -m cluster

bench: install ## Measure: each benchmark prints what it measured, on which machine
	@for file in $$(grep -l '^def main' benchmarks/*.py); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

screenshots: install ## Draw the pictures of the documentation from the running program
	$(BIN)/python docs/make_screenshots.py

snapshots: install ## Store how every screen looks now, for the tests; git diff shows what changed
	$(BIN)/python -m tests.tui.snapshots.test_every_screen

clean: ## Remove what install, demo and cluster made
	rm -rf $(VENV) demo testbed
