# The two commands of the README. Each creates .venv if needed and installs the package into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install quickstart test coverage lint docs

# With everything that tests and documentation need; `make quickstart` installs the library alone.
install: $(VENV)/installed-for-development

$(VENV)/installed-for-development: $(VENV)/installed
	$(BIN)/python -m pip install -qq --editable '.[dev,docs]'
	@touch $@

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed")'
	@echo 'Installing into $(VENV): PyTorch is large, this takes a minute or more'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --editable .
	@touch $@

quickstart: $(VENV)/installed
	$(BIN)/ssd data scenes --output datasets/scenes
	$(BIN)/ssd train quickstart --log-step 50 --eval-step 250
	$(BIN)/ssd predict outputs/quickstart demo --output outputs/quickstart/drawn
	@echo
	@echo 'Done. Detections on scenes that were never trained on: outputs/quickstart/drawn'
	@echo 'Average precision by class: outputs/quickstart/inference/scenes_test'
	@echo 'Learning curves: $(BIN)/tensorboard --logdir outputs/quickstart/tf_logs'

# `make test WORKERS=8` where there are more cores; a worker takes one, and about 2 GB. Bytecode is kept: the tests start
# many processes.
WORKERS ?= 2

test: install
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_OPTIONS)

# The lines of ssd/ that the tests run; processes that they start are not seen.
coverage: install
	$(MAKE) test PYTEST_OPTIONS='--cov=ssd --cov-report='
	$(BIN)/python -m coverage report --sort=cover --show-missing --skip-covered

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Into site/. Pages open from the disk; the search needs a server, such as `python -m http.server -d site`. A broken link and
# a page that is in no menu are errors: `--quiet` would hide them from `--strict`.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
