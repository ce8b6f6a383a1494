# Two commands do everything on a fresh machine: `make run` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The build of torch to use; another can be named, or an installed one kept.
TORCH ?= torch==2.13.0

.PHONY: run test acceptance lint format types tests setup dev clean

run: setup  ## set up and start the daemon
	$(BIN)/tinyastd run

test: dev lint types tests  ## set up and run lint, types and all tests

setup: $(VENV)/.base
dev: $(VENV)/.dev

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.base

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types:
	$(BIN)/mypy

tests:
	$(BIN)/python -m pytest

acceptance: dev  ## the same tests with their full counts: over an hour
	TINYAST_STRESS=1 $(BIN)/python -m pytest --timeout 7200

clean:
	rm -rf $(VENV) build dist *.egg-info
