"""The commands that answer questions about runs: what people read, and what programs do."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.parts.command import run
from tests.parts.run_store import RunStore

ALL = {
    "list-experiments": (),
    "show-run": ("resnet-3",),
    "best-runs": ("--metric", "accuracy"),
    "compare-runs": ("resnet-1", "resnet-9"),
    "query-history": ("--metric", "accuracy"),
    "importance": ("--metric", "accuracy", "--method", "ped-anova", "--experiment", "vision"),
    "lint": ("--ignore", "no-seed"),
}


@pytest.fixture
def here(tmp_path: Path, store: RunStore) -> Path:
    (tmp_path / "config.yaml").write_text(f"mlflow: {{tracking_uri: '{store.uri}'}}\n")
    return tmp_path


def said(here: Path, *command: str) -> Any:
    done = run(*command, "--output", "json", cwd=here)
    assert (done.code, done.err) == (1 if command[0] == "lint" else 0, "")
    return json.loads(done.out)


@pytest.mark.parametrize("command", ALL)
def test_every_answer_comes_in_every_form(here: Path, command: str) -> None:
    code = 1 if command == "lint" else 0
    for form in (
        ("json", "csv") if command == "importance" else ("table", "json", "csv", "markdown")
    ):  # imports for seconds
        done = run(command, *ALL[command], "--output", form, cwd=here)
        assert (done.code, done.err) == (code, ""), form
        assert done.out
        if form == "json":
            json.loads(done.out)
        if form == "csv":
            rows = list(csv.reader(io.StringIO(done.out)))
            assert len(rows) > 1
            assert {len(row) for row in rows} == {len(rows[0])}
        if form == "markdown":
            assert "|---" in done.out


@pytest.mark.parametrize("command", ["best-runs", "show-run"])
def test_an_answer_may_be_parquet(here: Path, command: str) -> None:
    """Through a pipe that takes bytes; in a new interpreter, since a fork has only text."""
    whole = subprocess.run(
        [sys.executable, "-m", "mlflow_monitoring_exporter", command, *ALL[command], "--output", "parquet"],
        cwd=here, capture_output=True, check=False,
    )  # fmt: skip
    assert whole.returncode == 0, whole.stderr
    rows = list(csv.reader(io.StringIO(run(command, *ALL[command], "--output", "csv", cwd=here).out)))
    found = pq.read_table(io.BytesIO(whole.stdout))
    assert (found.num_rows, found.column_names) == (len(rows) - 1, rows[0])


def test_experiments_are_listed_with_the_newest_run_first(here: Path) -> None:
    rows = said(here, "list-experiments")
    assert [row["name"] for row in rows][:2] == ["tabular 🚀", "vision"]
    assert (rows[1]["runs"], rows[1]["failed"], rows[1]["description"]) == (10, 1, "cats")
    assert rows[1]["last_active"] == "1970-01-11T00:01:00.000Z"
    done = run("list-experiments", "--limit", "1", cwd=here)
    assert "3 more; --limit 0 shows all" in done.out


def test_a_run_is_shown_whole(here: Path, store: RunStore) -> None:
    shown = said(here, "show-run", "best:accuracy")
    assert (shown["run_id"], shown["name"], shown["experiment"]) == (store.runs[9], "resnet-9", "vision")
    assert shown["params"] == {"lr": "0.01", "model": "resnet", "seed": "9"}
    assert {m["key"]: (m["better"], m["step"]) for m in shown["metrics"]}["accuracy"] == ("max", 19)
    table = run("show-run", "resnet-9", cwd=here).out
    assert "Parameters" in table
    assert "mlflow.source" not in table


def test_the_best_runs_and_why(here: Path, store: RunStore) -> None:
    rows = said(here, "best-runs", "--metric", "val/loss", "--top-k", "2")
    assert [(row["rank"], row["run_id"], row["val/loss"]) for row in rows] == [
        (1, store.runs[9], 0.55), (2, store.runs[8], pytest.approx(0.6)),
    ]  # fmt: skip
    assert rows[0]["params.lr"] == "0.01"
    done = run("best-runs", "--metric", "val/loss", "--top-k", "2", cwd=here)
    assert "lr=0.01, model=resnet, seed=9" in done.out
    assert "less of val/loss is better (asked for; word loss)" in done.out


def test_a_comparison_in_words(here: Path, store: RunStore) -> None:
    tree = said(here, "compare-runs", "resnet-1", "resnet-9", "--metric", "accuracy")
    assert (tree["baseline"], tree["best_run"]) == (store.runs[1], store.runs[9])
    assert tree["metrics_delta"]["accuracy"] == pytest.approx(0.2)
    assert tree["recommendation"]["answer"] == "better"
    assert tree["stability"]["difference"]["real"] is True
    text = run("compare-runs", "resnet-1", "resnet-9", cwd=here).out
    for title in ("Runs", "Parameters that differ", "Metrics", "Resources"):
        assert f"\n{title}\n" in f"\n{text}"
    assert "Take resnet-9 (00000000): better by 0.4 than the baseline" in text
    many = said(here, "compare-runs", "--experiment", "vision", "--metric", "accuracy", "--limit", "3")
    assert [each["run_id"] for each in many["runs"]] == [store.runs[9], store.runs[8], store.runs[7]]


def test_history_in_words(here: Path) -> None:
    text = run("query-history", "--metric", "accuracy", "--experiment", "vision", cwd=here).out
    assert "median by day: +0.025 each, a trend (p = 0.000)" in text
    tree = said(here, "query-history", "--metric", "accuracy", "--every", "week", "--since", "1970-01-05")
    assert sum(period["runs"] for period in tree["periods"]) == 11


def test_lint_is_a_gate(here: Path) -> None:
    done = run("lint", "--select", "never-ended", cwd=here)
    assert done.code == 1
    assert "tabular 🚀: never-ended (1 of 4 runs): it is RUNNING" in done.out
    clean = run("lint", "--experiment", "vision", cwd=here)
    assert (clean.code, clean.out) == (
        0, "0 found in 1 experiments, by 10 runs, the curves of 10 and the files of 10\n",
    )  # fmt: skip
    wrong = run("lint", "--select", "never-end", cwd=here)
    assert (wrong.code, "never-end is no rule; there are" in wrong.err) == (78, True)


def test_mistakes_are_one_line(here: Path) -> None:
    for arguments, code, words in (
        (("best-runs", "--metric", "acuracy"), 1, "error: no run has a metric acuracy: did you mean accuracy?\n"),
        (("show-run", "nobody"), 1, "error: no run has an id that begins with nobody"),
        (
            ("show-run", "latest", "--experiment", "visoin"),
            1,
            "error: there is no experiment visoin: did you mean vision?\n",
        ),
        (("best-runs", "--metric", "accuracy", "--filter", "colour = 'red'"), 1, "error: the filter "),
        (("best-runs", "--metric", "accuracy", "--tag", "team"), 78, "error: --tag: is not KEY=VALUE"),
        (("best-runs", "--metric", "accuracy", "--since", "soon"), 78, "error: --since: is neither a time ago"),
        (("best-runs", "--metric", "accuracy", "--server", "x"), 78, "error: --server: x is no tracking server"),
        (
            ("show-run", "latest", "--tracking-uri", "http://127.0.0.1:9"),
            1,
            "error: http://127.0.0.1:9 cannot be reached",
        ),
    ):
        done = run(*arguments, cwd=here)
        assert done.code == code, done.err
        assert done.err.startswith(words), done.err
        assert done.err.count("\n") == 1
        assert done.out == ""


def test_of_several_servers_one_is_asked(here: Path, store: RunStore) -> None:
    (here / "config.yaml").write_text(
        f"mlflow: [{{name: a, tracking_uri: '{store.uri}'}}, {{name: b, tracking_uri: 'sqlite:///none.db'}}]\n"
    )
    done = run("list-experiments", cwd=here)
    assert done.err == "error: --server: is needed: there are several tracking servers; choose one of a, b\n"
    assert "vision" in run("list-experiments", "--server", "a", cwd=here).out


def test_nothing_of_others_is_obeyed(tmp_path: Path) -> None:
    odd = RunStore(tmp_path)
    experiment = odd.experiment("=cmd|' /C calc'!A0\x1b[31m")
    odd.run(experiment, name="@evil|\x1b]0;x\x07", metrics={"accuracy": 0.5}, params={"a|b": "-1e3", "p": "=1+1"})
    odd.run(experiment, name="b", metrics={"accuracy": 0.4}, params={"a|b": "2", "p": "x"})
    flags = ("--tracking-uri", odd.uri)
    for form in ("table", "json", "csv", "markdown"):
        for command in (("best-runs", "--metric", "accuracy"), ("list-experiments",), ("show-run", "latest")):
            done = run(*command, *flags, "--output", form, cwd=tmp_path)
            assert done.code == 0, done.err
            assert "\x1b" not in done.out
    rows = list(
        csv.DictReader(
            io.StringIO(run("best-runs", "--metric", "accuracy", *flags, "--output", "csv", cwd=tmp_path).out)
        )
    )
    assert (rows[0]["params.p"], rows[0]["params.a|b"], rows[0]["name"][:2]) == ("'=1+1", "-1e3", "'@")
    markdown = run("best-runs", "--metric", "accuracy", *flags, "--output", "markdown", cwd=tmp_path).out
    assert "a\\|b=-1e3" in markdown


def test_an_empty_store_is_no_mistake(tmp_path: Path) -> None:
    empty = ("--tracking-uri", RunStore(tmp_path).uri)
    assert said(tmp_path, "list-experiments", *empty)[0]["name"] == "Default"
    assert said(tmp_path, "query-history", *empty)["periods"] == []
    assert run("lint", *empty, cwd=tmp_path).code == 0
    for command in (
        ("best-runs", "--metric", "x"),
        ("show-run", "latest"),
        ("compare-runs",),
        ("importance", "--metric", "x", "--mode", "max"),
    ):
        done = run(*command, *empty, cwd=tmp_path)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done.err
