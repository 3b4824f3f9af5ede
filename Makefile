# Everything starts from a Python, make and git. `make help` lists the targets.
PYTHON ?= python3
PORT ?= 10100
STORAGE_URL ?= file://$(CURDIR)/profbucket-data

VENV := .venv
BIN := $(VENV)/bin
CHROMIUM := /usr/bin/chromium

# A class of tests, and what of a module is in none, stays in one process, as they share fixtures; `-n 0` in ARGS
# takes one process for all. Hundreds of others are started, and read what the first has compiled.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help serve test test-ui check lint types format proto ui requirements test-data bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

serve: $(VENV)/.serve ## the collector on http://localhost:10100; PORT=… and STORAGE_URL=… change where and what
	@$(BIN)/profbucket serve --port $(PORT) --storage '$(STORAGE_URL)'

test: $(VENV)/.dev ## all tests but those in a browser; ARGS='-k merge -x' goes to pytest
	$(PYTEST) --ignore=tests/ui $(ARGS)

test-ui: $(VENV)/.dev web/node_modules $(CHROMIUM) ## the page in Chromium; screenshots go to tests/ui/screenshots
	CHROMIUM=$(CHROMIUM) $(PYTEST) $(or $(ARGS),tests/ui)

check: lint types test test-ui ## lint, types and tests: what CI runs

lint: $(VENV)/.dev ## ruff: style, imports, likely bugs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

format: $(VENV)/.dev ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(VENV)/.dev ## compile profile.proto and stream.proto
	$(BIN)/protoc --proto_path=. --python_out=. --pyi_out=. profbucket/pprof/profile.proto profbucket/pprof/stream.proto

ui: web/node_modules ## build the page: web/ into profbucket/ui
	npm --prefix web run build

PIN := uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command 'make requirements'

requirements: $(VENV)/.dev ## pin what is deployed, as pyproject.toml asks; ARGS=--upgrade takes newer versions
	$(BIN)/$(PIN) $(ARGS) --extra gcs --output-file functions/requirements.txt pyproject.toml
	$(BIN)/$(PIN) $(ARGS) --all-extras --output-file requirements.txt pyproject.toml

bench: $(VENV)/.dev ## measurements beside their peers; ARGS='library --write' for some, into bench/RESULTS.md
	$(BIN)/python -m bench $(ARGS)

test-data: $(VENV)/.dev ## write tests/data anew; the tests hold for any that the programs make
	$(BIN)/python -m tests.programs.make_test_data

clean: ## remove what make made (not the stored profiles)
	rm -rf web/node_modules tests/ui/screenshots $(VENV) .cache .mypy_cache .ruff_cache .hypothesis dist

web/node_modules: web/package-lock.json
	npm --prefix web ci --silent
	@touch $@

# Debian's package; elsewhere install a chromium by hand and say CHROMIUM=/where/it/is.
$(CHROMIUM):
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core

# pip learned --group in 25.1; the one that comes with venv is often older.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.serve: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[gcs,s3]' --group dev
	@touch $@ $(VENV)/.serve
