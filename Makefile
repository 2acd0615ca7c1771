# Two commands do it all on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test test-cluster test-smoke test-faults fuzz check bench experiments schemas clean help

help:            ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)   ## the main job on real input: profile, plan, execute
	$(BIN)/python -m examples.digits.demo

test: $(STAMP)   ## every test but those that start Ray
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/executor/engines

test-cluster: $(STAMP)  ## the tests that start Ray: on loopback and, for root, between network namespaces
	$(BIN)/python -m pytest tests/executor/engines -m 'not whole_matrix'

test-smoke: $(STAMP)    ## of those, what CI runs: one contract for both engines, and a run on several machines
	$(BIN)/python -m pytest tests/executor/engines -m smoke

test-faults: $(STAMP)   ## every fault that can occur on Ray, really done: most of an hour
	$(BIN)/python -m pytest tests/executor/engines/faults

fuzz: $(STAMP)   ## hostile input for every reader, a minute each (atheris)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,fuzz]'
	$(BIN)/python -m fuzz --seconds 60

check: $(STAMP)  ## lint, types, arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## the ratios of docs/benchmarks.md
	$(BIN)/python -m benchmarks

experiments: $(STAMP)  ## the accuracies of docs/experiments.md
	$(BIN)/python -m examples.digits.experiments

schemas: $(STAMP)  ## docs/schema from the models
	$(BIN)/python -m gaisnet.schema.export docs/schema

clean:           ## everything that make made
	rm -rf $(VENV) build *.egg-info
