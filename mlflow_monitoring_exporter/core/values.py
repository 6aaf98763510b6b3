"""The frozen values that flow from source to exporter.

::

    Experiment, Run, Point   what MLflow holds           (source)
    Sample, Batch            each point once, enriched   (EVERY exporters)
    Snapshot                 all current gauges          (LATEST exporters)

Times are milliseconds since the epoch, as MLflow keeps them. Values are floats in which NaN and
the infinities are themselves: readers decode MLflow's spellings of them (NaN comes over REST as
the string ``"NaN"``, infinities are stored as +-1.7976931348623157e308).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

#: MLflow stores an infinity as the largest finite double (mlflow/store/tracking/sqlalchemy_store.py).
MLFLOW_INFINITY = sys.float_info.max


def decode_value(value: float, *, is_nan: bool = False) -> float:
    """A metric value as it was logged, from MLflow's stored form."""
    if is_nan:
        return math.nan
    if value >= MLFLOW_INFINITY:
        return math.inf
    if value <= -MLFLOW_INFINITY:
        return -math.inf
    return value


def nonfinite_name(value: float) -> str | None:
    """``NaN``, ``+Inf`` or ``-Inf`` as Prometheus spells them; None for a finite value."""
    if math.isfinite(value):
        return None
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"


class RunStatus(StrEnum):
    """MLflow's five run statuses."""

    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"

    @property
    def terminal(self) -> bool:
        return self not in (RunStatus.RUNNING, RunStatus.SCHEDULED)


#: As MLflow spells them: runs that may still change, and runs that have ended.
OPEN_STATUSES = tuple(status.value for status in RunStatus if not status.terminal)
TERMINAL_STATUSES = tuple(status.value for status in RunStatus if status.terminal)


#: The tags of an experiment in which MLflow keeps its primary metric, and whether more of it is better.
PRIMARY_METRIC = "mlflow.experiment.primaryMetric.name"
PRIMARY_GREATER = "mlflow.experiment.primaryMetric.greaterIsBetter"
#: And one that people set themselves, for the metric behind the dot.
GREATER_IS_BETTER = "greater_is_better."


def tells_direction(tag: str) -> bool:
    """Whether a tag of an experiment says which values of a metric are better."""
    return tag in (PRIMARY_METRIC, PRIMARY_GREATER) or tag.startswith(GREATER_IS_BETTER)


@dataclass(frozen=True, slots=True)
class Experiment:
    """An active experiment. Its name may hold any character, newlines and emoji included.

    ``tags`` are only those that say which values of a metric are better (:func:`tells_direction`).
    """

    experiment_id: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)


class Point(NamedTuple):
    """One logged metric point. Two points that differ in any field are two points.

    A tuple, because there are millions: half the time to make, and the garbage collector soon
    leaves it alone.
    """

    key: str
    step: int
    timestamp_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class Run:
    """An active run with the latest point of each of its metrics.

    "Latest" is MLflow's: the largest (step, timestamp, value), which is not always the newest
    in time. ``end_ms`` may be None on a terminal run and set on a resumed one. ``params`` holds only
    those that a reader was told to read.
    """

    run_id: str
    experiment_id: str
    name: str
    status: RunStatus
    start_ms: int | None
    end_ms: int | None
    tags: Mapping[str, str]
    latest: tuple[Point, ...]
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def parent_run_id(self) -> str | None:
        return self.tags.get("mlflow.parentRunId")


