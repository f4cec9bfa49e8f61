# Two commands do everything on a fresh machine: `make angio` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: install angio tiny test lint documents bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,slurm]'
	touch $@

angio: install
	snakemake --cores all results/angio_20MB.png

# the whole chain at its smallest, anew
tiny: install
	rm -rf results/tiny
	snakemake --cores all results/tiny/angio_20MB.png --configfile config/tiny.yaml

test: install
	pytest -m "not gpu and not slurm and not long" --numprocesses logical --maxprocesses 4 --dist loadfile

lint: install
	ruff check .
	ruff format --check src tests benchmarks examples
	mypy
	snakemake --lint

# docs/configuration.md and the schema, from src/ulmpipe/configuration and config/config.yaml
documents: install
	python -m ulmpipe.configuration

bench: install
	python -m benchmarks

clean:
	rm -rf results/* .snakemake .pytest_cache .mypy_cache .ruff_cache build src/*.egg-info
