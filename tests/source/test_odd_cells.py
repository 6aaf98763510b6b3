"""One odd cell, in whatever column or field: the record that it belongs to is skipped, counted, and nothing else."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import SourceError
from mlflow_monitoring_exporter.http import HttpClient, HttpResponse
from mlflow_monitoring_exporter.source.protocol import Wanted
from mlflow_monitoring_exporter.source.rest.reader import RestSource
from mlflow_monitoring_exporter.source.sql.reader import SqlSource
from tests.parts.command import run
from tests.parts.mlflow_server import MlflowServer
from tests.source.facts import Fact, facts, shown_differences

SECRET = "hunter2-and-more"
A, B, C = ("a" * 32, "b" * 32, "c" * 32)
PARAMS = frozenset({"layers"})
KEYS = ("loss", "acc")
#: B is the run that something happens to; A is of another experiment, C of the same.
HOMES = {A: 1, B: 2, C: 2}
WANTED = [
    *(Wanted(run_id, key, None, 2) for run_id in HOMES for key in KEYS),
    *(Wanted(run_id, key, 1, 2) for run_id in HOMES for key in KEYS),
]

# As SQL, because Python's driver writes no broken text. No column has a type that would convert it.
ODD_CELLS = {
    "NULL": "NULL",
    "a blob": "X'00FF'",
    "no text": "''",
    "words": "'noon'",
    "broken text": "CAST(X'61FF62' AS TEXT)",
    "half a character": "CAST(X'EDA080' AS TEXT)",
    "a null character": "CAST(X'610062' AS TEXT)",
    "an integer": "7",
    "the largest integer": "9223372036854775807",
    "the smallest integer": "-9223372036854775808",
    "a fraction": "1.5",
    "infinity": "9e999",
    "the largest float": "1.7976931348623157e308",
    "digits": "'5'",
}
_POINT = ("run_uuid", "key", "step", "timestamp", "value", "is_nan")
_PAIR = ("run_uuid", "key", "value")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "experiments": ("experiment_id", "name", "lifecycle_stage", "workspace"),
    "experiment_tags": ("experiment_id", "key", "value"),
    "runs": (
        *("run_uuid", "experiment_id", "name", "status", "start_time", "end_time", "lifecycle_stage"),
        "deleted_time",
    ),
    "metrics": _POINT,
    "latest_metrics": _POINT,
    "tags": _PAIR,
    "params": _PAIR,
    "model_versions": ("name", "version", "run_id", "current_stage", "workspace"),
    "registered_model_aliases": ("name", "version", "alias", "workspace"),
    "alembic_version": ("version_num",),
}
#: Such a cell decides what belongs to what: with another one the record is no part of what is read.
#: With another key they belong to a series, a parameter or a tag that is not asked for.
_UNREAD = {("metrics", "key"), ("params", "key"), ("experiment_tags", "key")}
_HINT = "greater_is_better.loss"
_OTHER_KEYS = (("params", 0, "key"), (1, "tags", 0, "key"))
_NAMES = {"key", "name", "version"}
#: What such a cell may hold as well, so that the record is only another one, of which nothing is read.
_LEGAL = {"words", "digits", "a number", "an integer", "the largest integer", "the smallest integer"}
_BELONGS = {"lifecycle_stage", "workspace", "run_uuid", "experiment_id", "deleted_time"}


@pytest.fixture(scope="module")
def plain_store(tracking_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without types and constraints, with three runs in two experiments."""
    path = tmp_path_factory.mktemp("odd") / "plain.db"
    with closing(sqlite3.connect(tracking_server.database)) as real, closing(sqlite3.connect(path)) as plain:
        for table in COLUMNS:
            columns = [f'"{row[1]}"' for row in real.execute(f"PRAGMA table_info({table})")]
            plain.execute(f"CREATE TABLE {table} ({','.join(columns)})")
        plain.execute("INSERT INTO alembic_version VALUES ('dc11669786a5')")
        _fill(plain)
        plain.commit()
    return path