class RunValue(NamedTuple):
    """A run and its latest value of one metric; None when it has none."""

    run_id: str
    experiment_id: str
    status: RunStatus
    start_ms: int | None
    end_ms: int | None
    value: float | None


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a sample says about the run that it belongs to.

    ``server`` is the name of its tracking server, or the address of one without a name; only the latter has a colon.
    ``tags`` holds only what the operator's allow-list lets out. ``parent_run_id`` is None for a run
    that is not nested; ``root_run_id`` is the outermost run known above it, or the run itself (None
    in samples that were queued by a release that did not know it).
    """

    server: str
    experiment_id: str
    experiment_name: str
    run_id: str
    run_name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    parent_run_id: str | None = None
    root_run_id: str | None = None

    @property
    def server_name(self) -> str:
        """The tracking server's name, where there are several; empty where it has none."""
        return "" if ":" in self.server else self.server


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric point on its way to a platform."""

    run: RunContext
    key: str
    step: int
    timestamp_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples that travel together, frozen when they were queued.

    ``batch_id`` is a hash of the content: it survives restarts and retries unchanged, so a
    platform can recognise a repeated delivery. ``created_ms`` is when the batch was queued.
    """

    batch_id: str
    created_ms: int
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a registered model. ``run_id`` is empty when no run made it; ``stage`` when it has none."""

    model: str
    version: int
    run_id: str
    stage: str
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunGauges:
    """One run as the gauges need it: ``values`` maps each key as logged to its latest value.

    ``last_ms`` is when it last logged anything but system metrics, ``gap_ms`` how much time usually
    passes until it does so again, and ``alive_ms`` when it last logged anything; None where that is
    not known. ``labels`` are those that the operator added.
    """

    experiment_id: str
    run_id: str
    name: str
    status: RunStatus
    start_ms: int | None
    end_ms: int | None
    model_stage: str
    values: Mapping[str, float]
    parent_run_id: str | None = None
    last_ms: int | None = None
    alive_ms: int | None = None
    gap_ms: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class Series(NamedTuple):
    """One time series of a family: the values of the family's labels, in their order, and its own."""

    labels: tuple[str, ...]
    value: float


class Family(NamedTuple):
    """A metric and all of its series. ``type`` is gauge or counter; a counter's name ends in ``_total``."""

    name: str
    help: str
    type: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]


#: The experiment id of a snapshot's group that belongs to none: the model registry.
NO_EXPERIMENT = ""


#: What stands between the parts of a group's key, and is in none of them.
_BETWEEN = "\x00"


def group_of(server: str, experiment_id: str) -> str:
    """The key of a snapshot's group: the experiment's id, behind the name of its server where that has one."""
    return f"{server}{_BETWEEN}{experiment_id}" if server else experiment_id


def split_group(group: str) -> tuple[str, str]:
    """The server's name, empty where it has none, and the experiment's id."""
    server, between, experiment_id = group.partition(_BETWEEN)
    return (server, experiment_id) if between else ("", group)


class Demand(NamedTuple):
    """How many series a group wants to show: an experiment, or the model registry, whose id is empty."""

    experiment_id: str
    name: str
    wanted: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every gauge as it stands now, in groups (:func:`group_of`), both levels in a stable order.

    A family may occur under several experiments, always with the same help, type and labels; a whole
    exposition needs them joined, which :meth:`families` does. No two series are the same, nor are any
    two of different groups. What did not change since the snapshot before is the same object.
    ``left_out`` says how many series are missing, and why; while there is no room for some, ``most`` is the group that
    wants most of it. One that is not ``whole`` holds some of the tracking servers: others are shown by other replicas,
    or have not been read yet. ``originals`` has the whole text of labels' values that are shortened.
    """

    groups: Mapping[str, tuple[Family, ...]]
    left_out: Mapping[str, int] = field(default_factory=dict)
    whole: bool = True
    most: tuple[Demand, ...] = ()
    originals: Mapping[str, str] = field(default_factory=dict)

    def parts(self) -> Iterator[tuple[Family, ...]]:
        """Each family as its parts of one name from all experiments, sorted by name."""
        joined: dict[str, list[Family]] = {}
        for group in self.groups.values():
            for family in group:
                joined.setdefault(family.name, []).append(family)
        return (tuple(joined[name]) for name in sorted(joined))

    def families(self) -> Iterator[Family]:
        """The families of all experiments together, sorted by name, each exactly once."""
        for parts in self.parts():
            yield parts[0]._replace(series=tuple(s for part in parts for s in part.series))

    @property
    def series_count(self) -> int:
        return sum(len(f.series) for group in self.groups.values() for f in group)
