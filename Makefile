# Everything from nothing but `python3` and `make`:
#
#     make demo     a whole program on real input, in a fresh environment
#     make test     all set-up, then the tests
#
# Another interpreter: make test PYTHON=python3.13 (the environment is made again for it).

PYTHON ?= python3
VENV   ?= .venv

BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --quiet --disable-pip-version-check
# The stamps carry the interpreter's version, so that another PYTHON never runs in a stale .venv.
VERSION := $(shell $(PYTHON) -c 'import platform; print(platform.python_version())')
STAMP   := $(VENV)/.procession-$(VERSION)

# What one process has compiled no other compiles again: a thousand start here.
unexport PYTHONDONTWRITEBYTECODE

# Extra arguments for pytest, for example: make test ARGS="-k outcomes -x"
ARGS ?=
# Test modules that run at the same time: one more than there are processors, as tests often wait.
# 0 runs all in one process, where what a module leaves behind is certainly its own.
JOBS ?= $(shell $(PYTHON) -c 'import os; print(1 + len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)))')
# For `make test-each`.
PYTHONS ?= python3.11 python3.12 python3.13
# Seconds that one soak test may take before its stacks are dumped and the run ends.
SOAK_TIMEOUT ?= 1200

# What `make test-clusters` runs, two of these at once; each starts the clusters that it needs.
CLUSTER_TESTS ?= tests/clusters tests/conformance
# The places of the conformance suite there.
CLUSTERS ?= dask dask-nanny dask-local ray

.PHONY: help demo test test-clusters test-each cov lint format docs soak bench figures release-check clean

help:
	@echo "Times are of two idle processors; the first target to need .venv takes 1 or 2 minutes more."
	@echo "make demo    10 s    set up .venv, then measure the standard library's code in parallel"
	@echo "make test    10 min  set up .venv, then run the tests (ARGS=... goes to pytest)"
	@echo "                     JOBS=$(JOBS) test modules at once, one more than processors; JOBS=0: one process"
	@echo "make test-clusters  5 min  on clusters of this machine, in an environment of its own"
	@echo "                     CLUSTERS=dask CLUSTER_TESTS=tests/conformance: this on one of them"
	@echo "make cov     15 min  the tests in one process, with coverage"
	@echo "make lint    2 min   ruff, mypy --strict (of Windows and macOS, too), pyright strict, public types"
	@echo "make format  1 s     let ruff rewrite the sources"
	@echo "make docs    20 s    build the documentation into build/docs; a warning is an error"
	@echo "make soak    1 hour  the long runs that make test leaves out; each ends after SOAK_TIMEOUT"
	@echo "make bench   10 min  the benchmarks, beside joblib, mpire and pebble (QUICK=1: 2 min, maps only)"
	@echo "make figures 10 min  the figures and pictures of README and pages, beside Ray too; the machine idle"
	@echo "make test-each       the tests on each of Python 3.11, 3.12 and 3.13 (PYTHONS=...)"
	@echo "make release-check   30 s: sdist and wheel, built, checked, and tried in empty environments"
	@echo "make clean   1 s     remove .venv, caches and build output"

# pip 25.1 is the first that knows dependency groups (PEP 735). The interpreter's own pip, where it has
# one of 22.3 or newer, installs that in half of the time that it takes venv and its copy.
$(STAMP)-base: pyproject.toml
	rm -f $(VENV)/.procession-*
	$(PYTHON) -m venv --clear --without-pip $(VENV)
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet 'pip>=25.1' 2>/dev/null || \
		$(MAKE) --no-print-directory ensured-pip
	$(PIP) install --no-compile --editable .
	@touch $@

# setuptools, which comes with it up to Python 3.11, would take each interpreter's start 2 ms.
.PHONY: ensured-pip
ensured-pip:
	$(BIN)/python -m ensurepip --upgrade > /dev/null
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) uninstall --yes setuptools

$(STAMP)-test: $(STAMP)-base
	$(PIP) install --no-compile --group test
	@touch $@

$(STAMP)-lint: $(STAMP)-test
	$(PIP) install --no-compile --group lint
	@touch $@

$(STAMP)-bench: $(STAMP)-base
	$(PIP) install --no-compile --editable '.[numpy,threads]' --group bench
	@touch $@

$(STAMP)-release: $(STAMP)-base
	$(PIP) install --no-compile --group release
	@touch $@

$(STAMP)-docs: $(STAMP)-base
	$(PIP) install --no-compile --group docs
	@touch $@