def _fill(store: sqlite3.Connection) -> None:
    def put(table: str, **values: object) -> None:
        marks = ",".join("?" * len(values))
        store.execute(f"INSERT INTO {table} ({','.join(values)}) VALUES ({marks})", tuple(values.values()))

    for number in (1, 2):
        put("experiments", experiment_id=number, name=f"e{number}", lifecycle_stage="active", workspace="default")
        put("experiment_tags", experiment_id=number, key=_HINT, value="false")
    for at, (run_id, home) in enumerate(HOMES.items()):
        times = {"start_time": 1000 + at, "end_time": 2000 + at}
        active = {"status": "FINISHED", "lifecycle_stage": "active"}
        put("runs", run_uuid=run_id, experiment_id=home, name=f"run {at}", **active, **times)
        for key in KEYS:
            for step in range(3):
                where = {"run_uuid": run_id, "key": key, "step": step, "timestamp": 1000 + step}
                put("metrics", **where, value=step / 2, is_nan=0)
            put("latest_metrics", run_uuid=run_id, key=key, step=2, timestamp=1002, value=1.0, is_nan=0)
        for key, value in (("owner", SECRET), ("team", "x")):
            put("tags", run_uuid=run_id, key=key, value=value)
        put("params", run_uuid=run_id, key="layers", value="3")
        model = {"name": f"m{at}", "version": 1, "workspace": "default"}
        put("model_versions", **model, run_id=run_id, current_stage="Production")
        put("registered_model_aliases", **model, alias="champion")


def _row_of_b(table: str) -> str:
    return {
        "experiments": "experiment_id = 2",
        "experiment_tags": "experiment_id = 2",
        "model_versions": "name = 'm1'",
        "registered_model_aliases": "name = 'm1'",
        "alembic_version": "1",
        "metrics": f"run_uuid = '{B}' AND key = 'loss' AND step = 1",
        "latest_metrics": f"run_uuid = '{B}' AND key = 'loss'",
        "tags": f"run_uuid = '{B}' AND key = 'owner'",
    }.get(table, f"run_uuid = '{B}'")


def may_differ(table: str, column: str) -> Callable[[Fact], bool]:
    """Which facts a cell of B may cost."""
    of_b = lambda fact: B in fact  # noqa: E731
    own = {"name": "name of run", "start_time": "start_ms of run", "end_time": "end_ms of run"}
    if table == "runs":
        return of_b if column not in own else lambda fact: fact[0] == own[column] and B in fact
    if table == "latest_metrics":
        return lambda fact: fact[:3] == ("latest", "2", B) and fact[3] == "'loss'"
    parts = {
        "experiments": lambda fact: fact[1] == "2",
        "experiment_tags": lambda fact: fact[:2] == ("hint", "2"),
        "metrics": lambda fact: fact[:3] == ("point", "2", B) and fact[3:5] == ("'loss'", "1"),
        "tags": lambda fact: fact[:3] == ("tag", "2", B) and fact[3] == "owner",
        "params": lambda fact: fact[:3] == ("param", "2", B),
        "model_versions": lambda fact: fact[1] == "m1",
        "registered_model_aliases": lambda fact: fact[:2] == ("alias", "m1"),
        "alembic_version": lambda _: False,
    }
    return parts[table]


def judge(before: set[Fact], after: set[Fact], told: list[tuple[str, str]], where: str) -> None:
    """No secret, one printable line for each."""
    for item, reason in told:
        line = f"{item}: {reason}"
        assert SECRET not in line, where
        assert line.isprintable(), where
        assert len(line) < 500, where
    assert before & after, where


@pytest.mark.parametrize(("table", "column"), [(table, c) for table, columns in COLUMNS.items() for c in columns])
def test_an_odd_cell_of_the_database_costs_its_own_record_and_no_other(
    plain_store: Path, tmp_path: Path, table: str, column: str
) -> None:
    before = _facts_of_store(plain_store, [])
    assert len(before) > 50
    costs = may_differ(table, column)
    for odd, cell in ODD_CELLS.items():
        where = f"{odd} in {table}.{column}"
        path = Path(shutil.copy(plain_store, tmp_path / "odd.db"))
        with closing(sqlite3.connect(path)) as store:
            changed = store.execute(f"UPDATE {table} SET {column} = {cell} WHERE {_row_of_b(table)}").rowcount
            store.commit()
        assert changed == 1, where
        told: list[tuple[str, str]] = []
        after = _facts_of_store(path, told)
        lost = {fact for fact in before - after if not costs(fact)}
        assert not lost, (where, shown_differences(lost))
        judge(before, after, told, where)
        silent = column in _BELONGS or (table, column) in _UNREAD or (odd in _LEGAL and column in _NAMES)
        if after < before and not silent:
            assert told, f"{where} was skipped in silence"


