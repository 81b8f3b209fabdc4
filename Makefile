# `make help` lists all targets. They run in .venv, which `make setup` fills from requirements.lock.
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
TORCH ?= 2.13.0
BIN := .venv/bin

.PHONY: help setup run test check ui bench soak lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: .venv/ready  ## create .venv and install the locked packages; torch by version only: its build depends on the machine

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lookback needs Python 3.11 or newer: make PYTHON=python3.12 …" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet torch==$(TORCH)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/pip check
	@touch $@

run: setup  ## run the study `quick` on all cores of this machine; print where the report is
	$(BIN)/snakemake --cores $(CORES)

# F821 finds names that do not exist. In src/, mypy finds them, and jaxtyping's shapes look like them.
check: setup  ## check lint, format, types and import layers, in seconds
	$(BIN)/ruff check .
	$(BIN)/ruff check --isolated --select F821 tests bench
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: check  ## run `make check` and all tests, including the real DAG; test files run in parallel
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile

soak: setup  ## kill a study two hundred times; after each kill, one plain command must give the same bytes
	$(BIN)/python -m pytest -m soak tests/workflow

ui: setup  ## open MLflow's pages on the tracked runs
	$(BIN)/lookback ui

bench: setup  ## time a training step beside bare torch and the floor, the cost of loop and evaluation, and probes; simulate the statistics
	$(BIN)/python bench/step.py
	$(BIN)/python bench/evaluate.py
	$(BIN)/python bench/probes.py
	$(BIN)/python bench/train.py
	$(BIN)/python bench/statistics.py

lock:  ## resolve requirements.lock again, without the packages of torch's CUDA build
	printf 'torch==$(TORCH)\n' > .venv/torch.txt
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 -c .venv/torch.txt --quiet --no-header -o .venv/all.txt
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 -c .venv/torch.txt --quiet --generate-hashes \
	  --no-emit-package torch $$(grep -oE '^(cuda|nvidia|triton)[a-z0-9-]*' .venv/all.txt | sed 's/^/--no-emit-package /') \
	  --custom-compile-command 'make lock' -o requirements.lock

clean: setup  ## delete plans, code copies and finished seeds that no result refers to
	$(BIN)/lookback clean
