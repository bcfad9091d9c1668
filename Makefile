# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOWEST := .venv-lowest
NAPARI := .venv-napari
PYTHONS ?= 3.11 3.12 3.13 3.14

# One worker a core, each with one thread (tests/conftest.py); a file's tests share what they prepare.
PYTEST := -m pytest -n auto --dist loadfile
# What the job needs end to end: read, denoise, write, read back; the commands; a training; the watched folder.
MAIN_JOB := $(addprefix tests/test_,$(addsuffix .py,captures packing plain libraw dng metadata tiff models pipeline \
    sidd profiles calibration_page cli_denoise cli_train cli_watch))

.PHONY: demo test test-hosts test-napari test-long test-lowest test-pythons lint types format clean

demo: $(VENV)/installed
	$(BIN)/rawdenoise demo -o demo-out

test: $(VENV)/installed
	$(BIN)/python $(PYTEST) --ignore=tests/hosts

# The plug-ins in the programs that they are for. Those of Debian are installed where that can be done without asking.
HOST_PROGRAMS := darktable xvfb-run Xvfb xauth lua5.1 lua5.4 luacheck busted msgfmt localedef convert
HOST_PACKAGES := darktable xvfb xauth lua5.1 lua5.4 lua-check lua-busted gettext locales imagemagick
test-hosts: $(VENV)/installed
	@set -e; for program in $(HOST_PROGRAMS); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing the hosts' packages, for want of$$missing ..."; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(HOST_PACKAGES) \
	        || echo "They could not be installed: some tests will be skipped"; \
	elif [ -n "$$missing" ]; then echo "Some tests will be skipped, for want of$$missing"; fi
	$(BIN)/python $(PYTEST) tests/hosts

test-napari: $(NAPARI)/installed
	QT_QPA_PLATFORM=offscreen $(NAPARI)/bin/python -m pytest -o addopts="-ra -p no:napari -p no:npe2 -p no:napari-plugin-engine" tests/hosts/test_napari.py

test-long: $(VENV)/installed
	$(BIN)/python $(PYTEST) --long

test-lowest: $(LOWEST)/installed
	$(LOWEST)/bin/python $(PYTEST) -o addopts=-ra -W default::DeprecationWarning $(MAIN_JOB)

# The built wheel on every Python it is for; uv (pip install uv) brings the interpreters that are not there.
test-pythons: $(VENV)/installed
	rm -rf dist && $(BIN)/python -m build --wheel --no-isolation -o dist .
	set -e; for version in $(PYTHONS); do \
	    uv venv --quiet --allow-existing --python $$version .venv-$$version; \
	    uv pip install --quiet --python .venv-$$version -c constraints.txt dist/*.whl beartype h5py scipy hypothesis pytest pytest-xdist; \
	    .venv-$$version/bin/python -P $(PYTEST) -o addopts=-ra $(MAIN_JOB); \
	done

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --isolated --select F821 .  # undefined names, which shape strings hide from the first
	$(BIN)/lint-imports --no-logo

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

# napari brings a window system of its own, which is no business of the other tests.
$(NAPARI)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(NAPARI)
	$(NAPARI)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	    -e . napari pyqt6 beartype hypothesis pytest
	@touch $@

# The least versions that pyproject.toml promises; torch is the tested one, and the old jaxtyping checks no shapes.
$(LOWEST)/installed: pyproject.toml constraints.txt tests/floors.py
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tests/floors.py > $(LOWEST)/floors.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(LOWEST)/floors.txt \
	    -e '.[sidd]' beartype hypothesis pytest pytest-xdist
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST) $(NAPARI) .venv-3.* demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
