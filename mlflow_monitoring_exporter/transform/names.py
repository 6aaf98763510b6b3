"""What is an MLflow key called in Prometheus?

``val/acc`` and ``val acc`` share the family ``mlflow_val_acc`` and differ in their label ``metric``,
which holds the key as it was logged. So no two keys collide and none is dropped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_]")

#: Families of ours, now or as the design names them for later; a user's key must not land in one.
RESERVED = re.compile(
    r"exporter_.*|experiment_metric_.*|experiment_runs|run_info|run_duration_seconds|run_metric"
    r"|run_last_metric_timestamp_seconds|run_stalled|run_nonfinite_metrics|model_version_info"
)

#: Characters of a run id in a label, as MLflow's own pages shorten it.
SHORT = 8


def family_name(key: str) -> str:
    """``mlflow_<key>`` with every character that Prometheus refuses in names replaced by ``_``.

    ``:`` is replaced too: it is legal, but belongs to recording rules.
    """
    name = _ILLEGAL.sub("_", key)
    return f"mlflow_metric_{name}" if RESERVED.fullmatch(name) else f"mlflow_{name}"


def short_run_ids(run_ids: Iterable[str]) -> Mapping[str, str]:
    """Each run id's first eight characters, or as many more as keep it apart from the others."""
    result: dict[str, str] = {}
    waiting, length = sorted(set(run_ids)), SHORT
    while waiting:
        shared = Counter(run_id[:length] for run_id in waiting)
        result |= {r: r[:length] for r in waiting if shared[r[:length]] == 1 or len(r) <= length}
        waiting = [r for r in waiting if r not in result]
        length += 1
    return result
