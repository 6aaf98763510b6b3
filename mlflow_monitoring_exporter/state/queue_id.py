"""Queues by identity: what the other rooms hold, compare and hand on instead of numbers and bits.

Inside, a queue has a number, by which its rows are found. The queue of an exporter that receives every sample also
has a slot: its bit in the masks of series and of points (state/schema.py). Only state/ looks at either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

#: Bits of a signed 64-bit mask: exporters that may be configured at the same time.
SLOTS = 63


@dataclass(frozen=True, slots=True, order=True)
class QueueId:
    """One queue of this state. The order is the one in which a transaction that needs several takes them."""

    number: int
    slot: int | None = field(default=None, compare=False)
    """None for a queue whose payloads are no points of series."""


@dataclass(frozen=True, slots=True)
class QueueSet:
    """Some queues of exporters, as a set: ``in``, ``|``, ``&``, ``-``, ``len`` and truth.

    It may hold some that this process knows no :class:`QueueId` of, because only other replicas have their exporters.
    ``int(...)`` is how it is written down, and ``QueueSet(number)`` the same set again.
    """

    mask: int = 0

    @classmethod
    def of(cls, queues: Iterable[QueueId]) -> QueueSet:
        """Those. Raises ValueError for one without a slot."""
        return cls(sum({_bit(queue) for queue in queues}))

    def __contains__(self, queue: QueueId) -> bool:
        return bool(self.mask & _bit(queue))

    def __or__(self, other: QueueSet) -> QueueSet:
        return QueueSet(self.mask | other.mask)

    def __and__(self, other: QueueSet) -> QueueSet:
        return QueueSet(self.mask & other.mask)

    def __sub__(self, other: QueueSet) -> QueueSet:
        return QueueSet(self.mask & ~other.mask)

    def __len__(self) -> int:
        return self.mask.bit_count()

    def __int__(self) -> int:
        return self.mask


def _bit(queue: QueueId) -> int:
    if queue.slot is None:
        raise ValueError(f"queue {queue.number} has no slot")
    return 1 << queue.slot
