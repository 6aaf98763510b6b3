"""Draw a dashboard as it looks in Grafana, roughly, over what a Prometheus holds: the picture in the documentation.

::

    python -m grafana.source.picture http://localhost:9090 mlflow-dashboard [mlflow_metrics] > docs/dashboard.svg

The last argument is the value of the variable Way. Colours follow the reader's colour scheme. Numbers, curves, bars and tables stand where the dashboard's file puts them. It is a drawing, not a screenshot.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import requests

WIDTH, UNIT, GAP = 1440.0, 34.0, 8.0
_ROWS = 34
#: What is chosen of the variables; all of any other.
_CHOSEN = {"by": "experiment_name", "metric": "accuracy", "top": "10", "__rate_interval": "1m"}
_COLORS = ("#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#37872D", "#FADE2A", "#C4162A")
_NAMED = {"green": "#73BF69", "blue": "#5794F2", "red": "#F2495C", "orange": "#FF9830", "purple": "#B877D9"}
_MINUTES = 15
_STYLE = """
text { font-family: Inter, "Helvetica Neue", Arial, sans-serif; fill: #ccccdc; font-size: 12px }
.back { fill: #111217 } .panel { fill: #181b1f; stroke: #25272c } .grid { stroke: #2c3036 } .track { fill: #22252b }
.title { font-weight: 500; font-size: 13px } .row { font-size: 15px; font-weight: 500 } .end { text-anchor: end }
.big { font-size: 30px; font-weight: 600; text-anchor: middle } .dim { fill: #8e8e99; font-size: 11px } .link { fill: #6E9FFF }
@media (prefers-color-scheme: light) {
text { fill: #24292e } .back { fill: #f4f5f5 } .panel { fill: #ffffff; stroke: #dcdde0 } .grid { stroke: #e4e5e8 }
.track { fill: #eceef0 } .dim { fill: #6e7278 } .link { fill: #1f62e0 } }
"""


def main() -> None:
    url, name, *way = sys.argv[1:]
    _CHOSEN.update(job=way[0] if way else "mlflow-exporter")
    board = json.loads((Path(__file__).parents[1] / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))
    panels = [panel for panel in board["panels"] if panel["gridPos"]["y"] < _ROWS]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * UNIT + 56
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img">',
        f"<title>{escape(board['title'])}</title><style>{_STYLE}</style>",
        f'<rect class="back" width="{WIDTH:g}" height="{height:g}"/>',
        f'<text x="16" y="32" style="font-size:18px;font-weight:500">{escape(board["title"])}</text>',
    ]
    for panel in panels:
        out += _panel(panel, url)
    sys.stdout.write("\n".join([*out, "</svg>"]) + "\n")


def _panel(panel: Any, url: str) -> Iterator[str]:
    place = panel["gridPos"]
    x, y = place["x"] * WIDTH / 24 + GAP / 2, place["y"] * UNIT + 52
    w, h = place["w"] * WIDTH / 24 - GAP, place["h"] * UNIT - GAP
    if panel["type"] == "row":
        yield f'<text class="row" x="{x + 4:g}" y="{y + 20:g}">⌄ {escape(panel["title"])}</text>'
        return
    yield f'<svg x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}">'
    yield f'<rect class="panel" width="{w:g}" height="{h:g}" rx="3"/>'
    yield f'<text class="title" x="10" y="20">{escape(panel["title"])}</text>'
    draw = {"stat": _number, "timeseries": _curves, "bargauge": _bars, "table": _table, "state-timeline": _curves}[
        panel["type"]
    ]
    yield from draw(panel, url, w, h)
    yield "</svg>"


def _number(panel: Any, url: str, w: float, h: float) -> Iterator[str]:
    (element,) = _ask(url, panel["targets"][0])
    past = [(float(t), float(v)) for t, v in element.get("values", ())]
    value = past[-1][1] if past else float(element["value"][1])
    yield from _trend(past, w, h)
    bad = [
        step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"] if step["value"] is not None
    ]
    color = "#F2495C" if bad and value >= bad[0] else "#73BF69"
    yield f'<text class="big" x="{w / 2:g}" y="{h / 2 + 22:g}" style="fill:{color}">{_text(value, _unit(panel))}</text>'


def _trend(past: Sequence[tuple[float, float]], w: float, h: float) -> Iterator[str]:
    """The small curve behind a number."""
    if len(past) < 2:
        return
    (start, _), (end, _) = past[0], past[-1]
    low, high = min(v for _, v in past), max(v for _, v in past)
    at = [
        f"{w * (t - start) / (end - start):.1f},{h - 4 - (h / 3) * (v - low) / ((high - low) or 1):.1f}"
        for t, v in past
    ]
    yield f'<polyline points="{" ".join(at)}" fill="none" stroke="#73BF69" stroke-opacity="0.5"/>'


def _curves(panel: Any, url: str, w: float, h: float) -> Iterator[str]:
    series = [
        (_legend(target, element["metric"]), [(float(t), float(v)) for t, v in element["values"]])
        for target in panel["targets"]
        for element in _ask(url, target)
    ][:10]
    stacked = panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking", {}).get("mode") == "normal"
    below: dict[float, float] = {}
    lines = []
    for legend, points in series:
        if stacked:
            points = [(t, v + below.get(t, 0.0)) for t, v in points]  # noqa: PLW2901
            below |= dict(points)
        lines.append((legend, points))
    finite = [v for _, points in lines for _, v in points if math.isfinite(v)]
    low, high = (0.0 if stacked else min(finite, default=0.0)), max(finite, default=1.0)
    high = high if high > low else low + 1
    times = [t for _, points in lines for t, _ in points]
    start, end = min(times, default=0.0), max(times, default=1.0)
    left, top, bottom, right = 58.0, 34.0, h - 50, w - 12

    def at(t: float, v: float) -> str:
        across = left + (right - left) * (t - start) / max(1.0, end - start)
        return f"{across:.1f},{bottom - (bottom - top) * (v - low) / (high - low):.1f}"

    for part in range(5):
        value = low + (high - low) * part / 4
        level = at(start, value).split(",")[1]
        yield f'<line x1="{left:g}" x2="{right:g}" y1="{level}" y2="{level}" class="grid"/>'
        yield f'<text class="dim end" x="{left - 6:g}" y="{float(level) + 4:g}">{_text(value, _unit(panel))}</text>'
    for number, (legend, points) in reversed(list(enumerate(lines))):
        color = _color(panel, legend, number)
        drawn = [at(t, v) for t, v in points if math.isfinite(v)]
        if stacked and drawn:
            area = " ".join([*drawn, at(points[-1][0], low), at(points[0][0], low)])
            yield f'<polygon points="{area}" fill="{color}" fill-opacity="0.35"/>'
        yield f'<polyline points="{" ".join(drawn)}" fill="none" stroke="{color}" stroke-width="1.5"/>'
    across = left
    for number, (legend, _) in enumerate(lines[:6]):
        if across + 7 * len(legend) + 30 > w:
            break
        color = _color(panel, legend, number)
        yield f'<rect x="{across:g}" y="{h - 22:g}" width="14" height="4" fill="{color}"/>'
        yield f'<text class="dim" x="{across + 20:g}" y="{h - 16:g}">{escape(legend)}</text>'
        across += 6.4 * len(legend) + 40


def _bars(panel: Any, url: str, w: float, h: float) -> Iterator[str]:
    (target,) = panel["targets"]
    found = sorted(
        ((_legend(target, element["metric"]), float(element["value"][1])) for element in _ask(url, target)),
        key=lambda item: -item[1],
    )[:7]
    most = max(value for _, value in found) or 1.0
    step = (h - 40) / max(1, len(found))
    for number, (legend, value) in enumerate(found):
        y, color = 34 + number * step, _COLORS[number % len(_COLORS)]
        yield f'<text class="end" x="150" y="{y + step / 2 + 2:g}">{escape(legend[:24])}</text>'
        length = max(2.0, (w - 260) * value / most)
        yield f'<rect x="160" y="{y:g}" width="{w - 260:g}" height="{step - 8:g}" class="track"/>'
        yield f'<rect x="160" y="{y:g}" width="{length:g}" height="{step - 8:g}" fill="{color}" fill-opacity="0.85"/>'
        yield f'<text x="{w - 92:g}" y="{y + step / 2 + 2:g}" style="fill:{color}">{_text(value, _unit(panel))}</text>'


def _table(panel: Any, url: str, w: float, h: float) -> Iterator[str]:
    organize = next(t["options"] for t in panel["transformations"] if t["id"] == "organize")
    overrides = {o["matcher"]["options"]: {p["id"]: p["value"] for p in o["properties"]} for o in _overrides(panel)}
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    shared = None
    answers = [(target["refId"], _ask(url, target)) for target in panel["targets"]]
    for _, found in answers:
        labels = set(found[0]["metric"]) if found else set()
        shared = labels if shared is None else shared & labels
    for ref, found in answers:
        for element in found:
            row = rows.setdefault(tuple(element["metric"].get(label, "") for label in sorted(shared or ())), {})
            row.update(element["metric"])
            row["Value" if len(answers) == 1 else f"Value #{ref}"] = float(element["value"][1])
    order = sorted(organize["renameByName"].items(), key=lambda item: int(organize["indexByName"][item[0]]))
    names = [(field, new) for field, new in order if not overrides.get(new, {}).get("custom.hidden")]
    step = (w - 20) / len(names)
    for number, (_, new) in enumerate(names):
        yield f'<text class="title link" x="{12 + number * step:g}" y="46">{escape(new)}</text>'
    (sorting,) = next(t["options"]["sort"] for t in panel["transformations"] if t["id"] == "sortBy")
    field = sorting["field"]
    found = sorted(
        rows.values(), key=lambda row: (isinstance(row.get(field), float), row.get(field, "")), reverse=sorting["desc"]
    )
    for line, row in enumerate(found[: int((h - 56) / 25)]):
        y = 70 + line * 25
        yield f'<line x1="8" x2="{w - 8:g}" y1="{y - 17:g}" y2="{y - 17:g}" class="grid"/>'
        for number, (field, new) in enumerate(names):
            value = row.get(field, "")
            shown = (
                _text(value, overrides.get(new, {}).get("unit", _unit(panel))) if isinstance(value, float) else value
            )
            how = ' class="link"' if "links" in overrides.get(new, {}) else ""
            for mapping in overrides.get(new, {}).get("mappings", ()):
                if meant := mapping["options"].get(shown):
                    shown = meant.get("text", shown)
                    how = f' style="fill:{_NAMED[meant["color"]]}"' if "color" in meant else how
            yield f'<text x="{12 + number * step:g}" y="{y:g}"{how}>{escape(shown[: int(step / 7)])}</text>'


def _color(panel: Any, legend: str, number: int) -> str:
    for override in _overrides(panel):
        if override["matcher"]["options"] == legend:
            return _NAMED[override["properties"][0]["value"]["fixedColor"]]
    return _COLORS[number % len(_COLORS)]


def _overrides(panel: Any) -> Any:
    return panel["fieldConfig"]["overrides"]


def _filled(text: str) -> str:
    """With the variables as they may be chosen."""
    return re.sub(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))", lambda match: _CHOSEN.get(match[1] or match[2], ".*"), text)


def _ask(url: str, target: Any) -> list[Any]:
    expression = _filled(target["expr"])
    now = time.time()
    if target.get("instant"):
        path, params = "query", {"query": expression}
    else:
        path = "query_range"
        params = {"query": expression, "start": str(now - 60 * _MINUTES), "end": str(now), "step": "5"}
    answer = requests.get(f"{url}/api/v1/{path}", params=params, timeout=30).json()
    found: list[Any] = answer["data"]["result"]
    return found


def _legend(target: Any, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), _filled(target.get("legendFormat") or ""))


def _unit(panel: Any) -> str:
    return str(panel["fieldConfig"]["defaults"]["unit"])


def _text(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return str(value).replace("nan", "NaN").replace("inf", "∞")
    if unit == "dateTimeFromNow":
        return f"{_text(time.time() - value / 1000, 'dtdurations')} ago"
    if unit in ("s", "dtdurations"):
        for size, word in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
            if value >= 2 * size:
                return f"{value / size:.3g} {word}"
        return f"{value:.3g} s"
    if abs(value) >= 10_000:
        return f"{value / 1000:.3g} K"
    return f"{value:.4g}"


if __name__ == "__main__":
    main()
