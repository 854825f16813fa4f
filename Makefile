# `make help` lists the commands. Each installs what it needs into .venv first. A stamp file marks each
# installation, so a second call installs nothing; a change of pyproject.toml or constraints.txt updates
# the installation.

PYTHON ?= python3
JOBS ?= 2

# The folder of `make docs-version`, such as 0.1, and another name for it, such as latest, to which
# the root of the published site leads.
DOCS_VERSION ?= dev
DOCS_ALIAS ?=
export DOCS_VERSION

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
RUNTIME := $(VENV)/.stamp-runtime
DEV := $(VENV)/.stamp-dev
DOCS := $(VENV)/.stamp-docs
MIKE = PATH="$(CURDIR)/$(BIN):$$PATH" VERSION_PROVIDER=mike mike --quiet

# Each of the JOBS test processes uses one thread.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-scalar test-portable coverage check format \
	docs docs-quick docs-serve docs-check docs-version wheel clean-clones clean set-up

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1@\2/' | awk -F@ '{ printf "%-20s %s\n", $$1, $$2 }'

demo: $(RUNTIME)  ## Train a Transformer to translate written-out dates (minutes)
	$(BIN)/seqlearn demo

test: $(DEV)  ## Run the fast tests
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS)

test-all: $(DEV)  ## Run all tests, and 1,000 cases of each law (hours)
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) -m ""
	$(ONE_THREAD) $(BIN)/python tests/laws/thorough.py --jobs $(JOBS)

test-scalar: $(DEV)  ## Run the comparisons with other implementations on the scalar path
	$(ONE_THREAD) ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest -n $(JOBS) \
		tests/parity tests/nn tests/decoding tests/introspect/recording/test_torch_functions.py

test-portable: $(DEV)  ## Run the fast tests under each instruction set of this CPU, and on 1, 2 and 4 threads
	$(BIN)/python tests/portable.py --jobs $(JOBS)

coverage: $(DEV)  ## Run the fast tests and report line coverage, also as coverage.xml
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=term --cov-report=xml

check: $(DEV)  ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV)  ## Format the code and apply the fixes of ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS)  ## Run the tutorials and build the site into site/
	$(BIN)/python docs/fetch_katex.py
	$(BIN)/python -m benchmarks page
	$(BIN)/python docs/render_pictures.py
	$(BIN)/python docs/render_reference.py
	$(BIN)/python docs/render_tutorials.py
	$(BIN)/python docs/render_live.py
	$(BIN)/mkdocs build --strict
	@echo "The site is in site/; view it with: make docs-serve"

docs-quick: $(DOCS)  ## Build the site into .cache/site; run only the imports of the tutorials
	$(BIN)/python docs/fetch_katex.py
	$(BIN)/python -m benchmarks page
	$(BIN)/python docs/render_pictures.py
	$(BIN)/python docs/render_reference.py
	$(BIN)/python docs/render_tutorials.py --imports-only
	$(BIN)/mkdocs build --strict --site-dir .cache/site

docs-serve: docs  ## Build the site and serve it on this machine
	$(BIN)/python -m http.server --directory site --bind 127.0.0.1 8000

docs-check: docs  ## Build the site and check each page in Chromium (needs Chromium and npm)
	$(BIN)/python docs/check_site.py

docs-version: docs  ## Build the site and commit it to the branch gh-pages as DOCS_VERSION (dev)
	$(MIKE) deploy --update-aliases --alias-type=redirect $(DOCS_VERSION) $(DOCS_ALIAS)
	$(if $(DOCS_ALIAS),,git cat-file -e gh-pages:index.html 2>/dev/null ||) \
		$(MIKE) set-default $(or $(DOCS_ALIAS),$(DOCS_VERSION))

wheel: $(DEV)  ## Build the wheel into dist/ and use it by itself
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--wheel-dir dist .
	$(BIN)/python tests/installed_wheel.py dist

clean-clones:  ## Run each make target in its own clean clone (hours)
	$(PYTHON) tests/clean_clones.py

clean:  ## Remove the virtual environment, the caches, the site and the wheel
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage coverage.xml \
		dist site docs/tutorials docs/results docs/assets/katex docs/assets/benchmarks

# Set-up

set-up: $(DEV) $(DOCS)  ## Install everything into .venv

$(VENV)/.stamp-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "expected Python 3.11 or newer as $(PYTHON), got: $$($(PYTHON) --version 2>&1); name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(RUNTIME): pyproject.toml constraints.txt $(VENV)/.stamp-python
	@echo "Installing seqlearn and its dependencies into $(VENV) (takes minutes the first time: PyTorch is large)"
	$(INSTALL) --editable .
	@touch $@

$(DEV): $(RUNTIME)
	$(INSTALL) --editable '.[dev]'
	@touch $@

$(DOCS): $(RUNTIME)
	$(INSTALL) --editable '.[docs]'
	@touch $@
