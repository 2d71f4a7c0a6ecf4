# Two commands on a fresh machine with Python 3.11 or newer: `make phantom` runs the study, `make test` passes the tests.
# Both set everything up first. Others: make lab, make smoke, make lock, make release. VENV=... puts the environment elsewhere.

VENV ?= .venv
CORES ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
SCALE ?= phantom
SNAKEMAKE_FLAGS ?=
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
# The first of these that is new enough; PYTHON=/path/to/python chooses another.
PYTHON ?= $(shell for each in python3 python python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)

# Relative, so that a blank in the checkout's path parts no command.
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# Snakemake and the kernels it starts find the environment's programs first, and none of the user's own packages.
export PATH := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(BIN):$(PATH)
export PYTHONNOUSERSITE := 1

.PHONY: phantom phantom-gpu study report smoke digests check-digests test lint lab release lock clean-env
.DEFAULT_GOAL := phantom

phantom:
	$(MAKE) study SCALE=phantom

# One line per event of each run; what else there is to say stands in the run.log of its folder.
study: $(READY)
	$(BIN)/python -m snakemake -c $(CORES) --quiet rules reason host progress $(SNAKEMAKE_FLAGS) --config scale=$(SCALE)
	@$(BIN)/python -m tools.report runs/$(SCALE)

# Pages that open from disk, of what has run at SCALE; `study` ends with it.
report: $(READY)
	@$(BIN)/python -m tools.report runs/$(SCALE)

# On a machine with a GPU: its tests, the benchmarks, the scale `phantom-gpu`, and its tables into figures/phantom-gpu.
phantom-gpu: $(READY)
	$(BIN)/python -m tools.phantom_gpu

# The quickest whole study, which CI runs.
smoke:
	$(MAKE) study SCALE=smoke

# Did the form of a table of the smoke study move since its digests were committed, or a headline, further than another
# processor moves it (tools/headlines.py)? CI asks after `make smoke`. Every last bit: python -m tools.digests --exact.
check-digests: $(READY)
	$(BIN)/python -m tools.digests

# Write the digests of the finished smoke study anew: on purpose only, with a commit that says what moved.
digests: $(READY)
	$(BIN)/python -m tools.digests --write

# Formatting and types of errors, then the package, then every notebook with the parameters it is committed with:
# 00 makes the data of all, 01 the classifiers that others explain, 07 reads what all of them wrote, 08 their data.
NBVAL = $(BIN)/python -m pytest -p no:cacheprovider --nbval-lax --nbval-current-env --nbval-cell-timeout=600
METHODS = $(filter-out notebooks/00_% notebooks/01_% notebooks/07_% notebooks/08_%,$(wildcard notebooks/*.ipynb))

test: export OMP_NUM_THREADS := 1
test: lint
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile
	$(NBVAL) notebooks/00_data.ipynb notebooks/01_backbones.ipynb
	$(NBVAL) -n $(CORES) --dist loadfile $(METHODS)
	$(NBVAL) notebooks/07_figures.ipynb notebooks/08_cross_benchmark.ipynb

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

# Copies, so that running and saving them leaves the committed notebooks clean; delete one to have it anew.
lab: $(READY)
	@mkdir -p lab
	@for each in notebooks/*.ipynb; do test -e lab/$${each#notebooks/} || cp "$$each" lab/; done
	$(BIN)/python -m jupyterlab --notebook-dir=. --LabApp.default_url=/lab/tree/lab

# Tag the version that pyproject.toml, CITATION.cff and CHANGELOG.md agree on, where the repository's address is filled in; pushing the tag is the releaser's.
release: lint
	@test -z "$$(git status --porcelain)" || { echo "error: the checkout holds changes; commit them first" >&2; exit 1; }
	@grep -qx 'version: $(VERSION)' CITATION.cff || { echo "error: expected 'version: $(VERSION)' in CITATION.cff, as in pyproject.toml" >&2; exit 1; }
	@grep -qx '## $(VERSION)' CHANGELOG.md || { echo "error: expected a heading '## $(VERSION)' in CHANGELOG.md, as in pyproject.toml" >&2; exit 1; }
	@grep -q '^repository-code: http' CITATION.cff && ! grep -q '<address of this repository>' README.md || { echo "error: expected the repository's address: as 'repository-code: https://...' in CITATION.cff, and in README's 'git clone'" >&2; exit 1; }
	git tag -a v$(VERSION) -m "ich_study $(VERSION)"

# Write the versions of this environment into requirements.lock, after changing and testing it.
lock: $(READY)
	$(BIN)/python tools/lock.py

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed and none was found; install it, or say PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"error: $(PYTHON) is Python {v[0]}.{v[1]}; this study needs 3.11 or newer")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "error: $(PYTHON) -m venv failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "setting up $(VENV): some 3 GB to download on Linux the first time, several minutes"
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps -e .
	@touch $(READY)

clean-env:
	rm -rf $(VENV)
