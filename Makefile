# Two commands from a fresh clone: `make study` and `make test`. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

STUDY ?= thin_manifold
SCALE ?= quick
STORE ?= results
REPORTS ?= reports

# The first interpreter that runs and is new enough; the constraints were tested on 3.11. `make PYTHON=...` overrides.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 2
# Times as many random examples as in the fast suite: 500 make 1e5 of them.
FAULTS ?= 500
HOSTILE := tests/study/test_hostile_studies.py tests/study/test_damaged_store.py tests/report/test_escaping.py

# The tests of a file go to one worker (loadfile), so that what they share is made once; slow ones are dealt out singly.
# One thread a process: workers and test processes are as many as cores, and a thread count changes bits.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.PHONY: help study report test test-portable test-slow test-long test-faults check docs benchmark clean

help:
	@sed -n 's/^#: //p' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python >= 3.11 found: install one or give make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The build backend is installed from the constraints too, and isolation switched off, so that nothing floats.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling editables
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

#: make study      install, run the headline study, write its report (STUDY=thin_manifold SCALE=quick)
study: $(VENV)/.installed
	$(BIN)/ebm-vs-prob run $(STUDY) --scale $(SCALE) --store $(STORE)
	@$(BIN)/ebm-vs-prob report $(STUDY) --scale $(SCALE) --store $(STORE) --out $(REPORTS)

#: make report     write the report again from the stored results
report: $(VENV)/.installed
	@$(BIN)/ebm-vs-prob report $(STUDY) --scale $(SCALE) --store $(STORE) --out $(REPORTS)

#: make test       the fast test suite
test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not slow and not long and not faults" -n $(PYTEST_WORKERS) --dist loadfile

#: make test-portable  what is sensitive to rounding, under the arithmetic of other processors
test-portable: $(VENV)/.installed
	$(BIN)/python tests/portable.py

#: make test-slow  the tests that take minutes
test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m "slow and not long and not faults" -n $(PYTEST_WORKERS)

#: make test-long  the slowest of them, whose shorter kin are among the others
test-long: $(VENV)/.installed
	$(BIN)/python -m pytest -m "long and not faults" -n $(PYTEST_WORKERS)

#: make test-faults  kills, signals, machines that vanish and hostile input, as often as is claimed (FAULTS=1: a few times)
test-faults: $(VENV)/.installed
	EBM_VS_PROB_FAULT_SCALE=$(FAULTS) $(BIN)/python -m pytest -m "$(if $(filter 1,$(FAULTS)),faults and not long,faults)" -n $(PYTEST_WORKERS)
	@test $(FAULTS) = 1 || EBM_VS_PROB_FAULT_SCALE=$(FAULTS) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) $(HOSTILE)

#: make docs       the site of docs/, in build/docs; a warning is an error, and nothing is fetched from a network
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml

#: make check      lint, format, types and the site
check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory docs

#: make benchmark  steps against earlier ones and against peers, growth, commands, shares of a study, on a quiet machine
benchmark: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev,benchmark]'
	$(BIN)/python -m benchmarks

#: make clean      remove caches and builds; results, reports and .venv stay
clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis dask-worker-space dask-scratch-space
	find ebm_vs_prob tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
