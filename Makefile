# Every target sets itself up: .venv with the versions of constraints.txt.
PYTHON ?= python3
PHOTOS ?=
OUT ?= demo
JOBS ?= 3
ON ?= tests
BIN := .venv/bin
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# Where it is set, every process that tests start would compile all of ufvnet, and pytest all tests in each of its processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-without-photos lint requirements bench reference docs clean

demo: .venv/ready
	$(BIN)/ufvnet demo --out $(OUT) $(if $(PHOTOS),--photos $(PHOTOS))

# Three processes, each with whole files of tests, which share what a file builds: on two cores there is work for both
# while one waits for a server or a killed process. JOBS=0 is one process. One thread each: on busy cores torch's threads
# mostly wait for each other.
test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# The tests that look for photos beside the checkout, as where there are none; ON names files or folders of tests.
test-without-photos: .venv/ready
	UFVNET_TEST_FACES=none OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "photos and not server and not kills" $(ON)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# constraints.txt and pyproject.toml agree with each other and with what the index has for each Python. uv reads only the
# wheels' metadata (30 s); pip's dry run would fetch gigabytes.
requirements: .venv/ready
	for python in 3.11 3.12 3.13; do \
		$(BIN)/uv pip compile --quiet --python-version $$python --no-build --constraint constraints.txt --extra dev pyproject.toml >/dev/null || exit 1; \
		echo "the requirements resolve for Python $$python"; \
	done

bench: .venv/ready
	$(BIN)/python -m benchmarks

# The pages of docs/reference/, from schemas, commands and docstrings, and results/README.md, from what it links.
reference: .venv/ready
	$(BIN)/python docs/make_reference.py
	$(BIN)/python -m benchmarks.leaderboard

# The docs site, from the same Markdown files that the repository shows; a broken link is an error.
docs: .venv/ready
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs . build/site
	cp build/site/README.html build/site/index.html
	@echo build/site/index.html

clean:
	rm -rf .venv demo build

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ufvnet needs Python 3.11 or newer")'
	@echo "setting up .venv: minutes, and 3 GB with PyTorch's CPU build"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
