"""``alerts``: conditions on metrics, from which ``prometheus rules generate`` writes rules for Prometheus."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mlflow_monitoring_exporter.config.fields import (
    Duration,
    DurationOrZero,
    Fraction,
    MetricKey,
    Words,
    check_alert_name,
    split_commas,
)
from mlflow_monitoring_exporter.config.section import Section

CONDITIONS = ("above", "below", "threshold", "rate_above", "rate_below", "change", "zscore", "missing")
#: Those that look at a series over time, and so may have a window.
_OVER_TIME = ("above", "below", "threshold", "rate_above", "rate_below")
#: Those that compare the run that finished last with others.
_OF_LAST = ("change", "zscore")
#: Spellings of ``window`` in older configurations, and how many seconds one is.
_WINDOWS = {"window_minutes": 60, "window_hours": 3600}

#: The alerts of prometheus/rules, whose names are taken.
SHIPPED_ALERTS = frozenset(
    f"Mlflow{name}"
    for name in (
        *("ExporterDown", "ExporterNotPolling", "ExporterNotDelivering", "ExporterUnauthorized", "ExporterQueueOld"),
        *("ExporterDeadLetters", "ExporterSamplesDropped", "ExporterSeriesBudgetHit", "ExporterConfigRefused"),
        *("ExporterStateReset", "RunFailed", "RunStalled", "RunOrphaned", "RunNonFinite", "MetricBehindBest"),
        *("MetricRegressed", "NoNewRuns", "ChallengerBetter"),
        *("DeploymentErrors", "DeploymentSlow", "DeploymentDrift"),
    )
)

RECEIVERS = ("email", "slack", "webhook", "pagerduty")
Receiver = Literal["email", "slack", "webhook", "pagerduty"]
Severity = Literal["info", "warning", "critical"]


def _free(name: str) -> str:
    if name in SHIPPED_ALERTS:
        raise ValueError(f"is the name of an alert in prometheus/rules; call it something else than {name}")
    return name


AlertName = Annotated[str, AfterValidator(check_alert_name), AfterValidator(_free)]
"""The name of an alert of one's own."""


class AlertConfig(Section):
    """One alert: a metric, in which experiments, and what about it is wrong."""

    metric: MetricKey = Field(description="the key as it was logged")
    experiments: Words = Field(("*",), min_length=1, description="patterns of names")
    of: Literal["finished", "latest", "best", "mean", "min", "max", "open"] = Field(
        "finished",
        description="what is looked at: the run that finished last, the one that started last, all runs, "
        "or each run that has not ended",
    )
    above: float | None = Field(None, allow_inf_nan=False, description="fires for larger values")
    below: float | None = Field(None, allow_inf_nan=False, description="fires for smaller values")
    threshold: float | None = Field(
        None, allow_inf_nan=False, description="fires for values that are worse, whichever way is better"
    )
    rate_above: float | None = Field(None, allow_inf_nan=False, description="fires when it rises faster, per minute")
    rate_below: float | None = Field(None, allow_inf_nan=False, description="fires when it rises more slowly, or falls")
    change: Fraction | None = Field(
        None, description="fires when the run that finished last differs by a larger share from the one before"
    )
    zscore: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="fires when the run that finished last is more standard deviations away from the mean of all",
    )
    missing: Duration | None = Field(None, description="fires when there was no value of it for this long")
    window: Duration | None = Field(
        None, description="looks at its values over this time; default: at the newest, and at 10m for a rate"
    )
    over: Literal["avg", "min", "max"] = Field("avg", description="what of the values in the window counts")
    hold: DurationOrZero = Field(0.0, alias="for", description="fires only after it was so for this long")
    severity: Severity = "warning"
    action: Annotated[tuple[Receiver, ...], BeforeValidator(split_commas)] = Field(
        (), description="who is told besides those whom the severity tells"
    )

    @property
    def condition(self) -> str:
        """Which of :data:`CONDITIONS` it is."""
        return next(name for name in CONDITIONS if getattr(self, name) is not None)

    @model_validator(mode="before")
    @classmethod
    def _older_spellings(cls, value: Any) -> Any:
        """``window_minutes: 5`` is ``window: 5m``."""
        if not isinstance(value, dict) or not (given := [name for name in _WINDOWS if name in value]):
            return value
        if len(given) > 1 or "window" in value:
            raise ValueError(f"give one of window, {', '.join(_WINDOWS)}")
        number = value[given[0]]
        if isinstance(number, bool) or not isinstance(number, int | float) or number <= 0:
            raise ValueError(f"{given[0]} must be a number above 0")
        rest = {name: its for name, its in value.items() if name not in _WINDOWS}
        return {**rest, "window": number * _WINDOWS[given[0]]}

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        given = [name for name in CONDITIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(CONDITIONS)}; {' and '.join(given) or 'none'} is there")
        name = given[0]
        if name in _OF_LAST and self.of != "finished":
            raise ValueError(f"{name} looks at the run that finished last; leave out `of`")
        if self.window is not None and name not in _OVER_TIME:
            raise ValueError(f"{name} looks at no window; leave out `window`")
        if name == "missing" and self.hold:
            raise ValueError("missing says for how long already; leave out `for`")
        return self
