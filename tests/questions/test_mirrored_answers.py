"""The daemon's mirror gives the answers of the store that it mirrors, as far as it knows it."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import QuestionError
from mlflow_monitoring_exporter.core.values import Run
from mlflow_monitoring_exporter.questions import Questions, Which
from mlflow_monitoring_exporter.questions.mirror import MirrorReader
from mlflow_monitoring_exporter.source.open import open_run_reader
from mlflow_monitoring_exporter.source.search import Order, RunReader, Search
from mlflow_monitoring_exporter.state.database import Database
from tests.parts import databases
from tests.parts.command import run
from tests.parts.run_store import DAY, RunStore

BEGAN = 1_700_000_000_000
FILTERS = [
    "",
    "metrics.accuracy > 0.3",
    "metrics.accuracy != 0.3",
    "metrics.accuracy <= 0.3 and attributes.status = 'FINISHED'",
    "metrics.loss >= 0",
    "run_name LIKE 'Run%'",
    "run_name LIKE 'run[_]%'",
    "run_name ILIKE 'RUN%'",
    "status != 'FINISHED'",
    f"start_time >= {BEGAN + 2 * DAY}",
    f"end_time < {BEGAN + 3 * DAY}",
    "run_id IN ('00000000000000000000000000000002', 'x')",
    "run_id NOT IN ('00000000000000000000000000000002')",
    "run_id LIKE '%3'",
]


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    made = RunStore(tmp_path_factory.mktemp("mirrored"))
    for experiment in ("one", "two"):
        number = made.experiment(experiment, {"greater_is_better.loss": "true"} if experiment == "one" else {})
        for at in range(4):
            made.run(
                number,
                name=("Run[x]", "run_1", "other", "run [_] 2")[at],
                status=("FINISHED", "FAILED", "RUNNING", "FINISHED")[at],
                start=BEGAN + at * DAY,
                end=None if at == 2 else BEGAN + at * DAY + 1000,
                metrics={"accuracy": at / 10, "loss": (math.nan, math.inf, 1.0, 2.0)[at]},
            )
    return made


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def state(
    request: pytest.FixtureRequest, mirrored: RunStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    here = tmp_path_factory.mktemp("state")

    def read(url: str) -> Path:
        configured = {"mlflow": {"tracking_uri": mirrored.uri}, "exporters": {"file": {}}, "state": {"url": url}}
        (here / "config.yaml").write_text(json.dumps(configured))
        assert run("export-once", cwd=here).code == 0
        return here

    if request.param == "sqlite":
        yield read("sqlite:///state.db")
    else:
        with databases.postgresql() as url:
            yield read(url)


@pytest.fixture
def mirror(state: Path, mirrored: RunStore) -> Iterator[MirrorReader]:
    url = json.loads((state / "config.yaml").read_text())["state"]["url"]
    database = Database.existing(url.replace("sqlite:///", f"sqlite:///{state}/"))
    assert database is not None
    reader = MirrorReader(database, mirrored.uri)
    yield reader
    reader.close()


@pytest.fixture
def store_itself(mirrored: RunStore) -> Iterator[RunReader]:
    reader = open_run_reader(MlflowConfig(tracking_uri=mirrored.uri), stop=threading.Event())
    yield reader
    reader.close()


def described(found: Run) -> Any:
    latest = sorted((point.key, point.step, point.timestamp_ms, repr(point.value)) for point in found.latest)
    return found.run_id, found.experiment_id, found.name, found.status, found.start_ms, found.end_ms, latest


def test_every_search_finds_what_the_store_has(mirror: MirrorReader, store_itself: RunReader) -> None:
    numbers = set()
    for where in FILTERS:
        for order in (None, Order("accuracy", descending=True), Order("loss", descending=False)):
            for limit in (None, 2):
                search = Search(["1", "2"], where, order, limit)
                expected = [described(each) for each in store_itself.runs(search)]
                assert [described(each) for each in mirror.runs(search)] == expected, search
                numbers.add(len(expected))
        values = [repr(sorted(reader.values(Search(["1"], where), "loss"))) for reader in (mirror, store_itself)]
        assert values[0] == values[1]
    assert len(numbers) > 4


def test_experiments_keys_and_directions(mirror: MirrorReader, store_itself: RunReader) -> None:
    theirs = {e.experiment_id: (e.name, e.runs, e.last_ms) for e in store_itself.experiments() if e.runs}
    assert {e.experiment_id: (e.name, e.runs, e.last_ms) for e in mirror.experiments() if e.runs} == theirs
    assert mirror.keys(["1"]) == ["accuracy", "loss"]
    many = ["1", *(f"odd 'name' {number}" for number in range(70_000))]
    assert len(list(mirror.runs(Search(many)))) == 4
    questions = Questions(mirror)
    best = questions.best_runs("loss", which=Which(experiments=("one",)), top_k=1)
    assert best.runs[0].latest[1].value == 2.0, "the experiment's tag says that more of it is better"


def test_what_the_mirror_does_not_know_is_said(mirror: MirrorReader, state: Path, mirrored: RunStore) -> None:
    for where in ("params.lr = '1'", "tags.team = 'a'", "dataset.name = 'x'", "attributes.user_id = 'me'"):
        with pytest.raises(QuestionError, match=r"the mirror knows nothing of .*: ask MLflow itself, without --mirror"):
            list(mirror.runs(Search(["1"], where)))
    done = run("best-runs", "--metric", "accuracy", "--mirror", "--tracking-uri", "http://127.0.0.1:9", cwd=state)
    assert done.code == 1
    assert "has no mirror of http://127.0.0.1:9: no daemon has read it into this state yet" in done.err


def test_commands_answer_while_mlflow_is_away(state: Path, mirrored: RunStore) -> None:
    hidden = mirrored.path.rename(mirrored.path.with_suffix(".away"))
    try:
        assert run("best-runs", "--metric", "accuracy", cwd=state).code == 1
        done = run("best-runs", "--metric", "accuracy", "--mirror", "--output", "json", cwd=state)
        assert [row["accuracy"] for row in json.loads(done.out)][:3] == [0.3, 0.3, 0.2]
        assert run("query-history", "--mirror", cwd=state).code == 0
        compared = run("compare-runs", "--mirror", "--metric", "accuracy", "--limit", "2", cwd=state)
        assert "there are no repeats with other seeds, and no curves" in compared.out
    finally:
        hidden.rename(mirrored.path)


def test_without_a_state_there_is_no_mirror(tmp_path: Path) -> None:
    done = run("list-experiments", "--mirror", "--tracking-uri", "sqlite:///x.db", cwd=tmp_path)
    assert (done.code, done.err.startswith("error: there is no state in ")) == (1, True)
