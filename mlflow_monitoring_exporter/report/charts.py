"""The pictures of a report, as specifications of Vega-Lite: the same for the page and for paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt

from mlflow_monitoring_exporter.analysis.importance import Importance
from mlflow_monitoring_exporter.analysis.periods import History
from mlflow_monitoring_exporter.analysis.ranking import Ranking
from mlflow_monitoring_exporter.analysis.reduce import evenly
from mlflow_monitoring_exporter.analysis.report import ExperimentReport, RunCurve

#: Points of a timeline.
MOMENTS = 1000

#: Colours that tell apart on white and on black.
_OF_STATUS = {
    "FINISHED": "#4c9f70",
    "FAILED": "#d1495b",
    "KILLED": "#8d99ae",
    "RUNNING": "#3a7ca5",
    "SCHEDULED": "#b08ea2",
}

Rows = list[dict[str, Any]]
ROWS, LABELS = alt.NamedData(name="rows"), alt.NamedData(name="labels")


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture and what is behind it: ``rows`` as a table, and ``note`` on what was left out."""

    title: str
    spec: Mapping[str, Any]
    rows: Rows
    note: str = ""
    wide: bool = field(default=False)


def periods(history: History) -> Figure:
    """Runs by period and what became of them."""
    rows: Rows = [
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
        alt.Chart(ROWS, height=160, width="container")
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
    return Figure(f"Runs by {history.every.value}", spec_of(chart, rows), rows)


def timeline(experiment: ExperimentReport, ranking: Ranking) -> Figure:
    """The value of each run at its start, and the best so far."""
    valued = sorted(
        (v.start_ms, v.value, v.status.value)
        for v in experiment.values
        if v.start_ms is not None and v.value is not None and math.isfinite(v.value)
    )
    rows: Rows = []
    best = math.nan
    for start, value, status in valued:
        if not ranking.sign * value <= ranking.sign * best:
            best = value
        rows.append({"started": start, "value": value, "best": best, "status": status})
    shown = evenly(rows, MOMENTS)
    base = alt.Chart(ROWS, height=200, width="container").encode(
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
        f"{ranking.metric} of each run, and the best so far", spec_of(alt.layer(line, marks), shown), shown, note
    )


def curves(found: Sequence[RunCurve], ranking: Ranking) -> Figure:
    """The curves of the best runs by step."""
    rows: Rows = [
        {"run": f"{curve.run.name} ({curve.run.run_id[:8]})", "step": step, "value": value}
        for curve in found
        for step, value in curve.points
    ]
    chart = (
        alt.Chart(ROWS, height=220, width="container")
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
    return Figure(f"{ranking.metric} of the best runs by step", spec_of(chart, rows), rows, note)


def importance(found: Importance) -> Figure:
    """The importance of each parameter, and where it lies if the runs are drawn anew."""
    rows: Rows = [
        {
            "param": param.key,
            "importance": param.importance,
            "low": param.interval.low if param.interval else param.importance,
            "high": param.interval.high if param.interval else param.importance,
        }
        for param in found.params[:20]
    ]
    base = alt.Chart(ROWS, width="container", height=20 * len(rows)).encode(
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
        f"What {found.ranking.metric} depends on", spec_of(alt.layer(bars, rules), rows), rows, "; ".join(notes)
    )


def spec_of(chart: Any, rows: Rows, labels: Rows | None = None) -> dict[str, Any]:
    """The chart with its data. Altair would look at each value of it, and for a second at each chart."""
    spec: dict[str, Any] = chart.to_dict(validate=False)
    spec["datasets"] = {"rows": rows, **({} if labels is None else {"labels": labels})}
    return spec
