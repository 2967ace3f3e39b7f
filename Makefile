SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help demo test test-others test-all quantized vllm soak check deps bench playground constraints

help:                        ## list these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' Makefile

demo: .venv/installed        ## run the pipeline on the playground, refresh it a day later, search, generate (8 minutes)
	python -m playground.demo

SUITE = core

test: .venv/installed        ## run the tests of each day, with real servers (8 minutes); SUITE=NAME: another suite
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=30 --suite $(SUITE)

test-others: .venv/installed ## run the other suites of tests/support/suites.py, one after another (30 minutes)
	@suites=$$(python -m tests.support.suites) || exit 1; failed=; for suite in $$suites; do \
		echo "suite $$suite"; $(MAKE) --no-print-directory test SUITE=$$suite || failed="$$failed $$suite"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

test-all: test test-others   ## run all tests but those that install libraries: `test` and `test-others`

quantized: .venv/installed   ## run the tests of quantized pipelines, with libraries that .venv does not hold (1 minute)
	pip install --quiet --no-deps --upgrade --target cache/quantized $$(python -c "import tomllib; \
		print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['quantized'])")
	PYTHONPATH=cache/quantized python -W ignore -c "import bitsandbytes, torchao"
	PYTHONPATH=cache/quantized OMP_NUM_THREADS=1 pytest tests/collection/test_pipelines.py tests/generation/test_memory.py -k quantize

vllm: .venv/installed        ## run the tests of a vLLM server, which is installed into .venv-vllm (gigabytes)
	OMP_NUM_THREADS=1 pytest --durations=30 --suite vllm

soak: .venv/installed        ## run the long tests with all their seeds, resumable: metrics/soak.json (hours)
	pytest --soak $(TESTS)

check: .venv/installed       ## check style, types and import contracts
	ruff check .
	ruff format --check .
	mypy
	lint-imports

deps: .venv/installed        ## update the code digests that tell DVC which stages to run again
	python -m flows.code_digests --write

bench: .venv/installed       ## measure reading a file and a cold search (minutes)
	python -m bench

playground: .venv/installed  ## draw the playground's world and train its models and pool from nothing (hours)
	python -m playground.build
	python -m playground.compare

constraints: .venv/installed ## write constraints.txt: the versions that are installed now, and the hashes of their files
	pip install --quiet --upgrade --target cache/uv uv
	PATH="cache/uv/bin:$$PATH" .ci/lock

.venv/installed: pyproject.toml constraints.txt
	@echo "installing AutoLoRA with all its libraries into .venv: one to five minutes"
	$(PYTHON) -m venv .venv
	@$(BIN)/pip install --progress-bar off --disable-pip-version-check --require-hashes --no-deps --requirement constraints.txt | \
		while read -r verb package _; do case "$$verb" in \
		Collecting) echo "  $$((++n)) of about $$(wc -l < constraints.txt): $$package";; \
		Installing) echo "  unpacking";; \
		esac; done
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[dev]'
	touch $@
