"""Several streams at once, joined into one, with bounded memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

_T = TypeVar("_T")
_ResourceT = TypeVar("_ResourceT")
#: How soon a thread that cannot hand over its item notices that its consumer is gone, in seconds.
_NOTICE = 0.1


def joined(
    tasks: Iterable[Callable[[_ResourceT], Iterable[_T]]], resources: Sequence[_ResourceT], *, buffer: int = 1
) -> Iterator[_T]:
    """The items of all tasks, each task's in order; one thread for each resource works on them.

    At most ``buffer`` items wait to be taken. The first exception in a task ends all and is raised
    here. When the caller stops taking items, the threads end at their next item.
    """
    return iter(_Join(tasks, resources, buffer))


def ahead(items: Iterable[_T]) -> Iterator[_T]:
    """The same items, of which the next one is made on a thread of its own while the caller works on one."""
    return joined([lambda _: items], [None])


class _Join(Generic[_ResourceT, _T]):
    def __init__(
        self,
        tasks: Iterable[Callable[[_ResourceT], Iterable[_T]]],
        resources: Sequence[_ResourceT],
        buffer: int,
    ) -> None:
        self._tasks = iter(tasks)
        self._next_task = threading.Lock()
        self._items: queue.Queue[tuple[_T] | BaseException | None] = queue.Queue(buffer)
        self._unwanted = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(r,), daemon=True) for r in resources]

    def __iter__(self) -> Iterator[_T]:
        for thread in self._threads:
            thread.start()
        at_work = len(self._threads)
        try:
            while at_work:
                item = self._items.get()
                if item is None:
                    at_work -= 1
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item[0]
        finally:
            self._unwanted.set()
            for thread in self._threads:
                thread.join()

    def _work(self, resource: _ResourceT) -> None:
        try:
            while not self._unwanted.is_set():
                with self._next_task:
                    task = next(self._tasks, None)
                if task is None:
                    break
                for item in task(resource):
                    if not self._put((item,)):
                        return
        except BaseException as error:  # noqa: BLE001 - raised again where the items are taken
            self._put(error)
        else:
            self._put(None)

    def _put(self, item: tuple[_T] | BaseException | None) -> bool:
        while not self._unwanted.is_set():
            try:
                self._items.put(item, timeout=_NOTICE)
            except queue.Full:
                continue
            return True
        return False
