# make quickstart   set up, then a private sweep on this machine's CPU (under five minutes after installation)
# make test         set up, then all checks and tests
# Needs Linux, Python 3.11 or newer, and nothing else. A second call starts at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CHECKED := orchestrator search_spaces trainers tests benchmarks examples

.PHONY: install quickstart test lint types layers unit format clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("dpzo needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): a few minutes the first time, mostly torch and ray."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,bench]'
	@touch $(STAMP)

# each call is a sweep of its own, with its own name and its own epsilon
quickstart: $(STAMP)
	@$(BIN)/dpzo sweep examples/quickstart.yaml --set name=quickstart-$$(date +%Y%m%d-%H%M%S)

test: lint types layers unit

lint: $(STAMP)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

types: $(STAMP)
	$(BIN)/pyright

layers: $(STAMP)
	$(BIN)/lint-imports

unit: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

format: $(STAMP)
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

clean:
	rm -rf $(VENV)
