# Every target sets up its own environment, .venv, from the pinned requirements; a second call finds it there.
PYTHON ?= python3
BIN := .venv/bin
CORES ?= all
# For the shell: what a variable was set to, as it stands, or an error where it was not.
given = $(if $(value $(1)),'$(subst ','\'',$(value $(1)))',$(error $(2)))

.PHONY: help demo new test browser test-slurm soak fuzz status lint format bench clean

help:
	@echo "make demo       attribute generated digits to their training images, on embedded data"
	@echo "make new NAME=mine IMAGES=photographs MODEL=my-model PICTURES=my-pictures  begin with a model of your own"
	@echo "make test       run all tests"
	@echo "make browser    install Chromium, in which make test looks at the page"
	@echo "make test-slurm run the workflow on a SLURM cluster, which this installs and starts on this machine"
	@echo "make soak MINUTES=60  disturb the workflow at random, and compare what it makes"
	@echo "make fuzz COUNT=10000  change images at random, and look at what comes of each"
	@echo "make status NAME=cifar2  say what is done and left of a data set: jobs and GPU hours"
	@echo "make lint       run all linters and the type checker"
	@echo "make format     format the code"
	@echo "make bench      measure the cost of per-image gradients, beside other libraries"

.venv/run: requirements.txt
	@echo "Setting up .venv from requirements.txt (a few minutes, once)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt requirements-slurm.txt .venv/run
	@echo "Adding what tests and linters need"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: .venv/run
	@echo "Making results/digits: about 10 minutes on two cores"
	PYTHONPATH=workflow/logger $(BIN)/snakemake --cores $(CORES) demo --logger line --configfile config/demo.yaml
	@echo "LDS in percent, what each method's scores predict of retrained models; also results/digits/lds.png:"
	@$(BIN)/python workflow/scripts/show_table.py results/digits/lds.csv
	@echo "All methods: $(BIN)/snakemake --cores $(CORES) results/digits/lds.csv"
	@echo "To look at: $(BIN)/snakemake --cores $(CORES) results/digits/report.html"

new: .venv/run
	@$(BIN)/python workflow/scripts/new_dataset.py $(call given,NAME,say what to call it: make new NAME=mine) \
		--images=$(call given,IMAGES,say where the training images are: IMAGES=photographs) \
		--model=$(call given,MODEL,say where the model is: MODEL=my-model) \
		$(if $(value PICTURES),--pictures=$(call given,PICTURES))

test: .venv/dev
	@echo "Running unit tests and the workflow on tiny data sets: about 20 minutes on two cores"
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8

browser: .venv/dev
	$(BIN)/python tests/browser.py

test-slurm: .venv/dev
	@echo "Starting SLURM on this machine, and running the workflow on it: about ten minutes on two cores"
	$(BIN)/python tests/slurm/cluster.py
	$(BIN)/python -m pytest tests/slurm

soak: .venv/dev
	$(BIN)/python tests/soak.py --minutes $(or $(MINUTES),60)

fuzz: .venv/dev
	$(BIN)/python tests/fuzz_images.py --count $(or $(COUNT),10000) --seed $(or $(SEED),0)

status: .venv/run
	@$(BIN)/python workflow/scripts/show_status.py $(call given,NAME,say which data set: make status NAME=cifar2)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH=$(BIN):$$PATH snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/snakemake --lint

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	PATH=$(BIN):$$PATH snakefmt Snakefile rules

.venv/bench: requirements-bench.txt .venv/run
	@echo "Adding what make bench compares with, in .venv/peers"
	rm -rf .venv/peers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .venv/peers -r requirements-bench.txt
	@touch $@

bench: .venv/bench
	@echo "Measuring per-image gradients and projections: about five minutes on an idle core"
	PYTHONPATH=.venv/peers $(BIN)/python tests/benchmarks/bench_gradients.py

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache
