"""When did something last happen in an experiment, as far as the times of its runs can be believed?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlflow_monitoring_exporter.core.clock import to_ms
from mlflow_monitoring_exporter.core.plausible_times import plausible
from mlflow_monitoring_exporter.core.values import Run


class Activity:
    """Judges times by experiment, in ms. ``clock`` gives the time in Unix seconds.

    A time that is ahead of the clock counts once, as the moment when it was read first, so that it does not make its
    experiment the newest for ever. After a restart one that is met before :meth:`settled` is none that is new.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ahead: dict[str, int] = {}
        self._settled = False

    def settled(self) -> None:
        """What there was has been met."""
        self._settled = True

    def of_runs(self, found: Mapping[str, int], known: Mapping[str, int]) -> dict[str, int]:
        """The newest time in each experiment, where ``found`` are what a source says, and ``known`` was known before.

        A source that names the newest ones has named those whose times are ahead instead of others: what is known of
        these stays.
        """
        read_ms = self._now()
        judged = {i: when for i, ms in found.items() if (when := self._judge(i, ms, known.get(i), read_ms)) is not None}
        return {**known, **judged} if any(ms > read_ms for ms in found.values()) else judged

    def heed(self, run: Run, known: dict[str, int]) -> None:
        """Take over into ``known`` what a run says."""
        experiment_id, read_ms = run.experiment_id, self._now()
        for ms in (run.start_ms, run.end_ms):
            before = known.get(experiment_id)
            when = None if ms is None else self._judge(experiment_id, ms, before, read_ms)
            if when is not None:
                known[experiment_id] = when if before is None else max(when, before)

    def _judge(self, experiment_id: str, ms: int, known: int | None, read_ms: int) -> int | None:
        when = plausible(ms, read_ms)
        farthest = self._ahead.get(experiment_id)
        if when is None or (when == ms and ms != farthest):
            return when
        is_new = farthest is None or ms > farthest
        if is_new:
            self._ahead[experiment_id] = ms
        counts = known is None or (is_new and (self._settled or farthest is not None))
        return when if counts else known

    def _now(self) -> int:
        return to_ms(self._clock())
