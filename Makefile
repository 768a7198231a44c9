# make reproduce   train and compare the methods on digits, from nothing, in minutes
# make test        lint, types, the documentation and the tests
# make quick       lint, types, and the tests of the mathematics, in minutes
# make slow        the papers' networks at their full size, all ways in which Keras is used, and
#                  trainings of every method that are interrupted
# make coverage    the tests, and which lines they run, in build/coverage
# make docs        the documentation, in build/docs
# make build       a wheel and an sdist, in dist
# make bench       what losses, metrics, the input pipeline, audits and training cost
# make requirements   pin what setup.cfg asks for; PINS="--upgrade-package NAME" renews a pin
PYTHON ?= python3
REQUIREMENTS ?= requirements.txt
VENV := .venv
BIN := $(VENV)/bin

# requirements.txt pins everything, so that nothing comes unasked and pip check tells what is missing.
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps

.PHONY: help reproduce test quick lint types pytest coverage slow docs build bench requirements clean
help:
	@sed -n 's/^# //p' $(MAKEFILE_LIST)

reproduce: $(VENV)/installed
	$(BIN)/lsplus-tf reproduce configs/digits.yaml

# Python keeps what it compiled, whatever the environment says: tests start many processes.
export PYTHONDONTWRITEBYTECODE :=

# In the order of conftest.py, which begins with the files that take longest. One process more than a
# small machine has cores: tests wait for the processes that they start.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
QUICK := losses* released_losses distillation metrics* calibration_errors selective statistics \
	priors calibrators*

test: $(VENV)/installed-test
	$(MAKE) -j 2 lint types docs
	$(MAKE) pytest

quick: $(VENV)/installed-test
	$(MAKE) -j 2 lint types
	$(PYTEST) -k "not (new_process or replicas or two_devices)" $(wildcard $(QUICK:%=tests/test_%.py))

pytest: $(VENV)/installed-test
	$(PYTEST)

coverage: $(VENV)/installed-test
	$(PYTEST) --cov=lsplus_tf --cov-branch --cov-report=term --cov-report=html:build/coverage

slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m slow tests/test_full_size.py tests/test_ways_of_keras.py tests/test_resume.py

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test
	$(BIN)/mypy

docs: $(VENV)/installed-test
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo "Written: build/docs/index.html"

build: $(VENV)/installed-test
	$(BIN)/python -m build

bench: $(VENV)/installed
	$(BIN)/python benchmarks/bench_losses.py
	$(BIN)/python benchmarks/bench_cpu_kernels.py
	$(BIN)/python benchmarks/bench_metrics.py
	$(BIN)/python benchmarks/bench_input.py
	$(BIN)/python benchmarks/bench_audit.py
	$(BIN)/python benchmarks/bench_train.py
	$(BIN)/python benchmarks/bench_start.py

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	"lsplus_tf needs Python 3.11 to 3.13, $(PYTHON) is %d.%d: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/pip $(REQUIREMENTS) setup.cfg setup.py
	$(PIP_INSTALL) -r $(REQUIREMENTS)
	$(PIP_INSTALL) --editable . --config-settings editable_mode=compat
	$(BIN)/pip check
	@touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(PIP_INSTALL) -r requirements-test.txt
	$(BIN)/pip check
	@touch $@

PIN = build/uv/bin/uv pip compile setup.cfg --quiet --no-annotate $(PINS) \
	--custom-compile-command "make requirements"
UNIVERSAL := --universal --python-version 3.11 --fork-strategy fewest
requirements:
	$(PYTHON) -m venv build/uv
	build/uv/bin/pip install --quiet --disable-pip-version-check uv
	$(PIN) $(UNIVERSAL) -o requirements.txt
	cat requirements.txt requirements-test.txt > build/requirements-test.txt
	$(PIN) $(UNIVERSAL) --extra test --extra docs -c requirements.txt -o build/requirements-test.txt
	echo "# What make test needs beyond requirements.txt; made by make requirements." \
		> requirements-test.txt
	grep -vxFf requirements.txt build/requirements-test.txt >> requirements-test.txt
	$(PIN) --upgrade --resolution lowest-direct --python-version 3.11 -o requirements-oldest.txt

clean:
	rm -rf $(VENV) build dist docs/notebooks *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
