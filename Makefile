# Every target does the set-up it needs: see `make help` and scripts/setup_venv.py.

PYTHON ?= python3
CONFIG ?= configs/quickstart.yaml
ARGS ?=
# cpu or gpu overrides what nvidia-smi says.
DEVICE ?= auto
UV := uv==0.13.9
PY := .venv/bin/python

# The set-up leaves compiling to the first import, so what was compiled must be kept: vLLM takes a minute without.
unexport PYTHONDONTWRITEBYTECODE

# Nothing here reports its use to anybody.
export RAY_USAGE_STATS_ENABLED := 0
export VLLM_NO_USAGE_STATS := 1
export DO_NOT_TRACK := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup synth test test-slow test-all check format-check lint types format docs bench lock clean distclean

help: ## This list
	@echo "make [target] [CONFIG=configs/quickstart.yaml] [ARGS=...] [DEVICE=auto|cpu|gpu] [PYTHON=python3]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make or refresh .venv (the other targets do this themselves)
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "set-up: no $(PYTHON) on the PATH; install Python 3.11 or newer, or run make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -B scripts/setup_venv.py --device $(DEVICE)

synth: setup ## Run the pipeline on CONFIG; ARGS go to `prefsynth run`
	$(PY) -m pipeline.cli run $(CONFIG) $(ARGS)

test test-slow test-all: export HF_HUB_OFFLINE := 1

test: setup ## Tests, without those marked slow
	$(PY) -m pytest -m "not slow" $(ARGS)

test-slow: setup ## Only the tests marked slow
	$(PY) -m pytest -m slow $(ARGS)

test-all: setup ## All tests
	$(PY) -m pytest $(ARGS)

check: format-check lint types test ## Format, lint, types, tests

format-check: setup
	$(PY) -m ruff format --check .

lint: setup
	$(PY) -m ruff check .

types: setup
	$(PY) -m mypy --strict .

format: setup ## Format the code and apply the linter's safe fixes
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

docs: setup ## Build the documentation into build/docs/site, without warnings
	@cmp -s requirements/docs.txt .venv-docs/pins.txt || { $(PYTHON) -m venv --clear .venv-docs && \
	  .venv-docs/bin/python -m pip install -qq --no-deps -r requirements/docs.txt && \
	  cp requirements/docs.txt .venv-docs/pins.txt; }
	$(PY) -m scripts.docs build/docs
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict --config-file build/docs/mkdocs.yml
	@echo "make docs: open build/docs/site/index.html, or serve it: $(PY) -m http.server -d build/docs/site"

bench: setup ## Benchmarks; ARGS go to benchmarks.bench
	$(PY) -m benchmarks.bench $(ARGS)

lock: ## Rewrite the pin lists from requirements/*.in (ARGS=--upgrade: newest that fit)
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -qq $(UV)
	.venv-lock/bin/python scripts/lock.py $(ARGS)

clean: ## Remove caches and build products; keep .venv and runs/
	rm -rf build dist prefsynth.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .venv-lock
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## clean, and .venv and .venv-docs
	rm -rf .venv .venv.lock .venv-docs
