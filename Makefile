# Two commands: `make run` and `make test`. Everything else is for those who work on Regrow: `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PARAMS ?= params.yaml
UV_VERSION := 0.13.9

.PHONY: help run test test-fast coverage test-slow lint format docs docs-serve notebooks dist lock bench bench-recovery clean

help:  ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "%-18s %s\n", $$1, $$2}'

run: $(STAMP)  ## run the pipeline on real data and say where the report and the model are
	$(BIN)/regrow run --params $(PARAMS)

QUICK = $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not services and not containers"
test: $(STAMP)  ## the tests
	$(QUICK)

# In one process, and with no test that trains, converts or starts the command line: those are in `test`.
FAST = config dataset evaluation graph provenance showing storage
test-fast: $(STAMP)  ## tests without TensorFlow, in less than 90 seconds
	$(BIN)/python -m pytest --no-tensorflow -m "not tensorflow and not slow and not services and not containers" \
	  -k "not bombs" $(FAST:%=tests/%) tests/test_docs.py tests/test_layering.py tests/test_distribution.py

coverage: $(STAMP)  ## the same tests with branch coverage, which takes longer
	$(QUICK) --cov=regrow --cov-branch --cov-report=term:skip-covered --cov-fail-under=85

test-slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/python -m pytest -m "slow and not services and not containers"

lint: $(STAMP)  ## ruff, mypy, and whether the numbers in README and docs are up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python benchmarks/tables.py --check

format: $(STAMP)  ## let ruff write what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The theme prints an advertisement at every build unless told not to.
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
docs: $(VENV)/.docs  ## build the site into build/site; a warning, a broken link or anchor is an error
	$(MKDOCS) build --strict --quiet
	@echo "build/site/index.html"

docs-serve: $(VENV)/.docs  ## show the site at http://127.0.0.1:8000 while you write
	$(MKDOCS) serve

$(VENV)/.docs: $(STAMP) docs/requirements.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r docs/requirements.lock
	touch $@

notebooks: $(STAMP)  ## run the notebooks and keep their outputs
	$(BIN)/python notebooks/execute.py

dist: $(STAMP)  ## build the source distribution and the wheel into dist
	rm -rf dist
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist

lock: $(STAMP)  ## resolve the newest versions that go together
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
	  --upgrade -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra docs --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
	  --constraint requirements.lock --upgrade -o docs/requirements.lock

bench: $(STAMP)  ## the numbers in the README; with CIFAR10=cifar10.zip those of bench-recovery too
	$(BIN)/python benchmarks/run_digits.py
	$(BIN)/python benchmarks/structured_pruning.py
	$(BIN)/python benchmarks/augmentation_throughput.py
	$(if $(CIFAR10),$(MAKE) bench-recovery)

# CIFAR10: the zip of class folders; PEER: a Python with torch and torch-pruning. Interrupted, it goes on where it was.
BENCH_WORK ?= work/recovery
RECOVERY = $(BIN)/python benchmarks/recovery.py --work $(BENCH_WORK)
bench-recovery: $(STAMP)  ## recovery beside Torch-Pruning and tfmot: about 14 hours at 50 seconds an epoch, 6 of them the ablation
	$(RECOVERY) $(if $(CIFAR10),--source $(CIFAR10)) $(if $(PEER),--peer-python $(PEER))
	$(BIN)/python benchmarks/recovery.py --report --picture docs/images/recovery.png

$(STAMP): requirements.lock pyproject.toml setup.py
	@echo "$(VENV): installing what is in requirements.lock; takes minutes, and several GB in $(VENV)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

clean:  ## remove the virtual environment, results, caches and the site
	rm -rf $(VENV) build/site work .regrow mlflow.db mlruns

-include make/*.mk
