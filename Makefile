# Everything is installed into .venv from the hash-locked requirements; nothing needs root.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
EXPORTER := ../$(BIN)/mlflow-monitoring-exporter

.PHONY: demo demo-tracking test test-reliability test-s3 mutation lint bench stack check-stack dashboards grafana-schema lock clean always

# Everything on embedded defaults, in ./demo: an SQLite MLflow store, the scrape endpoint, a JSON-lines file.
demo: .venv/run
	@rm -rf demo && mkdir demo
	@echo '$$ mlflow-monitoring-exporter generate-sample' && cd demo && $(EXPORTER) generate-sample
	@echo '$$ mlflow-monitoring-exporter export-once' && cd demo && $(EXPORTER) export-once
	@echo '$$ head -n 1 mlflow-metrics.jsonl' && head -n 1 demo/mlflow-metrics.jsonl
	@echo 'Next, in ./demo: ../.venv/bin/mlflow-monitoring-exporter continuous, and look at http://127.0.0.1:9797/metrics'

# A training whose MLflow is killed in the middle, in ./demo-tracking.
demo-tracking: .venv/dev
	$(BIN)/python examples/tracking/outage.py demo-tracking

# Ratios of medians, each contender in a process of its own. BENCH=--quick does a tenth of the work.
bench: .venv/dev
	$(BIN)/python -m bench $(BENCH)

# MLflow, the exporter, live sample data, and Prometheus and the Pushgateway where they are installed.
stack: .venv/dev
	$(BIN)/python examples/local_stack.py stack

# The Compose stack, from nothing to MLflow's values in Prometheus. Needs Docker; the stack stays up.
check-stack:
	$(PYTHON) deploy/check_stack.py

# What is generated and checked in: dashboards, the chart's schema, rules for the Prometheus operator, Alertmanager's file.
dashboards: .venv/dev
	$(BIN)/python -m grafana.source
	$(BIN)/python -m deploy.values_schema
	$(BIN)/python -m deploy.operator_rules
	$(BIN)/mlflow-monitoring-exporter prometheus rules generate --config config.yaml --alertmanager alertmanager/alertmanager.yml

# What Grafana publishes of the shape of dashboards, as a JSON Schema. Needs npm.
grafana-schema:
	d=$$(mktemp -d) && cd $$d && npm init -y >/dev/null && npm install --silent @grafana/schema@13.2.3 typescript-json-schema@0.68.0 \
		&& echo "import type { Dashboard } from '@grafana/schema'; export type TheDashboard = Dashboard;" > dashboard.ts \
		&& npx typescript-json-schema dashboard.ts TheDashboard --required --noExtraProps --ignoreErrors --skipLibCheck \
			-o $(CURDIR)/tests/stack/grafana-dashboard.schema.json

# Three processes on two cores, because a third of the time a test waits for a server; tests/conftest.py says which tests
# stay together. What is about instants and outages has the machine for itself afterwards.
# Compiled first: the tests start the command some hundred times, and some machines forbid Python to keep what it compiled.
test: .venv/dev lint
	$(BIN)/python -m compileall -q mlflow_monitoring_exporter tracking/src
	$(BIN)/pytest -n 3 --no-loadscope-reorder --ignore tests/reliability
	$(BIN)/pytest -n 2 --no-loadscope-reorder tests/reliability

# The long versions of tests/reliability, of what becomes of replicas and serving processes, and of the state machines: 100
# kills, 10,000 batches under every fault, a million predictions, ... docs/reliability.md
test-reliability: .venv/dev
	RELIABILITY=long $(BIN)/pytest tests/reliability tests/cluster/test_replicas.py tests/production tests/state tests/source/test_every_change.py tests/schedule/test_showing.py \
		tests/sample/test_plan.py -v --durations=0

# Storage with the protocol of S3, in environments of its own: client, server and daemon want different releases of one package.
test-s3: .venv/run
	$(PYTHON) -m venv .venv-s3 && $(PYTHON) -m venv .venv-s3/moto
	.venv-s3/bin/pip install --quiet --disable-pip-version-check './tracking[storage]' pytest
	.venv-s3/moto/bin/pip install --quiet --disable-pip-version-check 'moto[s3,server]'
	.venv-s3/bin/pytest -c /dev/null --rootdir tests/s3 --noconftest tests/s3

# Which changes of the code does no test notice? What is changed and which tests run: [tool.mutmut] in pyproject.toml.
# All of it takes a day; MUTANTS='mlflow_monitoring_exporter.transform.fair_shares.*' does one module.
mutation: .venv/dev
	$(BIN)/mutmut run --max-children 1 $(if $(MUTANTS),'$(MUTANTS)')
	$(BIN)/mutmut results | grep -v ': not checked' || true

# Once for what lies here now: .ci/run looks while it installs, and the test command need not look again.
lint: .venv/linted
	@:
.venv/linted: .venv/dev $(wildcard $(shell git ls-files --cached --others --exclude-standard 2>/dev/null)) $(if $(wildcard .git),,always)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict .
	$(BIN)/hadolint Dockerfile deploy/mlflow/Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml docker-compose.prod.yml
	touch $@

.venv/run: requirements.txt requirements-build.txt pyproject.toml tracking/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r requirements.txt -r requirements-build.txt
	$(PIP) --no-deps --no-build-isolation --editable . --editable ./tracking
	touch $@

.venv/dev: .venv/run requirements-dev.txt
	$(PIP) --require-hashes -r requirements-dev.txt
	touch $@

# Needs uv (pip install uv). The locks hold hashes and no download address.
# What the image and the demo have; analysis and reports are for people's own machines, at three times its size.
EXTRAS := postgresql mysql otlp socks remote-write
lock:
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		--python-version 3.11 pyproject.toml $(EXTRAS:%=--extra %) -o requirements.txt
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		--python-version 3.11 pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		--python-version 3.11 --group build -c requirements-dev.txt -o requirements-build.txt
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		--python-version 3.12 deploy/mlflow/requirements.in -o deploy/mlflow/requirements.txt

clean:
	rm -rf .venv .venv-s3 .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
