# `make help` lists all. Everything runs in .venv, which `make setup` fills from requirements.lock.
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
TORCH ?= 2.13.0
BIN := .venv/bin

.PHONY: help setup run test check ui bench soak lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: .venv/ready  ## create .venv and install: by hash, and torch by version (its build depends on the machine)

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lookback needs Python 3.11 or newer: make PYTHON=python3.12 …" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet torch==$(TORCH)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/pip check
	@touch $@

run: setup  ## run study `quick`, here, on all cores; says where the report is
	$(BIN)/snakemake --cores $(CORES)

check: setup  ## lint, types and import layers, in seconds
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: check  ## make check, and all tests, the real DAG included; files side by side on all cores
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile

soak: setup  ## two hundred kills, each followed by one plain command, ending in the same bytes
	$(BIN)/python -m pytest -m soak tests/workflow

ui: setup  ## open MLflow's pages on what was tracked
	$(BIN)/lookback ui

bench: setup  ## a training step beside bare torch and the floor, what loop and evaluation add, what probes cost
	$(BIN)/python bench/step.py
	$(BIN)/python bench/evaluate.py
	$(BIN)/python bench/probes.py
	$(BIN)/python bench/train.py

lock:  ## resolve requirements.lock anew; what torch's CUDA build brings along stays out
	printf 'torch==$(TORCH)\n' > .venv/torch.txt
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 -c .venv/torch.txt --quiet --no-header -o .venv/all.txt
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 -c .venv/torch.txt --quiet --generate-hashes \
	  --no-emit-package torch $$(grep -oE '^(cuda|nvidia|triton)[a-z0-9-]*' .venv/all.txt | sed 's/^/--no-emit-package /') \
	  --custom-compile-command 'make lock' -o requirements.lock

clean: setup  ## delete plans, code copies and finished seeds that no result refers to
	$(BIN)/lookback clean
