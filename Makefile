# Two commands: `make demo` sets everything up and runs the main job on the shipped models; `make test` passes the tests.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two: each has warm workers of its own, and those of all frameworks take some 8 GB.
PARALLEL := --numprocesses 2 --dist worksteal

.PHONY: demo test test-all lint bench lock clean

demo: $(STAMP)
	$(BIN)/python -m benchmarks.demo

test: $(STAMP) lint
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

test-all: $(STAMP) lint
	$(BIN)/python -m pytest $(PARALLEL)

lint: $(STAMP)
	$(BIN)/ruff check src tests fixtures benchmarks
	$(BIN)/ruff format --check src tests fixtures benchmarks
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks.overhead

# The environment is made from the lock alone; convkit itself goes in editable, without asking the index again.
$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/convkit toolchain install
	touch $@

# Resolves pyproject's ranges anew and writes what came out.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade pip
	build/lock/bin/python -m pip install torch==2.13.0
	build/lock/bin/python -m pip install ".[all,dev]"
	echo "# What the README's two commands install; made by \`make lock\` from pyproject.toml's ranges." > requirements.lock
	build/lock/bin/python -m pip freeze --all --exclude convkit-models --exclude pip | sed 's/+cpu//' >> requirements.lock

clean:
	rm -rf $(VENV) build demo-out
