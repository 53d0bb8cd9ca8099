# Each target sets up what it needs; a fresh machine wants only Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help env demo test test-slow check format lint types layers golden bench clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

env: .venv/ready ## Make the environment in .venv

# torch comes first and by itself: the CPU build where the machine offers one, so that nothing
# later pulls in a CUDA build.
.venv/ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet 'torch==2.13.0'
	$(BIN)/pip install --quiet --editable '.[dev,render]'
	touch $@
