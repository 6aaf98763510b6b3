"""``compare-runs``"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_monitoring_exporter.analysis.ranking import values_of
from mlflow_monitoring_exporter.analysis.recommend import called
from mlflow_monitoring_exporter.cli.output import print_json, print_line
from mlflow_monitoring_exporter.cli.question_options import QuestionOptions
from mlflow_monitoring_exporter.cli.questions import ModeOption
from mlflow_monitoring_exporter.cli.rows import Format, FormatOption, plain, print_rows
from mlflow_monitoring_exporter.core.clock import moment
from mlflow_monitoring_exporter.core.values import Run

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.analysis.compare import Comparison

#: Runs beside each other in a table for people; more are below each other.
_BESIDE = 6


def compare_runs(
    options: QuestionOptions,
    run: Annotated[
        list[str] | None,
        typer.Argument(help="Runs as show-run takes them, the baseline first. [default: those that the flags choose]"),
    ] = None,
    *,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="The first ranks the runs, all of them make the Pareto front. Repeatable."),
    ] = None,
    mode: ModeOption = None,
    baseline: Annotated[str | None, typer.Option(help="What the others are held against. [default: the first]")] = None,
    group_tag: Annotated[
        str | None, typer.Option(help="The tag of runs that says of which group of people their metrics are.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Compare so many of the runs that the flags choose.", min=2)] = 50,
    output: FormatOption = Format.table,
) -> None:
    """Runs side by side: what differs, which is best, whether by more than noise, at what price, and for whom."""
    with options.ask() as questions:
        found = questions.compare(
            run or (),
            which=options.which(),
            metrics=metric or (),
            mode=mode,
            baseline=baseline,
            group_tag=group_tag,
            limit=limit,
        )
    if output is Format.json:
        print_json(plain(to_tree(found)))
    elif output in {Format.csv, Format.parquet}:
        print_rows(_by_run(found), output)
    else:
        for title, rows in _sections(found):
            if rows:
                print_rows(rows, output, title=title)
                print_line()
        if not run and len(found.runs) >= limit:
            print_line(f"the first {limit} of the runs that were asked for; --limit says how many", style="dim")
        print_line(found.recommendation.text, style="bold")
        for reason in found.recommendation.reasons:
            print_line(f"- {reason}")


def to_tree(found: Comparison) -> dict[str, Any]:
    """The comparison as JSON shows it; docs/reference/commands.md describes it."""
    ranking = found.ranking
    return {
        "runs": [_head(run, found) for run in found.runs],
        "baseline": found.baseline,
        "ranking": None if ranking is None else {**asdict(ranking), "direction": ranking.direction.value},
        "params": [asdict(row) for row in found.params],
        "metrics": [asdict(row) for row in found.metrics],
        "best_run": found.best_run,
        "metrics_delta": dict(found.metrics_delta),
        "recommendation": {**asdict(found.recommendation), "answer": found.recommendation.answer.value},
        "performance": {"pareto": found.pareto, "pareto_metrics": found.pareto_metrics},
        "resources": [asdict(each) for each in found.resources],
        "stability": {
            "difference": None
            if found.difference is None
            else {**asdict(found.difference), "real": found.difference.real},
            "repeats": [asdict(each) for each in found.repeats],
            "curves": [asdict(each) for each in found.curves],
        },
        "fairness": [asdict(each) for each in found.fairness],
    }


def _sections(found: Comparison) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Tables for people, one for each dimension."""
    runs = found.runs
    if len(runs) <= _BESIDE:
        columns = [f"{at} {run.name or run.run_id[:8]}" for at, run in enumerate(runs, 1)]
        yield "Runs", [_head(run, found) for run in runs]
        yield "Parameters that differ", [{"param": row.key, **_beside(columns, row.values)} for row in found.params]
        yield (
            "Metrics",
            [
                {
                    "metric": row.key,
                    "better": row.better,
                    **_beside(columns, row.values),
                    "best": None if row.best is None else columns[row.best],
                }
                for row in found.metrics
            ],
        )
    else:
        yield "Runs", _by_run(found)
    resources = [asdict(each) for each in found.resources]
    if any(value is not None for row in resources for key, value in row.items() if key != "run_id"):
        yield "Resources", [{**row, "run_id": row["run_id"][:8]} for row in resources]
    yield "Repeats with other seeds", [_spread(each.run_ids, each) for each in found.repeats]
    yield "The end of the curves", [_spread(each.run_ids, each) for each in found.curves]
    yield (
        "Groups",
        [
            {
                "run_id": each.run_id[:8],
                "metric": each.metric,
                **dict(each.groups),
                "gap": each.gap,
                "ratio": each.ratio,
                "worst": each.worst,
            }
            for each in found.fairness
        ],
    )
    if len(found.pareto_metrics) > 1:
        by_id = {run.run_id: run for run in runs}
        front = [by_id[run_id] for run_id in found.pareto]
        yield (
            "Pareto front: none of the runs is better in all of these metrics",
            [{"run": called(run), **{key: values_of(run).get(key) for key in found.pareto_metrics}} for run in front],
        )


def _beside(columns: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(columns, values, strict=True))


def _head(run: Run, found: Comparison) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "experiment": found.experiments.get(run.experiment_id, ""),
        "status": run.status.value,
        "started": moment(run.start_ms),
        "baseline": run.run_id == found.baseline,
        "best": run.run_id == found.best_run,
        "on_pareto_front": run.run_id in found.pareto,
    }


def _by_run(found: Comparison) -> list[dict[str, Any]]:
    """One row for each run."""
    spent = {each.run_id: each for each in found.resources}
    return [
        {
            **_head(run, found),
            **{f"params.{row.key}": row.values[at] for row in found.params},
            **{f"metrics.{row.key}": row.values[at] for row in found.metrics},
            **{key: value for key, value in asdict(spent[run.run_id]).items() if key != "run_id"},
        }
        for at, run in enumerate(found.runs)
    ]


def _spread(run_ids: Sequence[str], spread: Any) -> dict[str, Any]:
    return {
        "runs": [run_id[:8] for run_id in run_ids],
        "count": spread.count,
        "mean": spread.mean,
        "stddev": spread.stddev,
        "low": spread.interval.low if spread.interval else None,
        "high": spread.interval.high if spread.interval else None,
    }