def _facts_of_store(path: Path, told: list[tuple[str, str]]) -> set[Fact]:
    config = MlflowConfig(tracking_uri=f"sqlite:///{path}")
    with closing(SqlSource(config, params=PARAMS, on_skipped=lambda *one: told.append(one))) as source:
        return facts(source, WANTED)


# Raw JSON, because some of it is more than Python would write.
ODD_VALUES = {
    "null": "null",
    "a list": "[]",
    "a full list": '[1, "x", null, [], {}]',
    "an object": "{}",
    "a full object": f'{{"secret": "{SECRET}"}}',
    "true": "true",
    "a number": "7",
    "a fraction": "1.5",
    "a huge number": "1" + "0" * 400,
    "digits without end": "9" * 5000,
    "infinity": "1e999",
    "a bare NaN": "NaN",
    "no text": '""',
    "words": '"noon"',
    "half a character": r'"a\ud800b"',
    "a null character": r'"a\u0000b"',
    "the smallest integer": "-9223372036854775808",
    "nothing": "",
}


def _experiment(number: int) -> dict[str, Any]:
    return {"experiment_id": str(number), "name": f"e{number}", "tags": [{"key": _HINT, "value": "false"}]}


def _answers() -> dict[str, Any]:
    """What a server with the same runs says, by path."""
    runs = [
        {
            "info": {
                "run_id": run_id,
                "experiment_id": str(home),
                "run_name": f"run {at}",
                "status": "FINISHED",
                "start_time": 1000 + at,
                "end_time": 2000 + at,
            },
            "data": {
                "metrics": [{"key": key, "value": 1.0, "timestamp": 1002, "step": 2} for key in KEYS],
                "tags": [{"key": "owner", "value": SECRET}, {"key": "team", "value": "x"}],
                "params": [{"key": "layers", "value": "3"}],
            },
        }
        for at, (run_id, home) in enumerate(HOMES.items())
    ]
    models = [{"name": f"m{at}", "aliases": [{"alias": "champion", "version": "1"}]} for at in range(len(HOMES))]
    versions = [
        {"name": f"m{at}", "version": "1", "run_id": run_id, "current_stage": "Production"}
        for at, run_id in enumerate(HOMES)
    ]
    return {
        "experiments/search": {"experiments": [_experiment(number) for number in (1, 2)]},
        "runs/search": {"runs": runs},
        "registered-models/search": {"registered_models": models},
        "model-versions/search": {"model_versions": versions},
    }


#: Legal where MLflow has nothing to say: protobuf leaves such fields out, or says so.
_DEFAULTS = ("null", "nothing", "a list", "no text")
#: Where B is in the list of each answer.
_B_AT = 1
_POINTS = ("metrics/get-history", "metrics/get-history-bulk-interval", "metrics/get-history-bulk")
#: Stands for the odd value until the answer is text.
_HERE = "put it here"
_Path = tuple[str | int, ...]


