# Needs Python, make and git. `make help` lists the targets.

# The versions of Python that pyproject.toml lists. The functions have the last one.
PYTHONS := 3.11 3.12 3.13

# The shims of pyenv run one version only.
find_python = $(or $(lastword $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python3)),python$(1))
is_installed = $(shell $(call find_python,$(1)) -c '' 2>/dev/null && echo yes)

# The functions' version, if it is installed.
PYTHON ?= $(if $(call is_installed,$(lastword $(PYTHONS))),$(call find_python,$(lastword $(PYTHONS))),python3)
PORT ?= 10100
STORAGE_URL ?= file://$(CURDIR)/profbucket-data

VENV := .venv
BIN := $(VENV)/bin
CHROMIUM := /usr/bin/chromium
SHELLS := /usr/bin/fish /usr/bin/zsh

# What STORAGE_URL needs: the extras gcs and s3 include server.
EXTRAS := $(if $(filter gs:%,$(STORAGE_URL))$(findstring firestore,$(STORAGE_URL)),gcs) $(if $(filter s3:%,$(STORAGE_URL)),s3)
EXTRAS := $(or $(strip $(EXTRAS)),server)

# The tests of a class, and those of a module outside of classes, share fixtures and stay in one process. `-n 0` in
# ARGS runs all tests in one process. The tests start hundreds of processes, which share the compiled modules.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

# One more than there are processors: the tests wait for other processes most of the time.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

.DEFAULT_GOAL := help
.PHONY: help serve test test-agents test-pythons test-web test-ui image check soak lint types format proto ui requirements test-data bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

serve: $(EXTRAS:%=$(VENV)/.extra-%) ## run a collector on http://localhost:10100; set PORT=… or STORAGE_URL=…
	@$(BIN)/profbucket serve --port $(PORT) --storage '$(STORAGE_URL)'

test: $(VENV)/.dev ## run all tests except those in a browser; ARGS='-k merge -x' goes to pytest
	$(PYTEST) -n $(WORKERS) --ignore=tests/ui $(ARGS)

test-pythons: $(PYTHONS:%=test-python-%) ## run a smaller set of tests with each version of Python that is installed; ARGS=tests selects all tests

test-python-%:
	@if [ '$(call is_installed,$*)' ]; then \
	  $(MAKE) VENV=.venv-$* PYTHON=$(call find_python,$*) .venv-$*/$(if $(ARGS),.dev,.smaller) && \
	  PYTHONDONTWRITEBYTECODE= .venv-$*/bin/python -m pytest -n auto --maxprocesses 4 --dist loadscope $(or $(ARGS),$(SMALLER_SET)); \
	else echo 'Python $* is not installed'; fi

# What depends on the version of Python: the agent, the format, the merge, the API in a process; and an agent of another
# system that needs an old one.
SMALLER_SET := tests/agent tests/model tests/pprof/test_codec.py tests/ingest tests/query tests/api/test_app.py tests/telemetry tests/foreign_agents/test_cloud_profiler.py::test_python

test-agents: $(VENV)/.dev ## test with the agents of other systems, from PyPI and npm; `make test` includes these tests
	$(PYTEST) tests/foreign_agents $(ARGS)

test-web: web/node_modules ## test the page's sources: unit tests, eslint, prettier, types
	npm --prefix web test
	npm --prefix web run lint
	npm --prefix web run types

test-ui: $(VENV)/.dev web/node_modules $(CHROMIUM) ## test the page and Grafana's flame graph in Chromium; SCREENSHOTS=1 writes tests/ui/screenshots, SLOWDOWN=6 slows the page down
	CHROMIUM=$(CHROMIUM) $(PYTEST) $(or $(ARGS),tests/ui)

image: $(VENV)/.dev $(CHROMIUM) ## make docs/page.png, the screenshot in README.md
	SCREENSHOTS=1 CHROMIUM=$(CHROMIUM) $(PYTEST) -n 0 tests/ui/test_compare.py -k shows_the_slower_function_first
	cp tests/ui/screenshots/comparison.png docs/page.png

