"""Commands, metrics, health pages and records are documented as they are."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
import typer.main
import yaml
from jsonschema import Draft202012Validator

from mlflow_monitoring_exporter.app.reports import DestinationReport, OnceReport, ServerReport
from mlflow_monitoring_exporter.app.spool import open_spool
from mlflow_monitoring_exporter.cli.commands import app
from mlflow_monitoring_exporter.cli.options import Options
from mlflow_monitoring_exporter.cli.output import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, to_tree
from mlflow_monitoring_exporter.cli.question_options import QuestionOptions
from mlflow_monitoring_exporter.config.schema import Config, WebConfig
from mlflow_monitoring_exporter.core.directions.direction import by_words
from mlflow_monitoring_exporter.core.directions.vocabulary import FALLING, RESOURCES, RISING, SILENT
from mlflow_monitoring_exporter.core.values import Demand
from mlflow_monitoring_exporter.delivery.ledger_metrics import LedgerMetrics
from mlflow_monitoring_exporter.exporters.answers import to_error
from mlflow_monitoring_exporter.exporters.record import BODY_FIELDS, SAMPLE_FIELDS
from mlflow_monitoring_exporter.http import HttpResponse
from mlflow_monitoring_exporter.pipeline.poll import PollReport
from mlflow_monitoring_exporter.prometheus.families import OURS
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.telemetry.exporter_metrics import State
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from mlflow_monitoring_exporter.web.app import build_app
from mlflow_monitoring_exporter.web.server import WebServer
from mlflow_monitoring_tracking.sending.adoption import new_writer
from mlflow_monitoring_tracking.spool.layout import run_directory
from mlflow_monitoring_tracking.spool.records import FORMAT, Opened, Point, Points, encode
from mlflow_monitoring_tracking.spool.segments import SegmentWriter
from tests.docs.pages import REFERENCE, ROOT, blocks, fenced, rows, section, shape
from tests.exporters.samples import batch
from tests.parts.programs import need
from tests.web.test_probes import probe

#: What the series of a histogram are called, behind its name.
_PARTS = ("_bucket", "_sum", "_count")
COMMANDS = (REFERENCE / "commands.md").read_text()
METRICS = (REFERENCE / "metrics.md").read_text()
DIRECTIONS = (REFERENCE / "directions.md").read_text()
HEALTH = (REFERENCE / "health.md").read_text()
RECORDS = (REFERENCE / "json-records.md").read_text()


#: What all questions about runs share.
QUESTION_FLAGS = frozenset(QuestionOptions.__dataclass_fields__) - frozenset(Options.__dataclass_fields__)


def commands() -> dict[str, list[str]]:
    """Every command with its own flags."""
    found = {}
    pending = [("", typer.main.get_command(app))]
    while pending:
        name, command = pending.pop()
        inner = getattr(command, "commands", {})
        pending += [(f"{name} {sub}".strip(), below) for sub, below in inner.items()]
        if not inner or not name:
            shared = {"help", *Options.__dataclass_fields__}
            flags = [flag for p in command.params if p.name not in shared for flag in p.opts if flag[:2] == "--"]
            is_question = {flag[2:] for flag in flags} >= QUESTION_FLAGS
            found[name] = [f for f in flags if not (is_question and f[2:] in {*QUESTION_FLAGS, "output"})]
    return found


def test_the_flags_that_choose_runs_are_said_once() -> None:
    where = section(COMMANDS, "`list-experiments`")
    assert [flag for flag in sorted({*QUESTION_FLAGS, "output"}) if f"`--{flag}" not in where] == []


@pytest.mark.parametrize("name", commands())
def test_every_command_is_in_the_reference_with_its_flags(name: str) -> None:
    flags = commands()[name]
    where = section(COMMANDS, f"`{name}`") if name else COMMANDS.split("\n## ")[0]
    assert [flag for flag in flags if f"`{flag}" not in where] == []


def test_every_exit_code_is_in_the_reference() -> None:
    table = re.findall(r"^\| (\d+) \|", COMMANDS, re.MULTILINE)
    usage_error, interrupted, terminated = 2, 130, 143
    assert list(map(int, table)) == [EXIT_OK, EXIT_FAILED, usage_error, EXIT_CONFIG, interrupted, terminated]


def test_the_json_of_a_report_has_the_documented_keys() -> None:
    (shown,) = fenced("json", section(COMMANDS, "`export-once`"))
    left_out = {"max_series": 0, "same_labels": 0}
    poll = PollReport(
        experiments=0, runs=0, gone=0, series=0, enqueued={}, full=(), seconds=0.0, at=0.0, shown=0, left_out=left_out
    )
    real = to_tree(
        OnceReport((ServerReport("server", None, poll),), (DestinationReport("file", "file", "x", "samples"),))
    )
    assert shape(json.loads(shown)) == shape(real)


def a_spool(directory: Path) -> Path:
    """With a run of which nothing was sent yet."""
    run = run_directory(directory / "spool", "k")
    run.path.mkdir(parents=True)
    writer = SegmentWriter(run, new_writer(1), encode(Opened(FORMAT, "k", "e", "n", 1000, True, "host", 1)))
    writer.append(encode(Points((Point("loss", 1.0, 0, 1000),))))
    writer.close()
    return directory / "spool"


@pytest.fixture
def self_metrics(tmp_path: Path) -> Iterator[SelfMetrics]:
    """The metrics of a daemon in which everything has happened once."""
    readiness = Readiness()
    readiness.good("mlflow")
    metrics = SelfMetrics(readiness)
    metrics.exporters.introduce("sink", queued=True)
    metrics.exporters.set_state("sink", State.closed)
    metrics.config.labels("0").set(1)
    metrics.links.labels("https://grafana.example.com", "docs/alerts.md").set(1)
    metrics.watch({"server": ("name", "https://mlflow.example.com")})
    metrics.owner.labels("server").set(1)
    metrics.polling("server")
    metrics.loading("server")
    metrics.read_at("server", 1.0)
    metrics.found("server", experiments=1, runs=1, series=1, behind=0)
    metrics.want_most("server", [Demand("1", "churn", 20_000)])
    metrics.exporters.export_success.labels("sink").set(1)
    database = Database(f"sqlite:///{tmp_path}/state.db")
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    with database.write() as tx:
        outbox.enqueue(tx, queue, batch(1).samples, batch_size=1)
    metrics.registry.register(LedgerMetrics(database, ["sink"]))
    with ExitStack() as opened:
        config = {"tracking": {"spool_dir": a_spool(tmp_path)}, "mlflow": {"tracking_uri": "http://127.0.0.1:9"}}
        open_spool(Config.model_validate({**config, "exporters": {}}), metrics, lambda: True, opened)
        yield metrics
    database.close()


def test_every_metric_is_in_the_reference_with_its_type_labels_and_their_words(self_metrics: SelfMetrics) -> None:
    documented = {
        name: cells for name, cells in rows(METRICS).items() if name.startswith(("mlflow_exporter_", "process_"))
    }
    seen = set()
    for family in self_metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        kind, labels, meaning = documented[name]
        seen.add(name)
        assert kind == family.type, name
        assert family.samples, f"{name} has no sample here, so its labels are not known"
        assert set(re.findall(r"`([^`]+)`", labels)) == {key for s in family.samples for key in s.labels} - {"le"}
        labelled = [(label, word) for sample in family.samples for label, word in sample.labels.items()]
        words = {word for label, word in labelled if label in ("result", "reason", "state")}
        assert [word for word in words if f"`{word}`" not in meaning] == [], name
    assert documented.keys() == seen


def test_every_family_of_mlflow_is_in_the_reference_with_its_type_and_labels() -> None:
    documented = {name: cells for name, cells in rows(METRICS).items() if name.startswith("mlflow_")}
    others = rows(section(METRICS, "Models in production"))  # tests/production has these
    documented = {
        name: cells
        for name, cells in documented.items()
        if not name.startswith("mlflow_exporter_") and name not in others
    }
    assert documented.keys() == {spec.name for spec in OURS}
    for spec in OURS:
        kind, unit, labels, meaning = documented[spec.name]
        assert kind == spec.type
        assert tuple(re.findall(r"`([^`]+)`", labels)) == spec.labels
        assert unit
        assert meaning


def test_every_family_of_mlflow_is_in_an_example() -> None:
    used = {name for text in expressions() for name in re.findall(r"\bmlflow_\w+", text)}
    assert {spec.name for spec in OURS} <= used


@pytest.mark.parametrize(
    ("title", "entries"),
    [
        ("## Less is better", FALLING),
        ("## More is better", RISING),
        ("## Nothing can be said", SILENT),
        ("## Time, money and speed", RESOURCES),
    ],
)
def test_every_word_that_gives_a_direction_is_in_the_reference(title: str, entries: frozenset[str]) -> None:
    *_, words = section(DIRECTIONS, title).strip().split("\n\n")
    assert set(re.findall(r"`([^`]+)`", words.replace("\n", " "))) == entries


def test_the_examples_of_the_rules_are_judged_as_they_say() -> None:
    (console,) = fenced("console", DIRECTIONS)
    for line in console.splitlines()[3:]:
        key, better, why = re.split(r" {2,}", line)
        found = by_words(key)
        assert ({"max": "more", "min": "less", None: "cannot be said"}[found.better], found.why) == (better, why)
    told = re.findall(r"`([\w/.-]+)` (rises|falls|fall)\b", DIRECTIONS)
    assert len(told) >= 6
    assert [key for key, word in told if by_words(key).better != {"r": "max", "f": "min"}[word[0]]] == []


def expressions() -> list[str]:
    """Every PromQL expression that a page shows; one that goes on in the next line is indented there."""
    found: list[str] = []
    for block in blocks("promql").values():
        for line in block.splitlines():
            if line.startswith(" "):
                found[-1] += f"\n{line}"
            else:
                found.append(line)
    return found


def test_every_expression_is_valid(tmp_path: Path) -> None:
    rules = [{"alert": f"a{number}", "expr": text} for number, text in enumerate(expressions())]
    assert len(rules) >= 10
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "shown", "rules": rules}]}))
    checked = subprocess.run([need("promtool"), "check", "rules", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_rate_is_only_taken_of_counters() -> None:
    """In what pages, dashboards and rules show: of a gauge it would take every fall for a restart."""
    shown = expressions()
    for board in (ROOT / "grafana" / "dashboards").glob("*.json"):
        panels = json.loads(board.read_text())["panels"]
        shown += [target["expr"] for panel in panels for target in panel.get("targets", ())]
    for file in (ROOT / "prometheus" / "rules").glob("*.yml"):
        shown += [rule["expr"] for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
    taken = [of for text in shown for of in re.findall(r"\b(?:i?rate|increase)\((\w*)", text)]
    assert len(taken) >= 10
    assert [of for of in taken if not of.endswith(("_total", "_bucket", "_sum", "_count"))] == []


def test_every_metric_of_ours_in_an_expression_exists() -> None:
    used = {name for text in expressions() for name in re.findall(r"\bmlflow_exporter_\w+", text)}
    assert used
    known = rows(METRICS)
    parts = {f"{name}{part}" for name, cells in known.items() if "histogram" in cells for part in _PARTS}
    assert used <= known.keys() | parts


def test_readyz_looks_as_documented_and_the_probes_can_ask_it(tmp_path: Path) -> None:
    (shown,) = fenced("json", HEALTH)
    readiness = Readiness()
    for name, condition in json.loads(shown)["components"].items():
        state = condition.get("state", "")
        if condition["ready"]:
            readiness.good(name, state=state)
        else:
            readiness.bad(name, condition["reason"], state=state)
    config = WebConfig(listen="127.0.0.1:0")
    server = WebServer(config, build_app(SelfMetrics(readiness).registry, readiness, config))
    server.start()
    asked = {"MLFLOW_EXPORTER_WEB__LISTEN": server.url.removeprefix("http://")}
    try:
        assert shape(requests.get(f"{server.url}/readyz", timeout=10).json()) == shape(json.loads(shown))
        reason = json.loads(shown)["components"]["exporters.pramathus"]["reason"]
        assert probe("ready", asked, tmp_path) == (1, f"exporters.pramathus: {reason}\n")
        assert probe("alive", asked, tmp_path) == (0, "ok\n")
        readiness.good("exporters.pramathus")
        assert probe("ready", asked, tmp_path) == (0, "ready\n")
    finally:
        server.stop()
    assert probe("alive", asked, tmp_path) == (1, f"error: nothing listens on {asked['MLFLOW_EXPORTER_WEB__LISTEN']}\n")


def test_every_probe_is_in_the_reference_and_in_the_instruction() -> None:
    scripts = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])
    probes = {name for name in rows(HEALTH) if name.startswith("mlflow-")}
    assert scripts == probes | {"mlflow-monitoring-exporter", "tracking_cli"}
    assert "`tracking_cli COMMAND`" in COMMANDS
    (instruction,) = fenced("dockerfile", HEALTH)
    assert set(json.loads(instruction.partition("CMD")[2])) <= probes


def test_the_record_that_is_shown_keeps_the_contract() -> None:
    contract = yaml.safe_load((ROOT / "docs" / "pramathus.openapi.yaml").read_text())
    (shown,) = fenced("json", RECORDS)
    Draft202012Validator({**contract, "$ref": "#/components/schemas/Sample"}).validate(json.loads(shown))


def test_every_placeholder_is_in_the_reference() -> None:
    of_record, of_body = section(RECORDS, "## Templates").split("| in `body` | is |")
    assert {name.removeprefix("$") for name in rows(of_record)} == SAMPLE_FIELDS.keys()
    assert {name.removeprefix("$") for name in rows(of_body)} == BODY_FIELDS.keys()


def test_every_answer_has_the_consequence_that_is_written() -> None:
    """Answers of one row mean the same, answers of different rows do not, but for what a row says itself."""
    lines = re.findall(r"^\| (.*?) \| (.*) \|$", section(RECORDS, "## Answers"), re.MULTILINE)
    written = dict(lines)
    named = {int(code): row for row in written for code in re.findall(r"\b\d\d\d\b", row)}
    reactions: dict[str, set[str]] = {}
    for status in (207, *range(300, 600)):
        row = named.get(status) or next((row for row in written if f"{status // 100}xx" in row), "")
        reactions.setdefault(row, set()).add(type(to_error(HttpResponse(status, {}, b""), "")).__name__)
    assert reactions == {
        "207, or JSON that reports errors": {"PermanentExportError"},
        "408, 425, 429, 5xx": {"RetryableExportError"},
        "409": {"PermanentExportError"},  # without a key
        "423, 424": {"RetryableExportError"},
        "3xx, 404, 405, 406, 411, 414, 417, 421, 426, 428, 431": {"RetryableExportError"},
        "401, 403, 407": {"UnauthorizedExportError"},
        "any other 4xx": {"PermanentExportError"},
    }
    assert type(to_error(HttpResponse(409, {}, b""), "", keyed=True)).__name__ == "RetryableExportError"