@dataclass
class OddMlflow:
    """Answers like MLflow, but with one odd value at one place of the answers of one path."""

    path: str = ""
    place: _Path = ()
    value: str = ""

    def request(
        self, method: str, url: str, *, body: bytes | None = None, params: Any = None, **_: Any
    ) -> HttpResponse:
        path = urlsplit(url).path.removeprefix("/ajax-api/2.0/mlflow/").removeprefix("/api/2.0/mlflow/")
        sent = json.loads(body) if method == "POST" and body else dict(params)
        if path in _POINTS:
            asked = sent["run_ids"] if "run_ids" in sent else sent["run_id"]
            ids = [asked] if isinstance(asked, str) else asked
            answer: Any = {"metrics": [point for run_id in ids for point in _points(run_id, sent["metric_key"])]}
            is_place = self.path == path and B in ids and sent["metric_key"] == "loss"
            place = (
                ("metrics", ids.index(B) * 3 + 1, *self.place[2:]) if is_place and len(self.place) > 1 else self.place
            )
        else:
            answer = {} if sent.get("run_view_type") == "DELETED_ONLY" else _answers().get(path, {})
            is_place, place = self.path == path and bool(answer), self.place
        text = _replaced(answer, place, self.value) if is_place else json.dumps(answer)
        return HttpResponse(200, {}, text.encode())


def _points(run_id: str, key: str) -> list[dict[str, Any]]:
    return [
        {"run_id": run_id, "key": key, "value": step / 2, "timestamp": 1000 + step, "step": step} for step in range(3)
    ]


def _inside(tree: Any, path: _Path) -> Iterator[_Path]:
    """The path of the tree, and of everything in it."""
    yield path
    items = enumerate(tree) if isinstance(tree, list) else tree.items() if isinstance(tree, dict) else ()
    for name, value in items:
        yield from _inside(value, (*path, name))


def _replaced(tree: Any, path: _Path, value: str) -> str:
    """The tree as JSON, with the raw ``value`` at ``path``; without the field when it is empty."""
    copy = json.loads(json.dumps(tree))
    *way, last = path
    inner = copy
    for name in way:
        inner = inner[name]
    if value or isinstance(inner, list):
        inner[last] = _HERE
    else:
        del inner[last]
    return json.dumps(copy).replace(f'"{_HERE}"', value or "null")


def _rest_places() -> list[tuple[str, _Path]]:
    lists = {path: next(iter(answer.items())) for path, answer in _answers().items()}
    found = [(path, place) for path, (name, items) in lists.items() for place in _inside(items[_B_AT], (name, _B_AT))]
    return found + [(path, place) for path in _POINTS for place in _inside(_points(B, "loss")[1], ("metrics", 1))]


def _may_differ_over_rest(path: str, place: _Path) -> Callable[[Fact], bool]:
    """Which facts something at this place may cost."""
    if path != "runs/search":
        table, column = {
            "experiments/search": ("experiments", "name"),
            "registered-models/search": ("registered_model_aliases", "alias"),
            "model-versions/search": ("model_versions", "name"),
        }.get(path, ("metrics", "step"))
        return may_differ(table, column)
    fields = {
        ("info", "run_name"): ("runs", "name"),
        ("info", "start_time"): ("runs", "start_time"),
        ("info", "end_time"): ("runs", "end_time"),
        ("data", "metrics", 0): ("latest_metrics", "key"),
        ("data", "tags", 0): ("tags", "key"),
        ("data", "params", 0): ("params", "key"),
    }
    found = next((where for start, where in fields.items() if place[2 : 2 + len(start)] == start), ("runs", "run_uuid"))
    return may_differ(*found)


@pytest.mark.parametrize(
    ("path", "place"), _rest_places(), ids=lambda part: "-".join(map(str, part)) if isinstance(part, tuple) else part
)
def test_an_odd_value_in_an_answer_costs_its_own_record_and_no_other(
    monkeypatch: pytest.MonkeyPatch, path: str, place: _Path
) -> None:
    wanted = WANTED if path != _POINTS[0] else [Wanted(B, "loss", None, 2), Wanted(A, "acc", None, 2)]
    before = _facts_over_rest(monkeypatch, OddMlflow(), [], wanted)
    costs = _may_differ_over_rest(path, place)
    for odd, value in ODD_VALUES.items():
        where = f"{odd} at {place} of {path}"
        told: list[tuple[str, str]] = []
        after = _facts_over_rest(monkeypatch, OddMlflow(path, place, value), told, wanted)
        lost = {fact for fact in before - after if not costs(fact)}
        assert not lost, (where, shown_differences(lost))
        judge(before, after, told, where)
        silent = odd in (*_DEFAULTS, "an object", "a full object") or (odd in _LEGAL and place[-1] in _NAMES)
        if after < before and not silent and not any(place[-len(other) :] == other for other in _OTHER_KEYS):
            assert told, f"{where} was skipped in silence"


