# The paper's commands. Each sets up its own environment in .venv, from requirements.txt, on first use.
STUDY ?= quick
PYTHON ?= python3.11
BIN := .venv/bin
# the environment's own commands come first, and nothing of another environment leaks in
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONPATH
READY := .venv/.ready
# PROFILE=slurm sends the jobs to a cluster, as workflow/profiles/slurm says
SNAKEMAKE := snakemake --snakefile workflow/Snakefile --quiet host rules reason $(if $(PROFILE),--workflow-profile workflow/profiles/$(PROFILE))

.DEFAULT_GOAL := help
.PHONY: help paper test test-all book pdf study plan unlock publish data lab address lint bench clean

help:  ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

paper: $(READY)  ## the quick study on the phantom and its book, in minutes, without data
	@$(MAKE) --no-print-directory study STUDY=quick

study: $(READY)  ## run a study of studies/ and build its book: make study STUDY=targets [PROFILE=slurm]
	$(SNAKEMAKE) --config study=$(STUDY) stage=rates -- rates
	$(SNAKEMAKE) --config study=$(STUDY)
	@echo "open $(CURDIR)/build/$(STUDY)/book/_build/html/index.html"

plan: $(READY)  ## what a study still has to do and how long that takes, before or beside it: make plan STUDY=targets
	@python workflow/plan.py $(STUDY)

unlock: $(READY)  ## after a study was killed: make unlock STUDY=targets, then make study again
	$(SNAKEMAKE) --config study=$(STUDY) stage=rates --unlock

publish: $(READY)  ## put a finished study's notebooks and results into book/: make publish STUDY=targets
	@test "$(origin STUDY)" = "command line" || { echo "say which study: make publish STUDY=targets" >&2; exit 1; }
	$(SNAKEMAKE) --config study=$(STUDY) -- publish

data: $(READY)  ## make the book's pages of data anew, from the published images: commit first
	python workflow/data_pages.py vnc fib25 drishti

book: $(READY)  ## build the published preprint from the committed runs; pages link the PDF of an earlier make pdf
	jupyter-book build book -W -n --keep-going
	@echo "open $(CURDIR)/book/_build/html/index.html"

pdf: $(READY)  ## print the paper with Chromium: build/hot-or-distance.pdf, which make book then links
	python workflow/pdf.py book build/hot-or-distance.pdf

test: $(READY)  ## the tests, in minutes
	pytest -m "not slow"

test-all: $(READY)  ## the slow tests too
	pytest

lint: $(READY)  ## style of code and notebooks
	ruff format --check . && ruff check .

lab: $(READY)  ## JupyterLab in the paper's environment
	jupyter lab --notebook-dir=.

address: $(READY)  ## set the repository's public address everywhere: make address URL=https://github.com/NAME/PROJECT
	python workflow/address.py "$(URL)"

bench: $(READY)  ## the benchmarks: ratios measured side by side in one run
	@mkdir -p build/benchmarks
	python benchmarks/targets.py --csv build/benchmarks/benchmark_targets.csv
	python benchmarks/objectives.py --csv build/benchmarks/benchmark_objectives.csv
	python benchmarks/partitions.py --csv build/benchmarks/benchmark_partitions.csv
	python benchmarks/instances.py --csv build/benchmarks/benchmark_instances.csv
	python benchmarks/training.py --csv build/benchmarks/benchmark_training.csv
	python benchmarks/crops.py --csv build/benchmarks/benchmark_crops.csv
	python benchmarks/inference.py --csv build/benchmarks/benchmark_inference.csv
	python benchmarks/surfaces.py --csv build/benchmarks/benchmark_surfaces.csv
	python benchmarks/sweep.py --csv build/benchmarks/benchmark_sweep.csv
	@if python -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; \
	then python benchmarks/device.py --csv build/benchmarks/benchmark_device.csv; \
	else echo "torch sees no CUDA device: benchmarks/device.py is left out"; fi
	@echo "the book's page of costs shows book/methods/benchmark_*.csv: copy these there to renew it"

clean:  ## remove what the commands made: environment, builds, runs (never published results)
	rm -rf .venv build notebooks/runs book/_build
	find runs -mindepth 1 ! -name .gitignore -delete

$(READY): requirements.txt constraints.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11, or say PYTHON=path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
