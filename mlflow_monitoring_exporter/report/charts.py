"""The pictures of a report, as specifications of Vega-Lite: the same for the page and for paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt

from mlflow_monitoring_exporter.analysis.importance import Importance
from mlflow_monitoring_exporter.analysis.importance.settings import Kind, Setting, read_settings
from mlflow_monitoring_exporter.analysis.periods import History
from mlflow_monitoring_exporter.analysis.ranking import Ranking, values_of
from mlflow_monitoring_exporter.analysis.reduce import evenly
from mlflow_monitoring_exporter.analysis.report import ExperimentReport, RunCurve
from mlflow_monitoring_exporter.core.values import Run

#: Runs in parallel coordinates and in a scatter matrix, axes and sides of them, and points of a timeline.
LINES, MARKS, AXES, SIDES, MOMENTS = 200, 300, 8, 4, 1000
#: Categories of an axis that are named.
_NAMES = 8

#: Colours that tell apart on white and on black.
_OF_STATUS = {
    "FINISHED": "#4c9f70",
    "FAILED": "#d1495b",
    "KILLED": "#8d99ae",
    "RUNNING": "#3a7ca5",
    "SCHEDULED": "#b08ea2",
}

_Rows = list[dict[str, Any]]
_ROWS, _LABELS = alt.NamedData(name="rows"), alt.NamedData(name="labels")


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture and what is behind it: ``rows`` as a table, and ``note`` on what was left out."""

    title: str
    spec: Mapping[str, Any]
    rows: _Rows
    note: str = ""
    wide: bool = field(default=False)


def periods(history: History) -> Figure:
    """Runs by period and what became of them."""
    rows: _Rows = [
        {"period": p.begins.isoformat(), "runs": count, "became": became}
        for p in history.periods
        for became, count in (
            ("finished", p.finished),
            ("failed", p.failed),
            ("still open", p.runs - p.finished - p.failed),
        )
        if count
    ]
    chart = (
        alt.Chart(_ROWS, height=160, width="container")
        .mark_bar()
        .encode(
            x=alt.X("period:O", title=None, axis=alt.Axis(labelOverlap="greedy")),
            y=alt.Y("runs:Q", title="runs"),
            color=alt.Color(
                "became:N",
                title=None,
                scale=alt.Scale(domain=["finished", "failed", "still open"], range=["#4c9f70", "#d1495b", "#8d99ae"]),
                legend=alt.Legend(orient="bottom"),
            ),
            tooltip=["period:O", "became:N", "runs:Q"],
        )
    )
    return Figure(f"Runs by {history.every.value}", _spec(chart, rows), rows)


def timeline(experiment: ExperimentReport, ranking: Ranking) -> Figure:
    """The value of each run at its start, and the best so far."""
    valued = sorted(
        (v.start_ms, v.value, v.status.value)
        for v in experiment.values
        if v.start_ms is not None and v.value is not None and math.isfinite(v.value)
    )
    rows: _Rows = []
    best = math.nan
    for start, value, status in valued:
        if not ranking.sign * value <= ranking.sign * best:
            best = value
        rows.append({"started": start, "value": value, "best": best, "status": status})
    shown = evenly(rows, MOMENTS)
    base = alt.Chart(_ROWS, height=200, width="container").encode(
        x=alt.X("started:T", title=None, scale=alt.Scale(type="utc"), axis=alt.Axis(tickCount=6, labelOverlap="greedy"))
    )
    marks = base.mark_circle(opacity=0.6).encode(
        y=alt.Y("value:Q", title=ranking.metric, scale=alt.Scale(zero=False)),
        color=alt.Color(
            "status:N",
            title=None,
            scale=alt.Scale(domain=list(_OF_STATUS), range=list(_OF_STATUS.values())),
            legend=alt.Legend(orient="bottom"),
        ),
        tooltip=[alt.Tooltip("started:T"), "value:Q", "status:N"],
    )
    line = base.mark_line(interpolate="step-after", color="#e09f3e").encode(y="best:Q")
    note = f"{len(shown)} of {len(rows)} runs are drawn" if len(shown) < len(rows) else ""
    return Figure(
        f"{ranking.metric} of each run, and the best so far", _spec(alt.layer(line, marks), shown), shown, note
    )


