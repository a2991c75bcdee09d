# Everything on a fresh machine: `make demo` and `make test` create .venv, install, and run.
PYTHON ?= python3
VENV := .venv
unexport PYTHONDONTWRITEBYTECODE  # with it, each process would compile torch and transformers again: half its start

.PHONY: demo test check install
.DEFAULT_GOAL := demo

demo: install
	$(VENV)/bin/steep demo

test: install
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: install
	scripts/check

install: $(VENV)/.installed

# Runs again only when one of these files changes; an existing .venv is kept.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "steep needs Python 3.11 to 3.13, and $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.11")'
	test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	@touch $@
