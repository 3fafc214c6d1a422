# Everything runs in .venv, which is made from a lock by the first Python >= 3.11 found here.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && exit; done; echo python3)
BIN := .venv/bin
BOOTSTRAP = command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) found: install Python 3.11 or newer" >&2; exit 2; }; \
  $(PYTHON) scripts/bootstrap.py

# The suites start hundreds of Python processes: each would compile the same modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help .venv .venv-runtime test lint format unit demo chaos kills faults kills-real faults-real lab lab-down e2e e2e-long soak soak-data bench image lock mutants

help: ## this list
	@grep -E '^[a-z0-9.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([^:]+):.*## /  make \1\t/' | expand -t 18

.venv: ## the Python environment, exactly as locked; nothing to do when it is up to date
	@$(BOOTSTRAP)

.venv-runtime:
	@$(BOOTSTRAP) --runtime

# Side by side: many tests wait in real time, and lint computes meanwhile. It waits for the core that they want.
test: .venv ## lint, types, import contracts and every test that needs neither root nor a cluster
	@lint=$$(mktemp) && trap 'rm -f "$$lint"' EXIT; \
	nice -n 10 $(MAKE) --no-print-directory lint >"$$lint" 2>&1 & \
	$(MAKE) --no-print-directory unit; tested=$$?; \
	wait $$!; linted=$$?; cat "$$lint"; exit $$((tested ? tested : linted))

lint: .venv ## style, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# In a fresh clone every process would rewrite the assertions of every file: half of the time it takes to begin.
unit: .venv ## the tests alone: make unit ARGS='-k roles'
	@test -d tests/core/__pycache__ || $(BIN)/python -m pytest --collect-only -qq >/dev/null || true
	$(BIN)/python -m pytest -n 5 --dist worksteal $(ARGS)

format: .venv ## rewrite the code in the project's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: .venv-runtime ## a node dies and the app moves: simulated cluster, real daemon, no root
	$(BIN)/failoverd demo $(ARGS)

chaos: .venv ## bad days by seed, never the same twice, judged against the promises: make chaos N=1000000
	$(BIN)/python -m scripts.compiled --seeds $(or $(N),1000) $(ARGS)

kills: .venv ## the daemon killed before and after every request of every kind of move, resumable: make kills ARGS='--jobs 2'
	$(BIN)/python -m tests.kill kills $(ARGS)

faults: .venv ## an answer spoilt at every request of every kind of move, resumable: make faults ARGS='--jobs 2'
	$(BIN)/python -m tests.kill faults $(ARGS)

kills-real: .venv ## the same by SIGKILL at a real API server, resumable: make kills-real ARGS='--jobs 14 --minutes 40'
	$(BIN)/python -m tests.kill.real kills $(ARGS)

faults-real: .venv ## the real API server's answers spoilt, tokens revoked, rights withdrawn, resumable
	$(BIN)/python -m tests.kill.real faults $(ARGS)

lab: .venv ## a real cluster on this machine (root, Linux), left up
	$(BIN)/python -m tests.lab up

lab-down: .venv ## take that cluster away
	$(BIN)/python -m tests.lab down

# Fifty apps want both cores to begin with, and an outage of a second or two is measured with nothing beside it. Of labs,
# which wait most of the time, two fit beside each other. The samples of `make kills` and `make kills-real` need none:
# they are here because they compute for a minute.
ALONE := tests/e2e/test_steady_state.py tests/e2e/test_planned.py
e2e: .venv ## the tests on a real cluster (root, Linux)
	@$(BIN)/python -m tests.lab check
	$(BIN)/python -m pytest -rf $(ALONE) $(ARGS)
	$(BIN)/python -m pytest -rf --durations 25 -n 2 tests/e2e $(ALONE:%=--ignore %) --ignore tests/e2e/long $(ARGS)

soak: .venv ## random faults on a real cluster (root, Linux), an hour of them: make soak MINUTES=10 SEED=7
	@$(BIN)/python -m tests.lab check
	SOAK_MINUTES=$(or $(MINUTES),60) SOAK_SEED=$(SEED) $(BIN)/python -m pytest -s tests/e2e/test_soak.py $(ARGS)

e2e-long: .venv ## what make e2e has no time for: a hypervisor that lies, restores, roles or guard off (root, Linux)
	@$(BIN)/python -m tests.lab check
	$(BIN)/python -m pytest tests/e2e/long $(ARGS)

soak-data: .venv ## nodes lost under writers that never pause, with guards (root, Linux): make soak-data RUNS=30 SEED=1
	@$(BIN)/python -m tests.lab check
	SOAK_RUNS=$(RUNS) SOAK_SEED=$(SEED) $(BIN)/python -m pytest -s tests/e2e/test_data.py $(ARGS)

mutants: .venv ## break each promise on purpose and see which test notices
	$(BIN)/python -m scripts.mutants $(ARGS)

bench: .venv ## measure what README.md claims (root, Linux)
	$(BIN)/python -m benchmarks $(ARGS)

image: .venv ## the container image as an archive in dist/ (root, buildah): make image ARGS='--tag NAME'
	$(BIN)/python scripts/image.py $(ARGS)

lock: .venv ## new versions into requirements.lock and requirements-dev.lock
	scripts/lock.sh
