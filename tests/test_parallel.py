"""Several streams joined into one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mlflow_monitoring_exporter.core.concurrency import ahead, joined


def counting(first: int, count: int) -> Callable[[str], Iterator[int]]:
    return lambda _resource: iter(range(first, first + count))


def test_every_item_of_every_task_comes_and_each_task_in_order() -> None:
    found = list(joined([counting(100 * n, 20) for n in range(10)], ["a", "b", "c"]))
    assert sorted(found) == sorted(100 * n + i for n in range(10) for i in range(20))
    for n in range(10):
        assert [i for i in found if i // 100 == n] == list(range(100 * n, 100 * n + 20))


def test_each_resource_is_used_by_one_thread_only() -> None:
    users: dict[str, set[int]] = {"a": set(), "b": set()}

    def task(resource: str) -> Iterator[None]:
        users[resource].add(threading.get_ident())
        yield None

    list(joined([task] * 50, ["a", "b"]))
    assert all(len(threads) <= 1 for threads in users.values())


def test_an_error_ends_everything_and_is_raised() -> None:
    def broken(_resource: str) -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(joined([broken, *(counting(0, 1000) for _ in range(50))], ["a", "b"]))
    assert threading.active_count() == before


def test_nothing_runs_on_when_no_one_takes_items_any_more() -> None:
    made: list[int] = []

    def endless(_resource: str) -> Iterator[int]:
        while True:
            made.append(1)
            yield 1

    items = joined([endless], ["a"])
    assert next(items) == 1
    items.close()  # type: ignore[attr-defined]
    count = len(made)
    time.sleep(0.05)
    assert len(made) == count <= 4, "and not much was made in advance"


def test_one_item_is_made_while_another_is_worked_on() -> None:
    made = threading.Event()

    def two() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    items = ahead(two())
    assert next(items) == 1
    assert made.wait(5)
    assert list(items) == [2]
