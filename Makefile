# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOWEST := .venv-lowest

# One worker a core, each with one thread (tests/conftest.py); a file's tests share what they prepare.
PYTEST := -m pytest -n auto --dist loadfile
# What the job needs end to end: read, denoise, write, read back; the commands; a training; the watched folder.
MAIN_JOB := $(addprefix tests/test_,$(addsuffix .py,captures packing plain libraw dng metadata tiff models pipeline \
    sidd profiles calibration_page cli_denoise cli_train cli_watch))

.PHONY: demo test test-long test-lowest lint types format clean

demo: $(VENV)/installed
	$(BIN)/rawdenoise demo -o demo-out

test: $(VENV)/installed
	$(BIN)/python $(PYTEST)

test-long: $(VENV)/installed
	$(BIN)/python $(PYTEST) --long

test-lowest: $(LOWEST)/installed
	$(LOWEST)/bin/python $(PYTEST) -o addopts=-ra -W default::DeprecationWarning $(MAIN_JOB)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("rawdenoise needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@echo "Installing into $(VENV): two minutes or so, most of it for torch ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# The least versions that pyproject.toml promises; torch is the tested one, and the old jaxtyping checks no shapes.
$(LOWEST)/installed: pyproject.toml constraints.txt tests/floors.py
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tests/floors.py > $(LOWEST)/floors.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(LOWEST)/floors.txt \
	    -e '.[sidd]' beartype hypothesis pytest pytest-xdist
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST) demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
