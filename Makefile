# Two commands do everything on a fresh machine: `make run` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The build of torch to use; another can be named, or an installed one kept.
TORCH ?= torch==2.13.0

TEST_PROCESSES ?= 2

LOCKS := config/locks
PACKAGING := config/packaging
TOOLS := build/tools
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' tinyast/__init__.py)
PIP := $(BIN)/pip --quiet --disable-pip-version-check

PARTS := faults delivery microphone model integrations cluster install
faults := tests/daemon/sources/folder tests/daemon/journal tests/daemon/pipeline tests/daemon/host
delivery := tests/daemon/delivery tests/daemon/protocol tests/daemon/monitoring tests/daemon/page tests/daemon/test_*.py
microphone := tests/daemon/sources/microphone tests/daemon/commands tests/daemon/settings tests/daemon/service
integrations := tests/daemon/mqtt tests/daemon/notify
cluster := tests/daemon/cluster
install := tests/install
model := tests/tinyast tests/scripts tests/docs tests/test_*.py
ifdef PART
TESTS := $(if $(filter $(PART),$(PARTS)),$($(PART)),$(error no part is called $(PART); there are $(PARTS)))
TESTS += $(if $(filter integrations,$(PART)),tests/daemon/mqtt/check_home_assistant.py tests/daemon/sources/microphone/check_streams.py)
TESTS += $(if $(filter cluster,$(PART)),tests/daemon/cluster/check_scale.py)
endif

.PHONY: run test acceptance home-assistant lint format types tests setup dev screenshots
.PHONY: lock dist deb sbom audit release clean

run: setup  ## set up and start the daemon with its page
	@echo "starting tinyastd; it watches data/test and says where its page is"
	$(BIN)/tinyastd run --page

test: dev lint types tests  ## set up and run lint, types and all tests

setup: $(VENV)/.base
dev: $(VENV)/.dev

$(VENV)/bin/python:
	@echo "making a virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)

# Every file that pip installs is held to the hashes of a lock file; CONTRIBUTING.md says how to change one.
$(VENV)/.base: pyproject.toml $(LOCKS)/base.txt $(VENV)/bin/python
	@echo "installing tinyast and its libraries into $(VENV); this takes about a minute, once"
	$(PIP) install --no-deps --require-hashes -r $(LOCKS)/base.txt
	$(PIP) install --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(LOCKS)/dev.txt $(LOCKS)/torch.txt $(VENV)/bin/python
	@echo "installing torch and the development tools into $(VENV); this takes minutes, once"
	$(PIP) install --no-deps --require-hashes -r $(LOCKS)/dev.txt
	$(LOCKS)/torch.sh "$(TORCH)" $(PIP)
	$(PIP) install --no-build-isolation -e '.[dev,cluster]'
	@touch $@ $(VENV)/.base

# Tools of a release, in an environment that the project's own code does not share.
$(TOOLS)/.ready: $(LOCKS)/release.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(LOCKS)/release.txt
	@touch $@

lock: $(TOOLS)/.ready  ## resolve pyproject.toml into the lock files; UPGRADE=--upgrade takes the newest versions
	$(LOCKS)/lock.sh $(TOOLS)/bin/uv "$(TORCH)" $(UPGRADE)

# A release: make release. Each part can be made alone; all lie in dist/.
dist: $(VENV)/.base  ## wheel and sdist, the same bytes for the same commit
	$(PACKAGING)/dist.sh dist $(BIN)/python

deb: dist  ## a Debian package with its own environment under /opt/tinyast
	$(PACKAGING)/deb.sh dist/tinyast-$(VERSION)-py3-none-any.whl dist

sbom: $(TOOLS)/.ready  ## what the Debian package contains, as CycloneDX
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml \
		--output-file dist/tinyast-$(VERSION).cdx.json $(LOCKS)/base.txt

audit: $(TOOLS)/.ready  ## known vulnerabilities of the locked versions, if an advisory database can be reached
	$(PYTHON) $(PACKAGING)/audit.py $(TOOLS)/bin/pip-audit $(LOCKS)/base.txt

release: audit dist deb sbom  ## all of it, with checksums and the section of the changelog
	$(PACKAGING)/release.sh $(VERSION)

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
acceptance: dev  ## PART=faults, delivery, microphone, model, integrations, cluster or install
	TINYAST_STRESS=1 $(BIN)/python -m pytest --timeout 7200 $(TESTS)

screenshots: dev  ## draw the pictures of docs/page.md again
	$(BIN)/python -m scripts.screenshots

home-assistant: $(VENV)/home-assistant/.ready  ## an environment for the part `integrations`

$(VENV)/home-assistant/.ready: $(LOCKS)/home-assistant.txt
	@echo "installing Home Assistant into $(VENV)/home-assistant; this takes about three minutes, once"
	$(PYTHON) -m venv $(VENV)/home-assistant
	$(VENV)/home-assistant/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
