# Everything runs in a virtual environment of its own, .venv, made of archives whose SHA-256 sums are in locked/.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --no-deps
LOCKED := $(INSTALL) --require-hashes --requirement
# Options for the example: make mnist ARGS="--epochs 3"
ARGS ?=
# Threads that wait soon sleep, so that a busy neighbour costs little; PyTorch's spin otherwise.
export OMP_WAIT_POLICY ?= passive
export GOMP_SPINCOUNT ?= 2000

.PHONY: weights mnist test slow-test lint docs picture results bench reliability lock clean

mnist: $(VENV)/.installed
	$(BIN)/python examples/train_mnist.py $(ARGS)

# On all cores, hence with one thread for each process, among them those that tests start. Compiled modules are kept,
# whatever the environment says: else each process, and each that a test starts, compiles all of them again.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto

# Files stay together, so that what a module makes for all of its tests is made once.
test: $(VENV)/.installed-dev
	$(PYTEST) --dist loadfile $(ARGS)

slow-test: $(VENV)/.installed-dev
	$(PYTEST) --dist loadscope -m slow $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Pages with what their code prints and draws, in docs/_build/html; any warning is an error
docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

picture: $(VENV)/.installed
	$(BIN)/python docs/picture.py

# The models that come with the package
weights: $(VENV)/.installed
	for preset in tiny small base; do \
		precision=$$([ $$preset = base ] && echo 32-true || echo bf16-mixed) && \
		$(BIN)/python examples/train_mnist.py --preset $$preset --precision $$precision --run-dir runs/weights/$$preset && \
		cp runs/weights/$$preset/model/* grapheme_pyg/weights/mnist-$$preset/ || exit 1; \
	done

# README's table; what has run already is not run again
results: $(VENV)/.installed
	$(BIN)/python benchmarks/results.py $(ARGS)

# README's figures of speed; alone on the machine, about 15 minutes
bench: $(VENV)/.installed
	$(BIN)/python benchmarks/speed.py $(ARGS)

# What the page on reliability promises, with 20 times as many cases as every day; about an hour
reliability: $(VENV)/.installed-dev
	GRAPHEME_CASES=20 $(BIN)/python -m pytest -m "slow or not slow" tests/reliability $(ARGS)

# The lists in locked/, after a change of pyproject.toml; versions that are there stay, but for LOCK="--upgrade". uv takes
# PyTorch's CPU build from PyTorch's own index, or from a folder of wheels: CPU_BUILD="--find-links FOLDER".
TORCH := 2.13.0
CPU_BUILD ?= --torch-backend cpu
LOCK ?=
COMPILE := $(BIN)/uv pip compile - pyproject.toml --generate-hashes --universal --python-version 3.11.5 --no-config \
	--no-annotate --quiet --custom-compile-command "make lock" $(LOCK)
TRAIN := --extra plot --extra mnist5k --extra superpixel

lock: $(VENV)/.installed-dev
	echo "torch==$(TORCH)" | $(COMPILE) $(TRAIN) --output-file locked/cuda.txt
	echo "torch==$(TORCH)+cpu" | $(COMPILE) $(TRAIN) --constraint locked/cuda.txt $(CPU_BUILD) --output-file locked/cpu.txt
	echo "torch==$(TORCH)" | $(COMPILE) --extra dev --constraint locked/cuda.txt --output-file locked/dev.txt \
		$$(sed -n 's/^\([^ =]*\)==.*/--no-emit-package \1/p' locked/cuda.txt)

# PyTorch's CPU build, which needs none of CUDA's libraries, is taken where it is at hand or PIP_EXTRA_INDEX_URL points to
# it; else the build that PyPI has. If pip fails for another reason, so does this. The package itself is built with the
# setuptools that is locked.
$(VENV)/.installed: locked/cpu.txt locked/cuda.txt pyproject.toml setup.py $(wildcard grapheme_pyg/csrc/*)
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11.5 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11, 5) else 0)'
	$(PYTHON) -m venv $(VENV)
	if $(INSTALL) --dry-run torch==$(TORCH)+cpu 2> $(VENV)/torch-cpu.log; then \
		$(LOCKED) locked/cpu.txt; \
	elif grep -q "No matching distribution" $(VENV)/torch-cpu.log; then \
		$(LOCKED) locked/cuda.txt; \
	else \
		cat $(VENV)/torch-cpu.log; exit 1; \
	fi
	$(INSTALL) --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed locked/dev.txt
	$(LOCKED) locked/dev.txt
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
