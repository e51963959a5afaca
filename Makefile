# Every target works from any working directory: make -C path/to/whitecrow demo

ROOT := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
VENV := $(ROOT).venv
BIN := $(VENV)/bin
PYTHON ?= python3
INSTALLED := $(VENV)/.installed
# Two workers at the least: a test that waits for a server leaves its core to another one.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 2 ] && echo $$n || echo 2)

# Hours long, or in need of a generator of load or of a released model.
LONG_BENCHMARKS := $(foreach name,answers audit bakeoffs long_training replay serving,tests/benchmarks/bench_$(name).py)

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-all check format bench bench-serving bench-replay lock clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 18

install: $(INSTALLED) ## Create .venv with the locked dependencies.

$(INSTALLED): $(ROOT)pyproject.toml $(ROOT)requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"whitecrow needs Python 3.11 or newer, this is {v.major}.{v.minor}. Try: make PYTHON=python3.12 install")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked dependencies into .venv (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(ROOT)requirements.lock -e "$(ROOT)[dev]"
	@touch $(INSTALLED)

demo: install ## The whole path on a simulated card stream, to a scored HTTP request.
	@cd $(ROOT) && $(BIN)/whitecrow demo

serve: install ## Serve every released model on http://127.0.0.1:3000.
	@cd $(ROOT) && $(BIN)/whitecrow serve

test: install ## The fast tests, in parallel and in random order.
	@cd $(ROOT) && $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow" $(ARGS)

test-all: install ## Every test, the long ones too.
	@cd $(ROOT) && $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

check: install ## Lint, format, types, spelling, import contracts, doctests.
	@cd $(ROOT) && $(BIN)/ruff check . && $(BIN)/ruff format --check --quiet . && $(BIN)/mypy
	@cd $(ROOT) && $(BIN)/codespell && $(BIN)/lint-imports
	@cd $(ROOT) && $(BIN)/python -m pytest --quiet -p no:randomly -n 0 --doctest-modules flows serving features balancing infra

format: install ## Let ruff mend what it can.
	@cd $(ROOT) && $(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

bench: install ## The benchmarks but for bake-offs and load; prints figures, asserts none.
	@cd $(ROOT) && for file in $(filter-out $(LONG_BENCHMARKS),$(patsubst $(ROOT)%,%,$(wildcard $(ROOT)tests/benchmarks/bench_*.py))); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

bench-serving: install ## The service beside bare and mounted references, under load (needs wrk).
	@cd $(ROOT) && $(BIN)/python tests/benchmarks/bench_serving.py $(ARGS)

# One thread: the same figures on any number of cores, and networks this small gain nothing by more.
bench-replay: install ## Real data replayed in time order, monitored and retrained (half an hour).
	@cd $(ROOT) && OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_replay.py $(ARGS)

lock: ## Write requirements.lock anew (needs uv).
	@cd $(ROOT) && uv pip compile --universal --python-version 3.11 --all-extras --no-header --no-annotate --quiet pyproject.toml -o requirements.lock

clean: ## Remove .venv and caches; the state folder .whitecrow stays.
	@rm -rf $(VENV) $(ROOT).mypy_cache $(ROOT).ruff_cache $(ROOT).pytest_cache
