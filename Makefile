VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-gpu test-oldest torture lint format bench bench-cluster bench-gpu bench-search data docs pictures clean

help: ## show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## extract, fit and predict on the bundled sample
	@rm -rf digits.cache head-svm-layer3.safetensors
	$(BIN)/bottleneck extract --model data/digits_resnet.py:digits_resnet --layer layer3
	$(BIN)/bottleneck fit --clf svm
	$(BIN)/bottleneck predict head-svm-layer3.safetensors 'data/digits/test/7/00*.png'

# A process for each core, with one thread each: one more would import everything once more, which
# takes longer than the waiting that it could use. A file's tests stay in one process. The tests
# start some 150 processes more, each of which would compile every module where bytecode is not kept.
# Threads of OpenMP that have nothing to do sleep, so that those of other tests have the cores.
PROCESSES = $(shell getconf _NPROCESSORS_ONLN)
PYTEST = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed ## the tests, in six to seven minutes on two cores
	$(PYTEST) -m 'not slow'

test-all: $(VENV)/.installed ## the slow tests too, with more examples of each property
	$(PYTEST) --hypothesis-profile=whole

test-gpu: $(VENV)/.installed ## the tests of what a GPU computes, those that are slow too
	$(BIN)/python -m pytest -m gpu

# Old libraries warn of what is newer than they are, so that warnings are no errors here.
OLDEST := .venv-oldest
test-oldest: ## the tests with the oldest libraries that pyproject.toml allows
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST) --resolution lowest-direct --editable '.[dev]'
	@touch $(OLDEST)/.installed
	PYTEST_ADDOPTS='-o filterwarnings=default' $(MAKE) test VENV=$(OLDEST)

torture: $(VENV)/.installed ## the attacks of docs/reliability.md
	$(BIN)/python -m tests.faults.torture

lint: $(VENV)/.installed ## ruff format, ruff, mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed ## let ruff lay the code out
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed ## the figures of docs/benchmarks
	$(BIN)/python -m benchmarks.run

bench-cluster: $(VENV)/.installed ## images/s at one and two workers: processes, loky, Dask, Slurm
	$(BIN)/python -m benchmarks.cluster.scaling

bench-gpu: $(VENV)/.installed ## what a GPU is used for: extraction, fitting at ImageNet's size, tuning
	$(BIN)/python -m benchmarks.gpu

BEFORE ?= c34dacf
bench-search: $(VENV)/.installed ## the search over C against that of the commit BEFORE
	git worktree add --quiet --detach .before $(BEFORE)
	$(BIN)/python -m benchmarks.fitting.search_ratio .before; git worktree remove --force .before

data: $(VENV)/.installed ## make the bundled sample again
	$(BIN)/python data/make.py

docs: $(VENV)/.installed ## write the generated parts of docs from help texts and imports
	$(BIN)/python docs/make_commands.py
	$(BIN)/python docs/make_architecture.py

pictures: $(VENV)/.installed ## draw the report of the bundled sample again, in Chromium
	$(BIN)/python docs/make_report_pictures.py

clean: ## remove what demo and test leave behind
	rm -rf digits.cache head-*.safetensors .pytest_cache .mypy_cache .ruff_cache .hypothesis
