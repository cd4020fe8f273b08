# make demo       train a network on a sine and hear what it learnt
# make test       lint and test
# make test-all   the same with the tests that take minutes, types checked, and the pages built
# make docs       the pages as a site, in build/site
# make soak       play for minutes through a sound server (needs pulseaudio, pulseaudio-utils, libasound2-plugins)
# Each makes its own virtual environment first; nothing else needs to be installed but Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LIBRARIES = $(VENV)/lib/python*/site-packages

unexport PYTHONDONTWRITEBYTECODE  # modules are compiled when they are first imported, instead of all by pip

.PHONY: demo lint test test-all docs soak clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit("wavegen needs Python 3.11 or newer, found " + v + "; choose one with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	# torchaudio's compiled part wants CUDA; beside a torch without, its Python part, which is what is used, does alone
	ls $(LIBRARIES)/torch/lib/libc10_cuda.so >/dev/null 2>&1 || rm -f $(LIBRARIES)/torchaudio/lib/*.so
	touch $@

demo: $(VENV)/installed
	$(BIN)/wavegen train recipes/sine.yaml --out runs/sine --resume
	$(BIN)/wavegen generate runs/sine --seconds 10 --seed 0 --out demo/sine.wav --plot
	@echo 'Listen to demo/sine.wav, look at demo/sine.png; play it live with: $(BIN)/wavegen play runs/sine'

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

test: lint
	$(BIN)/python -m pytest

test-all: lint docs
	$(BIN)/mypy
	$(BIN)/python -m pytest -m ''

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

soak: $(VENV)/installed
	$(BIN)/python -m tools.soak

clean:
	rm -rf $(VENV) build dist *.egg-info
