# Every target sets itself up: .venv with the versions of constraints.txt.
PYTHON ?= python3
PHOTOS ?=
OUT ?= demo
BIN := .venv/bin
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: demo test lint bench clean

demo: .venv/ready
	$(BIN)/ufvnet demo --out $(OUT) $(if $(PHOTOS),--photos $(PHOTOS))

test: .venv/ready
	$(BIN)/python -m pytest

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv demo

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ufvnet needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