def curves(found: Sequence[RunCurve], ranking: Ranking) -> Figure:
    """The curves of the best runs by step."""
    rows: _Rows = [
        {"run": f"{curve.run.name} ({curve.run.run_id[:8]})", "step": step, "value": value}
        for curve in found
        for step, value in curve.points
    ]
    chart = (
        alt.Chart(_ROWS, height=220, width="container")
        .mark_line()
        .encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y("value:Q", title=ranking.metric, scale=alt.Scale(zero=False)),
            color=alt.Color("run:N", title=None, legend=alt.Legend(orient="bottom", columns=2, labelLimit=280)),
            tooltip=["run:N", "step:Q", "value:Q"],
        )
    )
    drawn, all_points = sum(len(c.points) for c in found), sum(c.of for c in found)
    note = f"{drawn} of {all_points} points are drawn, those that keep the shape (LTTB)" if drawn < all_points else ""
    return Figure(f"{ranking.metric} of the best runs by step", _spec(chart, rows), rows, note)


def parallel_coordinates(runs: Sequence[Run], ranking: Ranking) -> Figure | None:
    """A line for each run through its parameters to its value; None without parameters that vary."""
    valued = [run for run in runs if math.isfinite(values_of(run).get(ranking.metric, math.nan))]
    lines = evenly(sorted(valued, key=lambda run: -ranking.sign * values_of(run)[ranking.metric]), LINES)
    axes = read_settings([run.params for run in lines]).used[: AXES - 1] if lines else ()
    if not axes:
        return None
    values = [values_of(run)[ranking.metric] for run in lines]
    rows: _Rows = []
    labels: _Rows = []
    for setting in axes:
        labels += _labels(setting)
        low, high = min(setting.codes), max(setting.codes)
        rows += [
            {
                "run": run.name,
                "id": run.run_id[:8],
                "axis": setting.key,
                "at": _share(code, low, high),
                "value": value,
                "is": run.params.get(setting.key, ""),
            }
            for run, code, value in zip(lines, setting.codes, values, strict=True)
        ]
    low, high = min(values), max(values)
    rows += [
        {
            "run": run.name,
            "id": run.run_id[:8],
            "axis": ranking.metric,
            "at": _share(value, low, high),
            "value": value,
            "is": f"{value:.6g}",
        }
        for run, value in zip(lines, values, strict=True)
    ]
    labels += [{"axis": ranking.metric, "at": at, "text": f"{value:.4g}"} for at, value in ((0, low), (1, high))]
    order = [*(setting.key for setting in axes), ranking.metric]
    x = alt.X("axis:N", title=None, sort=order, axis=alt.Axis(labelAngle=0, grid=True, labelLimit=110))
    drawn = (
        alt.Chart(_ROWS)
        .mark_line(opacity=0.5)
        .encode(
            x=x,
            y=alt.Y("at:Q", axis=None),
            detail="id:N",
            color=alt.Color(
                "value:Q",
                title=ranking.metric,
                scale=alt.Scale(scheme="viridis", reverse=ranking.sign < 0),
                legend=alt.Legend(type="symbol", orient="bottom"),
            ),
            tooltip=["run:N", "axis:N", "is:N", alt.Tooltip("value:Q", title=ranking.metric)],
        )
    )
    written = (
        alt.Chart(_LABELS)
        .mark_text(dx=4, align="left", fontSize=10)
        .encode(x=x, y=alt.Y("at:Q", axis=None), text="text:N")
    )
    chart = alt.layer(drawn, written).properties(width=max(420, 110 * len(order)), height=260)
    left_out = (
        f"{len(lines)} of {len(valued)} runs are drawn, from the best to the worst" if len(lines) < len(valued) else ""
    )
    table: _Rows = [
        {"run": run.name, ranking.metric: value, **{s.key: run.params.get(s.key, "") for s in axes}}
        for run, value in zip(lines, values, strict=True)
    ]
    return Figure("Parameters and what came of them", _spec(chart, rows, labels), table, left_out, wide=True)


