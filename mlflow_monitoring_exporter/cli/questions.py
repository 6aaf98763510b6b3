"""``list-experiments``, ``show-run``, ``best-runs``, ``query-history``, ``importance`` and ``lint``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_monitoring_exporter.analysis.importance import Method
from mlflow_monitoring_exporter.analysis.periods import Every
from mlflow_monitoring_exporter.analysis.ranking import values_of
from mlflow_monitoring_exporter.analysis.resources import duration_seconds
from mlflow_monitoring_exporter.cli.output import EXIT_FAILED, print_json, print_line, print_result
from mlflow_monitoring_exporter.cli.question_options import QuestionOptions
from mlflow_monitoring_exporter.cli.rows import Format, FormatOption, plain, print_rows
from mlflow_monitoring_exporter.core.clock import moment, now_ms
from mlflow_monitoring_exporter.core.directions.direction import Direction
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem
from mlflow_monitoring_exporter.core.values import Run, RunStatus

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.analysis.importance import Importance
    from mlflow_monitoring_exporter.analysis.periods import History

MetricOption = Annotated[str, typer.Option(help="The key as it was logged, as val/loss.")]
ModeOption = Annotated[
    Direction | None, typer.Option(help="Which values are better. [default: what the name and tags say]")
]
_NOTE = "mlflow.note.content"
#: Tags that are MLflow's own, and long.
_OWN = "mlflow."
#: Characters of a run's id in a table, as MLflow's own pages shorten it.
_SHORT = 8
#: Parameters that are named as left out.
_FEW = 10


def list_experiments(
    options: QuestionOptions,
    limit: Annotated[int, typer.Option(help="So many, those with the newest run first; 0 means all.", min=0)] = 20,
    output: FormatOption = Format.table,
) -> None:
    """Experiments, the newest activity first; how many runs they have, a database tells and a server does not."""
    with options.ask() as questions:
        found = questions.experiments(options.which())
    shown = found[:limit] if limit else found
    print_rows(
        [
            {
                "experiment_id": each.experiment_id,
                "name": each.name,
                "runs": None if each.runs is None else sum(each.runs.values()),
                **{
                    status.value.lower(): None if each.runs is None else each.runs.get(status, 0)
                    for status in (RunStatus.RUNNING, RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)
                },
                "last_active": moment(each.active_ms),
                "description": each.tags.get(_NOTE, ""),
            }
            for each in shown
        ],
        output,
        empty="there are no experiments",
    )
    if len(shown) < len(found) and output is Format.table:
        print_line(f"{len(found) - len(shown)} more; --limit 0 shows all", style="dim")


def show_run(
    options: QuestionOptions,
    run: Annotated[
        str,
        typer.Argument(help="How its id begins, its name, latest, best:METRIC, or ALIAS@MODEL."),
    ],
    output: FormatOption = Format.table,
) -> None:
    """All that MLflow has of one run: parameters, latest metrics, tags."""
    with options.ask() as questions:
        found = questions.run(run, options.which())
        name = questions.names.get(found.experiment_id, "")
        directions = questions.directions(questions.of_ids([found.experiment_id]))
    about = _about(found, name)
    metrics = [
        {
            "key": point.key,
            "value": point.value,
            "better": directions.verdict(point.key).better,
            "step": point.step,
            "logged": moment(point.timestamp_ms),
        }
        for point in sorted(found.latest)
    ]
    if output is Format.json:
        print_json(
            plain({**about, "params": dict(sorted(found.params.items())), "metrics": metrics, "tags": dict(found.tags)})
        )
        return
    if output in {Format.csv, Format.parquet}:
        print_rows(_as_pairs(about, found), output)
        return
    print_rows([{"": key, " ": value} for key, value in about.items() if value is not None], output)
    for title, rows in (
        ("Metrics", metrics),
        ("Parameters", [{"key": key, "value": value} for key, value in sorted(found.params.items())]),
        ("Tags", [{"key": k, "value": v} for k, v in sorted(found.tags.items()) if not k.startswith(_OWN)]),
    ):
        if rows:
            print_rows(rows, output, title=title)


def best_runs(
    options: QuestionOptions,
    metric: MetricOption,
    mode: ModeOption = None,
    top_k: Annotated[int, typer.Option(help="So many.", min=1)] = 10,
    output: FormatOption = Format.table,
) -> None:
    """The runs with the best latest value of a metric, and the parameters in which they differ."""
    with options.ask() as questions:
        best = questions.best_runs(metric, mode=mode, top_k=top_k, which=options.which())
    params = sorted({key for run in best.runs for key in run.params})
    differing = [key for key in params if len({run.params.get(key) for run in best.runs}) > 1]
    rows: list[dict[str, Any]] = []
    for rank, run in enumerate(best.runs, 1):
        about = _about(run, best.experiments.get(run.experiment_id, ""))
        told = {key: run.params.get(key) for key in differing}
        if output in {Format.table, Format.markdown}:  # as wide as people can read
            about["run_id"] = run.run_id[:_SHORT]
            said = ", ".join(f"{key}={value}" for key, value in told.items() if value is not None)
            rows.append({"rank": rank, metric: values_of(run).get(metric), **about, "params": said})
        else:
            told = {f"params.{key}": value for key, value in told.items()}
            rows.append({"rank": rank, metric: values_of(run).get(metric), **about, **told})
    print_rows(rows, output)
    if output is Format.table:
        print_line(f"{best.ranking.word} of {metric} is better ({best.ranking.why})", style="dim")


def query_history(
    options: QuestionOptions,
    metric: Annotated[str | None, typer.Option(help="[default: one that most of the newest runs have]")] = None,
    every: Annotated[Every, typer.Option(help="How long a period is; they begin at midnight UTC.")] = Every.DAY,
    mode: ModeOption = None,
    output: FormatOption = Format.table,
) -> None:
    """How runs went over time: how many, how many of them succeeded, the best and the median value, and the trend."""
    with options.ask() as questions:
        found = questions.history(metric, every=every, mode=mode, which=options.which())
    rows = [{**asdict(period), "begins": period.begins.isoformat()} for period in found.periods]
    if output is Format.json:
        ranking = found.ranking
        print_json(
            plain(
                {
                    "metric": ranking.metric if ranking else None,
                    "better": ranking.direction.value if ranking else None,
                    "trend": asdict(found.trend) if found.trend else None,
                    "undated": found.undated,
                    "periods": rows,
                }
            )
        )
        return
    print_rows(rows, output, empty="no run is meant by that")
    if output is Format.table and rows:
        for line in _told(found):
            print_line(line, style="dim")


def importance(
    options: QuestionOptions,
    metric: MetricOption,
    method: Annotated[
        Method,
        typer.Option(help="total: with all interactions; fanova: alone; ped-anova: what makes the best runs the best."),
    ] = Method.TOTAL,
    mode: ModeOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Which parameters a metric depends on, and how sure that is. Needs the extra "analysis"."""
    with options.ask() as questions:
        found = questions.importance(metric, method=method, mode=mode, which=options.which())
    rows = [
        {
            "param": param.key,
            "importance": param.importance,
            "low": param.interval.low if param.interval else None,
            "high": param.interval.high if param.interval else None,
            "kind": param.kind,
            "conditional_on": param.conditional_on,
        }
        for param in found.params
    ]
    if output is Format.json:
        print_json(
            plain(
                {
                    "metric": metric,
                    "method": found.method.value,
                    "runs": found.runs,
                    "of": found.of,
                    "explained": found.explained,
                    "params": rows,
                    "left_out": dict(found.left_out),
                }
            )
        )
        return
    print_rows(rows, output)
    if output is Format.table:
        for line in _believed(found):
            print_line(line, style="dim")


