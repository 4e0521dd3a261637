# Everything runs in a virtual environment of its own, .venv, made of archives whose SHA-256 sums are in locked/.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --no-deps
LOCKED := $(INSTALL) --require-hashes --requirement
# Options for the example: make mnist ARGS="--epochs 3"
ARGS ?=

.PHONY: mnist test slow-test lint docs picture results bench reliability pins lock clean

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

# What the page on reliability promises, with 20 times as many cases as every day; about an hour
reliability: $(VENV)/.installed-dev
	GRAPHEME_CASES=20 $(BIN)/python -m pytest -m "slow or not slow" tests/reliability $(ARGS)

# Whether versions are exact, locked, free of known holes, and those that are installed
pins: $(VENV)/.installed-dev
	$(BIN)/python tools/check_pins.py

# The hashes of all archives, after a change of constraints.txt
lock: $(VENV)/.installed-dev
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tools/lock.py

# PyTorch comes first. Its CPU build, which needs none of CUDA's libraries, is taken where it is at hand or
# PIP_EXTRA_INDEX_URL points to it; else the build that PyPI has. If pip fails for another reason, so does this.
$(VENV)/.torch: locked/torch-cpu.txt locked/torch.txt locked/cuda.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11.5 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11, 5) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(LOCKED) locked/torch-cpu.txt 2> $(VENV)/torch-cpu.log || \
		if grep -q "No matching distribution" $(VENV)/torch-cpu.log; then \
			$(LOCKED) locked/torch.txt && $(LOCKED) locked/cuda.txt; \
		else \
			cat $(VENV)/torch-cpu.log; exit 1; \
		fi
	touch $@

# The package itself is built with the setuptools that is locked.
$(VENV)/.installed: $(VENV)/.torch locked/train.txt pyproject.toml setup.py $(wildcard grapheme_pyg/csrc/*)
	$(LOCKED) locked/train.txt
	$(INSTALL) --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed locked/dev.txt
	$(LOCKED) locked/dev.txt
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
