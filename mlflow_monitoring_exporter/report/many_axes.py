"""Runs by many of their parameters and metrics at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt

from mlflow_monitoring_exporter.analysis.importance.settings import Kind, Setting, read_settings
from mlflow_monitoring_exporter.analysis.ranking import Ranking, values_of
from mlflow_monitoring_exporter.analysis.reduce import evenly
from mlflow_monitoring_exporter.core.values import Run
from mlflow_monitoring_exporter.report.charts import LABELS, ROWS, Figure, Rows, spec_of

#: Runs in parallel coordinates and in a scatter matrix, axes and sides of them.
LINES, MARKS, AXES, SIDES = 200, 300, 8, 4
#: Categories of an axis that are named.
_NAMES = 8


def parallel_coordinates(runs: Sequence[Run], ranking: Ranking) -> Figure | None:
    """A line for each run through its parameters to its value; None without parameters that vary."""
    valued = [run for run in runs if math.isfinite(values_of(run).get(ranking.metric, math.nan))]
    lines = evenly(sorted(valued, key=lambda run: -ranking.sign * values_of(run)[ranking.metric]), LINES)
    axes = read_settings([run.params for run in lines]).used[: AXES - 1] if lines else ()
    if not axes:
        return None
    values = [values_of(run)[ranking.metric] for run in lines]
    rows: Rows = []
    labels: Rows = []
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
        alt.Chart(ROWS)
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
        alt.Chart(LABELS)
        .mark_text(dx=4, align="left", fontSize=10)
        .encode(x=x, y=alt.Y("at:Q", axis=None), text="text:N")
    )
    chart = alt.layer(drawn, written).properties(width=max(420, 110 * len(order)), height=260)
    left_out = (
        f"{len(lines)} of {len(valued)} runs are drawn, from the best to the worst" if len(lines) < len(valued) else ""
    )
    table: Rows = [
        {"run": run.name, ranking.metric: value, **{s.key: run.params.get(s.key, "") for s in axes}}
        for run, value in zip(lines, values, strict=True)
    ]
    return Figure("Parameters and what came of them", spec_of(chart, rows, labels), table, left_out, wide=True)


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
    rows: Rows = [{"run": run.name, **{side: _number(run, side, params) for side in sides}} for run in valued]
    names = {side: f"v{at}" for at, side in enumerate(sides)}  # a key may hold what Vega reads as a path
    plain: Rows = [{"run": row["run"], **{names[side]: row[side] for side in sides}} for row in rows]
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
        data=ROWS,
    )
    note = f"{len(valued)} of {len(all_valued)} runs are drawn" if len(valued) < len(all_valued) else ""
    return Figure("Each against each", spec_of(grid, plain), rows, note, wide=True)


def _share(code: float, low: float, high: float) -> float:
    return (code - low) / (high - low) if high > low else 0.5


def _labels(setting: Setting) -> Rows:
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
