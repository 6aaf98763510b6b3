"""Is it the platform that is away, or one sample that it cannot digest?

::

    the whole batch fails, ATTEMPTS times in PATIENCE seconds         both look like this
        |
        v
    halves, their halves, ... --> taken                               delivered
        |
        +--> single samples that fail
                 |    TIMES, in rounds that are BETWEEN seconds apart:
                 |    something else is taken, the sample fails, something else is taken
                 +--> set aside

A platform that answers 500, hangs or hangs up says nothing about the batch. Only what it takes does: a
sample is set aside when it failed alone, again and again, and each time what was sent just before
and just after it was taken. What is sent as a witness was never taken before (a repeated batch may be
answered from memory): samples of the same batch that are kept back for this, or batches behind it.
Without a witness the platform counts as away, and everything stays as it is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import RetryableExportError, describe
from mlflow_monitoring_exporter.core.values import Batch
from mlflow_monitoring_exporter.delivery.bisection import Refusals
from mlflow_monitoring_exporter.delivery.retry_after import LaterError
from mlflow_monitoring_exporter.state.batch_codec import part
from mlflow_monitoring_exporter.state.payload import Refusal

#: A batch is divided when it failed so often in a row, over so many seconds at least.
ATTEMPTS = 8
PATIENCE = 300.0
#: A sample that fails alone is set aside when it did so in so many rounds, which are so many seconds apart.
TIMES = 3
BETWEEN = 60.0
#: Parts that may fail in a row until a witness is asked for: an outage is not met with a shower of small requests.
_MISSES = 4
#: Samples that may be no witnesses because they are as bad.
_WITNESSES = 2
#: Samples that are kept back as witnesses, of as many as there are.
_KEPT_BACK = 64
#: Seconds that one round may take.
_ROUND = 60.0

Witness = Callable[[], bool | None]
"""Delivers something else that waits: whether the platform took it, None when nothing waits."""

Send = Callable[[Batch], Refusals]
"""Delivers a batch but for what is refused of it. Raises ExportError."""


def doubtful(error: RetryableExportError) -> bool:
    """Whether a payload may be the reason: not when the platform asks for patience, or the address is wrong."""
    return error.retry_after is None and (error.status is None or error.status >= 500)


@dataclass(slots=True)
class _Left:
    """What is left of a batch, by index: parts to be tried, witnesses, and how often samples failed alone.

    ``there`` says whether what was sent last, but for samples that fail alone, was taken.
    """

    batch: Batch
    parts: deque[Sequence[int]]
    kept_back: list[int] = field(default_factory=list)
    alone: dict[int, int] = field(default_factory=dict)
    refused: dict[Refusal, list[int]] = field(default_factory=dict)
    there: bool = False
    divided: bool = False
    error: RetryableExportError | None = None

    def later(self, seconds: float) -> LaterError:
        """Nothing more of it is to be sent now."""
        told = f"{len(self.alone)} of {len(self.batch.samples)} samples of a batch fail alone, others are taken"
        return LaterError(f"{self.error}: {told}", retry_after=seconds)


class PoisonSearch:
    """What is known of one batch that waits to be delivered. ``first_ms`` is when it was first tried."""

    def __init__(self, batch: Batch, first_ms: int) -> None:
        self._batch = batch
        self._first_ms = first_ms
        self._attempts = 0
        self._due = time.monotonic() + PATIENCE
        self._left = _Left(batch, deque([range(len(batch.samples))]))

    def remaining(self, why: Refusal) -> Refusals:
        """All that is neither delivered nor refused is refused: ``why``."""
        left = self._left
        indexes = sorted([*(index for some in left.parts for index in some), *left.kept_back, *left.alone])
        return _joined(left.refused, {why: indexes})

    def attempt(self, send: Send, witness: Witness, over: Callable[[], bool]) -> Refusals:
        """What is refused of it; the platform has everything else.

        ``over`` says whether there is no more time. Raises RetryableExportError when something is still to be
        sent, and whatever else ``send`` raises.
        """
        left = self._left
        if not left.divided:
            try:
                return send(self._batch)
            except RetryableExportError as error:
                if not doubtful(error):
                    raise
                left.error, self._attempts = error, self._attempts + 1
                if self._attempts < ATTEMPTS or time.monotonic() < self._due:
                    raise
        elif (wait := self._due - time.monotonic()) > 0:
            raise left.later(wait)
        this = _Round(left, self._first_ms, send, witness, over)
        try:
            return this.run()
        finally:
            self._due = time.monotonic() + (BETWEEN if this.taken else PATIENCE)


class _Round:
    """One go at what is left of a batch; ``taken`` says whether the platform took anything in it."""

    def __init__(self, left: _Left, first_ms: int, send: Send, witness: Witness, over: Callable[[], bool]) -> None:
        self.taken = False
        self._left = left
        self._first_ms = first_ms
        self._send = send
        self._witness = witness
        self._over = over
        self._until = Deadline.after(_ROUND)
        self._misses = 0
        self._judged: set[int] = set()

    def run(self) -> Refusals:
        left = self._left
        while True:
            self._try_parts()
            self._judge()
            if left.alone:
                raise left.later(BETWEEN)
            if not left.kept_back:
                return left.refused
            left.parts.append(tuple(left.kept_back))
            left.kept_back = []

    def _try_parts(self) -> None:
        left = self._left
        while left.parts:
            indexes = left.parts[0]
            done = self._sent(indexes)
            left.parts.popleft()
            if not done:
                left.there = False
                self._divide(indexes)
                if self._missed() and not self._has_witness():
                    self._give_up()

    def _divide(self, indexes: Sequence[int]) -> None:
        left = self._left
        if len(indexes) == 1:
            left.alone.setdefault(indexes[0], 0)
            return
        if not left.kept_back:
            # Never more than half: what is kept back is not delivered meanwhile.
            at = len(indexes) - min(_KEPT_BACK, len(indexes) // 2)
            left.kept_back, indexes = list(indexes[at:]), indexes[:at]
        middle = len(indexes) // 2
        left.parts.extend(half for half in (indexes[:middle], indexes[middle:]) if half)

    def _judge(self) -> None:
        """Each sample that fails alone, once in a round."""
        left = self._left
        for index in [i for i in left.alone if i not in self._judged]:
            self._judged.add(index)
            # What was taken in the round before counts only while there is nothing fresh.
            before = (left.there and not left.kept_back) or self._has_witness()
            if self._sent([index]):
                del left.alone[index]
                continue
            error = left.error
            left.alone[index] = left.alone.pop(index)  # behind the others, so that these have their turn
            if not before or not self._has_witness():
                if self._missed():
                    self._give_up()
                continue
            left.alone[index] += 1
            if left.alone[index] >= TIMES and error is not None:
                del left.alone[index]
                alone = f"alone {TIMES} times, while the platform took what came before and after it"
                reason = f"{describe(error)} ({alone})"
                left.refused.setdefault(Refusal(reason, error.status, self._first_ms), []).append(index)

    def _missed(self) -> bool:
        self._misses += 1
        return self._misses > _MISSES

    def _has_witness(self) -> bool:
        """Whether the platform takes something that it never had."""
        left = self._left
        if left.kept_back:
            left.there = False
        for _ in range(_WITNESSES):
            if left.kept_back:
                index = left.kept_back[-1]
                done = self._sent([index])
                left.kept_back.pop()
                if done and left.there:
                    return True
                if not done:
                    left.alone.setdefault(index, 0)
        self._check_time()
        taken = self._witness()
        if taken is not None:  # without anything to send nothing is known
            left.there = taken
        if taken:
            self.taken, self._misses = True, 0
        return bool(taken)

    def _sent(self, indexes: Sequence[int]) -> bool:
        """Whether these need no more sending: the platform took them, but for what it refuses outright."""
        self._check_time()
        left = self._left
        try:
            refused = self._send(part(left.batch, indexes))
        except RetryableExportError as error:
            if not doubtful(error):
                raise
            left.error = error
            return False
        left.refused = _joined(left.refused, {why: [indexes[at] for at in ats] for why, ats in refused.items()})
        left.divided = True
        if sum(map(len, refused.values())) < len(indexes):
            left.there = self.taken = True
            self._misses = 0
        return True

    def _check_time(self) -> None:
        if self._over() or self._until.expired:
            self._give_up()

    def _give_up(self) -> None:
        left = self._left
        if self.taken or left.error is None:
            raise left.later(BETWEEN)
        raise left.error


def _joined(one: Refusals, other: Refusals) -> dict[Refusal, list[int]]:
    found = {why: list(indexes) for why, indexes in one.items()}
    for why, indexes in other.items():
        if indexes:
            found.setdefault(why, []).extend(indexes)
    return found