# All tests run with the functions' version, where it is installed; the smaller set with the oldest one.
# Two parts at a time, the longest first, as tests wait for processes and for the disk. GNU make keeps the output of
# each together from version 4.0 on.
PARTS := test lint types test-ui test-python-$(firstword $(PYTHONS)) test-web

check: $(VENV)/.dev web/node_modules $(SHELLS) ## run everything that CI runs: lint, types, tests
	@$(MAKE) --no-print-directory --jobs=2 --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync=recurse) $(PARTS)

SOAK_SECONDS ?= 600
SOAK_KILLS ?= 300
SOAK_EXAMPLES ?= 2000
SOAK_FACTOR ?= 20

soak: $(VENV)/.dev ## fuzz for ten minutes, compact 2,000 histories, kill processes 1,200 times, interleave calls: two hours; SOAK_SECONDS=… SOAK_EXAMPLES=… SOAK_FACTOR=… SOAK_KILLS=…
	$(BIN)/python -m tests.soak.fuzz --seconds $(SOAK_SECONDS)
	$(BIN)/python -m tests.soak.before_and_after --examples $(SOAK_EXAMPLES)
	for storage in file gcs file gcs; do \
	  $(BIN)/python -m tests.soak.kill_storm --kills $(SOAK_KILLS) --storage $$storage || exit 1; \
	done
	$(BIN)/python -m tests.soak.interleavings
	EXAMPLES_FACTOR=$(SOAK_FACTOR) $(PYTEST) -m hypothesis --ignore=tests/ui
	[ ! -d ../shared/cases ] || $(BIN)/python -m tests.soak.run_cases ../shared/cases

lint: $(VENV)/.dev ## run ruff: style, imports, likely bugs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## run mypy --strict
	$(BIN)/mypy

format: $(VENV)/.dev ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(VENV)/.dev ## compile the .proto files
	$(BIN)/protoc --proto_path=. --python_out=. --pyi_out=. profbucket/*/*.proto

ui: web/node_modules ## build the page from web/ into profbucket/ui
	npm --prefix web run build

PIN := uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --custom-compile-command 'make requirements'

requirements: $(VENV)/.dev ## pin the packages of the functions and the container; ARGS=--upgrade updates the pins
	$(BIN)/$(PIN) $(ARGS) --extra gcs --group functions --output-file functions/requirements.txt pyproject.toml
	$(BIN)/$(PIN) $(ARGS) --all-extras --output-file requirements.txt pyproject.toml

bench: $(VENV)/.dev ## compare with peers; ARGS='library --write' selects, and writes bench/RESULTS.md; ARGS=--help lists them
	$(BIN)/python -m bench $(ARGS)

test-data: $(VENV)/.dev ## regenerate tests/data
	$(BIN)/python -m tests.programs.make_test_data

clean: ## remove what make created, except stored profiles
	rm -rf web/node_modules tests/ui/screenshots $(VENV) .cache .mypy_cache .ruff_cache .hypothesis dist

web/node_modules: web/package-lock.json
	npm --prefix web ci --silent
	@touch $@

# Debian's package. On other systems install Chromium yourself and run make CHROMIUM=/path/to/it.
$(CHROMIUM):
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core

# Debian's packages, for tests of the completion. On other systems run make SHELLS=, which skips those of missing ones.
$(SHELLS):
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends $(@F)

# --group needs pip 25.1; venv often brings an older one.
$(VENV)/bin/python:
	@echo 'creating a virtual environment in $(VENV)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.extra-%: pyproject.toml | $(VENV)/bin/python
	@echo 'installing profbucket[$*] and its dependencies; this takes about a minute, once'
	@$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

# Python compiles the modules that the tests import; pip would compile all.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(PIP_INSTALL) --editable '.[gcs,s3,sql]' --group dev
	@touch $@ $(VENV)/.extra-server $(VENV)/.extra-gcs $(VENV)/.extra-s3

$(VENV)/.smaller: pyproject.toml | $(VENV)/bin/python
	$(PIP_INSTALL) --editable '.[server]' --group test-smaller
	@touch $@
