# Everything runs from .venv, which make builds itself. TORCH_INDEX=URL takes torch from another index, for example a
# build without CUDA (the README names it).

PYTHON ?= python3
TORCH_INDEX ?=
SECONDS ?= 3600
SEED ?=
# On all cores, by files: what a module has started serves all of its tests. Files are begun in the order of the tests.
SPREAD := -n auto --dist loadfile --no-loadscope-reorder
BIN := .venv/bin
PACKAGES := driftline app worker

# The types are checked on all cores. Where the machine is too busy for mypy's workers, which must start within seconds, it ends
# with 2, and checks them alone.
export MYPY_NUM_WORKERS ?= auto
# Hundreds of processes start in a run: none of them compiles again what another one has compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help audit sbom demo test test-tools test-long coverage kernels collected soak fuzz check docs up bench clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: .venv/.installed ## watch a model meet drift and recover
	$(BIN)/driftline demo

up: .venv/.installed ## start everything on this machine
	$(BIN)/driftline up

test: .venv/.installed ## check, then run the tests that need nothing else
	$(MAKE) -j3 check kernels collected
	$(BIN)/python -m pytest $(SPREAD)

test-tools: kernels ## run the tests that need a browser, Redis and Prometheus
	$(BIN)/python -m pytest $(SPREAD) -m "tools and not long"

test-long: check kernels ## run all tests, with the long form of the faults, new examples, and every process started as users do
	DRIFTLINE_TEST_COLD=1 DRIFTLINE_TEST_EXPLORE=1 $(BIN)/python -m pytest $(SPREAD) -m ""

coverage: kernels ## run the tests, and show how much of each file they reach
	$(BIN)/pip install --quiet -c constraints.txt -e '.[coverage]'
	DRIFTLINE_TEST_COLD=1 $(BIN)/python -m pytest $(SPREAD) -m "not long" --cov --cov-report=term

# Compiled before the tests begin: no test waits for it, on however busy a machine.
kernels: .venv/.installed
	$(BIN)/python -m driftline.networks.kernels

# Pytest compiles each file of tests with what explains its assertions. Else every one of its processes does, all at once.
collected: .venv/.installed
	@$(BIN)/python -m pytest --collect-only -qq > /dev/null

soak: .venv/.installed ## break everything at random for an hour, or SECONDS=300, and check what was promised
	$(BIN)/python -m tests.faults.soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

fuzz: SECONDS = 600
fuzz: .venv/.installed ## give what reads bytes of others any bytes, each for ten minutes, or SECONDS=60
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fuzz]' || echo "without atheris, by chance alone"
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

check: .venv/.installed ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(PACKAGES) tests examples || { [ $$? -eq 2 ] && MYPY_NUM_WORKERS=0 $(BIN)/mypy $(PACKAGES) tests examples; }

docs: .venv/.installed ## build the documentation into site/; a link that leads nowhere fails
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

bench: .venv/.installed ## run every benchmark
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# The tools have an environment of their own: what they need is no part of what they look at.
AUDIT := .venv-audit/bin
.venv-audit/.installed:
	$(PYTHON) -m venv .venv-audit
	$(AUDIT)/pip install --quiet "cyclonedx-bom>=7,<8" "pip-audit>=2.9,<3"
	@touch $@

sbom: .venv/.installed .venv-audit/.installed ## write sbom.cdx.json: every package of .venv (CycloneDX)
	$(AUDIT)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml -o sbom.cdx.json $(BIN)/python

audit: .venv-audit/.installed ## look for known vulnerabilities of the pinned packages; asks the index of packages
	$(AUDIT)/python -m tests.audit

clean: ## remove what make and the tests left
	rm -rf .venv .venv-audit sbom.cdx.json .coverage* .fuzz build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(PACKAGES) tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch alone comes from TORCH_INDEX; what it depends on comes, pinned, with the rest.
.venv/.installed: pyproject.toml setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Driftline needs Python 3.11 or newer, and there is no '$(PYTHON)' here; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Driftline needs Python 3.11 or newer, and '$(PYTHON)' is `$(PYTHON) -V 2>&1`; name another: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --no-deps -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/pip install -c constraints.txt -e '.[browser,demo,dev]'
	@touch $@
