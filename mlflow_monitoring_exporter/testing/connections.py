"""Who opens a connection where none may be opened?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

#: What Python reports before it connects, sends without a connection, or asks for an address.
_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
#: Those who want to know now; each list is told of everything.
_listening: list[list[str]] = []


@contextmanager
def network_calls() -> Iterator[list[str]]:
    """What any thread of this process asks of the network meanwhile, as ``socket.connect ('127.0.0.1', 80)``.

    It sees what goes through Python's own sockets. A client that brings compiled ones shows only at its other end.
    """
    _listen()
    seen: list[str] = []
    _listening.append(seen)
    try:
        yield seen
    finally:
        _listening[:] = [one for one in _listening if one is not seen]


@cache
def _listen() -> None:
    """Once: an audit hook cannot be taken away again."""
    sys.addaudithook(_note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event in _EVENTS:
        where = arguments[1:] if event.startswith(("socket.connect", "socket.send")) else arguments[:2]
        for seen in _listening:
            seen.append(f"{event} {', '.join(map(repr, where))}")
