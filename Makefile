# CodyVerse: `make run` serves the platform, `make test` proves it. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.SHELLFLAGS := -eu -c

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: $(VENV)/installed  ## set everything up and serve the platform on SQLite at http://127.0.0.1:8000
	@$(BIN)/flask db upgrade && $(BIN)/flask content import
	@exec $(BIN)/gunicorn

test: $(VENV)/installed-dev servers  ## set everything up and run every test, on SQLite and PostgreSQL
	@rm -f .coverage .coverage.*
	@$(BIN)/pytest -n auto --dist worksteal --cov --cov-report=
	@$(BIN)/coverage report --include='codyverse/accounts/*,codyverse/learning/*,codyverse/rewards/*' --fail-under=90

check: $(VENV)/installed-dev  ## format, lint, types, layers, generated documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

faults: $(VENV)/installed-dev servers  ## kill workers during 2,000 completions on each engine, and count
	@FAULTS=full $(BIN)/pytest -s tests/faults tests/http/test_contract.py tests/front/test_fast_path_fuzz.py tests/front/test_fast_path_wire.py tests/front/test_overload.py

# The targets below run as they are on a machine that has the servers; QUICK=1, MINUTES=5 or LEARNERS=1000,10000 make them short.
bench: $(VENV)/installed-dev servers wrk node build/granian  ## load the service beside bare twins, and say whether the floors are met
	@$(BIN)/python -m benchmarks.bench $(if $(QUICK),--quick)

soak: $(VENV)/installed-dev servers  ## keep 100 connections busy for MINUTES=60, and watch what the workers hold
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),60)

scale: $(VENV)/installed-dev servers  ## measure the main calls at 1,000, 100,000 and 1,000,000 learners
	@$(BIN)/python -m benchmarks.scale $(if $(LEARNERS),--learners $(LEARNERS))

docs: $(VENV)/installed-dev  ## write the generated documents anew
	$(BIN)/python docs/generate.py

# Without the extras in the lock pip would take a newer release of such a package when there is one, and stop for want of its hash.
COMPILE := uv pip compile -q --universal --generate-hashes --no-strip-extras --python-version 3.11 --custom-compile-command "make lock"
lock: $(VENV)/installed-dev  ## resolve the dependencies of pyproject.toml anew
	$(BIN)/$(COMPILE) pyproject.toml -o requirements.txt
	$(BIN)/$(COMPILE) pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt

clean:  ## remove what was installed and built; never touches the instance folder
	rm -rf $(VENV) build .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# ---- what the targets above stand on

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "CodyVerse needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing). Type:"; \
		echo "  sudo apt-get install python3 python3-venv     (or: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS))"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "Python's venv is missing. Type:"; echo "  sudo apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/pip requirements.txt
	@echo "Installing what CodyVerse needs (once) …"
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	@echo "Installing what the tests need (once) …"
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

# As root on Debian the tests install the servers they need; without root they say what they skip.
servers:
	@if ! command -v redis-server >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Redis for the tests (once) …"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends redis-server >/dev/null; \
	fi
	@if ! command -v haproxy >/dev/null && [ ! -x /usr/sbin/haproxy ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing HAProxy for the tests (once) …"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends haproxy >/dev/null; \
	fi
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium for the tests (once) …"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium >/dev/null; \
	fi
	@if [ -z "$${TEST_DATABASE_URL:-}" ] && ! command -v pg_virtualenv >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing PostgreSQL for the tests (once) …"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends postgresql postgresql-common >/dev/null; \
	fi
	@if ! command -v promtool >/dev/null && [ ! -x build/promtool ] && command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then \
		echo "Fetching promtool for the tests (once; its package is not installed: that would start Prometheus) …"; \
		if [ "$$(id -u)" = 0 ]; then apt-get -qq update || true; fi; \
		mkdir -p build/prometheus; \
		(cd build/prometheus && apt-get -qq download prometheus >/dev/null 2>&1 \
			&& dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool && mv usr/bin/promtool ..) \
			|| echo "There is no promtool, so its tests are skipped."; \
		rm -rf build/prometheus; \
	fi

wrk:
	@if ! command -v wrk >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing wrk for the benchmark (once) …"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends wrk >/dev/null; \
	fi
	@command -v wrk >/dev/null || { echo "wrk is missing. Type:"; echo "  sudo apt-get install wrk"; exit 1; }

# Bare servers that `make bench` compares with. It says what is missing, and goes on without.
node:
	@if ! command -v node >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Node for the benchmark (once) …"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends nodejs >/dev/null || true; \
	fi
	@command -v node >/dev/null || echo "Node is missing, so nothing is compared with it. Type: sudo apt-get install nodejs"

build/granian: $(VENV)/installed-dev
	@echo "Installing granian for the benchmark (once) …"
	@rm -rf $@ && $(BIN)/pip install -qq --disable-pip-version-check --target $@ granian==2.8.7 \
		|| { rm -rf $@; echo "There is no granian, so nothing is compared with it."; }

.PHONY: help run test check faults bench soak scale docs lock clean servers wrk node
