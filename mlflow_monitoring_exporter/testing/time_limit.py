"""A test that hangs fails by itself, and says where it hangs."""

from __future__ import annotations

import functools
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import pytest

#: Frames of what hangs that are shown, the innermost ones.
_SHOWN_FRAMES = 12


class HasTimeLimit(Protocol):
    """``time_limit`` is how many seconds each test gets."""

    time_limit: float


SuiteT = TypeVar("SuiteT", bound=type[HasTimeLimit])


def with_time_limit(suite: SuiteT) -> SuiteT:
    """A class decorator: every test of the class fails once ``time_limit`` has passed, whatever it waits for.

    The test runs on a thread, which is left behind when it hangs: no signal ends what waits in compiled code.
    """
    for name, test in list(vars(suite).items()):
        if name.startswith("test_"):
            setattr(suite, name, _limited(test))
    return suite


def _limited(test: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(suite: HasTimeLimit, /, *args: Any, **kwargs: Any) -> None:
        raised: list[BaseException] = []

        def body() -> None:
            try:
                test(suite, *args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - pytest's own outcomes are among them
                raised.append(error)

        thread = threading.Thread(target=body, name=test.__name__, daemon=True)
        thread.start()
        thread.join(suite.time_limit)
        if thread.is_alive():
            pytest.fail(f"{test.__name__} still runs after {suite.time_limit:g} s, and hangs here:\n{_stack(thread)}")
        for error in raised:
            raise error

    return run


def _stack(thread: threading.Thread) -> str:
    """Where a thread is now; empty when it has just ended."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented, and there is no other way
    return "".join(traceback.format_stack(frame)[-_SHOWN_FRAMES:]) if frame else ""
