"""A report as a page: one file that loads nothing."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import count
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.analysis.attention import Attention
from mlflow_monitoring_exporter.analysis.lint import LintFinding
from mlflow_monitoring_exporter.analysis.ranking import Ranking, values_of
from mlflow_monitoring_exporter.analysis.report import ExperimentReport, Report
from mlflow_monitoring_exporter.core.clock import moment
from mlflow_monitoring_exporter.core.values import Run
from mlflow_monitoring_exporter.report.charts import Figure, periods
from mlflow_monitoring_exporter.report.figures import figures_of

#: Rows of a table; a file of every run would be no report.
_ROWS = 100
#: Characters of a picture that is set as lines.
_MOST_SVG = 200_000

_Rows = Sequence[Mapping[str, Any]]


def page(report: Report, *, interactive: bool = True) -> str:
    """The report as HTML. ``interactive`` draws in the browser, otherwise the pictures are in it, as for paper."""
    numbers = count(1)

    def figure(figure: Figure) -> Markup:
        return _figure(figure, f"figure-{next(numbers)}", interactive=interactive)

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(_file("page.html.j2"))
    return template.render(
        title="MLflow report",
        style=Markup(_file("style.css")),  # noqa: S704 - our own
        report=report,
        version=__version__,
        made=_moment(report.until_ms),
        since=_moment(report.since_ms),
        until=_moment(report.until_ms),
        total=sum(report.counts.values()),
        cut=len(report.experiments) < len(report.counts),
        overview=periods(report.history) if report.history.periods else None,
        counts=[{"experiment": name, "runs": runs} for name, runs in report.counts.items()],
        attention=[_row_of_attention(name, each) for name, each in report.attention],
        findings=list(_findings(report)),
        sections=[_section(experiment) for experiment in report.experiments],
        figure=figure,
        table=_table,
        bundle=Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")) if interactive else "",  # noqa: S704 - Vega's own
    )


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _findings(report: Report) -> Iterator[dict[str, Any]]:
    """By rule, because what to do is the same everywhere."""
    by_rule: dict[str, list[LintFinding]] = {}
    for finding in report.findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    for rule, findings in by_rule.items():
        where = [
            f"{finding.experiment} ({finding.found} of {finding.of} runs)" if finding.of else finding.experiment
            for finding in findings
        ]
        yield {
            "rule": rule,
            "where": ", ".join(where),
            "as": findings[0].evidence,
            "what to do": findings[0].advice,
        }


def _section(experiment: ExperimentReport) -> dict[str, Any]:
    ranking = experiment.ranking
    counts = experiment.history.periods
    runs, finished, failed = (sum(getattr(p, name) for p in counts) for name in ("runs", "finished", "failed"))
    summary = f"{runs} runs: {finished} finished, {failed} failed."
    if ranking is not None:
        summary += f" Ranked by {ranking.metric}, of which {ranking.word} is better ({ranking.why})."
    return {
        "name": experiment.name,
        "description": experiment.description,
        "summary": summary,
        "trend": list(_trend(experiment)),
        "best": [_row_of_run(run, ranking) for run in experiment.best] if ranking else [],
        "figures": list(figures_of(experiment)),
        "why_not": experiment.why_not,
    }


def _trend(experiment: ExperimentReport) -> Iterator[str]:
    trend, every = experiment.history.trend, experiment.history.every.value
    if trend is not None and experiment.ranking is not None:
        better = trend.slope * experiment.ranking.sign > 0
        sure = ("It gets better" if better else "It gets worse") if trend.significant else "That is no more than noise"
        yield f"The median moves by {trend.slope:+.4g} each {every}. {sure} (p = {trend.p_value:.3f})."


def _row_of_run(run: Run, ranking: Ranking) -> dict[str, Any]:
    return {
        ranking.metric: values_of(run).get(ranking.metric),
        "run": run.name,
        "id": run.run_id[:8],
        "status": run.status.value,
        "started": _moment(run.start_ms),
        "parameters": ", ".join(f"{key}={value}" for key, value in sorted(run.params.items())[:8]),
    }


def _row_of_attention(experiment: str, each: Attention) -> dict[str, Any]:
    return {
        "experiment": experiment,
        "run": each.run.name,
        "id": each.run.run_id[:8],
        "what": each.kind,
        "evidence": each.evidence,
        "started": _moment(each.run.start_ms),
    }


def _figure(figure: Figure, name: str, *, interactive: bool) -> Markup:
    classes = "wide" if figure.wide else ""
    caption = Markup("<figcaption>{}</figcaption>").format(figure.title)
    if interactive:
        # In a script nothing but the end of it counts.
        spec = Markup(json.dumps(figure.spec).replace("<", "\\u003c"))  # noqa: S704 - escaped for where it stands
        drawn = Markup(
            '<div class="picture" data-figure="{0}" role="img" aria-label="{1}"></div>'
            '<script type="application/json" id="{0}">{2}</script>'
        ).format(name, figure.title, spec)
    else:
        drawn = Markup('<div class="picture">{}</div>').format(_printed(figure))
    note = Markup('<p class="note">{}</p>').format(figure.note) if figure.note else ""
    rows = _table("", figure.rows)
    behind = Markup("<details><summary>As a table</summary>{}</details>").format(rows) if interactive else ""
    return Markup('<figure><div class="{}">{}</div>{}{}{}</figure>').format(classes, drawn, caption, note, behind)


def _printed(figure: Figure) -> Markup:
    """The picture itself; of many marks as pixels, which are set in a thousandth of the time."""
    spec = _with_width(figure.spec)
    svg = vl_convert.vegalite_to_svg(spec)
    if len(svg) <= _MOST_SVG:
        return Markup(svg)  # noqa: S704 - Vega escapes what it draws
    pixels = base64.b64encode(vl_convert.vegalite_to_png(spec, scale=1.25)).decode()
    return Markup('<img src="data:image/png;base64,{}" alt="{}">').format(pixels, figure.title)


def _with_width(spec: Mapping[str, Any]) -> dict[str, Any]:
    """On paper there is no container to take a width from."""
    return {**spec, "width": 560} if spec.get("width") == "container" else dict(spec)


def _table(caption: str, rows: _Rows, most: int = _ROWS) -> Markup:
    keys = list(rows[0]) if rows else []
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(key) for key in keys)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(_cell(row.get(key)) for key in keys)) for row in rows[:most]
    )
    named = Markup("<caption>{}</caption>").format(caption) if caption else ""
    more = Markup('<p class="note">{} more rows</p>').format(len(rows) - most) if len(rows) > most else ""
    return Markup(
        '<div class="rows" tabindex="0"><table>{}<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>{}'
    ).format(named, head, body, more)


def _cell(value: Any) -> Markup:
    if isinstance(value, float):
        return Markup('<td class="number">{}</td>').format(f"{value:.6g}" if math.isfinite(value) else str(value))
    if isinstance(value, int):
        return Markup('<td class="number">{}</td>').format(value)
    return Markup("<td>{}</td>").format("" if value is None else value)


def _moment(milliseconds: int | None) -> str:
    when = moment(milliseconds)
    return "" if when is None else when.strftime("%Y-%m-%d %H:%M")
