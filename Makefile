# Two commands do everything on a fresh machine: `make run` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The build of torch to use; another can be named, or an installed one kept.
TORCH ?= torch==2.13.0

TEST_PROCESSES ?= 2

PARTS := faults delivery microphone model integrations
faults := tests/daemon/sources/folder tests/daemon/journal tests/daemon/pipeline tests/daemon/host
delivery := tests/daemon/delivery tests/daemon/protocol tests/daemon/monitoring tests/daemon/page tests/daemon/test_*.py
microphone := tests/daemon/sources/microphone tests/daemon/commands tests/daemon/settings tests/daemon/service
integrations := tests/daemon/mqtt tests/daemon/notify
model := tests/tinyast tests/scripts tests/test_*.py
ifdef PART
TESTS := $(if $(filter $(PART),$(PARTS)),$($(PART)),$(error no part is called $(PART); there are $(PARTS)))
TESTS += $(if $(filter integrations,$(PART)),tests/daemon/mqtt/check_home_assistant.py)
endif

.PHONY: run test acceptance home-assistant lint format types tests setup dev screenshots clean

run: setup  ## set up and start the daemon with its page
	$(BIN)/tinyastd run --page

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

# Two processes, each taking whole files: many tests wait for real time to pass.
tests:
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

# The same tests with their full counts, in parts of at most an hour; all of them if none is named.
acceptance: dev  ## PART=faults, delivery, microphone, model or integrations
	TINYAST_STRESS=1 $(BIN)/python -m pytest --timeout 7200 $(TESTS)

screenshots: dev  ## draw the pictures of docs/page.md again
	$(BIN)/python -m scripts.screenshots

home-assistant:  ## an environment for the part `integrations`; takes some minutes
	$(PYTHON) -m venv $(VENV)/home-assistant
	$(VENV)/home-assistant/bin/pip install --quiet --disable-pip-version-check \
	  'homeassistant==2024.3.3' 'paho-mqtt<2' 'numpy<2' janus pillow

clean:
	rm -rf $(VENV) build dist *.egg-info
