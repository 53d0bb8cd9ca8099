# Each target sets up what it needs; a fresh machine wants only Python 3.11 or newer.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadgroup
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help env demo test test-slow check format lint types layers golden docs bench clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

env: .venv/ready ## Make the environment in .venv

# torch comes first and by itself: the CPU build where the machine offers one, so that nothing
# later pulls in a CUDA build.
.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("This needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet 'torch==2.13.0'
	$(BIN)/pip install --quiet --editable '.[dev,render]'
	@touch $@

demo: env ## Draw every sample; the pictures land in samples/gallery
	$(BIN)/python tools/gallery.py

test: env ## Run the tests
	$(PYTEST) -m 'not slow'

test-slow: env ## Run the tests and the long forms of the oracles
	$(PYTEST)

check: lint types layers test ## Everything that must pass before a commit

format: env ## Bring the code into shape
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format .

lint: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: env
	$(BIN)/mypy

layers: env
	$(BIN)/lint-imports

golden: env ## Accept what the samples print now: golden files, README.md, docs
	$(BIN)/pytest tests/test_samples.py tests/test_readme.py -k 'golden or session' --accept

docs: env ## Draw the picture of README.md again
	cd samples && ../$(BIN)/graphviz-cli transformer.py --depth 2 -o ../docs/transformer.svg

bench: env ## Run the benchmarks
	@for file in $$(grep -l __main__ benchmarks/*.py); do $(BIN)/python $$file || exit 1; done

clean: ## Remove what the other targets made
	rm -rf .venv build samples/gallery *.egg-info .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
