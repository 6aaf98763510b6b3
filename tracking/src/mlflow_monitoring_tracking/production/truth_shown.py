"""What the leader's ``truth.json`` says, as families for Prometheus."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.production.families import Family, Sample, Served

_SHOWN = {
    "pnl": ("mlflow_deployment_trade_pnl", "Sum of profit and loss of all trades."),
    "drawdown": ("mlflow_deployment_trade_max_drawdown", "Most that the sum of profit and loss ever fell."),
    "exposure": ("mlflow_deployment_trade_exposure", "Sum of the sizes of all positions."),
}


def shown(path: Path) -> list[Family]:
    """The families of truth and of trades; none where nothing was told yet."""
    with suppress(OSError, KeyError, TypeError, ValueError):
        return [family for family in _families(json.loads(path.read_text("utf-8"))) if family.samples]
    return []


def _families(said: Any) -> list[Family]:
    quality = Family(
        "mlflow_deployment_quality", "How right the predictions of the last 24 hours are, by metric.", "gauge"
    )
    for served, values in said["quality"]:
        for metric, value in sorted(values.items()):
            quality.add(Served(*served), value, metric=metric)
    truth = Family("mlflow_deployment_truth_total", "What became of truth that was told, by result.", "counter")
    for deployment, result, number in said["results"]:
        truth.samples.append(Sample("", (("deployment", deployment), ("result", result)), number))
    trades = Family("mlflow_deployment_trades_total", "Trades by result: win, loss or flat.", "counter")
    sums = {what: Family(*names, "gauge") for what, names in _SHOWN.items()}
    for deployment, wins, losses, flat, *numbers in said["trades"]:
        label = ("deployment", deployment)
        for result, number in (("win", wins), ("loss", losses), ("flat", flat)):
            trades.samples.append(Sample("", (label, ("result", result)), number))
        for family, value in zip(sums.values(), numbers, strict=True):
            family.samples.append(Sample("", (label,), value))
    return [quality, truth, trades, *sums.values()]
