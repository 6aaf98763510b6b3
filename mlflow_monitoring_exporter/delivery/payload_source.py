"""What does a worker deliver next?

Two answers behind one protocol: the oldest batch of a durable queue (or, among many replicas, of a partition
of it), or the newest snapshot.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlflow_monitoring_exporter.core.values import Batch, Snapshot
from mlflow_monitoring_exporter.state.outbox import Outbox, QueuedBatch
from mlflow_monitoring_exporter.state.partitions import Partitions
from mlflow_monitoring_exporter.state.payload import Refusal
from mlflow_monitoring_exporter.state.queue_id import QueueId

#: Batches of one partition before it is another one's turn.
_TURN = 20


@dataclass(frozen=True, slots=True)
class Item:
    """One payload; ``place`` is how its feed knows it again, ``size`` its samples or series."""

    payload: Batch | Snapshot
    place: Any
    size: int


class PayloadSource(Protocol):
    """Where payloads wait for one exporter. Raises StateError when durable state cannot be used."""

    durable: bool
    """Whether what waits outlives the process."""

    def head(self) -> Item | None:
        """What is to be delivered next; it stays where it is."""
        ...

    def behind(self, item: Item, /) -> Item | None:
        """What waits behind ``item``, or beside it, and need not wait for it."""
        ...

    def acknowledge(self, item: Item) -> None:
        """The platform has it."""
        ...

    def set_aside(self, item: Item, refusals: Mapping[Refusal, Sequence[int]], /) -> None:
        """The platform will never take the samples at these indexes; it has the others."""
        ...


class QueueSource:
    """Every batch in order, from the outbox."""

    durable = True

    def __init__(self, outbox: Outbox, queue: QueueId) -> None:
        self._outbox = outbox
        self._queue = queue

    def head(self) -> Item | None:
        return _item(self._outbox.head(self._queue))

    def behind(self, item: Item) -> Item | None:
        return _item(self._outbox.head(self._queue, after=self._queued(item).place))

    def acknowledge(self, item: Item) -> None:
        self._outbox.acknowledge(self._queued(item))

    def set_aside(self, item: Item, refusals: Mapping[Refusal, Sequence[int]]) -> None:
        self._outbox.set_aside(self._queued(item), refusals)

    @staticmethod
    def _queued(item: Item) -> QueuedBatch:
        queued: QueuedBatch = item.place
        return queued


class PartitionSource(QueueSource):
    """Every batch of some partitions in their order: what no other replica delivers.

    Nothing while ``owned`` returns False: another replica may have taken over the lease.
    """

    def __init__(self, outbox: Outbox, queue: QueueId, partitions: Partitions, owned: Callable[[], bool]) -> None:
        super().__init__(outbox, queue)
        self._partitions = partitions
        self._owned = owned
        self._partition: int | None = None
        self._beside: int | None = None
        self._served = 0

    def head(self) -> Item | None:
        self._leave_beside()
        while self._owned():
            if self._partition is not None:
                item = _item(self._outbox.head(self._queue, self._partition)) if self._served < _TURN else None
                if item is not None:
                    return item
                self._partitions.give_back(self._queue, self._partition)
            self._partition, self._served = self._partitions.lease(self._queue), 0
            if self._partition is None:
                return None
        return None

    def behind(self, item: Item) -> Item | None:
        """In its partition, and after that in another one: a partition need not wait for what another one waits for."""
        after = self._queued(item).place
        if not self._owned():
            return None
        if self._beside is None and self._partition is not None:
            item_behind = _item(self._outbox.head(self._queue, self._partition, after=after))
            if item_behind is not None:
                return item_behind
        self._leave_beside()
        self._beside = self._partitions.lease(self._queue)
        return None if self._beside is None else _item(self._outbox.head(self._queue, self._beside))

    def _leave_beside(self) -> None:
        if self._beside is not None:
            self._partitions.give_back(self._queue, self._beside)
            self._beside = None

    def acknowledge(self, item: Item) -> None:
        super().acknowledge(item)
        self._served += 1

    def set_aside(self, item: Item, refusals: Mapping[Refusal, Sequence[int]]) -> None:
        super().set_aside(item, refusals)
        self._served += 1


class SnapshotSource:
    """Only the newest snapshot: a newer one supersedes whatever still waits.

    ``view`` says what of it the exporter gets; nothing while ``owned`` says that it is not ours to show.
    """

    durable = False

    def __init__(
        self,
        view: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot,
        *,
        owned: Callable[[], bool] = lambda: True,
    ) -> None:
        self._view = view
        self._owned = owned
        self._lock = threading.Lock()
        self._waiting: Snapshot | None = None

    def put(self, snapshot: Snapshot) -> None:
        seen = self._view(snapshot)
        with self._lock:
            self._waiting = seen

    def head(self) -> Item | None:
        snapshot = self._waiting
        return None if snapshot is None or not self._owned() else Item(snapshot, snapshot, snapshot.series_count)

    def behind(self, _item: Item) -> Item | None:
        """Nothing: a newer snapshot takes the place of this one."""
        return None

    def acknowledge(self, item: Item) -> None:
        with self._lock:
            if self._waiting is item.place:
                self._waiting = None

    def set_aside(self, item: Item, _refusals: Mapping[Refusal, Sequence[int]]) -> None:
        """A refused snapshot is not kept: the next one says the same, and more."""
        self.acknowledge(item)


def _item(queued: QueuedBatch | None) -> Item | None:
    return None if queued is None else Item(queued.batch, queued, len(queued.batch.samples))
