# Thin: each target is one or two commands that you could type yourself. Everything lives in .venv.
# A bare Debian needs: apt-get install make python3 python3-venv

PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
FACES := tests/browser tests/docs tests/notebooks tests/packaging
FULL :=
NOTEBOOKS = $(if $(wildcard notebooks/*.ipynb),notebooks --nbval --nbval-current-env --nbval-sanitize-with notebooks/sanitize.cfg)

.PHONY: help demo lab test test-full test-library test-faces coverage lint bench docs peers clean

help:
	@echo "make demo       a cohort from a PACS into a table, over DIMSE, over the web and from media; nothing external"
	@echo "make lab        the same in JupyterLab, step by step"
	@echo "make test       lint and tests, against real peers (installs them as root on Debian; PEERS=0: not)"
	@echo "make test-full  the long matrices too"
	@echo "make coverage   which lines the tests run"
	@echo "make lint       ruff, mypy, import rules"
	@echo "make bench      how fast, side by side with real peers"
	@echo "make docs       the site: tutorials, how-to pages, reference; into docs/_build/html"
	@echo "make clean      remove what these targets made"

demo: .venv/base
	$(BIN)/dicomlab demo

lab: .venv/lab
	$(BIN)/dicomlab lab

test: .venv/all,test .venv/sdists peers lint
	@echo "two runs side by side, each shown when it has ended: the library, and what people see"
	@$(MAKE) --no-print-directory --keep-going -j2 --output-sync=target test-library test-faces

test-full:
	@$(MAKE) --no-print-directory test FULL=--full

test-library:
	$(PYTEST) tests $(addprefix --ignore=,$(FACES)) $(FULL)

test-faces:
	$(PYTEST) $(FACES) $(NOTEBOOKS) $(FULL)

coverage: .venv/all,test peers
	$(BIN)/coverage run -m pytest tests
	$(BIN)/coverage report --skip-covered

lint: .venv/all,test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/all,test
	$(BIN)/python bench/run.py

docs: .venv/docs
	$(BIN)/python -m sphinx -b html -W --keep-going -d docs/_build/doctrees docs docs/_build/html
	@echo "open docs/_build/html/index.html"

peers:
	@tests/peers/install.sh

clean:
	rm -rf .venv dist build docs/_build dicomlab-demo .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------- .venv, one stamp for each set of extras

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip  # resolves in a third of the time that Debian's takes

.venv/base: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/%: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

.venv/sdists: | .venv/all,test  # real files that no wheel has
	-$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: --dest $@ dicognito dicompyler-core
