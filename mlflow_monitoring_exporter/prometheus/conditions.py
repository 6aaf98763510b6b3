"""The condition of one alert of the configuration, as PromQL and in words."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_monitoring_exporter.config.alerts import AlertConfig
from mlflow_monitoring_exporter.core.directions.direction import Direction, Directions
from mlflow_monitoring_exporter.core.patterns import to_re2
from mlflow_monitoring_exporter.prometheus.escaping import quoted
from mlflow_monitoring_exporter.prometheus.families import AGGREGATES, EXPERIMENT_RUNS, RUN_STALLED
from mlflow_monitoring_exporter.prometheus.ways import one_way

#: Seconds over which a rate is measured unless the alert says otherwise.
_RATE_WINDOW = 600.0
_OF_EXPERIMENT = "server, experiment_name, metric"
_OF_RUN = "server, experiment_name, run_id, metric"
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"))
#: A number as people read it, and a template that yields it.
_VALUE = '{{ printf "%.4g" $value }}'
_WHOSE = {
    "finished": " in the run that finished last",
    "latest": " in the run that started last",
    "best": " in the best run",
    "mean": " on average over all runs",
    "min": " at the smallest in any run",
    "max": " at the largest in any run",
    "open": "",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression that has a result while the alert fires, what that says, and for how long it must be so."""

    expression: str
    summary: str
    hold: float


def condition_of(alert: AlertConfig, directions: Directions) -> Condition:
    """What an alert means. Raises ValueError when it needs to know which way is better, and that is not known."""
    build = {"rate_above": _rate, "rate_below": _rate, "change": _change, "zscore": _zscore, "missing": _missing}
    return build.get(alert.condition, _threshold)(alert, directions)


def duration(seconds: float) -> str:
    """As Prometheus writes it, and people read it: ``10m``."""
    if seconds != round(seconds):
        return f"{round(seconds * 1000)}ms"
    size, unit = next((each for each in _UNITS if seconds and not seconds % each[0]), (1, "s"))
    return f"{round(seconds / size)}{unit}"


def _threshold(alert: AlertConfig, directions: Directions) -> Condition:
    is_above, bound = _bound(alert, directions)
    over, said = "{}", ""
    if alert.window is not None:
        window = duration(alert.window)
        over = f"{alert.over}_over_time({{}}[{window}])"
        said = {"avg": " on average", "min": " at least", "max": " at most"}[alert.over] + f" over {window}"
    sign, word = (">", "above") if is_above else ("<", "below")
    return Condition(
        f"{_series(alert, over)} {sign} {bound!r}",
        f"{_what(alert)} is{said} {_VALUE}, {word} {bound:g}",
        alert.hold,
    )


def _bound(alert: AlertConfig, directions: Directions) -> tuple[bool, float]:
    """Whether the alert fires above, and the value."""
    if alert.above is not None:
        return True, alert.above
    if alert.below is not None:
        return False, alert.below
    direction = directions.of(alert.metric)
    if direction is None or alert.threshold is None:
        raise ValueError(f"which values of {alert.metric} are better is not known: write above or below")
    return direction is Direction.MIN, alert.threshold


def _rate(alert: AlertConfig, _directions: Directions) -> Condition:
    window = duration(alert.window or _RATE_WINDOW)
    is_above = alert.rate_above is not None
    bound = alert.rate_above if alert.rate_above is not None else alert.rate_below
    sign, word = (">", "above") if is_above else ("<", "below")
    rate = _series(alert, f"deriv({{}}[{window}])")
    return Condition(
        f"60 * {rate} {sign} {bound!r}",
        f"{_what(alert)} changes by {_VALUE} a minute over {window}, {word} {bound:g}",
        alert.hold,
    )


def _change(alert: AlertConfig, directions: Directions) -> Condition:
    # A difference of ours is positive where the last run is better.
    sign = "+" if directions.of(alert.metric) is Direction.MIN else "-"
    last, difference = _aggregate("finished", alert), _aggregate("delta", alert)
    return Condition(
        f"abs({difference}) / abs({last} {sign} {difference}) > {alert.change!r}",
        f"{_what(alert)} is {_now('finished', alert)}, {{{{ $value | humanizePercentage }}}} away from the run before, "
        f"more than {100 * (alert.change or 0):.4g}% of it",
        alert.hold,
    )


def _zscore(alert: AlertConfig, _directions: Directions) -> Condition:
    last, mean = _aggregate("finished", alert), _aggregate("mean", alert)
    return Condition(
        f"abs({last} - {mean}) / {_aggregate('stddev', alert)} > {alert.zscore!r}",
        f"{_what(alert)} is {_now('finished', alert)}, {_VALUE} standard deviations from the mean of all runs, "
        f"more than {alert.zscore:g}",
        alert.hold,
    )


def _missing(alert: AlertConfig, _directions: Directions) -> Condition:
    """Experiments, or open runs, without the metric."""
    labels = ", ".join(name for name in _labels(alert).split(", ") if name != "metric")
    whole = RUN_STALLED.name if alert.of == "open" else EXPERIMENT_RUNS.name
    there = one_way(labels, f"{whole}{{{_matchers(alert, metric=False)}}}")
    absent = f"({there} unless on ({labels}) {_series(alert)})"
    return Condition(
        f'label_replace({absent}, "metric", {quoted(alert.metric)}, "", "")',
        f"{_what(alert)} is missing for {duration(alert.missing or 0)}",
        alert.missing or 0.0,
    )


def _what(alert: AlertConfig) -> str:
    return f"{alert.metric}{_WHOSE[alert.of]}"


def _labels(alert: AlertConfig) -> str:
    return _OF_RUN if alert.of == "open" else _OF_EXPERIMENT


def _series(alert: AlertConfig, function: str = "{}") -> str:
    if alert.of != "open":
        return _aggregate(alert.of, alert, function)
    # Of any family: they are called after keys, and may be renamed; the label has the key as it was logged.
    values = one_way(_OF_RUN, f'{{__name__=~"mlflow_.+",run_id!="",{_matchers(alert)}}}', function)
    return f"({values} and on (server, experiment_name, run_id) {RUN_STALLED.name})"


def _aggregate(of: str, alert: AlertConfig, function: str = "{}") -> str:
    return one_way(_OF_EXPERIMENT, f"{AGGREGATES[of].name}{{{_matchers(alert)}}}", function)


def _now(of: str, alert: AlertConfig) -> str:
    """A template that yields the value of an aggregate in the experiment that an alert is about."""
    query = f"max({AGGREGATES[of].name}{{server=%q,experiment_name=%q,metric=%q}})"
    labels = f"$labels.server $labels.experiment_name {quoted(alert.metric)}"
    return f'{{{{ with printf `{query}` {labels} | query }}}}{{{{ . | first | value | printf "%.4g" }}}}{{{{ end }}}}'


def _matchers(alert: AlertConfig, *, metric: bool = True) -> str:
    found = [f'metric="{alert.metric}"'] if metric else []
    if "*" not in alert.experiments:
        found.append(f"experiment_name=~{quoted(to_re2(alert.experiments))}")
    return ",".join(found)
