# The project's commands; `make help` lists them. They need CPython 3.11 or newer, pip and make.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# pip compiles packages one after another on one core; COMPILE does it on all, and fails at templates in some packages.
INSTALL := $(PIP) install --quiet --no-compile -c constraints.txt
COMPILE := $(BIN)/python -m compileall -q -q -j 0 $(VENV)/lib
PLUGINS := $(sort $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)))
OUT ?= runs/demo-$(NOW)
RESULTS ?= runs/results
NOW := $(shell date +%Y%m%d-%H%M%S)
# More arguments for the installation of torch, such as where to find a build for this machine.
TORCH_ARGS ?=

# norse comes as source, and -c does not reach the environment in which pip builds it. These do, the second in newer pips.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt

# torch first and alone, so that no other package's requirement chooses its build.
TORCH := $(shell grep "^torch==" constraints.txt)

# The tests hold counts of operations against it. Without what it declares: its counting runs on torch and snntorch, and
# the rest (tonic, torchaudio, ...) is for data sets that nobody here loads.
NEUROBENCH := $(shell grep "^neurobench==" constraints.txt)

# One thread a process: pytest runs two of them, and torch would otherwise start a thread a core in each. Each gets half
# of the tests in their order, so that what a module's tests share is made once, and takes over from the other at the
# end. Bytecode is kept even where the environment says otherwise, for the many processes that tests start.
TEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal -q

# Left out of the set-up, as triton's wheel has 200 MB; its tests run in an environment of their own (test-triton).
APART := plugins/neurozoo-triton
TRITON := $(shell grep "^triton==" constraints.txt)
TRITON_VENV := .venv-triton

.PHONY: help setup demo browser guard results exports benchmark test lint types unit test-slow test-large test-faults test-triton wheels test-wheels notebooks docs clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## make .venv with neurozoo and every plugin, editable; again only when a requirement changed
	@:

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(f"neurozoo needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; call make with PYTHON=python3.11, or where yours is" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: constraints.txt pyproject.toml $(PLUGINS:=/pyproject.toml) | $(VENV)/bin/python
	$(INSTALL) $(TORCH_ARGS) $(TORCH)
	# An environment of before: the distribution was called neurozoo, and both would offer the core's parts.
	@$(PIP) uninstall --quiet --yes neurozoo 2> /dev/null || true
	$(INSTALL) -e '.[dev]' $(foreach plugin,$(filter-out $(APART),$(PLUGINS)),-e $(plugin))
	$(INSTALL) --no-deps $(NEUROBENCH)
	-@$(COMPILE)
	touch $@

demo: setup ## train SMILE from its recipe; OUT=FOLDER says where the run goes
	$(BIN)/neurozoo train recipes/smile_mosei.yaml --out $(OUT)

browser: ## install chromium, in which the tests look at reports; where it is missing, and by apt-get as root
	@if command -v chromium chromium-browser > /dev/null; then \
	    echo "chromium is there"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    apt-get update --quiet=2 && apt-get install --quiet=2 --yes --no-install-recommends chromium fonts-dejavu-core > /dev/null; \
	else \
	    echo "install chromium and the fonts DejaVu, by your system's packages; without, the tests in a browser are skipped"; \
	fi

# mypy has one core, and the tests need not wait for it.
test: lint ## set up if needed, then lint, types and tests
	@$(MAKE) --no-print-directory -j 2 types unit

lint: setup ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy, strict
	$(BIN)/mypy

unit: setup ## the tests of core and plugins that are quick
	$(TEST) -m "not slow"

test-slow: setup ## the tests that take longer
	$(TEST) -m slow

# Those of the slow tests that .ci/run takes along.
LARGE := $(addprefix plugins/neurozoo-,norse spikingjelly) tests/backends/fused tests/docs/test_tutorials.py \
	$(addprefix tests/exporting/test_,export.py loops.py) tests/nir/export tests/recipe/test_shipped_recipes.py \
	tests/studies/test_ablation.py tests/testing/parts tests/testing/backend/test_data_parallel.py \
	$(addprefix tests/training/test_,engine.py no_pickle.py processes.py steps.py)

test-large: setup ## dry runs of large recipes, kits of published models, further forms of fused loops, pairs of processes
	$(TEST) -m slow $(LARGE)

test-faults: setup ## spoilt inputs, kills, a full disk, a hostile server; writes docs/reliability.md
	$(BIN)/python tests/faults/run.py --page docs/reliability.md

test-triton: $(TRITON_VENV)/.installed ## the tests of neurozoo-triton and what it shares, in Triton's interpreter; installs triton (200 MB)
	TRITON_INTERPRET=1 $(subst $(BIN),$(TRITON_VENV)/bin,$(TEST)) plugins/neurozoo-triton tests/backends/fused

# Beside the packages of .venv, linked, so that torch need not be installed once more.
$(TRITON_VENV)/.installed: $(VENV)/.installed
	rm -rf $(TRITON_VENV)
	$(BIN)/python .ci/fresh_venv.py $(TRITON_VENV)
	$(TRITON_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps $(TRITON)
	$(TRITON_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation -e . $(foreach plugin,$(PLUGINS),-e $(plugin))
	touch $@

guard: setup ## whether the fused backend and SMILE's step are still ahead of their plain forms
	$(BIN)/python tests/benchmarks/guard.py

# Interrupted, it continues where it was.
results: setup ## train what docs/results.toml names, five hours on 2 cores, and write docs/results*.md; DATA=FOLDER has data to import
	NEUROZOO_DATA=$${NEUROZOO_DATA:-$(RESULTS)/stores} $(BIN)/neurozoo reproduce docs/results.toml --out $(RESULTS) --jobs 2 $(if $(DATA),--data $(DATA))

exports: setup ## write every model of the zoo for torch.export, ONNX and NIR, compare, and write the tables of docs/export.md
	NEUROZOO_DATA=$${NEUROZOO_DATA:-$(RESULTS)/stores} $(BIN)/python tests/exporting/exported.py docs/export.md

benchmark: setup ## `neurozoo list` with 50 plugins more, importing and feeding data (5 GB of disk)
	$(BIN)/python tests/benchmarks/list_with_plugins.py
	$(BIN)/python tests/benchmarks/csd_memory.py
	$(BIN)/python tests/benchmarks/store_feeding.py 1000 10000 50000

wheels: setup ## build sdists and wheels of core and plugins into dist/
	rm -rf dist
	for project in . $(PLUGINS); do $(BIN)/python -m build --no-isolation --outdir dist $$project > /dev/null; done
	ls dist

test-wheels: wheels ## install the wheels outside of the clone, and run neurozoo from them
	bash .ci/test-wheels $(VENV) dist

notebooks: setup ## run the notebooks of docs/tutorials, and store what they print and draw
	$(BIN)/python tests/docs/notebooks.py

# The variable silences a notice of the theme about other generators. Read the site by `python3 -m http.server -d site`.
docs: $(VENV)/.docs ## build the documentation into site/; fails at a broken link, or at anything loaded from elsewhere
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) install --quiet --no-compile -c constraints.txt -e '.[docs]'
	touch $@

clean: ## remove everything the targets made, runs excepted
	rm -rf $(VENV) $(TRITON_VENV) dist site build *.egg-info plugins/*/build plugins/*/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
