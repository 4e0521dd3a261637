# Everything runs in a virtual environment of its own, .venv, made from pinned constraints.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --constraint constraints.txt
# Options for the example: make mnist ARGS="--epochs 3"
ARGS ?=

.PHONY: mnist test slow-test lint docs picture results bench clean

mnist: $(VENV)/.installed
	$(BIN)/python examples/train_mnist.py $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(ARGS)

slow-test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Pages with what their code prints and draws, in docs/_build/html; any warning is an error
docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

picture: $(VENV)/.installed
	$(BIN)/python docs/picture.py

# README's table; what has run already is not run again
results: $(VENV)/.installed
	$(BIN)/python benchmarks/results.py $(ARGS)

# README's figures of speed; alone on the machine, about 15 minutes
bench: $(VENV)/.installed
	$(BIN)/python benchmarks/speed.py $(ARGS)

# PyTorch comes first and by its exact version, so that a CPU build that is already at hand, or that
# PIP_EXTRA_INDEX_URL points to, is taken.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml setup.py $(wildcard grapheme_pyg/native/*.[chi]*)
	$(INSTALL) --editable '.[train,plot,mnist5k,superpixel]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