# Compiled once, here and below, or each worker that starts compiles where nothing may be cached.
demo: $(STAMP)-base
	$(BIN)/python -m compileall -q src
	$(BIN)/python examples/codebase_metrics.py

test: $(STAMP)-test
	$(BIN)/python -m compileall -q src tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --ignore tests/clusters $(ARGS)

# Before `make test` in a fresh folder: pytest rewrites assertions once, not in each of its processes.
# And large libraries that tests import as they run are compiled once.
.PHONY: collect
collect: $(STAMP)-test
	$(if $(ARGS),,-$(BIN)/python -c 'import pandas, polars, scipy.sparse, sklearn.ensemble')
	-$(BIN)/python -m pytest --collect-only -qq --ignore tests/clusters $(ARGS) > /dev/null

# Each in an environment of its own. One that fails does not keep the others from being tried.
test-each:
	@failed=; for python in $(PYTHONS); do \
		echo "== $$python"; \
		$(MAKE) test PYTHON=$$python VENV=build/venv-$${python##*/} || failed="$$failed $$python"; \
	done; test -z "$$failed" || { echo "failed on$$failed"; exit 1; }

# The environments alone, for .ci/run, which makes some while it tests in others.
ENVIRONMENTS := env-test env-lint env-release env-docs env-clusters
.PHONY: $(ENVIRONMENTS)
$(ENVIRONMENTS): env-%: $(STAMP)-%

test-clusters: env-in-clusters
	@$(MAKE) --no-print-directory VENV=build/venv-clusters -j 2 --output-sync=target $(CLUSTER_TESTS)

.PHONY: env-in-clusters $(CLUSTER_TESTS)
env-in-clusters:
	@$(MAKE) --no-print-directory VENV=build/venv-clusters env-clusters
	build/venv-clusters/bin/python -m compileall -q src tests
$(CLUSTER_TESTS):
	PROCESSION_TEST_CLUSTERS="$(CLUSTERS)" $(BIN)/python -m pytest -o cache_dir=build/cache-$(@F) $@ $(ARGS) || \
		{ [ $$? = 5 ] && $(if $(ARGS),true,false); }  # nothing there that ARGS select

$(STAMP)-clusters: $(STAMP)-base
	$(PIP) install --no-compile --group clusters
	@touch $@

cov: $(STAMP)-test
	$(BIN)/python -m pytest --cov=procession --cov-branch --cov-report=term-missing $(ARGS)

# Each checker keeps one processor busy, so two run at once. All of them, but BUT.
CHECKS := check-style check-types check-types-win32 check-types-darwin check-strict check-public

lint: $(STAMP)-lint
	@$(MAKE) --no-print-directory -j 2 --output-sync=target $(filter-out $(BUT),$(CHECKS))

.PHONY: $(CHECKS)
check-style:
	$(BIN)/ruff check
	$(BIN)/ruff format --check
check-types:
	$(BIN)/mypy
check-types-win32:
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 src
check-types-darwin:
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin src
check-strict:
	$(BIN)/pyright
check-public:
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_public_names.py -k known_type

format: $(STAMP)-lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(STAMP)-docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -E docs build/docs

soak: $(STAMP)-test
	$(BIN)/python -m compileall -q src tests
	$(BIN)/python -m pytest -m soak --timeout $(SOAK_TIMEOUT) $(ARGS)

bench: $(STAMP)-bench
ifdef QUICK
	$(BIN)/python benchmarks/grains.py --rounds 2
	$(BIN)/python benchmarks/maps.py --rounds 1
else
	@for file in $(filter-out benchmarks/workloads.py benchmarks/readme_table.py benchmarks/draw.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done
endif

# What README.md and the pages show, measured anew, in an environment of its own.
figures:
	@$(MAKE) --no-print-directory VENV=build/venv-figures in-figures

$(STAMP)-figures: $(STAMP)-bench
	$(PIP) install --no-compile --group figures
	@touch $@

RESULTS := benchmarks/results

.PHONY: in-figures
in-figures: $(STAMP)-figures
	$(BIN)/python -m compileall -q src benchmarks
	$(BIN)/python benchmarks/comparison.py --save $(RESULTS)/comparison.md
	$(BIN)/python benchmarks/readme_table.py
	$(BIN)/python benchmarks/maps.py > build/maps.txt && mv build/maps.txt $(RESULTS)
	$(BIN)/python benchmarks/draw.py $(RESULTS)/maps.txt
	$(BIN)/python benchmarks/latency.py > build/latency.txt && mv build/latency.txt $(RESULTS)

release-check: $(STAMP)-release
	.ci/release-check $(BIN)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