def scatter_matrix(runs: Sequence[Run], ranking: Ranking) -> Figure | None:
    """Each metric and numeric parameter against each other; None where there are fewer than two."""
    all_valued = [r for r in runs if math.isfinite(values_of(r).get(ranking.metric, math.nan))]
    valued = evenly(all_valued, MARKS)
    numeric = [s for s in read_settings([run.params for run in valued]).used if s.kind is not Kind.CATEGORY]
    held: dict[str, int] = {}
    for run in valued:
        for key, value in values_of(run).items():
            if math.isfinite(value) and not key.startswith("system/"):
                held[key] = held.get(key, 0) + 1
    metrics = sorted((k for k in held if k != ranking.metric), key=lambda key: (-held[key], key))
    sides = [ranking.metric, *(s.key for s in numeric[: SIDES // 2]), *metrics][:SIDES]
    if len(valued) < 2 or len(sides) < 2:
        return None
    params = {s.key for s in numeric}
    rows: _Rows = [{"run": run.name, **{side: _number(run, side, params) for side in sides}} for run in valued]
    names = {side: f"v{at}" for at, side in enumerate(sides)}  # a key may hold what Vega reads as a path
    plain: _Rows = [{"run": row["run"], **{names[side]: row[side] for side in sides}} for row in rows]
    grid = alt.vconcat(
        *(
            alt.hconcat(
                *(
                    alt.Chart(width=130, height=110)
                    .mark_circle(size=18, opacity=0.6)
                    .encode(
                        x=alt.X(
                            f"{names[side]}:Q", title=side, scale=alt.Scale(zero=False), axis=alt.Axis(titleLimit=130)
                        ),
                        y=alt.Y(
                            f"{names[other]}:Q", title=other, scale=alt.Scale(zero=False), axis=alt.Axis(titleLimit=110)
                        ),
                        tooltip=[
                            "run:N",
                            alt.Tooltip(f"{names[side]}:Q", title=side),
                            alt.Tooltip(f"{names[other]}:Q", title=other),
                        ],
                    )
                    for side in sides
                )
            )
            for other in sides
        ),
        data=_ROWS,
    )
    note = f"{len(valued)} of {len(all_valued)} runs are drawn" if len(valued) < len(all_valued) else ""
    return Figure("Each against each", _spec(grid, plain), rows, note, wide=True)


def importance(found: Importance) -> Figure:
    """The importance of each parameter, and where it lies if the runs are drawn anew."""
    rows: _Rows = [
        {
            "param": param.key,
            "importance": param.importance,
            "low": param.interval.low if param.interval else param.importance,
            "high": param.interval.high if param.interval else param.importance,
        }
        for param in found.params[:20]
    ]
    base = alt.Chart(_ROWS, width="container", height=20 * len(rows)).encode(
        y=alt.Y("param:N", sort=None, title=None, axis=alt.Axis(labelLimit=140))
    )
    bars = base.mark_bar(color="#3a7ca5").encode(x=alt.X("importance:Q", title="share of the variance"))
    rules = base.mark_rule(color="#e09f3e", strokeWidth=2).encode(x="low:Q", x2="high:Q")
    notes = []
    if found.runs < found.of:
        notes.append(f"from a sample of {found.runs} of {found.of} runs")
    if found.explained is not None:
        doubt = "" if found.believable else ": too little to rely on"
        notes.append(f"the fitted model explains {found.explained:.0%} of the variance of runs it has not seen{doubt}")
    return Figure(
        f"What {found.ranking.metric} depends on", _spec(alt.layer(bars, rules), rows), rows, "; ".join(notes)
    )


def figures_of(experiment: ExperimentReport) -> Iterable[Figure]:
    """All pictures of an experiment for which there is anything to draw."""
    ranking = experiment.ranking
    if ranking is None:
        return
    if any(v.value is not None and v.start_ms is not None and math.isfinite(v.value) for v in experiment.values):
        yield timeline(experiment, ranking)
    if experiment.curves:
        yield curves(experiment.curves, ranking)
    for figure in (parallel_coordinates(experiment.newest, ranking), scatter_matrix(experiment.newest, ranking)):
        if figure is not None:
            yield figure
    if experiment.importance is not None:
        yield importance(experiment.importance)


def _spec(chart: Any, rows: _Rows, labels: _Rows | None = None) -> dict[str, Any]:
    """The chart with its data. Altair would look at each value of it, and for a second at each chart."""
    spec: dict[str, Any] = chart.to_dict(validate=False)
    spec["datasets"] = {"rows": rows, **({} if labels is None else {"labels": labels})}
    return spec


def _share(code: float, low: float, high: float) -> float:
    return (code - low) / (high - low) if high > low else 0.5


def _labels(setting: Setting) -> _Rows:
    """What stands beside an axis: its ends, or its categories."""
    low, high = min(setting.codes), max(setting.codes)
    if setting.kind is Kind.CATEGORY:
        return [
            {"axis": setting.key, "at": _share(float(at), low, high), "text": name[:18]}
            for at, name in enumerate(setting.categories)
            if len(setting.categories) <= _NAMES
        ]
    shown = [(10**code if setting.kind is Kind.LOG else code) for code in (low, high)]
    return [{"axis": setting.key, "at": at, "text": f"{value:.4g}"} for at, value in enumerate(shown)]


def _number(run: Run, key: str, params: set[str]) -> float | None:
    if key not in params:
        value = values_of(run).get(key, math.nan)
    else:
        try:
            value = float(run.params[key])
        except (KeyError, ValueError):
            return None
    return value if math.isfinite(value) else None
