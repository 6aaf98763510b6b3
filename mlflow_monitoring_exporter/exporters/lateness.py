"""Which samples come too late for a receiver that keeps time in order, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.values import Sample
from mlflow_monitoring_exporter.prometheus.timeseries import BY_TIME, Dated, Labels

#: Milliseconds: a receiver without any window takes new series that are this old (half of a block in Prometheus).
_HEAD = 3_600_000
#: Series that are remembered before it is looked which of them are over.
_MANY = 10_000
#: Samples whose times are remembered: those of two of the largest batches, so that one which is begun again is known.
_RECENT = 20_000


@dataclass(frozen=True, slots=True)
class Judged:
    """What can be sent of one series, in order, and the places of what comes too late for it."""

    in_time: list[Dated]
    late: list[int]


class Lateness:
    """Judges samples by a receiver's window, in seconds, and by what it was sent before.

    Prometheus takes what is newer than the newest sample of its series, or not older than the window; and of nothing
    what is older than its head (https://prometheus.io/docs/prometheus/latest/configuration/configuration/#tsdb).
    Without a window nothing is late here: the receiver is asked.
    """

    def __init__(self, window: float | None, policy: Literal["dead_letter", "shift"]) -> None:
        self._window = None if window is None else int(window * 1000)
        self._policy = policy
        #: Of each series, by its hash, the newest time that was sent: what is not after it needs a window.
        self._newest: dict[int, int] = {}
        self._prune_at = _MANY
        #: With which time a sample was sent lately, by series, step and its own time.
        self._recent: dict[tuple[int, int, int], int] = {}

    def judge(self, labels: Labels, dated: Sequence[Dated], read_ms: int) -> Judged:
        """``dated`` are samples of one series that were read at ``read_ms``.

        What was sent just now is sent again as it was: a batch may begin again after a part of it was delivered.
        """
        if self._window is None:
            return Judged(list(dated), [])
        series, now = hash(labels), now_ms()
        newest = self._newest.get(series, -1)
        in_time: list[Dated] = []
        late: list[Dated] = []
        for one in dated:
            sent = self._recent.get((series, one.step, one.timestamp_ms))
            too_old = one.timestamp_ms < now - max(self._window, _HEAD)
            out_of_order = one.timestamp_ms <= newest and one.timestamp_ms < now - self._window
            if sent is not None:
                in_time.append(one._replace(timestamp_ms=sent))
            elif too_old or out_of_order:
                late.append(one)
            else:
                in_time.append(one)
        if self._policy == "dead_letter":
            return Judged(sorted(in_time, key=BY_TIME), [one.place for one in late])
        begin = max(read_ms, newest + 1)
        in_time += [one._replace(timestamp_ms=begin + more) for more, one in enumerate(late)]
        return Judged(sorted(in_time, key=BY_TIME), [])

    def sent(self, timed: Mapping[Labels, Sequence[Dated]], samples: Sequence[Sample]) -> None:
        """These were delivered; ``samples`` are those that their places mean."""
        if self._window is None:
            return
        for labels, dated in timed.items():
            series = hash(labels)
            if self._window < _HEAD:  # with a larger one what is late is too old as well
                self._newest[series] = max(self._newest.get(series, -1), dated[-1].timestamp_ms)
            for one in dated:
                self._recent[series, one.step, samples[one.place].timestamp_ms] = one.timestamp_ms
        while len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]
        if len(self._newest) > self._prune_at:
            oldest = now_ms() - _HEAD  # what is older than the receiver's head tells nothing
            self._newest = {series: at for series, at in self._newest.items() if at >= oldest}
            self._prune_at = max(_MANY, 2 * len(self._newest))
