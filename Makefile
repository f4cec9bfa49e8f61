# Two commands do everything on a fresh machine: `make angio` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: install angio test lint bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,slurm]'
	touch $@

angio: install
	snakemake --cores all results/angio_20MB.png

test: install
	pytest -m "not gpu and not slurm and not long"

lint: install
	ruff check .
	ruff format --check .
	mypy
	snakemake --lint

bench: install
	python -m benchmarks

clean:
	rm -rf results/* .snakemake .pytest_cache .mypy_cache .ruff_cache build src/*.egg-info