@pytest.mark.parametrize("path", [*_answers(), *_POINTS])
@pytest.mark.parametrize("name", ["the list", "next_page_token"])
def test_an_answer_that_is_odd_as_a_whole_is_an_error_or_empty_and_costs_no_other_history(
    monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    place = (name if name != "the list" else next(iter(_answers().get(path, {"metrics": ()}))),)
    wanted = [Wanted(B, "loss", None, 2), Wanted(A, "acc", None, 2)] if path == _POINTS[0] else WANTED
    before = _facts_over_rest(monkeypatch, OddMlflow(), [], wanted)
    for odd, value in ODD_VALUES.items():
        if not value:
            continue
        if path not in _POINTS:
            with suppress(SourceError):
                _facts_over_rest(monkeypatch, OddMlflow(path, place, value), [], wanted)
            continue
        after = _facts_over_rest(monkeypatch, OddMlflow(path, place, value), [], wanted)
        lost = {fact for fact in before - after if fact[:3] != ("point", "2", B)}
        assert not lost, (odd, shown_differences(lost))


def _facts_over_rest(
    monkeypatch: pytest.MonkeyPatch, mlflow: OddMlflow, told: list[tuple[str, str]], wanted: list[Wanted]
) -> set[Fact]:
    monkeypatch.setattr(HttpClient, "request", lambda _, *given, **named: mlflow.request(*given, **named))
    config = MlflowConfig(tracking_uri="http://mlflow:5000")
    told_of = lambda *one: told.append(one)  # noqa: E731
    with closing(RestSource(config, stop=threading.Event(), params=PARAMS, on_skipped=told_of)) as source:
        return facts(source, wanted)


#: One of each kind, all in one store.
SPOILED = (
    "UPDATE experiments SET name = X'00FF' WHERE experiment_id = 3",
    f"UPDATE runs SET name = X'00FF', start_time = 'noon' WHERE run_uuid = '{B}'",
    f"UPDATE tags SET key = NULL WHERE run_uuid = '{B}' AND key = 'owner'",
    f"UPDATE tags SET value = X'00FF' WHERE run_uuid = '{B}' AND key = 'team'",
    f"UPDATE metrics SET step = 'noon' WHERE run_uuid = '{B}' AND key = 'loss' AND step = 1",
    f"UPDATE latest_metrics SET value = X'00FF' WHERE run_uuid = '{B}' AND key = 'acc'",
    "UPDATE registered_model_aliases SET alias = NULL WHERE name = 'm1'",
    "UPDATE model_versions SET version = 'one' WHERE name = 'm2'",
)


@pytest.mark.parametrize("spoiled", [False, True])
def test_a_whole_export_of_such_a_store_ends_well(plain_store: Path, tmp_path: Path, spoiled: bool) -> None:
    path = Path(shutil.copy(plain_store, tmp_path / "odd.db"))
    with closing(sqlite3.connect(path)) as store:
        columns = "(experiment_id, name, lifecycle_stage, workspace)"
        store.execute(f"INSERT INTO experiments {columns} VALUES (3, 'e3', 'active', 'default')")
        for statement in SPOILED if spoiled else ():
            assert store.execute(statement).rowcount == 1, statement
        store.commit()
    command = ("export-once", "--tracking-uri", f"sqlite:///{path}", "--output", "json", "--log-level", "warning")
    done = run(*command, cwd=tmp_path)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["ok"]
    assert SECRET not in done.err
    lines = (tmp_path / "mlflow-metrics.jsonl").read_text().splitlines()
    assert len(lines) == 3 * len(KEYS) * len(HOMES) - spoiled
    assert bool(report["mlflow"]["skipped"]) == spoiled
    said = [line for line in done.err.splitlines() if "MLflow record skipped" in line]
    assert len(said) == (len(SPOILED) + 1 if spoiled else 0), said
    assert len(said) <= report["mlflow"]["skipped"]