def lint(
    options: QuestionOptions,
    select: Annotated[list[str] | None, typer.Option(help="Only this rule. Repeatable.", metavar="RULE")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="Without this rule. Repeatable.", metavar="RULE")] = None,
    runs: Annotated[int, typer.Option(help="Look at so many of the newest runs.", min=1)] = 200,
    output: FormatOption = Format.table,
) -> None:
    """Habits that make runs hard to compare, to repeat or to watch, with the evidence and what to do.

    Exit code 0: nothing was found. 1: something was.
    """
    from mlflow_monitoring_exporter.analysis.lint import RULES

    names = {rule.name for rule in RULES}
    for flag, given in (("--select", select), ("--ignore", ignore)):
        for name in given or ():
            if name not in names:
                raise ConfigError([ConfigProblem(flag, "", f"{name} is no rule; there are {', '.join(sorted(names))}")])
    with options.ask() as questions:
        report = questions.lint(
            which=options.which(), select=select or (), ignore=ignore or (), limit=runs, now_ms=now_ms()
        )
    rows = [asdict(finding) for finding in report.findings]
    if output is Format.table:
        for row in report.findings:
            count = f" ({row.found} of {row.of} runs)" if row.of else ""
            print_line(f"{row.experiment}: ", row.rule, f"{count}: {row.evidence}")
            print_line(f"  {row.advice}", style="dim")
        print_result(
            f"{len(rows)} found in {report.experiments} experiments, by {report.runs} runs, "
            f"the curves of {report.with_curves} and the files of {report.with_files}"
        )
    elif output is Format.json:
        print_json(plain({**asdict(report), "findings": rows}))
    else:
        print_rows(rows, output)
    raise typer.Exit(EXIT_FAILED if rows else 0)


def _about(run: Run, experiment: str) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "experiment": experiment,
        "status": run.status.value,
        "started": moment(run.start_ms),
        "duration_seconds": duration_seconds(run),
    }


def _as_pairs(about: Mapping[str, Any], run: Run) -> Sequence[Mapping[str, Any]]:
    return [
        {"kind": kind, "key": key, "value": None if value is None else str(plain(value))}
        for kind, pairs in (("run", about), ("metric", values_of(run)), ("param", run.params), ("tag", run.tags))
        for key, value in sorted(pairs.items())
    ]


def _told(found: History) -> Sequence[str]:
    lines = []
    if (ranking := found.ranking) is not None:
        lines.append(f"{ranking.metric}: {ranking.word} is better ({ranking.why})")
    if (trend := found.trend) is not None:
        sure = "a trend" if trend.significant else "no trend that is more than noise"
        lines.append(f"median by {found.every.value}: {trend.slope:+.4g} each, {sure} (p = {trend.p_value:.3f})")
    if found.undated:
        lines.append(f"{found.undated} runs have no start, and are in no period")
    return lines


def _believed(found: Importance) -> Sequence[str]:
    sampled = f"a sample of {found.runs} of {found.of} runs" if found.runs < found.of else f"{found.runs} runs"
    lines = [f"{found.ranking.metric} by {found.method.value}, from {sampled}"]
    if found.explained is not None:
        doubt = "" if found.believable else ": too little to rely on"
        lines.append(f"the fitted model explains {found.explained:.0%} of the variance of runs it has not seen{doubt}")
    left_out = list(found.left_out.items())
    lines += [f"left out: {key} {why}" for key, why in left_out[:_FEW]]
    if len(left_out) > _FEW:
        lines.append(f"and {len(left_out) - _FEW} more; --output json has all")
    return lines
