"""``alerts``: thresholds on metrics, from which ``prometheus rules generate`` writes rules for Prometheus."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from mlflow_monitoring_exporter.config.fields import DurationOrZero, Fraction, MetricKey, Words, split_commas
from mlflow_monitoring_exporter.config.section import Section

CONDITIONS = ("above", "below", "change", "zscore")


class AlertConfig(Section):
    """One alert: a metric, in which experiments, and what about it is wrong."""

    metric: MetricKey = Field(description="the key as it was logged")
    experiments: Words = Field(("*",), min_length=1, description="patterns of names")
    of: Literal["finished", "latest", "best", "mean", "min", "max"] = Field(
        "finished",
        description="what above and below look at: the run that finished last, the one that started last, or all runs",
    )
    above: float | None = Field(None, allow_inf_nan=False, description="fires for larger values")
    below: float | None = Field(None, allow_inf_nan=False, description="fires for smaller values")
    change: Fraction | None = Field(
        None, description="fires when the run that finished last differs by a larger share from the one before"
    )
    zscore: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="fires when the run that finished last is more standard deviations away from the mean of all",
    )
    hold: DurationOrZero = Field(0.0, alias="for", description="fires only after it was so for this long")
    severity: Literal["info", "warning", "critical"] = "warning"
    action: Annotated[tuple[Literal["email", "slack", "webhook"], ...], BeforeValidator(split_commas)] = Field(
        (), description="who is told besides those whom the severity tells"
    )

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        given = [name for name in CONDITIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(CONDITIONS)}; {' and '.join(given) or 'none'} is there")
        if given[0] in ("change", "zscore") and self.of != "finished":
            raise ValueError(f"{given[0]} looks at the run that finished last; leave out `of`")
        return self
