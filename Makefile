PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test soak check bench playground playground-report serve

demo: .venv/installed        ## the whole road on the playground, then a night, a search and a picture
	python -m playground.demo

test: .venv/installed        ## every test, real servers included
	pytest

soak: .venv/installed        ## the long tests with all their seeds; goes on where it was stopped; metrics/soak.json
	pytest --soak $(TESTS)

check: .venv/installed       ## style, types, import contract
	ruff check .
	ruff format --check .
	mypy
	lint-imports

bench: .venv/installed       ## measurements, each a ratio against its peer in the same run
	python -m bench

playground: .venv/installed  ## draw the world and train its models and pool from nothing
	python -m playground.build
	python -m playground.compare

playground-report: .venv/installed ## how good the playground is: a table, metrics/playground.json, playground/sheets/
	python -m playground.report

serve: serve/.venv/installed ## a vLLM server for the playground's VLM, on port 8000
	serve/start.sh playground/models/vlm 8000

serve/.venv/installed: serve/requirements-cpu.txt
	serve/setup.sh cpu

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
